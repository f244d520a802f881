"""Did each fault live as faults do: injected, proven, proven again, healed, its heal proven, all in its phase?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from harness.evidence.view import RunView
from harness.judge.finding import Finding, bad, good
from harness.judge.phases_as_planned import EXACT_S
from harness.judge.presence import AGAIN_BEFORE_S
from harness.model.artifacts.waves import ARTIFACT as WAVES

#: What the injector records of each fault, in this order; where there are two, one of them.
_PROVEN_AGAIN = ("fault_proven_again", "fault_lost")
_LIFE = (
    ("fault_injecting",),
    ("fault_injected",),
    ("fault_proven", "fault_unproven"),
    _PROVEN_AGAIN,
    ("fault_healing",),
    ("fault_healed",),
)
_AFTERWARDS = ("heal_proven", "heal_unproven")
#: A fault that goes on to the next component says so.
_AGAIN_AND_AGAIN = ("fault_injecting",)
#: Not every fault is proven again, which harness/judge/presence.py asks for; proofs that are missing:
#: harness/judge/validity.py.
_ASKED_FOR_ELSEWHERE = (_PROVEN_AGAIN, ("fault_proven", "fault_unproven"))

Moment = tuple[str, float]


def proofs_in_order(view: RunView) -> Iterator[Finding]:
    """Is nothing proven before it was done, nothing done twice, and all of it in the fault's own phase?"""
    if view.interrupted:
        return  # said already, and what was to come is missing
    for phase in view.fault_phases:
        name = f"proofs in order in {phase}"
        planned = [one for one in view.plan.get("faults") or () if one.get("phase") == phase]
        problem = next((why for one in planned for why in _problems(view, one)), None)
        if problem:
            yield bad(name, problem, f"fault:{phase}", phase=phase)
        else:
            yield good(
                name, f"each fault in {phase} was injected, proven, healed and proven to be, in this order", phase=phase
            )


def _problems(view: RunView, planned: Mapping[str, Any]) -> Iterator[str]:
    fault, phase = str(planned["fault"]), str(planned["phase"])
    span = view.phase(phase)
    assert span is not None and span.end_s is not None, "the run was not interrupted"
    begun, ended = (f"the begin of {phase}", span.start_s), (f"the end of {phase}", span.end_s)
    life = [_moments(view, kinds, fault, phase) for kinds in _LIFE]
    proofs = _moments(view, _AFTERWARDS, fault, phase)
    for kinds, moments in zip((*_LIFE, _AFTERWARDS), (*life, proofs), strict=True):
        if not moments and kinds in _LIFE and kinds not in _ASKED_FOR_ELSEWHERE:
            yield f"{fault}: {kinds[0]} is not recorded"
        if len(moments) > 1 and kinds != _AGAIN_AND_AGAIN:
            yield f"{fault}: {moments[0][0]} was recorded {len(moments)} times"
    yield from _in_order(fault, [begun, *itertools.chain(*(moments[:1] for moments in life)), ended, *proofs])
    asked = [(f"the steady state after {e.data.get('phase')}", e.t_s) for e in view.events("steady_state")]
    following = [one for one in asked if one[1] >= span.end_s][:1]
    yield from (why for proof in proofs for why in _in_order(fault, [proof, *following]))
    for moment in (*life[0], *_done(view, fault)):
        yield from _in_order(fault, [*life[0][:1], moment, ended])
    steps = [_step(view, fault, step) for step in planned.get("counts", {}).get("steps", ())]
    yield from _in_order(fault, [*life[0][:1], *itertools.chain(*steps), *life[-1][:1]])
    yield from _too_early(view, phase, fault, life[3])
    yield from _what_stayed(view, fault)


def _moments(view: RunView, kinds: tuple[str, ...], fault: str, phase: str | None = None) -> list[Moment]:
    told = [event for kind in kinds for event in view.events(kind, phase) if event.data.get("fault") == fault]
    return [(event.kind, event.t_s) for event in told]


def _step(view: RunView, fault: str, step: str) -> list[Moment]:
    told = [e for e in view.events("fault_step") if e.data.get("fault") == fault and e.data.get("step") == step]
    return [(f"its step «{step}»", event.t_s) for event in told[:1]]


def _done(view: RunView, fault: str) -> Iterator[Moment]:
    """What clients that are the fault did, with when."""
    yield from _moments(view, ("ask",), fault)
    yield from ((f"its wave {wave.number}", wave.began_s) for wave in view.artifact(WAVES) if wave.fault == fault)


def _in_order(fault: str, moments: list[Moment]) -> Iterator[str]:
    for (earlier, before_s), (later, after_s) in itertools.pairwise(moments):
        if after_s < before_s - EXACT_S:
            yield f"{fault}: {later} at {after_s:.3f} s, before {earlier} at {before_s:.3f} s"


def _too_early(view: RunView, phase: str, fault: str, again: list[Moment]) -> Iterator[str]:
    """Proven again means just before the heal: soon after the injection it would say nothing new."""
    planned = next(one for one in view.scenario.phases if one.name == phase)
    span = view.phase(phase)
    due_s = (span.start_s if span else 0.0) + planned.duration - AGAIN_BEFORE_S
    for kind, t_s in again:
        if t_s < due_s - EXACT_S:
            yield f"{fault}: {kind} at {t_s:.3f} s, planned: from {due_s:.3f} s on"


def _what_stayed(view: RunView, fault: str) -> Iterator[str]:
    """What users would feel being rolled back is rolled back when they have gone."""
    for event in view.events("fault_stays"):
        stays = str(event.data.get("fault"))
        if stays.startswith(f"{fault}/"):
            healed, proofs = _moments(view, ("fault_healed",), stays), _moments(view, _AFTERWARDS, stays)
            stopped = [("the end of the load", e.t_s) for e in view.events("load_stopped")]
            yield from _in_order(stays, [("fault_stays", event.t_s), *stopped[:1], *healed[:1], *proofs[:1]])
