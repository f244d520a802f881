"""A scenario for what a server's history shows: the nearest known faults, on Drillyard's own stack, with its load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from harness.judge.drill import scenario_file
from harness.model.scenario import FaultSpec, Scenario
from harness.model.topology import Topology
from reports.incident.case import Case, lasted
from reports.incident.scenario import Again
from stack import stacks

DRILL, PHASE = "incident", "incident"
#: How long the phase lasts, in seconds: objectives need so many requests, and a drill has to end.
SHORTEST_S, LONGEST_S = 20.0, 120.0
#: What a killed replica may take to give a token again.
_BACK_WITHIN_S = 150.0
_NOTHING = "No scenario brings it about again: nothing in the metrics shows what set it off."


def again(case: Case, folder: str) -> Again | str:
    """The drill's own scenario with these faults in its phase ``incident``; or why there is none."""
    trigger = case.trigger()
    if not trigger.faults:
        return _NOTHING
    names = _names(case, trigger.faults)
    faults, left = _faults(trigger.faults, names)
    longest = max((float(fault.get("lasted_s", LONGEST_S)) for fault in _known(trigger.faults, names)), default=0.0)
    if not faults:
        return "No scenario brings it about again: no component of Drillyard's stack corresponds to what was hit."
    duration = min(max(round(longest, 1), SHORTEST_S), LONGEST_S)
    called = ", ".join(f"{theirs} is {ours}" for theirs, ours in names.items())
    said = [
        trigger.what,
        f"It is Drillyard's stack, load and objectives that this scenario uses, not those of the incident: {called}.",
        _phase_said(longest, duration),
        *left,
        f"Not known: {trigger.unknown}",
    ]
    if len(faults) > 1:
        said.append("The faults begin together here; when each began is in the report.")
    return Again(DRILL, _filled(faults, duration, case.title), folder, said=tuple(one for one in said if one))


def _names(case: Case, faults: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Component that was hit, or that takes part → its place in Drillyard's stack, as long as there is one."""
    ours = Topology(stacks.find(stacks.DEFAULT))
    met = [one for fault in faults for one in (str(fault["on"]), *fault.get("options", {}).get("gateways", ()))]
    gateways = [one for one in dict.fromkeys(met) if one in case.gateways]
    replicas = [one for one in dict.fromkeys(met) if one in case.replicas]
    # The last replica first: most drills hit that one. Strict would be wrong: there may be more of theirs than of ours.
    return {**dict(zip(replicas, reversed(ours.replicas), strict=False)),
            **dict(zip(gateways, ours.gateways, strict=False))}  # fmt: skip


def _known(faults: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Mapping[str, Any]]:
    return [fault for fault in faults if str(fault["on"]) in names]


def _faults(faults: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> tuple[list[FaultSpec], list[str]]:
    """One fault of each component, the first; and a sentence on each that is left out."""
    found: dict[str, FaultSpec] = {}
    left = []
    for fault in faults:
        theirs, kind = str(fault["on"]), str(fault["type"])
        if theirs not in names:
            left.append(f"Left out: {kind} on {theirs}, for which Drillyard's stack has no component.")
            continue
        options = _options(fault, names)
        through = fault.get("options", {}).get("gateways", ())
        if through and "gateways" not in options:
            left.append(f"Left out: {kind} on {theirs} at {', '.join(through)}, for which Drillyard's stack has none.")
            continue
        before = found.get(theirs)
        if before is not None and before.type == kind and "gateways" in options:
            options["gateways"] = [*dict.fromkeys((*before.options.get("gateways", ()), *options["gateways"]))]
        elif before is not None:
            left.append(f"Left out: {kind} on {theirs}, which comes after {before.type} on it.")
            continue
        found[theirs] = FaultSpec(type=kind, on=names[theirs], options=options)
    return list(found.values()), left


def _options(fault: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if fault["type"] == "kill":
        return {"down_for": f"{min(float(fault.get('lasted_s', LONGEST_S)), LONGEST_S):g}s"}
    at = [names[one] for one in fault.get("options", {}).get("gateways", ()) if one in names]
    return {"gateways": at} if at else {}


def _phase_said(longest_s: float, duration_s: float) -> str:
    here = f"the phase {PHASE} lasts {lasted(duration_s)}"
    if duration_s == round(longest_s, 1):
        return f"As it did, {here}."
    return f"It lasted {lasted(longest_s)} or more; {here}, so that there are enough requests and the drill ends soon."


def _filled(faults: Sequence[FaultSpec], duration_s: float, title: str) -> Scenario:
    """The drill's own scenario with these faults for so long."""
    shipped = scenario_file(DRILL)
    # As plain text: to YAML's own types the key ``on`` is the word for true.
    base = Scenario.model_validate(yaml.load(shipped.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    new: dict[str, Any] = {"faults": tuple(faults), "duration": duration_s}
    # What is killed has to come back within its phase.
    if any(fault.type == "kill" for fault in faults):
        new |= {"until": "settled", "at_most": duration_s + _BACK_WITHIN_S}
    phases = tuple(phase.model_copy(update=new) if phase.name == PHASE else phase for phase in base.phases)
    about = f"{title}: what set it off happens again, as far as it is known, and users must not notice."
    return base.model_copy(update={"phases": phases, "description": about})
