"""Every indicator in every phase, whether an objective asks for it or not: what trends and comparisons are made of."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness.evidence.per_view import per_view
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.sli import Measurement, Sample
from harness.model.verdict import PhaseValue

#: Of each indicator that is a distribution.
PERCENTILES = (50, 95)


@dataclass(frozen=True)
class InPhase:
    """One indicator as it was measured in one phase; a percentile with its ``percent`` and the sample that it is of."""

    sli: str
    phase: str
    found: Measurement
    percent: int | None = None
    sample: Sample | None = None


def values(view: RunView) -> tuple[PhaseValue, ...]:
    """What was measured, as a verdict stores it: phase by phase."""
    found = [
        PhaseValue(name, phase, one.value, one.unit, one.samples)
        for stem in sli.names()
        for (name, phase), one in measurements(view, stem).items()
        if one.value is not None and one.bounds is None
    ]
    order = {phase.name: place for place, phase in enumerate(view.phases)}
    return tuple(sorted(found, key=lambda one: order[one.phase]))


@per_view
def measurements(view: RunView, stem: str) -> Mapping[tuple[str, str], Measurement]:
    """Of one module of harness/judge/slis/ what is known by name and phase: ``("ttft_p50_ms", "baseline")``.

    Indicator by indicator: the columns that one needs are read once, and not for every phase.
    """
    return {(one.sli, one.phase): one.found for phase in view.phases for one in _of(view, stem, phase.name)}


def measured(view: RunView) -> Iterator[InPhase]:
    """What was measured, with the samples that it was measured of.

    Left out is what was not, and what is only known to lie between bounds: queue and execution times, whose engine's
    part comes in buckets, and percentiles that fall on requests which ran into a time limit.
    """
    for stem in sli.names():
        for phase in view.phases:
            for one in _of(view, stem, phase.name):
                if one.found.value is not None and one.found.bounds is None:
                    yield one


def _of(view: RunView, stem: str, phase: str) -> Iterator[InPhase]:
    """The indicator as it is asked for by name. One that crashes has no value; an objective on it says so."""
    module = importlib.import_module(f"harness.judge.slis.{stem}")
    with suppress(Exception):
        rows = view.attempts(phase)
        if hasattr(module, "measure"):
            yield InPhase(stem, phase, module.measure(rows, view))
        elif hasattr(module, "values"):  # once for all percentiles: a phase may have a million of them
            sample = module.values(rows, view, False)
            for percent in PERCENTILES:
                found = sli.percentile(sample, percent, module.UNIT)
                yield InPhase(_named(stem, percent, module.UNIT), phase, found, percent, sample)


def _named(stem: str, percent: int, unit: str) -> str:
    """A percentile as it is asked for: ``ttft_p95_ms``, ``tps_p50``."""
    return f"{stem}_p{percent}" + ("_ms" if unit == "ms" else "")
