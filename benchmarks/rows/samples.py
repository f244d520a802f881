"""What taking samples costs where the probes run, while a thread writes them: the longest of all, and the end."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from harness.probes.base import MetricWriter, Row

#: Ten minutes of a run, with as many samples as a large stack gives, taken one after the other without a pause.
SECONDS, PER_SECOND, SERIES = 600, 10, 50
#: Probes and the lease of a run share a thread with this: longer, and they are late.
LONGEST_MS = 100.0


def measure(instance: int) -> dict[str, Any]:
    """No stack is needed."""
    with tempfile.TemporaryDirectory() as name:
        writer = MetricWriter(Path(name) / "metrics.parquet")
        longest_s = 0.0
        for step in range(SECONDS * PER_SECOND):
            rows = [Row("replica-1", "request_queue_time_seconds_bucket", f"le={n}", step * n) for n in range(SERIES)]
            began = time.monotonic()
            writer.add(step / PER_SECOND, rows)
            longest_s = max(longest_s, time.monotonic() - began)
        began = time.monotonic()
        writer.close()
        closed_s = time.monotonic() - began
        size = (Path(name) / "metrics.parquet").stat().st_size
    return {
        "samples": SECONDS * PER_SECOND * SERIES,
        "longest_ms": round(1000 * longest_s, 1),
        "closed_s": round(closed_s, 2),
        "bytes": size,
    }


def broken(figures: dict[str, Any]) -> list[str]:
    """Nothing stands still for it."""
    longest = figures["longest_ms"]
    return [f"taking one sample took {longest} ms, at most {LONGEST_MS:g} ms"] if longest > LONGEST_MS else []
