"""How truly the load generator measures 200 streams, and what it costs: see benchmarks/load/ttft.py."""

from __future__ import annotations

from typing import Any

from benchmarks.load import ttft

STREAMS = 200
#: A generator that is later than that at its own schedule measures itself.
LAG_P99_MS_MAX = 10.0


def measure(instance: int) -> dict[str, Any]:
    """15 s of load against a server with known delays; no stack is needed."""
    return ttft.measure(STREAMS, seconds=15.0, workers=1, address="127.0.16.1")


def broken(figures: dict[str, Any]) -> list[str]:
    """The schedule has to be kept."""
    lag = figures["lag_p99_ms"]
    return [f"schedule lag p99 {lag} ms, at most {LAG_P99_MS_MAX} ms"] if lag > LAG_P99_MS_MAX else []
