"""Users who come after a cancel do not wait for those who have gone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.evidence.view import RunView
from harness.judge import objectives, sli, slo
from harness.judge.checks.cancels_reach_engine import WITHIN_S
from harness.judge.drill import Check, with_arguments
from harness.judge.sli import Floats, Sample
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

NAME = "nobody waits for those who have gone"
PERCENT = 95


@with_arguments
def check(phases: Sequence[str], objective: str) -> Check:
    """Whether the 95th percentile of what users waited for their first word keeps ``objective``, an expression.

    Asked of the users of ``phases`` that came while no wave was on. The time of a later wave that began while one was
    waiting is not counted: those streams were wanted then.
    """
    question = "Do users who come once the others have hung up get their first word as soon as ever?"
    needs = frozenset({"load", *(f"fault:{phase}" for phase in phases)})
    return Check(
        "ttft-after-cancels",
        NAME,
        question,
        lambda view: _run(view, phases, objective),
        needs,
        timing=True,
        per_request=True,
    )


def _run(view: RunView, phases: Sequence[str], objective: str) -> CheckResult:
    try:
        target = slo.limit(view, objectives.parse(objective))
    except NotMeasured as error:
        return CheckResult(NAME, Status.INCONCLUSIVE, str(error), objective)
    found = sli.percentile(_waits(view, phases), PERCENT, "ms")
    status, why = slo.compare(found, target, f"p{PERCENT} of the waits for a first word between the waves")
    margin = None if found.value is None else target.margin(found.value)
    examples = () if status is Status.PASS else found.examples
    return CheckResult(
        NAME, status, why, target.text, found.value, found.unit, margin, found.samples, examples=examples
    )


def _waits(view: RunView, phases: Sequence[str]) -> Sample:
    """What each of those users waited in ms, without the time in which a later wave was on."""
    rows = view.final
    rows = rows[rows["judged_phase"].isin(list(phases)) & rows["outcome"].eq("ok") & rows["ttft_ms"].notna()]
    start: Floats = rows["start_s"].to_numpy(dtype=float)
    first: Floats = start + rows["ttft_ms"].to_numpy(dtype=float) / 1000
    longest_s = float(np.fmax.reduce(first - start, initial=0.0))
    order = np.argsort(start, kind="stable")
    begun, on, shared = start[order], np.zeros(len(start), dtype=bool), np.zeros(len(start))
    for begin, end in _on(view):
        waiting, low, high = np.searchsorted(begun, [begin - longest_s, begin, end])
        on[order[low:high]] = True
        met = order[waiting:high]
        shared[met] += np.clip(np.minimum(first[met], end) - np.maximum(start[met], begin), 0.0, None)
    waits = 1000 * (first - start - shared)
    ids = rows["request_id"].array
    return Sample(waits[~on], ids[~on], waits[~on])


def _on(view: RunView) -> list[tuple[float, float]]:
    """When waves began to be sent, and when their cancels must have reached the engines."""
    return [
        (min(sent), wave.cancelled_s + WITHIN_S)
        for wave in view.waves
        if (sent := [s.sent_s for s in wave.streams if s.sent_s is not None]) and wave.cancelled_s is not None
    ]
