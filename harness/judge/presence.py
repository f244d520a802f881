"""Was every fault that lasts there all the time, from its injection until its heal?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from harness.evidence.record import FAULT_PRESENT, of_fault
from harness.evidence.view import RunView
from harness.judge.finding import Finding, bad, good

#: So long before the end of its phase a fault is proven once more: a look takes four seconds where nothing answers.
AGAIN_BEFORE_S = 5.0
#: Two questions one second apart, the first of which was not answered within its deadline of two seconds, and a second
#: to be late in.
_GAP_MAX_S = 5.0


def faults_stay(view: RunView) -> Iterator[Finding]:
    """Was each fault there until its heal, and was its effect measured again before that?"""
    for phase in view.fault_phases:
        name = f"fault lasts in {phase}"
        planned = [one for one in view.plan.get("faults", ()) if one.get("phase") == phase]
        for problem, window in itertools.chain.from_iterable(_problems(view, one) for one in planned):
            yield replace(bad(name, problem, f"fault:{phase}", phase=phase), window=window)
            break
        else:
            yield good(name, f"what was to last in {phase} was there until its heal", phase=phase)


def _problems(view: RunView, planned: dict[str, Any]) -> Iterator[tuple[str, tuple[float, float] | None]]:
    """What is wrong with one fault; with when, where a machine that stood still may be why."""
    fault, phase = str(planned["fault"]), str(planned["phase"])

    def when(kind: str) -> list[float]:
        return [e.t_s for e in view.events(kind, phase) if e.data.get("fault") == fault]

    injected, healing = when("fault_injected"), when("fault_healing")
    if not injected or not healing:
        return  # it was never there, or never healed: said elsewhere
    begin, end = max(injected), min(healing)
    if planned.get("lasts"):
        yield from _gone(view, planned, begin, end)
    if planned.get("proven_again"):
        lost = [e for e in view.events("fault_lost", phase) if e.data.get("fault") == fault]
        if lost:
            yield f"{fault} had no effect any more before its heal: {lost[0].data.get('why')}", (begin, end)
        elif not when("fault_proven_again"):
            yield f"the effect of {fault} was not measured again before its heal", None


def _gone(
    view: RunView, planned: dict[str, Any], begin: float, end: float
) -> Iterator[tuple[str, tuple[float, float] | None]]:
    fault = str(planned["fault"])
    samples = view.metrics(str(planned["on"]), FAULT_PRESENT, of_fault(fault))
    samples = samples[samples["t_s"].between(begin, end)]
    times = samples["t_s"].to_numpy(dtype=float)
    absent = times[~samples["value"].eq(1).to_numpy()]
    if len(absent):
        yield f"{fault} was gone {absent[0] - begin:.1f} s after its injection, {end - absent[0]:.1f} s too early", None
    for left, right in itertools.pairwise(np.concatenate([[begin], times, [end]])):
        if right - left > _GAP_MAX_S:
            why = f"{fault} was not observed for {right - left:.1f} s from {left:.1f} s on"
            yield why, (float(left), float(right))
