"""The verdict of a run that is asked only some checks, and the promise about verdict.json."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import verdicts
from harness.judge.drill import ROOT, Drill
from harness.model.verdict import Verdict

SCHEMA = json.loads((ROOT / "harness" / "model" / "verdict.schema.json").read_text())
_PROMISE = jsonschema.Draft202012Validator(SCHEMA)


def complaints(verdict: dict[str, Any]) -> list[str]:
    """What the schema has against a stored verdict."""
    return [f"{error.json_path}: {error.message}" for error in _PROMISE.iter_errors(verdict)]


def whole_verdict(folder: RunFolder, drill: Drill) -> Verdict:
    """What ``verdicts.judge`` says, but for the indicators of every phase, which no result is made of."""
    view = RunView(folder)
    return verdicts.answer(view, drill, verdicts.asked(view, drill))


def verdict_on(folder: RunFolder, drill: Drill, *names: str) -> Verdict:
    """The verdict of a run that is asked no more than these checks and objectives; all validity rules are."""
    view = RunView(folder)
    questions = [check for check in verdicts.asked(view, drill) if check.name in names]
    assert {check.name for check in questions} == set(names), f"not all of {names} are asked"
    return verdicts.answer(view, drill, questions)
