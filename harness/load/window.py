"""The live window: what happened since the last line on stdout."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.model import sparse
from harness.model.scenario import RequestLimits


@dataclass
class Window:
    """Counts since the last line. ``started`` are first attempts, ``outcomes`` those of finished requests."""

    scheduled: int = 0  # since the load began
    in_flight: int = 0  # now
    started: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    ttfts_ms: list[float] = field(default_factory=list)  # of ok requests
    e2es_ms: list[float] = field(default_factory=list)  # of ok requests
    lags_ms: list[float] = field(default_factory=list)
    within: int = 0  # of the finished requests, those that were good and within their latency limits
    late: dict[str, int] = field(default_factory=dict)  # of the good ones, those beyond the limit of that name

    def finished(self, outcome: str, ttft_ms: float | None, e2e_ms: float | None, limits: RequestLimits) -> None:
        """A request ended; its latencies are those of its last attempt. What was not measured breaks no limit."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome != "ok":
            return
        kept = True
        for name, value_ms, limit_ms, values in (
            ("ttft", ttft_ms, limits.ttft_ms, self.ttfts_ms),
            ("e2e", e2e_ms, limits.e2e_ms, self.e2es_ms),
        ):
            if value_ms is None:
                continue
            values.append(value_ms)
            if limit_ms is not None and value_ms > limit_ms:
                self.late[name] = self.late.get(name, 0) + 1
                kept = False
        self.within += kept

    def message(self) -> dict[str, Any]:
        """As a message of Locust's protocol; ``Window(**message)`` is the way back."""
        return asdict(self)

    def line(self, t_s: float) -> str:
        """As a line of JSON for the harness."""
        ok = self.outcomes.get("ok", 0)
        window = {
            "started": self.started,
            "ok": ok,
            "failed": sum(self.outcomes.values()) - ok,
            "outcomes": self.outcomes,
            "within": self.within,
            "late": self.late,
            "ttft_ms": sparse.counts(self.ttfts_ms),
            "e2e_ms": sparse.counts(self.e2es_ms),
            "ttft_p95_ms": _quantile(self.ttfts_ms, 0.95),
            "schedule_lag_p99_ms": _quantile(self.lags_ms, 0.99),
        }
        head = {"t_s": round(t_s, 3), "scheduled": self.scheduled, "in_flight": self.in_flight}
        return json.dumps({**head, "window": window}) + "\n"


def merged(windows: list[Window]) -> Window:
    """The counts of several windows as one; ``scheduled`` and ``in_flight`` are levels and left to the caller."""
    total = Window()
    outcomes: Counter[str] = Counter()
    late: Counter[str] = Counter()
    for window in windows:
        total.started += window.started
        outcomes.update(window.outcomes)
        late.update(window.late)
        total.within += window.within
        total.ttfts_ms += window.ttfts_ms
        total.e2es_ms += window.e2es_ms
        total.lags_ms += window.lags_ms
    total.outcomes, total.late = dict(outcomes), dict(late)
    return total


class Lines:
    """Writes lines to a file descriptor and never waits: a reader that stopped reading must not stop the load."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            # Only pipes: they are ours alone, a terminal's flags are shared with the shell. A line is shorter
            # than PIPE_BUF, so it goes in as a whole or not at all.
            os.set_blocking(descriptor, False)

    def write(self, line: str) -> bool:
        """False when the reader has gone. A line that does not fit in the pipe is dropped."""
        try:
            os.write(self._descriptor, line.encode())
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return True


def _quantile(values: list[float], q: float) -> float | None:
    """The smallest value that at least ``q`` of the values do not exceed; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return round(ranked[min(int(q * len(ranked)), len(ranked) - 1)], 1)
