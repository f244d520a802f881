"""What checks of broken streams share: which attempts a replica had at a moment, and how each of them ended."""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Attempts, Rows
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView


def on_replica(view: RunView, replica: str) -> Attempts:
    """All attempts that a gateway gave to ``replica``, by the answer's header or by the gateway's log."""
    rows = view.requests
    given = rows["replica"].eq(replica) | rows["gateway_replica"].eq(replica)
    return rows[given & ~rows["outcome"].isin(NOT_OF_THE_SERVICE)]


def given_s(rows: Rows) -> pd.Series:
    """When the gateway gave each attempt to a replica: after it had waited in its queue, if it did."""
    return rows["start_s"] + rows["queue_gateway_ms"].fillna(0) / 1000


def in_flight(rows: Attempts, at_s: float) -> Attempts:
    """Those whose answer had begun and not ended at that moment."""
    begun = rows["start_s"] + rows["headers_ms"] / 1000
    return rows[begun.lt(at_s) & rows["end_s"].gt(at_s)]


def broke_later(count: int) -> str:
    """The end of a sentence about attempts that failed before their answer; "" when none broke later."""
    return f"; {count} more broke after their answer had begun" if count else ""


def step_s(view: RunView, phase: str, step: str) -> float | None:
    """When a fault of ``phase`` had come so far; None when it never did."""
    times = [event.t_s for event in view.events("fault_step", phase) if event.data.get("step") == step]
    return max(times) if times else None
