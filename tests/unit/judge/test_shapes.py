"""How checks are declared, and the shapes of their answers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill
from harness.judge.checks.shapes import asks, last_within, none_bad, within
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@asks(
    "they-wait",
    "{who} wait in {phase}",
    "Do {who} wait for {s:g} s in {phase} and {others}?",
    "load", "fault:{phase}", "phase:{others}",
    timing=True, subject="who", objective="≤ {s:.6g} s", promises=("{phase}",),
)  # fmt: skip
def _wait(view: RunView, who: str, phase: str, *others: str, s: float = 2) -> CheckResult:
    if phase == "nowhere":
        raise NotMeasured("nobody looked", 7)
    return within(1.5, s, "they did", 3)


@asks("restarted", "restarted: {of}", "?", "fault:{of}", timing=False, phase="after")
def _restarted(view: RunView, of: Mapping[str, str], after: str) -> CheckResult:
    return CheckResult("", Status.FAIL, "no", "0 of their own", phase="elsewhere" if of else None)


@pytest.fixture
def view() -> RunView:
    """Some run: these checks do not look at it."""
    return RunView(RunFolder(drill.ROOT / "tests" / "fixtures" / "runs" / "timeout-spike" / "green"))


def test_a_declaration_is_filled_with_the_arguments() -> None:
    """Texts, needs, phase, subject and what the plan holds, defaults included."""
    check = _wait("users", "one", "two", "three")
    assert (check.name, check.question) == ("users wait in one", "Do users wait for 2 s in one and two, three?")
    assert check.needs == {"load", "fault:one", "phase:two", "phase:three"}
    assert (check.key, check.promises, check.timing) == ("they-wait/one/users", ("one",), True)
    assert drill.planned([check])[check.key] == {"who": "users", "phase": "one", "others": ["two", "three"], "s": 2}


def test_a_need_of_a_mapping_is_one_of_each_key() -> None:
    """Phases with what each of them is about."""
    check = _restarted({"first": "replica-1", "second": "replica-2"}, "end")
    assert check.needs == {"fault:first", "fault:second"}
    assert (check.name, check.phase, check.subject) == ("restarted: first, second", "end", None)


def test_wrong_arguments_are_refused_when_the_drill_is_read() -> None:
    """Not when a run is judged."""
    with pytest.raises(TypeError):
        _wait("users", nothing=1)  # type: ignore[call-arg]


def test_a_result_has_what_the_declaration_says(view: RunView) -> None:
    """Its name, phase and objective; those of the result's own go first."""
    found = _wait("users", "one", s=1).run(view)
    assert (found.status, found.name, found.phase) == (Status.FAIL, "users wait in one", "one")
    assert (found.objective, found.measured, found.margin, found.samples) == ("≤ 1 s", 1.5, -0.5, 3)
    assert _wait("users", "one").run(view).status is Status.PASS
    own = _restarted({"a": "b"}, "end").run(view)
    assert (own.objective, own.phase, _restarted({}, "end").run(view).phase) == ("0 of their own", "elsewhere", "end")


def test_not_measured_is_inconclusive(view: RunView) -> None:
    """With its reason, the objective and what there was to look at."""
    found = _wait("users", "nowhere").run(view)
    assert (found.status, found.why, found.objective) == (Status.INCONCLUSIVE, "nobody looked", "≤ 2 s")
    assert (found.samples, found.measured) == (7, None)


def test_the_last_one_counts() -> None:
    """In time, too late, and never, which names all that did not."""
    sentences = ("{who} never", "{who} last, {s}")
    last = last_within({"a": 1.0, "b": 2.0}, 2.0, *sentences)
    assert (last.status, last.why, last.measured, last.samples) == (Status.PASS, "b last, 2.0 s", 2.0, 2)
    assert last_within({"a": 1.0, "b": 2.0}, 1.9, *sentences).status is Status.FAIL
    never = last_within({"a": None, "b": 2.0, "c": None}, 3.0, *sentences)
    assert (never.status, never.why, never.measured) == (Status.FAIL, "a, c never", None)


@pytest.mark.parametrize(("bad", "red", "status"), [([], False, "PASS"), ([1], False, "FAIL"), ([], True, "FAIL")])
def test_any_bad_row_fails(bad: list[int], red: bool, status: str) -> None:
    """Or what else the check saw."""
    found = none_bad(bad, 5, "rows", "why", ["x"], red=red)
    assert (found.status, found.measured, found.margin) == (Status(status), float(len(bad)), 0.0 - len(bad))
    assert (found.samples, found.examples) == (5, ("x",))


def test_a_scenario_lacks_a_phase_or_a_fault() -> None:
    """By the needs of the check and by its own phase."""
    check = _wait("users", "one", "two")
    assert check.missing({"one": ["kill"], "two": []}, {}) is None
    assert check.missing({"one": [], "two": []}, {}) == "a fault in the phase 'one'"
    assert check.missing({"one": ["kill"]}, {}) == "a phase 'two'"
    assert _restarted({}, "end").missing({}, {}) == "a phase 'end'"


def test_a_scenario_lacks_the_type_of_a_fault() -> None:
    """In a phase that the check needs the fault of; others may be there besides it."""
    check, wanted = _wait("users", "one", "two"), {"one": "kill", "two": "kill"}
    assert check.missing({"one": ["pause", "kill"], "two": ["pause"]}, wanted) is None
    assert check.missing({"one": ["pause"], "two": []}, wanted) == "kill in the phase 'one'"
