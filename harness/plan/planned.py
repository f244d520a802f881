"""What a plan says of the run beforehand, so that the judge can compare what happened with it: made live, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.faults.base import fault_id, lacking, matching, of_phase
from harness.model import options
from harness.model.errors import UsageError
from harness.model.options import swap
from harness.model.scenario import FaultSpec, Scenario
from harness.model.topology import Topology
from stack import engines
from stack.runtimes.base import Runtime


def versions(scenario: Scenario, topology: Topology) -> dict[str, Any]:
    """``serves``: replica → the version that its answers carry; ``rolls_out``: fault → the version that it brings.

    Empty for an external target. Raises MissingTool when a model of ours is to be served that is not trained.
    """
    if topology.target is not None:
        return {}
    replicas = [component.name for component in topology.components if component.role == "replica"]
    rolls_out = {
        fault_id(phase.name, spec.type, on): engines.version_of(topology, _candidate(spec))
        for phase in scenario.phases
        for spec in phase.faults
        if spec.type == "swap"
        for on in matching(spec.type, spec.on, topology)
    }
    return {
        "serves": {replica: engines.served_version(topology, replica) for replica in replicas},
        "rolls_out": rolls_out,
    }


def faults(scenario: Scenario, topology: Topology) -> list[dict[str, Any]]:
    """Every fault, workload and operation on every target, with what the judge may ask of it; only a fault may last."""
    return [
        {
            "fault": fault.id,
            "phase": phase.name,
            "type": fault.type,
            "on": fault.on,
            **{of_it: getattr(fault, of_it, False) for of_it in ("lasts", "proven_again", "silences")},
            "expected_disruptions": list(fault.expected_disruptions),
            "counts": fault.counts(fault.options, fault.on, topology),
        }
        for phase in scenario.phases
        for fault in of_phase(phase, topology)
    ]


def require_able(scenario: Scenario, runtime: Runtime) -> None:
    """UsageError for a fault that this runtime cannot carry out: nothing is started for a drill without its fault."""
    for phase in scenario.phases:
        for spec in phase.faults:
            if lacks := lacking(spec.type, runtime):
                raise UsageError(
                    f"phase {phase.name!r}: {spec.type} on {spec.on} needs a runtime with {' and '.join(lacks)}, "
                    f"which RUNTIME={runtime.name} lacks: choose another"
                )


def in_full(scenario: Scenario) -> Scenario:
    """The scenario with all options of its faults, those that it leaves to their defaults too, as plain numbers."""
    phases = (
        phase.model_copy(update={"faults": tuple(_in_full(spec) for spec in phase.faults)}) for phase in scenario.phases
    )
    return scenario.model_copy(update={"phases": tuple(phases)})


def _in_full(spec: FaultSpec) -> FaultSpec:
    return spec.model_copy(update={"options": options.of_spec(spec).model_dump(mode="json")})


def _candidate(spec: FaultSpec) -> str:
    asked = options.of_spec(spec)
    assert isinstance(asked, swap.Options), "only a swap rolls something out"
    return asked.candidate


def taught(scenario: Scenario, topology: Topology, say: Callable[[str], object]) -> Scenario:
    """The scenario, which asks no right answers of a model that somebody else has trained."""
    foreign = sorted(set(topology.models.values()) - engines.ours(topology.engine))
    foreign = ["the model of the target"] if topology.target is not None else foreign
    if not foreign or not any(cohort.right for cohort in scenario.load.cohorts):
        return scenario
    say(f"{', '.join(foreign)} was not trained on the eval set: only a drop in accuracy is checked")
    cohorts = tuple(cohort.model_copy(update={"right": 0.0}) for cohort in scenario.load.cohorts)
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": cohorts})})
