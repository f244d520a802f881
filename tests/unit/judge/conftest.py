"""Every verdict that these tests make is held against the promise about verdict.json, and none is computed twice."""

from __future__ import annotations

import json

import pytest

from harness.evidence import records_kept
from harness.evidence.record import RunFolder
from harness.judge import validity, verdicts
from tests.unit.judge import remembered
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


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and found of a run's parts is not read and found again where another run has the same."""
    monkeypatch.setattr(RunFolder, "_table", remembered.table)
    monkeypatch.setattr(records_kept, "_of_requests", remembered.of_requests)
    monkeypatch.setattr(validity, "of_rule", remembered.of_rule)
