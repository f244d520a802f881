"""When others disturbed the machine, from the samples of component ``machine`` (harness/probes/meter.py); pure.

Every bound is one that the stack's own load cannot reach (docs/metrics.md says why):

- CPU of others, while some task had to wait for a processor;
- steal: the hypervisor gave to others what was wanted here;
- throttling: a quota from outside held us back;
- a fixed piece of work that takes more than twice its best time *on the processor*;
- a host stall: a nap of 10 ms that ended more than 0.2 s late.

Late wake-ups below that, and pressure (PSI), are inconclusive alone: two busy replicas make them. A run without such
samples knows of no disturbance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from harness.evidence.view import RunView

COMPONENT = "machine"
#: Cores that others, in the machine or in its host, have to have had. See docs/metrics.md for the noise below it.
OTHERS_MIN_CORES = 0.1
#: Share of the time in which some task waited; without PSI: less than one core was idle.
WAITED_MIN = 0.1
IDLE_MIN_CORES = 1.0
#: Seconds held back per second: half a period of the kernel's quota (0.1 s) in each second.
THROTTLED_MIN = 0.05
#: Two threads that share a core leave each half of it at least; what is slower yet is not our other thread's doing.
SLOW_MIN = 2.0
STANDSTILL_MS = 200.0
#: A sample speaks of the half second before it: where the ones before are missing, of no more than this.
SPEAKS_S = 2.0
_PHRASES = {
    "others": "others used up to {:.2g} cores",
    "steal": "the hypervisor withheld up to {:.2g} cores",
    "throttled": "a CPU quota held it back for up to {:.0%} of the time",
    "slow": "the processor was up to {:.1f} times slower than at its best",
    "standstill": "host stall of up to {:.0f} ms",
}


@dataclass(frozen=True)
class Span:
    """A time in which the machine was disturbed, in seconds since the run's zero; ``peaks``: what, and how much."""

    begin_s: float
    end_s: float
    why: str
    peaks: Mapping[str, float] = field(default_factory=dict)

    @property
    def length_s(self) -> float:
        """Seconds from begin to end."""
        return self.end_s - self.begin_s


def known(view: RunView) -> bool:
    """Whether the machine was watched in this run: without it there is no span, and that means nothing."""
    return not view.metrics(COMPONENT, "late_wakeup_ms").empty


def spans(view: RunView) -> tuple[Span, ...]:
    """When the machine was disturbed, in order, none overlapping another; empty where nothing is known."""
    found = sorted([*_standstills(view), *_in_samples(_table(view))], key=lambda span: span.begin_s)
    merged: list[Span] = []
    for span in found:
        if merged and span.begin_s <= merged[-1].end_s:
            span = _joined([merged.pop(), span])
        merged.append(span)
    return tuple(merged)


def overlap_s(spans: Iterable[Span], begin_s: float, end_s: float) -> float:
    """For how long of that time the machine was disturbed, in seconds."""
    return sum(max(0.0, min(span.end_s, end_s) - max(span.begin_s, begin_s)) for span in spans)


def lost_share(spans: Iterable[Span], begin_s: float, end_s: float, cores: float) -> float:
    """Upper bound of the share of the machine that others used in that time: each span counts with its peak."""
    lost_s = sum(_had(span.peaks, cores) * overlap_s([span], begin_s, end_s) for span in spans)
    return lost_s / (end_s - begin_s)


def _had(peaks: Mapping[str, float], cores: float) -> float:
    """The share of a machine with ``cores`` cores that was not available, 0–1."""
    shares = {
        "others": peaks.get("others", 0.0) / cores,
        "steal": peaks.get("steal", 0.0) / cores,
        "throttled": peaks.get("throttled", 0.0),
        "slow": 1 - 1 / peaks.get("slow", 1.0),
        "standstill": 1.0 if "standstill" in peaks else 0.0,
    }
    return min(1.0, max(shares.values()))


