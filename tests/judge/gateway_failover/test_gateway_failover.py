"""What the checks of the gateway-failover drill say of users who moved, and without a part of the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import runs
from tests.judge.gateway_failover.mutants import HUNG
from tests.judge.gateway_failover.story import FAILOVER, A, B

DRILL = drill.load("gateway-failover")


@pytest.mark.parametrize(("gateway", "status"), [(B, Status.PASS), (A, Status.FAIL)])
def test_whom_another_gateway_serves_slowly_has_moved(gateway: str, status: Status, tmp_path: Path) -> None:
    """First tokens that come half a second after the heal, through the other gateway: the heal did not help them."""
    run = runs.healthy(FAILOVER)
    _, end = run.span(HUNG)
    late = run.requests["start_s"].between(end - 2, end - 0.5)
    run.requests.loc[late, "gateway"] = gateway
    run.requests.loc[late, "ttft_ms"] = (end + 0.5 - run.requests.loc[late, "start_s"]) * 1000
    (check,) = (check for check in DRILL.checks if check.name == f"users fail over in {HUNG}")
    assert check.run(RunView(run.write(tmp_path / "run"))).status is status


@pytest.mark.parametrize("missing", ["everything", "events", "requests", "metrics"])
def test_missing_part_is_never_a_pass(missing: str, tmp_path: Path) -> None:
    """Without events, requests or samples each check that rests on them says INCONCLUSIVE by itself, and why."""
    run = runs.healthy(FAILOVER)
    for part in ("events", "requests", "metrics") if missing == "everything" else (missing,):
        setattr(run, part, [] if part == "events" else getattr(run, part).iloc[:0])
    view = RunView(run.write(tmp_path / "run"))
    found = {check.name: check.run(view) for check in verdicts.checks(DRILL) if missing in _rests_on(check)}
    assert len(found) > 5
    assert {name: r.why for name, r in found.items() if r.status is not Status.INCONCLUSIVE or not r.why} == {}


def _rests_on(check: drill.Check) -> set[str]:
    """What a check of this drill cannot do without."""
    parts = {"everything"}
    if any(need.startswith("fault:") for need in check.needs) and not check.name.startswith("no hang"):
        parts.add("events")
    if "load" in check.needs and not check.name.startswith(("only ready", "failback", "alerts", "no page")):
        parts.add("requests")
    if "metrics" in check.needs:
        parts.add("metrics")
    return parts
