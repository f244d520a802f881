"""Service level indicators: one file each in harness/judge/slis/, found by its name.

A module there has ``UNIT``, ``TIMING`` (whether it is a time, or depends on how fast the machine is), ``WORSE``
(whether a "higher" or a "lower" value is the worse one) and one of

- ``measure(requests, view) -> Measurement``: a ratio, asked for by the module's name (``availability``);
- ``values(requests, view, everything) -> Sample``: one number per request, asked for as a percentile of it:
  ``ttft_p95_ms`` is percentile 95 of ``ttft``, ``ttft_p95_ms_all`` of all attempts instead of the good ones only;
- ``percentile(requests, view, percent, everything) -> Measurement``: the same for what is not known per request.

``requests`` holds all attempts of the requests that are looked at.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.attempts import Ids, Rows, example_ids, ids_of
from harness.model.errors import did_you_mean

if TYPE_CHECKING:
    from harness.evidence.view import RunView
    from harness.model.scenario import ClientLimits

_FOLDER = Path(__file__).parent / "slis"
_PERCENTILE = re.compile(r"(?P<base>[a-z0-9_]+?)_p(?P<p>\d{1,2})(?P<unit>_ms)?(?P<all>_all)?")
_TAIL_SAMPLES = 5  # docs/metrics.md: n·(1−p) below this is no answer
_HIGH_PERCENT = 90

#: Outcomes of clients that did not wait for the end.
ABANDONED = ("cancelled_intended", "cancelled_drain")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """One number. ``value`` None means «not measured», and ``why`` says what was missing.

    ``bounds`` is set when only an interval is known (bucketed histograms, time-outs, which are right-censored: the
    upper bound may be infinite); the truth lies in it and ``value`` is the lower bound or the best estimate.
    """

    value: float | None
    unit: str
    samples: int
    why: str = ""
    bounds: tuple[float, float] | None = None
    examples: tuple[str, ...] = ()  # request ids worth looking at: the failed, the slowest


@dataclass(frozen=True)
class Sample:
    """One value per request with its id, as arrays of shape (n,); each lies between ``values`` and ``upper``.

    The two are equal where it was measured. An attempt that timed out is right-censored: its ``upper`` is infinite.
    """

    values: Floats
    ids: Ids
    upper: Floats


@dataclass(frozen=True)
class Indicator:
    """A SLI that was asked for by name."""

    name: str
    unit: str
    samples_needed: int
    measure: Callable[[Rows, RunView], Measurement]
    timing: bool


def names() -> list[str]:
    """All modules of harness/judge/slis/, sorted. Percentiles are asked for as ``<name>_p95_ms``."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem != "__init__")


def find(name: str) -> Indicator:
    """The indicator called ``name``. ValueError with the nearest name when there is none."""
    if name in names():
        module = importlib.import_module(f"harness.judge.slis.{name}")
        if hasattr(module, "measure"):
            return Indicator(name, module.UNIT, 1, module.measure, module.TIMING)
        raise ValueError(f"{name!r} is a distribution: ask for a percentile of it, such as {_spelled(name, module)!r}")
    match = _PERCENTILE.fullmatch(name)
    if match is not None and match["base"] in names():
        module = importlib.import_module(f"harness.judge.slis.{match['base']}")
        if not hasattr(module, "measure") and (match["unit"] is not None) == (module.UNIT == "ms"):
            return _percentile_of(name, module, int(match["p"]), match["all"] is not None)
    known = [n for stem in names() for n in _spellings(stem)]
    hint = f"{did_you_mean(name, known)} Known: {', '.join(known)}".lstrip()
    raise ValueError(f"there is no SLI {name!r}: {hint}")


