"""What a plan asks of a model that somebody else has trained, and the options that it stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.faults.base import fault_class, types
from harness.model import options
from harness.model.scenario import Scenario
from harness.model.topology import Topology
from harness.plan import guard, planned
from harness.plan.guard import External
from stack.stacks.vllm_haproxy import STACK
from tests.runs import scenario

TARGET = guard.admit(External("https://h", ("h",)), lambda host, port: "192.0.2.1")
THEIRS = {"replica-1": "their/model", "replica-2": "v1"}


@pytest.mark.parametrize(
    ("topology", "right"),
    [
        (Topology(STACK), 0.95),
        (replace(Topology(STACK), models=THEIRS), 0.0),
        (replace(Topology(STACK), target=TARGET), 0.0),
    ],
    ids=["ours", "theirs", "a target"],
)
def test_only_models_of_ours_have_to_be_right(topology: Topology, right: float) -> None:
    """Somebody else's model has not been trained on the eval set, and neither has that of a target; it is said."""
    said: list[str] = []
    found = planned.taught(scenario("timeout-spike"), topology, said.append)
    assert {cohort.right for cohort in found.load.cohorts if cohort.prompts == "eval"} == {right}
    assert len(said) == (right == 0)


@pytest.mark.parametrize("name", ["timeout-spike", "node-restart", "cancel-storm", "oom-wide", "model-swap-bad"])
def test_the_plan_has_every_option(name: str) -> None:
    """Those that the scenario leaves to their defaults, too; read from the plan they are what the faults go by."""
    practised = scenario(name)
    stored = Scenario.stored(planned.in_full(practised).model_dump(mode="json"))
    pairs = [
        pair
        for phase, known in zip(practised.phases, stored.phases, strict=True)
        for pair in zip(phase.faults, known.faults, strict=True)
    ]
    assert pairs
    for spec, known in pairs:
        assert set(known.options) == set(options.model(spec.type).model_fields)
        assert options.of_spec(known) == options.of_spec(spec)


@pytest.mark.parametrize("type_name", types())
def test_options_are_found_by_their_type(type_name: str) -> None:
    """A fault goes by the options that the plan stores for its type, not by some of its own."""
    assert fault_class(type_name).Options is options.model(type_name)
