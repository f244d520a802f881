"""A stored run is evidence."""

from __future__ import annotations

from pathlib import Path

from harness.evidence.evidence import Evidence
from harness.evidence.view import RunView
from harness.judge import alerts
from tests import runs


def test_a_stored_run_is_evidence(tmp_path: Path) -> None:
    """By its type, and the judge reads alert rules from it as such."""
    evidence: Evidence = RunView(runs.healthy_run(tmp_path / "run"))
    assert evidence.requests is not None
    assert {span.name for span in evidence.phases} >= {"baseline"}
    component = evidence.components[0]
    assert all(len(evidence.metrics(component, name)) for name in evidence.metrics_of(component))
    assert alerts.rules(evidence)
