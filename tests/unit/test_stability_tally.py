"""What counts as a flake of a healthy drill, and what is the machine's doing."""

from __future__ import annotations

import subprocess

import pytest

from harness.run.outcome import Outcome
from tests.drills.drill_process import Ended, Running
from tests.drills.lanes import judged
from tests.drills.outcome import TRIES, until_judged
from tests.trust.stability import Drilled, describe, passed, summary, unjudged

PASS = Drilled(7, Outcome("PASS", None, "all 12 checks passed", 25.0, "run-1"))
DISTURBED = Drilled(7, Outcome("INCONCLUSIVE", "interference", "the machine was 97 % busy", 25.0, "run-2"))
NO_REASON = Drilled(7, Outcome("INCONCLUSIVE", None, "the load generator was the bottleneck", 25.0, "run-3"))
WRONGLY_RED = Drilled(7, Outcome("FAIL", None, "TTFT", 25.0, "run-4"))


@pytest.mark.parametrize(
    ("ends", "made", "flakes", "seeds_passed", "seeds_unjudged"),
    [
        ([PASS], 1, 0, 1, 0),
        ([DISTURBED, PASS], 2, 0, 1, 0),
        ([DISTURBED, WRONGLY_RED], 2, 1, 0, 0),
        ([NO_REASON, PASS], 1, 1, 0, 0),
        ([WRONGLY_RED, PASS], 1, 1, 0, 0),
        ([DISTURBED] * 9, TRIES, 0, 0, 1),
    ],
    ids=["passes", "disturbed", "red the second time", "no cause", "red at once", "disturbed always"],
)
def test_only_a_disturbed_drill_is_made_again(
    ends: list[Drilled], made: int, flakes: int, seeds_passed: int, seeds_unjudged: int
) -> None:
    """A drill that was not judged is repeated; whatever else does not pass counts, and what never was is no pass."""
    left = list(ends)
    drilled = list(until_judged(lambda: left.pop(0)))
    assert drilled == ends[:made]
    assert (sum(one.flake for one in drilled), passed(drilled), unjudged(drilled)) == (
        flakes,
        seeds_passed,
        seeds_unjudged,
    )


@pytest.mark.parametrize(
    ("code", "cause", "not_judged"),
    [(2, "interference", True), (2, None, False), (2, "too_small", False), (1, "interference", False)],
)
def test_the_recorded_cause_decides_in_tests_too(
    code: int, cause: str | None, not_judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An INCONCLUSIVE with the cause interference is repeated; a FAIL never, and no other INCONCLUSIVE."""
    status = {1: "FAIL", 2: "INCONCLUSIVE"}[code]
    monkeypatch.setattr(Ended, "verdict", {"status": status, "cause": cause, "reason": "why"})
    assert Ended(code, "", "").not_judged is not_judged


def test_a_drill_that_was_never_judged_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason: neither passed nor failed. One that was judged goes on to the test."""
    monkeypatch.setattr(Ended, "verdict", {"status": "INCONCLUSIVE", "cause": "interference", "reason": "97 % busy"})
    monkeypatch.setattr("tests.drills.lanes.shutil.rmtree", lambda path: None)
    said = "run 20260101-000000-x  runtime process (asked for)  engine sim"
    with pytest.raises(pytest.skip.Exception, match="the machine was disturbed: 97 % busy"):
        judged(Ended(2, "", said))
    red = Ended(1, "", said)
    assert judged(red) is red


def test_what_did_not_pass_is_told_with_its_reason() -> None:
    """One line each; what was not judged says so."""
    told = summary([DISTURBED, PASS, WRONGLY_RED])
    assert "1 of 1 seeds passed on a healthy stack, 1 flakes" in told
    assert "seed 7: INCONCLUSIVE, 25 s, not judged: the machine was disturbed: the machine was 97 % busy" in told
    assert describe(WRONGLY_RED) in told
    assert describe(PASS) not in told


def test_a_run_that_ended_too_early_is_an_error_unless_it_was_disturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a test waits for never came: its failure, or where the machine was disturbed, nothing to be judged."""
    running = object.__new__(Running)
    running.process = subprocess.Popen(["true"])
    running.process.wait()
    monkeypatch.setattr(Running, "said", "phase baseline")
    monkeypatch.setattr(Running, "end", lambda self: Ended(2, "", ""))
    for cause, raised in (("interference", pytest.skip.Exception), (None, AssertionError)):
        monkeypatch.setattr(Ended, "verdict", {"status": "INCONCLUSIVE", "cause": cause, "reason": "97 % busy"})
        with pytest.raises(raised):
            running.wait_for(lambda: False)
