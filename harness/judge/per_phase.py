"""Every indicator in every phase, whether an objective asks for it or not: what trends and comparisons are made of."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.sli import Measurement
from harness.model.verdict import PhaseValue

#: Of each indicator that is a distribution.
PERCENTILES = (50, 95)


def values(view: RunView) -> tuple[PhaseValue, ...]:
    """What was measured, by phase and indicator.

    Left out is what was not, and what is only known to lie between bounds: queue and execution times, whose engine's
    part comes in buckets, and percentiles that fall on requests which ran into a time limit.
    """
    phases = [phase.name for phase in view.phases]
    # An indicator at a time: each column that it needs is read once, and not once for every phase.
    by_indicator = [[tuple(_of(view, stem, phase)) for phase in phases] for stem in sli.names()]
    return tuple(
        PhaseValue(name, phase, found.value, found.unit, found.samples)
        for phase, of_phase in zip(phases, zip(*by_indicator, strict=True), strict=True)
        for name, found in chain.from_iterable(of_phase)
        if found.value is not None and found.bounds is None
    )


def _of(view: RunView, stem: str, phase: str) -> Iterator[tuple[str, Measurement]]:
    """The indicator as it is asked for by name. One that crashes has no value; an objective on it says so."""
    module = importlib.import_module(f"harness.judge.slis.{stem}")
    with suppress(Exception):
        rows = view.attempts(phase)
        if hasattr(module, "measure"):
            yield stem, module.measure(rows, view)
        elif hasattr(module, "values"):  # once for all percentiles: a phase may have a million of them
            sample = module.values(rows, view, False)
            yield from ((named(stem, p, module.UNIT), sli.percentile(sample, p, module.UNIT)) for p in PERCENTILES)


def named(stem: str, percent: int, unit: str) -> str:
    """A percentile as it is asked for: ``ttft_p95_ms``, ``tps_p50``."""
    return f"{stem}_p{percent}" + ("_ms" if unit == "ms" else "")
