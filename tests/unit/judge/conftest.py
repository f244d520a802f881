"""Every verdict that these tests make is held against the promise about verdict.json."""

from __future__ import annotations

import json

import pytest

from harness.judge import verdicts
from tests.unit.judge.verdicts import complaints


@pytest.fixture(autouse=True)
def promised_format(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many verdicts were made, each of which keeps to harness/model/verdict.schema.json."""
    plainly, made = verdicts.answer, list[int]()

    def checked(*arguments: object) -> object:
        verdict = plainly(*arguments)  # type: ignore[arg-type]
        made.append(1)
        assert complaints(json.loads(json.dumps(verdicts.as_data(verdict)))) == []
        return verdict

    monkeypatch.setattr(verdicts, "answer", checked)
    return made
