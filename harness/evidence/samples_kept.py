"""Whether the samples of a run are those that were taken: none lost, doubled, moved, or put down to something else.

As the load generator reports its requests in load-summary.json, so the sampler reports its samples in
``metrics-summary.json``: per series how many there were, when the first and the last was taken (seconds since the
run's zero), and what their values add up to. Whether enough were taken is another question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from harness.evidence.view import RunView
from harness.model.errors import RunFolderError

FILE = "metrics-summary.json"
_SERIES, _NUMBERS = ("component", "metric", "labels"), ("samples", "first_s", "last_s", "sum")
#: The sums are of the same numbers, perhaps in another order: of a million, rounding changes no more than this.
_SAME = 1e-9


def summary(samples: pd.DataFrame) -> dict[str, Any]:
    """What ``FILE`` holds of these samples, columns of ``record.METRIC_COLUMNS``."""
    groups = samples.groupby(list(_SERIES), sort=True, dropna=False)
    times, values = groups["t_s"], groups["value"]
    table = {"samples": times.size(), "first_s": times.min(), "last_s": times.max(), "sum": values.sum()}
    return {"series": pd.DataFrame(table).reset_index().to_dict("records")}


@dataclass
class Taken:
    """What was taken of one series until now: how many samples, when, and their sum, as ``summary`` computes them."""

    samples: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf
    sum: float = 0.0

    def add(self, t_s: float, value: float) -> None:
        """One more sample."""
        self.samples += 1
        self.first_s, self.last_s = min(self.first_s, t_s), max(self.last_s, t_s)
        if not math.isnan(value):
            self.sum += value


def summary_of(taken: Mapping[tuple[str, str, str], Taken]) -> dict[str, Any]:
    """``summary``, of what was counted while it was taken."""
    return {"series": [dict(zip(_SERIES, name, strict=True)) | asdict(taken[name]) for name in sorted(taken)]}


def difference(view: RunView) -> str | None:
    """How the samples differ from those that were taken; None when they do not."""
    try:
        taken = _by_series(view.folder.read_json(FILE))
    except (RunFolderError, KeyError, TypeError, ValueError) as error:
        return f"what was sampled is not recorded: {error}"
    found = _by_series(summary(view.samples))
    differing = [name for name in sorted({*taken, *found}) if not _same(taken.get(name), found.get(name))]
    if not differing:
        return None
    first = differing[0]
    return (
        f"{len(differing)} of {len(taken)} series are not as they were sampled: {' '.join(filter(None, first))}: "
        f"{_told(found.get(first))}, sampled: {_told(taken.get(first))}"
    )


_Numbers = tuple[float, ...]


def _by_series(data: dict[str, Any]) -> dict[tuple[str, ...], _Numbers]:
    return {
        tuple(str(one[key]) for key in _SERIES): tuple(float(one[key]) for key in _NUMBERS) for one in data["series"]
    }


def _same(one: _Numbers | None, other: _Numbers | None) -> bool:
    if one is None or other is None:
        return False
    return all(math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME) for a, b in zip(one, other, strict=True))


def _told(numbers: _Numbers | None) -> str:
    if numbers is None:
        return "none"
    count, first_s, last_s, total = numbers
    return f"{count:.0f} from {first_s:.1f} s to {last_s:.1f} s, sum {total:.6g}"
