"""What it cost to watch a run: CPU of the harness with its probes, and of the components that only watch.

The stack pays for being asked, too: an engine writes a page of metrics, and makes the token of a synthetic generation.
That is part of the engines' own CPU time and cannot be told apart there; how many of their tokens were synthetic can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from harness.evidence.view import RunView

#: How the samples are called (harness/probes/resources.py, machine.py).
COMPONENT, CPU, HARNESS, METER = "harness", "cpu_s", "harness", "meter"
#: The components that only watch: what they use is the observer's.
WATCHERS = ("exporter", "prometheus", "alertmanager")
#: Cores that all of it may use in a default drill on two cores: more, and the observer is part of what it measures.
BOUND_CORES = 0.10


@dataclass(frozen=True)
class Cost:
    """While there was load. What was not measured is None or missing, never 0."""

    cores: Mapping[str, float]  # by source
    missing: tuple[str, ...]  # sources that were not measured
    stack_cores: float | None  # of all other components together
    synthetic_ratio: float | None  # synthetic tokens of all that the replicas made

    @property
    def total(self) -> float:
        """Cores of all sources that were measured."""
        return sum(self.cores.values())

    @property
    def within_bound(self) -> bool | None:
        """Whether all of it stays within the bound; None when a source that was not measured might decide it."""
        if self.total > BOUND_CORES:
            return False
        return None if self.missing else True

    @property
    def share(self) -> float | None:
        """Of what the stack used."""
        return self.total / self.stack_cores if self.stack_cores else None


def measure(view: RunView) -> Cost | None:
    """What watching this run cost; None when it was not sampled, or there was no load."""
    span = _load_span(view)
    if span is None:
        return None
    found = {source: _cores(view, COMPONENT, span, f"source={source}") for source in _sources(view)}
    cores = {source: value for source, value in found.items() if value is not None}
    if not cores:
        return None
    stack = [_cores(view, name, span) for name in view.components if name not in (COMPONENT, *WATCHERS)]
    used = [value for value in stack if value is not None]
    missing = tuple(source for source in found if source not in cores)
    return Cost(cores, missing, sum(used) if used else None, _synthetic(view, span))


def _sources(view: RunView) -> tuple[str, ...]:
    """A target that is not ours is watched by nobody but the harness."""
    return (HARNESS, METER, *WATCHERS) if view.target is None else (HARNESS, METER)


def _load_span(view: RunView) -> tuple[float, float] | None:
    """From the beginning of the load to its end, in seconds since the run's zero; None when it has no end."""
    begins = [event.t_s for event in view.events("load_started")]
    ends = [event.t_s for event in view.events("load_stopped")]
    return (begins[0], ends[-1]) if begins and ends and begins[0] < ends[-1] else None


def _cores(view: RunView, component: str, span: tuple[float, float], labels: str | None = None) -> float | None:
    """CPU seconds per second. A component that was started again counts from 0 on: what it used in between is lost."""
    samples = _within(view.metrics(component, CPU, labels), span)
    if len(samples) < 2:
        return None
    seconds = float(samples["t_s"].iloc[-1] - samples["t_s"].iloc[0])
    return _growth(samples) / seconds if seconds > 0 else None


def _synthetic(view: RunView, span: tuple[float, float]) -> float | None:
    made, asked = 0.0, 0.0
    for replica in view.replicas:
        tokens = _within(view.metrics(replica, "generation_tokens_total"), span)
        own = _within(view.metrics(replica, "own_tokens_asked_total", "by=exporter"), span)
        if len(tokens) < 2 or len(own) < 2:
            return None
        made, asked = made + _growth(tokens), asked + _growth(own)
    return asked / made if made > 0 else None


def _within(samples: pd.DataFrame, span: tuple[float, float]) -> pd.DataFrame:
    return samples[samples["t_s"].between(*span)]


def _growth(samples: pd.DataFrame) -> float:
    return float(samples["value"].diff().clip(lower=0).sum())
