"""What no objective covers is said in the verdict."""

from __future__ import annotations

from pathlib import Path

from harness.judge import drill, unjudged, verdicts
from harness.model.verdict import Status
from tests import runs


def test_stretches_without_an_objective_are_named(tmp_path: Path) -> None:
    """A warm-up, the outage, and each recovery until its steady state; not the phases that objectives are about."""
    folder = runs.healthy_run(tmp_path / "run")
    verdict = verdicts.judge(folder, drill.load("timeout-spike"))
    assert verdict.status is Status.PASS
    names = [stretch.partition(" ")[0] for stretch in verdict.unjudged]
    assert names == ["warm-up", "recovery-one", "all-replicas", "recovery-all"]
    assert all(name in unjudged.line(verdict.unjudged) for name in names)
    verdicts.write(folder, verdict)
    assert verdicts.read(folder).unjudged == verdict.unjudged
    assert unjudged.line(()) == ""
