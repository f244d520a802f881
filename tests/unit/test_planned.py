"""What a plan asks of a model that somebody else has trained, the options that it stores, and what it refuses."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from harness.faults.base import fault_class, types
from harness.model import options
from harness.model.errors import UsageError
from harness.model.scenario import Scenario, Strict
from harness.model.topology import Topology
from harness.plan import guard, planned
from harness.plan.guard import External
from stack.runtimes.base import Freezes, FreezesEngine, LimitsMemory, ServesModels, has
from stack.runtimes.docker import DockerRuntime
from stack.runtimes.process import ProcessRuntime
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


class Core:
    """A runtime that can do no more than it must."""

    name = "core"


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("oom", "phase 'oom': oom on replica-2 needs a runtime with LimitsMemory, which RUNTIME=core lacks"),
        ("model-swap", "needs a runtime with ServesModels"),
        ("timeout-spike", ""),
    ],
)
def test_a_fault_that_the_runtime_cannot_carry_out_is_refused(name: str, lacks: str) -> None:
    """Before anything starts, with what it lacks; a fault on a link needs nothing of it."""
    core: Any = Core()
    with pytest.raises(UsageError, match=lacks) if lacks else nullcontext():
        planned.require_able(scenario(name), core)


@pytest.mark.parametrize("runtime", [ProcessRuntime, DockerRuntime])
@pytest.mark.parametrize("capability", [Freezes, FreezesEngine, LimitsMemory, ServesModels])
def test_both_runtimes_of_ours_can_do_everything(runtime: Any, capability: type) -> None:
    """Each drill runs in both."""
    assert has(runtime(Topology(STACK)), capability)


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
    """A fault goes by the options that the plan stores for its type: its module knows no others."""
    known = vars(sys.modules[fault_class(type_name).__module__]).values()
    assert {one for one in known if isinstance(one, type) and issubclass(one, Strict)} == {options.model(type_name)}
