"""Latencies as a few counts: small enough for a line per half second at any rate, exact to 2.5 %.

For sentences and charts while a run goes on. What is judged afterwards comes from the records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

_STEP = math.log(1.05)
_SMALLEST_MS = 0.1


def counts(values_ms: Iterable[float]) -> dict[str, int]:
    """How many values lie near each power of 1.05; the keys are text, as JSON wants them."""
    return dict(Counter(str(round(math.log(max(value, _SMALLEST_MS)) / _STEP)) for value in values_ms))


def merged(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Several counts as one."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def quantile_ms(found: Mapping[str, int], q: float) -> float | None:
    """The smallest value that at least ``q`` of the values do not exceed, in ms; None without values."""
    left = q * sum(found.values())
    for power in sorted(found, key=int):
        left -= found[power]
        if left <= 0:
            return math.exp(int(power) * _STEP)
    return None
