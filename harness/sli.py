"""Service level indicators: one file each in harness/slis/, found by its name.

A module there has ``UNIT``, ``TIMING`` (whether it is a time, or depends on how fast the machine is) and one of

- ``measure(requests, view) -> Measurement``: a ratio, asked for by the module's name (``availability``);
- ``values(requests, view, everything) -> Sample``: one number per request, asked for as a percentile of it:
  ``ttft_p95_ms`` is percentile 95 of ``ttft``, ``ttft_p95_ms_all`` of all attempts instead of the good ones only;
- ``percentile(requests, view, percent, everything) -> Measurement``: the same for what is not known per request.

``requests`` holds all attempts of the requests that are looked at.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from harness.view import RunView

_FOLDER = Path(__file__).parent / "slis"
_PERCENTILE = re.compile(r"(?P<base>[a-z0-9_]+?)_p(?P<p>\d{1,2})(?P<unit>_ms)?(?P<all>_all)?")
_TAIL_SAMPLES = 5  # docs/metrics.md: n·(1−p) below this is no answer
_HIGH_PERCENT = 90

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """One number. ``value`` None means «not measured», and ``why`` says what was missing.

    ``bounds`` is set when only an interval is known (bucketed histograms, right-censored time-outs: then the upper
    bound is infinite); the truth lies in it and ``value`` is the lower bound or the best estimate.
    """

    value: float | None
    unit: str
    samples: int
    why: str = ""
    bounds: tuple[float, float] | None = None
    examples: tuple[str, ...] = ()  # request ids worth looking at: the failed, the slowest


@dataclass(frozen=True)
class Sample:
    """One number per request with its request id; ``censored`` marks those known only to be at least so large."""

    values: Floats
    ids: npt.NDArray[np.object_]
    censored: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Indicator:
    """A SLI that was asked for by name."""

    name: str
    unit: str
    samples_needed: int
    measure: Callable[[pd.DataFrame, RunView], Measurement]
    timing: bool


def names() -> list[str]:
    """All modules of harness/slis/, sorted. Percentiles are asked for as ``<name>_p95_ms``."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem != "__init__")


def find(name: str) -> Indicator:
    """The indicator called ``name``. ValueError with the nearest name when there is none."""
    if name in names():
        module = importlib.import_module(f"harness.slis.{name}")
        if hasattr(module, "measure"):
            return Indicator(name, module.UNIT, 1, module.measure, module.TIMING)
        raise ValueError(f"{name!r} is a distribution: ask for a percentile of it, such as {_spelled(name, module)!r}")
    match = _PERCENTILE.fullmatch(name)
    if match is not None and match["base"] in names():
        module = importlib.import_module(f"harness.slis.{match['base']}")
        if not hasattr(module, "measure") and (match["unit"] is not None) == (module.UNIT == "ms"):
            return _percentile_of(name, module, int(match["p"]), match["all"] is not None)
    known = [n for stem in names() for n in _spellings(stem)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no SLI {name!r}.{hint} Known: {', '.join(known)}")


def samples_needed(percent: int) -> int:
    """The smallest n for which a percentile is an answer: n·(1−p) ≥ 5, and the same at the lower end."""
    return -(-_TAIL_SAMPLES * 100 // max(1, min(percent, 100 - percent)))


def percentile(sample: Sample, percent: int, unit: str, at_least: bool = False) -> Measurement:
    """The exact percentile (nearest rank) of a sample, or no answer when it has too few values.

    ``at_least``: of too few values a high percentile is the largest that five others exceed, and not more than that.
    """
    count, needed = len(sample.values), samples_needed(percent)
    few = count < needed
    if few and not (at_least and percent >= _HIGH_PERCENT and count > _TAIL_SAMPLES):
        return Measurement(None, unit, count, f"{count} samples are too few for p{percent}, which needs {needed}")
    order = np.argsort(sample.values, kind="stable")
    rank = max(0, -(-percent * count // 100) - 1)
    if few:
        rank = min(rank, count - 1 - _TAIL_SAMPLES)
    chosen = order[rank]
    value = float(sample.values[chosen])
    slowest = tuple(str(i) for i in sample.ids[order[::-1][:3]])
    # A censored value below the rank may truly belong above it: then the percentile is at least ``value``.
    if bool(sample.censored[order[: rank + 1]].any()):
        why = f"p{percent} is at least {value:.4g} {unit}: it falls on requests that ran into a time limit"
        return Measurement(value, unit, count, why, (value, float("inf")), slowest)
    return Measurement(value, unit, count, examples=slowest)


def _percentile_of(name: str, module: Any, percent: int, everything: bool) -> Indicator:
    def measure(requests: pd.DataFrame, view: RunView) -> Measurement:
        if hasattr(module, "percentile"):
            found: Measurement = module.percentile(requests, view, percent, everything)
            return found
        return percentile(module.values(requests, view, everything), percent, module.UNIT, view.partial)

    return Indicator(name, module.UNIT, samples_needed(percent), measure, module.TIMING)


def _spelled(stem: str, module: object) -> str:
    return f"{stem}_p95" + ("_ms" if getattr(module, "UNIT", "") == "ms" else "")


def _spellings(stem: str) -> list[str]:
    module = importlib.import_module(f"harness.slis.{stem}")
    return [stem] if hasattr(module, "measure") else [_spelled(stem, module), _spelled(stem, module) + "_all"]


def latencies(
    requests: pd.DataFrame, column: str, everything: bool, limits_ms: dict[str, float], ends: bool = False
) -> Sample:
    """A latency column as a sample.

    Without ``everything``: requests that ended ``ok``. With it: all attempts; those that ran into a time limit
    (``limits_ms``: outcome -> limit counted from the attempt's start) count as right-censored there, other failures
    without a value are left out. ``ends``: the column has a value for time-outs too, the time at which they ended.
    """
    if not everything:
        good = requests[requests["final"].eq(True) & requests["outcome"].eq("ok") & requests[column].notna()]
        return _sample(good, good[column], np.zeros(len(good), dtype=bool))
    limit = requests["outcome"].map(limits_ms).astype(float)
    if column.endswith("_from_schedule_ms"):
        limit = limit + (requests["start_s"] - requests["intended_start_s"]) * 1000
    timed_out = limit.notna() & (ends | requests[column].isna())
    values = requests[column].fillna(limit)
    kept = values.notna()
    return _sample(requests[kept], values[kept], timed_out[kept].to_numpy(dtype=bool))


def of_ok(requests: pd.DataFrame, values: pd.Series, everything: bool) -> Sample:
    """Values of the requests that ended ``ok`` (or of all attempts that have a value), nothing censored."""
    wanted = values.notna() & np.isfinite(values.astype(float))
    if not everything:
        wanted &= requests["final"].eq(True) & requests["outcome"].eq("ok")
    return _sample(requests[wanted], values[wanted], np.zeros(int(wanted.sum()), dtype=bool))


def ratio(good: pd.Series, requests: pd.DataFrame, examples: pd.Series | None = None) -> Measurement:
    """Share of True in ``good`` in percent; ``examples`` marks the rows to name, by default the False ones."""
    count = len(good)
    if count == 0:
        return Measurement(None, "%", 0, "there were no requests to count")
    shown = requests["request_id"][~good if examples is None else examples]
    return Measurement(100.0 * float(good.mean()), "%", count, examples=tuple(str(i) for i in shown.head(5)))


def _sample(rows: pd.DataFrame, values: pd.Series, censored: npt.NDArray[np.bool_]) -> Sample:
    return Sample(values.to_numpy(dtype=float), rows["request_id"].to_numpy(dtype=object), censored)
