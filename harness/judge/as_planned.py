"""Did what the plan says happen: its faults on their targets, as often as it says, judged by the checks that it names?

What a fault will have done is data that it supplies itself when the plan is made (``Fault.counts``): no fault is known
here by its name.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.evidence.view import RunView
from harness.judge import drill
from harness.judge.drill import Check
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.model import digest
from harness.model.artifacts.rollout import ARTIFACT as ROLLOUT
from harness.model.artifacts.waves import ARTIFACT as WAVES
from harness.model.artifacts.waves import Wave

#: So many of a wave's streams must have run when they were cancelled: as many as its own moment asks for.
_MOST = 0.9


def plan_unchanged(view: RunView) -> Iterator[Finding]:
    """Is the plan the one that the run began with?"""
    name, told = "plan unchanged", view.events("planned")
    if not told:
        yield bad(name, "the run did not record which plan it began with", EVERYTHING)
    elif any(event.data.get("digest") != digest.of_plan(view.plan) for event in told):
        yield bad(name, "plan.json is not the one that the run began with", EVERYTHING)
    else:
        yield good(name, "plan.json is the one that the run began with")


def checks(view: RunView, known: Sequence[Check]) -> Iterator[Finding]:
    """Are the drill's own checks today, with their arguments, those that were planned?"""
    name, then, today = "checks as planned", view.plan.get("checks"), drill.planned(known)
    extra = {"id": name.replace(" ", "-")}
    if not isinstance(then, dict):
        yield bad(name, "the plan does not name its checks", EVERYTHING, **extra)
        return
    names = {check.key: check.name for check in known}
    unknown = [key for key in then if key not in today]
    changed = [names[key] for key in then if key in today and then[key] != today[key]]
    added = [names[key] for key in today if key not in then]
    if unknown or changed:
        what = f"{unknown[0]}, which is unknown today" if unknown else f"{changed[0]} with other arguments than today"
        yield bad(name, f"the plan contains the check {what}", EVERYTHING, **extra)
    elif added:
        why = f"all {len(then)} planned checks are evaluated, and {len(added)} new ones: {', '.join(added)}"
        yield good(name, why, **extra)
    else:
        yield good(name, f"all {len(then)} are evaluated as planned", **extra)


def faults_as_planned(view: RunView) -> Iterator[Finding]:
    """Were the planned faults put on the planned targets, no others, and did each do as much as it was to do?"""
    others = {str(e.data.get("phase")) for e in view.events("fault_injected")} - set(view.fault_phases)
    for phase in sorted(others):
        yield bad(f"faults as planned in {phase}", "an unplanned fault was injected", EVERYTHING, phase=phase)
    planned = view.plan.get("faults")
    for phase in view.fault_phases:
        name = f"faults as planned in {phase}"
        if not isinstance(planned, list):
            yield bad(name, "the plan does not say what its faults are put on", EVERYTHING, phase=phase)
            continue
        here = [one for one in planned if one["phase"] == phase]
        problem = next((why for why in (_not_of_scenario(view, phase, here), *_missing(view, phase, here)) if why), "")
        if problem:
            yield bad(name, problem, f"fault:{phase}", phase=phase)
        else:
            yield good(name, f"{len(here)} faults were put on their targets, and did what they were to do", phase=phase)


def _not_of_scenario(view: RunView, phase: str, planned: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the plan's list of targets is not one of its scenario."""
    specs = next(p["faults"] for p in view.planned_phases if p["name"] == phase)
    for spec in specs:
        if not any(one["type"] == spec["type"] and fnmatch.fnmatchcase(one["on"], spec["on"]) for one in planned):
            return f"{spec['type']} on {spec['on']} is in the scenario, but on no target of the plan"
    for one in planned:
        if not any(one["type"] == spec["type"] and fnmatch.fnmatchcase(one["on"], spec["on"]) for spec in specs):
            return f"{one['type']} on {one['on']} is in the plan, but not in its scenario"
    return None


def _missing(view: RunView, phase: str, planned: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    wanted = Counter((one["fault"], one["type"], one["on"]) for one in planned)
    events = [event.data for event in view.events("fault_injected", phase)]
    happened = Counter((data.get("fault"), data.get("type"), data.get("on")) for data in events)
    if missing := wanted - happened:
        fault, type_, on = next(iter(missing))
        yield f"{fault} ({type_} on {on}) was planned and not injected"
    if more := happened - wanted:
        fault, type_, on = next(iter(more))
        yield f"{fault} ({type_} on {on}) was injected and not planned"
    for one in planned:
        for what, count in _COUNTS.items():
            if what in one["counts"] and (why := count(view, one["fault"], one["counts"])):
                yield f"{one['fault']}: {why}"


def _steps(view: RunView, fault: str, counts: Mapping[str, Any]) -> str | None:
    told = [e.data.get("step") for e in view.events("fault_step") if e.data.get("fault") == fault]
    missing = [step for step in counts["steps"] if step not in told]
    return f"its step «{missing[0]}» was not recorded" if missing else None


def _asks(view: RunView, fault: str, counts: Mapping[str, Any]) -> str | None:
    asked = Counter(e.data.get("name") for e in view.events("ask") if e.data.get("fault") == fault)
    wanted = counts["asks"]
    if wanted == "sized":
        steps = [e.data for e in view.events("fault_step") if e.data.get("fault") == fault]
        sizes = [data["asks"] for data in steps if data.get("step") == "sized"]
        if not sizes:
            return "how many requests it was to send is not recorded"
        return None if asked.total() >= max(sizes) > 0 else f"{asked.total()} of {max(sizes)} requests were sent"
    missing = Counter(wanted) - asked
    if not missing:
        return None
    return f"{missing.total()} of {len(wanted)} requests were not sent, such as «{next(iter(missing))}»"


def _waves(view: RunView, fault: str, counts: Mapping[str, Any]) -> str | None:
    waves = [wave for wave in view.artifact(WAVES) if wave.fault == fault]
    reached = [wave for wave in waves if wave.reached and wave.moment == counts["moment"]]
    if len(reached) < counts["waves"]:
        return f"{len(reached)} of {counts['waves']} waves reached their moment ({counts['moment']})"
    poor = [why for wave in reached if (why := _wave(wave, counts))]
    return poor[0] if len(reached) - len(poor) < counts["waves"] else None


def _wave(wave: Wave, counts: Mapping[str, Any]) -> str | None:
    cut = sum(stream.cut for stream in wave.streams)
    if cut < _MOST * counts["streams"]:
        return f"in wave {wave.number} {cut} of {counts['streams']} streams ran when they were cancelled"
    silent = set(counts["canaries"]) - {canary.replica for canary in wave.canaries}
    return f"after wave {wave.number} {min(silent)} was not asked" if silent else None


def _rollout(view: RunView, fault: str, counts: Mapping[str, Any]) -> str | None:
    rollout, wanted = view.artifact(ROLLOUT), counts["rollout"]
    if rollout is None or rollout.fault != fault:
        return "no rollout of it is recorded"
    canary = next((stage for stage in rollout.stages if stage.name == "canary"), None)
    done = {
        "candidate": rollout.candidate.model,
        "candidate_on": rollout.candidate_on,
        "percent": canary.percent if canary else wanted["percent"],
        "quality": rollout.gates.quality,
        "slower": rollout.gates.slower,
        "questions": rollout.questions,
    }
    wrong = [key for key in done if done[key] != wanted[key]]
    return f"{wrong[0]} was {done[wrong[0]]}, planned: {wanted[wrong[0]]}" if wrong else None


_COUNTS = {"steps": _steps, "asks": _asks, "waves": _waves, "rollout": _rollout}
