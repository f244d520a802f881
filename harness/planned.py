"""What a plan says of the run beforehand, so that the judge can compare what happened with it.

Made live, and made again from a stored plan by the judge (``contradiction``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.faults.base import matching, of_phase
from harness.scenario import Scenario
from stack import engines, models, state
from stack.topology import DNS_POLICY, Topology


def contradiction(plan: Mapping[str, Any]) -> str | None:
    """What a stored plan says otherwise than today's code makes of its own scenario and topology; None when nothing.

    Of versions only the models' names are compared: this machine need not have their weights.
    """
    scenario, topology = Scenario.stored(plan["scenario"]), state.as_topology(plan["topology"])
    names = _models(scenario, topology)
    today = {
        "faults": faults(scenario, topology),
        "instance": topology.instance,
        "engine": topology.engine,
        "runtime": topology.runtime,
        **policies(topology),
        **{part: {who: Path(model).name for who, model in served.items()} for part, served in names.items()},
    }
    stored = {part: plan.get(part) for part in today}
    problem = next(_unequal_versions(names, plan), None)
    for part in names:
        stored[part] = {who: str(version).rpartition("@")[0] for who, version in (plan.get(part) or {}).items()}
    different = [part for part in today if json.dumps(today[part], sort_keys=True) != _text(stored[part])]
    return f"{different[0]}: {_what(stored[different[0]], today[different[0]])}" if different else problem


def policies(topology: Topology) -> dict[str, Any]:
    """The numbers of gateways and DNS that objectives may name; of an external target none are known."""
    known = topology.target is None
    return {
        "gateway_policy": vars(topology.gateway_policy) if known else {},
        "dns_policy": vars(DNS_POLICY) if known else {},
    }


def versions(scenario: Scenario, topology: Topology) -> dict[str, Any]:
    """``serves``: replica → the version that its answers carry; ``rolls_out``: fault → the version that it brings.

    Empty for an external target. Raises MissingTool when a model of ours is to be served that is not trained.
    """
    return {
        part: {who: engines.version_of(topology, model) for who, model in served.items()}
        for part, served in _models(scenario, topology).items()
    }


def _models(scenario: Scenario, topology: Topology) -> dict[str, dict[str, str]]:
    """The models of ``versions``."""
    if topology.target is not None:
        return {}
    replicas = [component.name for component in topology.components if component.role == "replica"]
    rolls_out = {
        f"{phase.name}/{spec.type}/{on}": str(spec.options.get("candidate", "v2"))
        for phase in scenario.phases
        for spec in phase.faults
        if spec.type == "swap"
        for on in matching(spec.type, spec.on, topology)
    }
    return {"serves": {replica: engines.model_name(topology, replica) for replica in replicas}, "rolls_out": rolls_out}


def faults(scenario: Scenario, topology: Topology) -> list[dict[str, Any]]:
    """Every fault on every target, with what the judge may ask of it (``Fault``)."""
    return [
        {
            "fault": fault.id,
            "phase": phase.name,
            "type": fault.type,
            "on": fault.on,
            "lasts": fault.lasts,
            "proven_again": fault.proven_again,
            "counts": fault.counts(fault.options, fault.on, topology),
        }
        for phase in scenario.phases
        for fault in of_phase(phase, topology)
    ]


def taught(scenario: Scenario, topology: Topology, say: Callable[[str], object]) -> Scenario:
    """The scenario, which asks no right answers of a model that somebody else has trained."""
    foreign = sorted(set(topology.models.values()) - set(models.TRAINED))
    foreign = ["the model of the target"] if topology.target is not None else foreign
    if not foreign or not any(cohort.right for cohort in scenario.load.cohorts):
        return scenario
    say(f"{', '.join(foreign)} was not trained on the eval set: only a drop in accuracy is checked")
    cohorts = tuple(cohort.model_copy(update={"right": 0.0}) for cohort in scenario.load.cohorts)
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": cohorts})})
