"""Whether the events can have been recorded so: kinds that there are, faults that the plan has, each in its turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from harness.evidence.record import EVENT_KINDS, Event
from harness.evidence.view import RunView
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.model.journal import SWITCHES

#: Kinds in which ``type`` is that of something else: an answer's error, whatever a step tells.
_OWN_TYPES = ("ask", "fault_step")


def possible_events(view: RunView) -> Iterator[Finding]:
    """Can every event have happened?"""
    name, events = "events plausible", view.events()
    unknown = next((e for e in events if e.kind not in EVENT_KINDS), None)
    if unknown is not None:
        yield bad(name, f"no run records an event {unknown.kind!r} ({unknown.t_s:.1f} s)", EVERYTHING)
        return
    problem = next(chain(_not_of_plan(view), _out_of_turn(view)), None)
    if problem is not None:
        phase, why = problem
        yield bad(name, why, f"fault:{phase}" if phase else EVERYTHING)
    else:
        yield good(name, f"all {len(events)} events are plausible", samples=len(events))


def _of_faults(view: RunView) -> Iterator[tuple[Event, str]]:
    """Events of faults, and of which. Switches of the simulator are rolled back like faults, and are none."""
    named = ((event, str(event.data["fault"])) for event in view.events() if "fault" in event.data)
    yield from ((event, fault) for event, fault in named if not fault.startswith(f"{SWITCHES}/"))


def _planned(view: RunView, fault: str) -> Mapping[str, Any] | None:
    """What the plan says of that fault; what stays of one has its id and something more."""
    planned = view.plan.get("faults") or ()
    return next((one for one in planned if f"{fault}/".startswith(f"{one['fault']}/")), None)


def _phase(view: RunView, event: Event, fault: str) -> str:
    """The phase of that fault: by the plan, else by the event; empty where neither says."""
    return str((_planned(view, fault) or event.data).get("phase", ""))


def _not_of_plan(view: RunView) -> Iterator[tuple[str, str]]:
    """Phases, and why an event of a fault in it cannot be: the plan has no such fault, or it is another."""
    for event, fault in _of_faults(view):
        one, phase = _planned(view, fault), _phase(view, event, fault)
        if one is None:
            yield phase, f"{event.kind} of {fault} at {event.t_s:.1f} s, which is not in the plan"
        elif event.kind not in _OWN_TYPES and event.data.get("type", one["type"]) != one["type"]:
            yield phase, f"{event.kind} of {fault} says that it is {event.data['type']}"
        elif (
            "expected_disruptions" in event.data
            and "expected_disruptions" in one
            and set(event.data["expected_disruptions"]) != set(one["expected_disruptions"])
        ):
            expected_disruptions = ", ".join(map(str, event.data["expected_disruptions"])) or "nothing"
            yield phase, f"{event.kind} of {fault} expects {expected_disruptions}, which {one['type']} does not"


def _out_of_turn(view: RunView) -> Iterator[tuple[str, str]]:
    """Phases, and why: a fault of it was injected once more before its heal, or injected or healed without a begin."""
    begun: set[str] = set()
    injected: set[str] = set()
    for event, fault in _of_faults(view):
        phase, at = _phase(view, event, fault), f"{event.t_s:.1f} s"
        if event.kind in ("fault_injecting", "fault_stays"):
            begun.add(fault)
        elif event.kind == "fault_injected":
            if fault in injected:
                yield phase, f"{fault} was injected at {at}, although it was still active"
            if fault not in begun:
                yield phase, f"{fault} was injected at {at}, but its injection was not requested"
            injected.add(fault)
        elif event.kind == "fault_healed":
            if fault not in begun:
                yield phase, f"{fault} was healed at {at}, but its injection was not requested"
            injected.discard(fault)
