"""What no objective covers is said in the verdict."""

from __future__ import annotations

from pathlib import Path

from harness.judge import drill, unjudged, verdicts
from harness.model.verdict import Status
from tests import runs
from tests.unit.judge.verdicts import whole_verdict


def test_stretches_without_an_objective_are_named(tmp_path: Path) -> None:
    """A warm-up, the outage, and each recovery until its steady state; not the phases that objectives are about."""
    folder = runs.healthy_run(tmp_path / "run")
    verdict = whole_verdict(folder, drill.load("timeout-spike"))
    assert verdict.status is Status.PASS
    names = [stretch.partition(" ")[0] for stretch in verdict.unjudged]
    assert names == ["warm-up", "recovery-one", "all-replicas", "recovery-all"]
    said = unjudged.line(verdict.unjudged, verdict.checks)
    assert all(name in said for name in names)
    verdicts.write(folder, verdict)
    assert verdicts.read(folder).unjudged == verdict.unjudged
    assert unjudged.line((), verdict.checks) == ""


def test_an_outage_that_checks_judge_is_said_to_be_judged(tmp_path: Path) -> None:
    """Only what nobody judges stands there alone."""
    verdict = whole_verdict(runs.healthy_run(tmp_path / "run"), drill.load("timeout-spike"))
    said = unjudged.line(verdict.unjudged, verdict.checks).partition(": ")[2].rstrip(".").split("; ")
    stretches = {one.partition(" ")[0]: one.partition(" s)")[2] for one in said}
    assert stretches["warm-up"] == ""
    assert stretches["recovery-one"] == ", judged by steady state"
    assert stretches["all-replicas"].startswith(", judged by honest errors, no hang, upstream ")