def describe(spans: Iterable[Span], begin_s: float, end_s: float, of: str = "it") -> str:
    """What disturbed the machine in that time, with numbers; ``of`` is what that time is called. «» without any."""
    here = [span for span in spans if span.begin_s < end_s and span.end_s > begin_s]
    if not here:
        return ""
    return f"the machine was disturbed for {overlap_s(here, begin_s, end_s):.1f} s of {of}: {_joined(here).why}"


def machine_now(latest: Mapping[tuple[str, str, str], float]) -> str:
    """How busy the machine is, as a half sentence, from ``MetricWriter.latest``; «» when it is not sampled."""
    busy, cores, others = (latest.get((COMPONENT, name, "")) for name in ("busy_cores", "cores", "others_cores"))
    if busy is None or not cores:
        return ""
    by = "" if others is None else f", {min(1.0, others / cores):.0%} by others"
    return f"the machine was {min(1.0, busy / cores):.0%} busy{by}"


def _span(begin_s: float, end_s: float, peaks: Mapping[str, float]) -> Span:
    why = "; ".join(text.format(peaks[kind]) for kind, text in _PHRASES.items() if kind in peaks)
    return Span(begin_s, end_s, why, peaks)


def _joined(spans: list[Span]) -> Span:
    peaks: dict[str, float] = {}
    for span in spans:
        peaks |= {kind: max(value, peaks.get(kind, 0.0)) for kind, value in span.peaks.items()}
    return _span(min(s.begin_s for s in spans), max(s.end_s for s in spans), peaks)


def _standstills(view: RunView) -> Iterable[Span]:
    """A late wake-up is stamped when it came: the machine stood still until then."""
    late = view.metrics(COMPONENT, "late_wakeup_ms")
    for t_s, value in zip(late["t_s"], late["value"], strict=True):
        if STANDSTILL_MS < value < math.inf:
            yield _span(float(t_s) - float(value) / 1000, float(t_s), {"standstill": float(value)})


def _table(view: RunView) -> pd.DataFrame:
    """A row per sample, by its time, a column per metric; NaN for what could not be read."""
    names = ("busy_cores", "cores", "others_cores", "steal_ratio", "throttled_s_total", "work_ratio")
    columns = {
        name: view.metrics(COMPONENT, name).drop_duplicates("t_s").set_index("t_s")["value"]
        for name in (*names, "psi_cpu_some_ratio")
    }
    return pd.DataFrame(columns).sort_index()


def _in_samples(table: pd.DataFrame) -> Iterable[Span]:
    """A sample speaks of the time since the one before it, if that is not long ago."""
    names = [str(name) for name in table.columns]
    values = zip(table.index.to_numpy(dtype=float), table.to_numpy(dtype=float), strict=True)
    rows = [(float(t_s), dict(zip(names, map(float, row), strict=True))) for t_s, row in values]
    for (begin_s, before), (end_s, now) in pairwise(rows):
        held = (now["throttled_s_total"] - before["throttled_s_total"]) / (end_s - begin_s)
        steal = max(0.0, now["steal_ratio"]) * now["cores"]
        peaks = {}
        if now["others_cores"] >= OTHERS_MIN_CORES and _short(now):
            peaks["others"] = now["others_cores"]
        if steal >= OTHERS_MIN_CORES:
            peaks["steal"] = steal
        if held >= THROTTLED_MIN:
            peaks["throttled"] = held
        if now["work_ratio"] >= SLOW_MIN:
            peaks["slow"] = now["work_ratio"]
        if peaks:
            yield _span(max(begin_s, end_s - SPEAKS_S), end_s, peaks)


def _short(now: Mapping[str, float]) -> bool:
    """Whether somebody wanted a processor and had to wait."""
    if now["psi_cpu_some_ratio"] == now["psi_cpu_some_ratio"]:  # not NaN: it could be read
        return now["psi_cpu_some_ratio"] >= WAITED_MIN
    return now["cores"] * (1 - now["steal_ratio"]) - now["busy_cores"] < IDLE_MIN_CORES
