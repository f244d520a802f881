"""Whole or cut off: exact for our own engines, by the stream's own end for the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge.checks import records
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge import defects
from tests.judge.timeout_spike import mutants
from tests.runs import Run


def judged(run: Run, folder: Path, external: bool) -> CheckResult:
    """What the check says."""
    if external:
        mutants.as_external(run)
    return records.no_silent_truncation().run(RunView(run.write(folder)))


def tool_calls(run: Run) -> None:
    """Answers that call a tool, and one that was filtered."""
    rows = run.requests.index[defects.ok(run)]
    run.requests.loc[rows[3], ["finish_reason", "answer_correct"]] = ["tool_calls", None]
    run.requests.loc[rows[4], ["finish_reason", "answer_correct"]] = ["content_filter", None]


def not_streamed(run: Run) -> None:
    """An answer in one piece, which has no first token and no events."""
    run.requests.loc[run.requests.index[defects.ok(run)][3], ["ttft_ms", "content_events"]] = None


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("unusual", [tool_calls, not_streamed])
def test_unusual_but_whole(unusual: Callable[[Run], None], external: bool, tmp_path: Path) -> None:
    """Right answers of an unusual kind are no cut ones, whoever gave them."""
    run = runs.healthy()
    unusual(run)
    assert judged(run, tmp_path / "run", external).status is Status.PASS


@pytest.mark.parametrize(
    ("unequal", "note"),
    [
        (mutants.ok_without_usage, "ok without usage"),
        (mutants.more_events_than_tokens, "more events with content than tokens in usage"),
        (mutants.usage_without_content, "tokens in usage, but no event with content"),
        (mutants.answer_cut_short, "an eval answer that ends too early"),
    ],
)
def test_what_cannot_be_compared_is_noted(unequal: Callable[[Run], None], note: str, tmp_path: Path) -> None:
    """Red on our own stack: usage that does not fit, an answer shorter than the right one. A target that need not
    account as ours do, or answers differently each time, gets a note.
    """
    run = runs.healthy()
    unequal(run)
    ours = judged(run, tmp_path / "ours", external=False)
    theirs = judged(run, tmp_path / "theirs", external=True)
    assert (ours.status, theirs.status) == (Status.FAIL, Status.PASS)
    assert theirs.details[f"not compared: {note}"] == 1
    assert f"; not compared: 1 × {note}" in theirs.why


@pytest.mark.parametrize(("right", "status"), [(0.95, Status.FAIL), (0.0, Status.PASS)])
def test_a_model_of_others_on_our_own_stack_may_answer_shorter(right: float, status: Status, tmp_path: Path) -> None:
    """The plan asks no right answers of it: nobody has taught it to answer the same each time."""
    run = runs.healthy()
    mutants.answer_cut_short(run)
    for cohort in run.plan["scenario"]["load"]["cohorts"]:
        cohort["right"] = right
    assert judged(run, tmp_path / "run", external=False).status is status


@pytest.mark.parametrize("cut", [mutants.ok_without_finish_reason, mutants.ok_after_abort])
def test_what_was_cut_is_red_everywhere(cut: Callable[[Run], None], tmp_path: Path) -> None:
    """A stream without its end is no whole one, and a note says nothing of it."""
    run = runs.healthy()
    cut(run)
    assert judged(run, tmp_path / "run", external=True).status is Status.FAIL
