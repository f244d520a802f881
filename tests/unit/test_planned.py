"""What a plan asks of a model that somebody else has trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
