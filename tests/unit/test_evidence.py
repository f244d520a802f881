"""A stored run is evidence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.evidence import Evidence
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import Event
from harness.evidence.view import RunView
from harness.judge import alerts
from harness.judge.slis import queue
from tests import runs


def test_a_stored_run_is_evidence(tmp_path: Path) -> None:
    """By its type, and the judge reads alert rules from it as such."""
    evidence: Evidence = RunView(runs.healthy_run(tmp_path / "run"))
    assert evidence.requests is not None
    assert {span.name for span in evidence.phases} >= {"baseline"}
    component = evidence.components[0]
    assert all(len(evidence.metrics(component, name)) for name in evidence.metrics_of(component))
    assert alerts.rules(evidence)


class Watched:
    """What somebody's monitoring has seen: one replica's queue and one alert; no run, and no requests."""

    phases: tuple[PhaseSpan, ...] = ()
    components = ("replica-7",)
    requests: Attempts | None = None

    def phase(self, name: str) -> PhaseSpan | None:
        """Nothing divides its time."""
        return None

    def metrics_of(self, component: str) -> tuple[str, ...]:
        """The buckets of the queue time."""
        return (queue.BUCKETS,)

    def metrics(self, component: str, metric: str, labels: str | None = None, phase: str | None = None) -> pd.DataFrame:
        """Of ten requests between two samples nine waited 100 ms at most, and one 500 ms."""
        counts = {"0.1": (0.0, 9.0), "0.5": (0.0, 10.0), "+Inf": (0.0, 10.0)}
        rows = [(t_s, component, metric, f"le={le}", n) for le, two in counts.items() for t_s, n in enumerate(two)]
        found = pd.DataFrame(rows, columns=["t_s", "component", "metric", "labels", "value"])
        return found if (component, metric) == ("replica-7", queue.BUCKETS) else found.iloc[:0]

    def events(self, kind: str | None = None, phase: str | None = None) -> tuple[Event, ...]:
        """An alert that fired after 3 s and cleared after 9 s."""
        told = {"alert": "ReplicaDown", "severity": "page", "labels": {"server": "replica-7"}, "started_s": 3.0}
        found = (
            Event(4.0, "alert_fired", {**told, "received_s": 4.0}),
            Event(9.5, "alert_cleared", {**told, "ended_s": 9.0, "received_s": 9.5}),
        )
        return tuple(event for event in found if kind in (None, event.kind))


def test_what_is_no_run_has_alerts_and_series() -> None:
    """The judge asks no more of it than ``Evidence`` offers."""
    watched: Evidence = Watched()
    (alert,) = alerts.seen(watched)
    assert (alert.name, alert.fired_s, alert.ended_s, alert.cleared_s) == ("ReplicaDown", 4.0, 9.0, 9.5)
    assert alerts.of_fault(watched, "one-replica") == ()
    assert queue.engine_ms(watched, watched.components, (0.0, 1.0), 90) == (0.0, 100.0)
    assert queue.engine_ms(watched, watched.components, (0.0, 1.0), 95) == (100.0, 500.0)
    assert queue.engine_ms(watched, ("replica-8",), (0.0, 1.0), 95) is None