def worse(name: str) -> Literal["higher", "lower"]:
    """Which way the indicator called ``name`` becomes worse. ValueError when there is none."""
    find(name)
    match = _PERCENTILE.fullmatch(name)
    stem = name if match is None or name in names() else match["base"]
    found: Literal["higher", "lower"] = importlib.import_module(f"harness.judge.slis.{stem}").WORSE
    return found


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
    rank = max(0, -(-percent * count // 100) - 1)
    if few:
        rank = min(rank, count - 1 - _TAIL_SAMPLES)
    value = float(np.partition(sample.values, rank)[rank])
    slowest = tuple(dict.fromkeys(str(i) for i in sample.ids[_largest(sample.values)]))
    # A percentile is monotonic in each value, so its upper bound is the percentile of the upper bounds.
    high = value if sample.upper is sample.values else float(np.partition(sample.upper, rank)[rank])
    if high > value:
        known = f"at least {digits(value)}" if np.isinf(high) else f"between {digits(value)} and {digits(high)}"
        why = f"p{percent} is {known} {unit}: it falls on requests that ran into a time limit"
        return Measurement(value, unit, count, why, (value, high), slowest)
    return Measurement(value, unit, count, examples=slowest)


def digits(value: float) -> str:
    """Four significant digits of a value in a sentence; a large one in full: 10650, not 1.065e+04."""
    return f"{float(f'{value:.4g}'):.12g}"


def _largest(values: Floats) -> npt.NDArray[np.intp]:
    """The places of the three largest, the largest first, of equal ones the last: without sorting the others.

    NaN counts as the largest, as in a sort.
    """
    third = max(0, len(values) - 3)
    places = np.flatnonzero(~(values < np.partition(values, third)[third]))
    return places[np.argsort(values[places], kind="stable")[::-1][:3]]


def _percentile_of(name: str, module: Any, percent: int, everything: bool) -> Indicator:
    def measure(requests: Rows, view: RunView) -> Measurement:
        if hasattr(module, "percentile"):
            found: Measurement = module.percentile(requests, view, percent, everything)
            return found
        return percentile(module.values(requests, view, everything), percent, module.UNIT, view.partial)

    return Indicator(name, module.UNIT, samples_needed(percent), measure, module.TIMING)


def _spelled(stem: str, module: object) -> str:
    return f"{stem}_p95" + ("_ms" if getattr(module, "UNIT", "") == "ms" else "")


def _spellings(stem: str) -> list[str]:
    module = importlib.import_module(f"harness.judge.slis.{stem}")
    return [stem] if hasattr(module, "measure") else [_spelled(stem, module), _spelled(stem, module) + "_all"]


def waited_ms(requests: Rows, limits: ClientLimits) -> pd.Series:
    """How long the client waited in an attempt that was cut off, in ms from its start; null for all other attempts.

    For a time-out, the larger of the limit and the measured time. A DNS query without an answer counts as one, and so
    does a connect that ran into the kernel's own limit, and an error whose body never ended. A client that hung up, or
    was stopped with the load, waited for as long as it stayed.
    """
    outcome, subtype = requests["outcome"], requests["subtype"]
    by_outcome = {
        "timeout_ttft": 1000 * limits.first_token,
        "timeout_stall": 1000 * limits.idle,
        "timeout_total": 1000 * limits.total,
    }
    limit = np.full(len(requests), math.nan)
    for name, longest in by_outcome.items():
        limit[outcome.eq(name)] = longest
    limit[outcome.eq("connect_error") & subtype.eq("no_answer")] = 1000 * limits.connect
    at_their_end = (outcome.eq("dns_error") & subtype.eq("timeout")) | subtype.eq("no_body") | outcome.isin(ABANDONED)
    limit[at_their_end] = 0.0
    measured = requests["e2e_ms"].astype(float).fillna(0.0).to_numpy()
    return pd.Series(np.where(np.isnan(limit) | (limit > measured), limit, measured), requests.index)


def lag_ms(requests: Rows) -> pd.Series:
    """Start of the attempt − intended start of its request."""
    return (requests["start_s"] - requests["intended_start_s"]).astype(float) * 1000


def counted(requests: Rows, everything: bool) -> Rows:
    """The requests that ended ``ok``, as their last attempts; with ``everything`` all attempts."""
    return requests if everything else requests[requests["final"].eq(True) & requests["outcome"].eq("ok")]


def sample(
    requests: Rows, measured: pd.Series, at_least: pd.Series | None = None, at_most: pd.Series | float = math.inf
) -> Sample:
    """``measured`` of these attempts where they have a value, which is finite.

    ``at_least`` is a number where a time-out cut the measurement off, and null elsewhere: the value then lies between
    ``at_least`` and ``at_most``. All series have one row per attempt.
    """
    values = measured.astype(float)
    low = high = values.where(np.isfinite(values))
    if at_least is not None:
        cut = at_least.notna()
        low, high = low.mask(cut, at_least), low.mask(cut, at_most)
    kept = low.notna()
    found = np.asarray(low[kept], np.float64)
    upper = found if high is low else np.asarray(high[kept], np.float64)
    return Sample(found, ids_of(requests[kept]), upper)


def ratio(good: pd.Series, requests: Rows, examples: pd.Series | None = None) -> Measurement:
    """Share of True in ``good`` in percent; ``examples`` marks the rows to name, by default the False ones."""
    count = len(good)
    if count == 0:
        return Measurement(None, "%", 0, "there were no requests to count")
    shown = requests[~good if examples is None else examples]["request_id"]
    return Measurement(100.0 * float(good.mean()), "%", count, examples=example_ids(shown))
