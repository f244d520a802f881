"""Whether the events can have been recorded so: kinds that there are, faults that the plan has, each in its turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.finding import EVERYTHING, Finding, bad, good
from harness.record import EVENT_KINDS, Event
from harness.view import RunView

#: Kinds in which ``type`` is that of something else: an answer's error, whatever a step tells.
_OWN_TYPES = ("ask", "fault_step")


def possible_events(view: RunView) -> Iterator[Finding]:
    """Can every event have happened?"""
    name, events = "events possible", view.events()
    unknown = (f"no run records an event {e.kind!r} ({e.t_s:.1f} s)" for e in events if e.kind not in EVENT_KINDS)
    problem = next((why for found in (unknown, _not_of_plan(view), _out_of_turn(view)) for why in found), None)
    if problem:
        yield bad(name, problem, EVERYTHING)
    else:
        yield good(name, f"all {len(events)} events can have happened", samples=len(events))


def _of_faults(view: RunView) -> Iterator[tuple[Event, str]]:
    """Events of faults, and of which."""
    yield from ((event, str(event.data["fault"])) for event in view.events() if "fault" in event.data)


def _not_of_plan(view: RunView) -> Iterator[str]:
    """Events of a fault that the plan has not, or which say of it what it is not."""
    planned: dict[str, Mapping[str, Any]] = {str(one["fault"]): one for one in view.plan.get("faults") or ()}
    for event, fault in _of_faults(view):
        one = planned.get("/".join(fault.split("/")[:3]))  # what stays of a fault has its id and something more
        if one is None:
            yield f"{event.kind} of {fault} at {event.t_s:.1f} s, which is not in the plan"
        elif event.kind not in _OWN_TYPES and event.data.get("type", one["type"]) != one["type"]:
            yield f"{event.kind} of {fault} says that it is {event.data['type']}"
        elif "excuses" in event.data and "excuses" in one and set(event.data["excuses"]) != set(one["excuses"]):
            excuses = ", ".join(map(str, event.data["excuses"])) or "nothing"
            yield f"{event.kind} of {fault} excuses {excuses}, which {one['type']} does not"


def _out_of_turn(view: RunView) -> Iterator[str]:
    """A fault that was injected once more before its heal, or healed without having been begun."""
    begun: set[str] = set()
    injected: set[str] = set()
    for event, fault in _of_faults(view):
        if event.kind in ("fault_injecting", "fault_stays"):
            begun.add(fault)
        elif event.kind == "fault_injected":
            if fault in injected:
                yield f"{fault} was injected at {event.t_s:.1f} s, and was there already"
            begun.add(fault)
            injected.add(fault)
        elif event.kind == "fault_healed":
            if fault not in begun:
                yield f"{fault} was healed at {event.t_s:.1f} s, and was never begun"
            injected.discard(fault)
