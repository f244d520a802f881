"""What a warm stack that is of no use differs in: the parts that changed, and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.model.topology import Endpoint, Target, Topology
from stack.runtimes.process import ProcessRuntime
from stack.stacks import external
from stack.stacks.vllm_haproxy import STACK

TARGET = Target(Endpoint("https", "llm.example", 443))


def external_topology(target: Target) -> Topology:
    """Of that target."""
    return Topology(external.stack(target), target=target)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (TARGET, replace(TARGET, service=replace(TARGET.service, path="/llm")), "target.service.path:  → /llm"),
        (TARGET, replace(TARGET, model="a/b"), "target.model: None → a/b"),
    ],
)
def test_only_what_changed_is_named(before: Target, now: Target, told: str) -> None:
    """By its place in the topology, with both values."""
    found = SimpleNamespace(topology=json.loads(json.dumps(external_topology(before).as_data())))
    runtime = cast(ProcessRuntime, SimpleNamespace(topology=external_topology(now)))
    assert ProcessRuntime._difference(runtime, cast(Any, found)) == told


def test_many_changes_are_counted() -> None:
    """Three of them, and how many more."""
    found = SimpleNamespace(topology=json.loads(json.dumps(Topology(STACK).as_data())))
    runtime = cast(ProcessRuntime, SimpleNamespace(topology=Topology(STACK)))
    assert ProcessRuntime._difference(runtime, cast(Any, found)).startswith("its configuration or a program")
    policy = found.topology["gateway_policy"]
    policy.update(dict.fromkeys(list(policy)[:5], -1))
    assert ProcessRuntime._difference(runtime, cast(Any, found)).endswith(", and 2 more")
