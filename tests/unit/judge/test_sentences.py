"""The sentence of a row and its other columns say the same, and each thing is said once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.judge import drill
from harness.model.verdict import CheckResult, Status, Verdict
from tests import runs
from tests.judge.model_swap import story as swap_story
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict

ALL = "all-replicas"


def judged(run: Run, folder: Path, name: str = "timeout-spike") -> Verdict:
    """The verdict of the run."""
    return whole_verdict(run.write(folder), drill.load(name))


def check(run: Run, folder: Path, name: str) -> CheckResult:
    """One check of it."""
    return next(one for one in judged(run, folder).checks if one.name == name)


def test_a_count_in_a_sentence_is_that_of_the_row(tmp_path: Path) -> None:
    """A sentence that says «… of n requests» has the row's n in it."""
    results = judged(runs.healthy(), tmp_path / "run").checks
    counted = [one for one in results if one.samples and re.search(r"of \d+ (requests|attempts)", one.why)]
    assert len(counted) >= 5
    assert [one.name for one in counted if not re.search(rf"\b{one.samples}\b", one.why)] == []


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_streams_that_broke_are_not_lost_from_the_count(status: Status, tmp_path: Path) -> None:
    """Errors are asked of attempts that failed before an answer; the sentence says how many broke later."""
    run = runs.healthy()
    failed = run.requests.index[run.in_phase(ALL) & run.requests["error_type"].notna()]
    parts = ["error_type", "error_code", "error_message", "error_request_id"]
    run.requests.loc[failed[3:6], ["outcome", "http_status"]] = ["broken_stream", 200]
    if status is Status.FAIL:
        run.requests.loc[failed[10:12], parts] = None
    result = check(run, tmp_path / "run", f"honest errors in {ALL}")
    assert result.status is status
    assert f"{result.samples} attempts that failed before an answer" in result.why
    assert result.why.endswith("; 3 more broke after their answer had begun")


def test_a_built_in_page_is_called_what_it_is(tmp_path: Path) -> None:
    """It lacks more than a type; and a request whose attempts all got one is named once."""
    run = runs.healthy()
    failed = run.in_phase(ALL) & run.requests["error_type"].notna()
    run.requests.loc[failed, ["error_type", "error_code", "error_message", "error_request_id"]] = None
    result = check(run, tmp_path / "run", f"honest errors in {ALL}")
    assert re.search(r": \d+ × HTTP 50[34] without a JSON error", result.why)
    assert len(result.examples) == len(set(result.examples)) == 5


def test_a_rollout_that_ended_wrongly_says_what_was_expected(tmp_path: Path) -> None:
    """The first line of a FAIL does not read as if all were well."""
    run = swap_story.healthy(swap_story.STOPPED)
    for phase in run.plan["scenario"]["phases"]:
        for fault in phase["faults"]:
            fault["options"] |= {"expect": "promoted", "stopped_by": []}
    found = {one.name: one for one in judged(run, tmp_path / "run", "model-swap").checks}
    result = found["rollout ends as it should"]
    assert result.status is Status.FAIL
    assert result.why.startswith("it should have been promoted, but v2@sim was rolled back: ")
