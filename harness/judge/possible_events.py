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
        fault, why = problem
        yield bad(name, why, f"fault:{fault.partition('/')[0]}")
    else:
        yield good(name, f"all {len(events)} events are plausible", samples=len(events))


def _of_faults(view: RunView) -> Iterator[tuple[Event, str]]:
    """Events of faults, and of which. Switches of the simulator are rolled back like faults, and are none."""
    named = ((event, str(event.data["fault"])) for event in view.events() if "fault" in event.data)
    yield from ((event, fault) for event, fault in named if not fault.startswith(f"{SWITCHES}/"))


def _not_of_plan(view: RunView) -> Iterator[tuple[str, str]]:
    """Faults, and why one's event cannot be: the plan has no such fault, or it is another."""
    planned: dict[str, Mapping[str, Any]] = {str(one["fault"]): one for one in view.plan.get("faults") or ()}
    for event, fault in _of_faults(view):
        one = planned.get("/".join(fault.split("/")[:3]))  # what stays of a fault has its id and something more
        if one is None:
            yield fault, f"{event.kind} of {fault} at {event.t_s:.1f} s, which is not in the plan"
        elif event.kind not in _OWN_TYPES and event.data.get("type", one["type"]) != one["type"]:
            yield fault, f"{event.kind} of {fault} says that it is {event.data['type']}"
        elif "excuses" in event.data and "excuses" in one and set(event.data["excuses"]) != set(one["excuses"]):
            excuses = ", ".join(map(str, event.data["excuses"])) or "nothing"
            yield fault, f"{event.kind} of {fault} excuses {excuses}, which {one['type']} does not"


def _out_of_turn(view: RunView) -> Iterator[tuple[str, str]]:
    """Faults, and why: one was injected once more before its heal, or injected or healed without having been begun."""
    begun: set[str] = set()
    injected: set[str] = set()
    for event, fault in _of_faults(view):
        if event.kind in ("fault_injecting", "fault_stays"):
            begun.add(fault)
        elif event.kind == "fault_injected":
            if fault in injected:
                yield fault, f"{fault} was injected at {event.t_s:.1f} s, although it was still active"
            if fault not in begun:
                yield fault, f"{fault} was injected at {event.t_s:.1f} s, but its injection was not requested"
            injected.add(fault)
        elif event.kind == "fault_healed":
            if fault not in begun:
                yield fault, f"{fault} was healed at {event.t_s:.1f} s, but its injection was not requested"
            injected.discard(fault)
