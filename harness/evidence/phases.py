"""Phases of a run, and which requests belong to which (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harness.evidence.attempts import Attempts, Rows, end_s, numbers
from harness.evidence.record import Event

#: Events between which a fault may have an effect: from the order to inject it until its removal is confirmed.
_FAULT_BEGINS = ("fault_injecting", "fault_injected")
_FAULT_ENDS = ("fault_healed",)
#: Columns from which those two follow that ``assign`` fills in.
NEEDS = ("request_id", "intended_start_s", "start_s", "e2e_ms")


@dataclass(frozen=True)
class PhaseSpan:
    """A stretch of the timeline as it really happened; seconds since the run's zero.

    ``end_s`` is None while the phase is unfinished. ``fault_start_s``/``fault_end_s`` bound the time in which a fault
    of this phase may have had an effect; None when nothing was injected, or not healed (yet).
    """

    name: str
    kind: str
    start_s: float
    end_s: float | None = None
    fault_start_s: float | None = None
    fault_end_s: float | None = None

    @property
    def finished(self) -> bool:
        """Whether its end was recorded."""
        return self.end_s is not None


def spans(events: Iterable[Event], kinds: Mapping[str, str]) -> tuple[PhaseSpan, ...]:
    """The phases in the order of their start. ``kinds`` gives each phase's kind (from the scenario)."""
    found: dict[str, PhaseSpan] = {}
    for event in events:
        name = event.data.get("phase")
        if event.kind == "phase_started" and isinstance(name, str):
            found[name] = PhaseSpan(name, kinds.get(name, "quiet"), event.t_s)
    for event in events:
        span = found.get(str(event.data.get("phase")))
        if span is None:
            continue
        if event.kind == "phase_ended":
            span = replace(span, end_s=event.t_s)
        elif event.kind in _FAULT_BEGINS:
            span = replace(span, fault_start_s=min(event.t_s, _or(span.fault_start_s, math.inf)))
        elif event.kind in _FAULT_ENDS:
            span = replace(span, fault_end_s=max(event.t_s, _or(span.fault_end_s, -math.inf)))
        found[span.name] = span
    return tuple(sorted(found.values(), key=lambda s: s.start_s))


def assign(requests: Rows, phases: tuple[PhaseSpan, ...]) -> pd.DataFrame:
    """Of each attempt ``phase`` and ``straddles``, as categories.

    ``phase`` is the last phase that had started at the intended start (null before the first). ``straddles`` names
    the fault phase whose fault's interval the *request*, from its intended start to the end of its last attempt,
    overlaps without lying in it wholly as a request of that phase; the earliest such fault when there are several.
    """
    intended = requests["intended_start_s"].to_numpy(dtype=float)
    phase = np.searchsorted(np.array([p.start_s for p in phases]), intended, side="right") - 1
    begin, end = intended, _ends_of_requests(requests)
    straddles = np.full(len(requests), -1, np.int16)
    for number, span in enumerate(phases):
        if span.fault_start_s is None:
            continue
        healed = _or(span.fault_end_s, math.inf)
        touched = np.maximum(begin, span.fault_start_s) <= np.minimum(end, healed)
        inside = (begin >= span.fault_start_s) & (end <= healed) & (phase == number)
        straddles[touched & ~inside & (straddles < 0)] = number
    names = pd.CategoricalDtype([span.name for span in phases])
    # −1 is none: before the first phase, or nothing straddled.
    columns = [pd.Categorical.from_codes(codes, dtype=names) for codes in (phase, straddles)]
    return pd.DataFrame(dict(zip(("phase", "straddles"), columns, strict=True)), requests.index)


def _ends_of_requests(requests: Rows) -> np.ndarray:
    """When the request that each attempt belongs to ended, in seconds of the run: with the last of its attempts."""
    ended = requests["end_s"] if isinstance(requests, Attempts) else end_s(requests)
    number = numbers(requests)
    ends: np.ndarray = ended.groupby(number).transform("max").where(number.ge(0)).to_numpy(dtype=float)
    return ends


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
