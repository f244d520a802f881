"""What the checks of the node-restart drill say of who waited, and of faults without proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import drill
from harness.model.verdict import Status
from tests.judge.node_restart import story as node_restart_story
from tests.judge.node_restart.mutants import ordered, step
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("node-restart")


@pytest.mark.parametrize("half", ["proof", "steps"])
def test_a_deaf_replica_or_a_restart_without_proof_proves_nothing(half: str, tmp_path: Path) -> None:
    """A fault without its effect, or steps that nobody recorded: INCONCLUSIVE, and never a pass."""
    run = node_restart_story.healthy()
    if half == "steps":
        run.drop_events("fault_step")
    for event in run.events:
        if event["kind"] == "fault_proven" and event["phase"] == "deaf" and half == "proof":
            event |= {"kind": "fault_unproven", "why": "the fault had no effect: replica-2 still generates"}
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.INCONCLUSIVE
    word = "deaf" if half == "proof" else "restart"
    found = {
        r.name: r.status
        for r in verdict.checks
        if word in r.name and not r.name.startswith(("no hang", "avail", "alerts"))
    }
    assert len(found) >= 3
    assert {n for n, status in found.items() if status is Status.PASS} <= {"impact window bounded"}


@pytest.mark.parametrize(
    ("replica", "retries", "status"),
    [("replica-1", 0, Status.PASS), ("replica-1", 1, Status.FAIL), ("replica-2", 0, Status.FAIL)],
)
def test_whom_another_replica_serves_slowly_was_not_hit(
    replica: str, retries: int, status: Status, tmp_path: Path
) -> None:
    """First tokens that come after the heal, from a replica that hears, unless the deaf one was tried first."""
    run = node_restart_story.healthy()
    healing = ordered(run, "deaf", "fault_healing")
    late = run.requests["start_s"].between(healing - 2, healing - 1)
    run.requests.loc[late, ["replica", "gateway_replica", "gateway_retries"]] = [replica, replica, retries]
    run.requests.loc[late, "ttft_ms"] = (healing + 0.1 - run.requests.loc[late, "start_s"]) * 1000
    (check,) = (check for check in DRILL.checks if check.name == "impact window bounded in deaf")
    assert check.run(RunView(run.write(tmp_path / "run"))).status is status


def test_who_waited_in_the_gateway_came_after_the_drain(tmp_path: Path) -> None:
    """Requests that were asked while the replica was drained, and given to it when it was back, broke no rule."""
    run = node_restart_story.healthy()
    healing = ordered(run, "restart-1", "fault_healing")
    waited = run.requests["start_s"].between(healing - 1.0, healing)
    run.requests.loc[waited, ["replica", "gateway_replica"]] = "replica-1"
    name = "drain breaks nothing in restart-1"
    found = {}
    for queue_ms in (0.0, 1500.0):
        run.requests.loc[waited, "queue_gateway_ms"] = queue_ms
        verdict = whole_verdict(run.write(tmp_path / str(queue_ms)), DRILL)
        found[queue_ms] = next(r.status for r in verdict.checks if r.name == name)
    assert found == {0.0: Status.FAIL, 1500.0: Status.PASS}


def test_who_waited_for_a_restarted_replica_is_counted_from_when_it_was_given_one(tmp_path: Path) -> None:
    """The first request of a replica that came back had been asked before its counter was seen again."""
    run = node_restart_story.healthy()
    rows = run.requests[run.requests["replica"].eq("replica-1")]
    first = rows.index[rows["start_s"].gt(step(run, "kill", "ready"))][0]
    run.requests.loc[first, "start_s"] -= 5.0
    run.requests.loc[first, ["e2e_ms", "headers_ms", "ttft_ms", "intended_start_s"]] += [5000.0, 5000.0, 5000.0, -5.0]
    run.requests.loc[first, "queue_gateway_ms"] = 5000.0
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    found = next(r for r in verdict.checks if r.name == "replica counters and client records agree")
    assert found.status is Status.PASS, found.why
