"""Probes are found by what they look at: one file for each, no list to edit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.probes
from harness.model.topology import Endpoint, Target, Topology
from harness.probes.base import Probe, Scene, probes_of
from harness.probes.own_tokens import OwnTokens
from harness.probes.waves import Waves
from stack.stacks import external as theirs
from stack.stacks.vllm_haproxy import STACK

FAR = Endpoint("http", "far.example", 80, address="203.0.113.1")
THERMOMETER = """
from harness.probes.base import ProbeSet

PROBES = ProbeSet(("gateway",), lambda scene, gateways: [scene.record(one.name) for one in gateways])
"""


def scene(topology: Topology) -> Scene:
    """A run on it, with books of its own where the stack is ours."""
    runtime: Any = SimpleNamespace(topology=topology)
    replicas = [one for one in topology.components if one.role == "replica"]
    return Scene(runtime, own=[OwnTokens([one.name for one in replicas])], waves=Waves(replicas, 0.0, print).probes)


def names(probes: Sequence[Probe]) -> list[str]:
    """Of the probes; their connections end."""
    for probe in probes:
        getattr(probe, "close", lambda: None)()
    return sorted(probe.name for probe in probes)


def made(topology: Topology) -> list[str]:
    """The names of all probes for a run on it."""

    async def make() -> list[str]:
        return names(probes_of(scene(topology)))

    return asyncio.run(make())


def test_everything_of_our_own_stack_is_looked_at() -> None:
    """Each replica and gateway by its probes, DNS, the exporter, the alerts, and the run's own doings."""
    of_each = ("engine replica-{}", "replica-{} during waves")
    assert made(Topology(STACK)) == sorted(
        [name.format(number) for name in of_each for number in (1, 2)]
        + [f"{what} gateway-{letter}" for what in ("gateway", "readiness") for letter in "ab"]
        + ["alerts", "dns", "exporter", "own tokens", "resources"]
    )


@pytest.mark.parametrize(("metrics", "names"), [(None, ["resources"]), (FAR, ["engine target", "resources"])])
def test_of_a_target_that_is_not_ours_little_can_be_seen(metrics: Endpoint | None, names: list[str]) -> None:
    """What Drillyard has put before it, and the engine where its owner shows its metrics."""
    target = Target(FAR, metrics=metrics)
    assert made(Topology(theirs.stack(target), runtime="external", engine="external", target=target)) == names


def test_a_new_probe_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found, and given each component that it wants to look at."""
    (tmp_path / "thermometer.py").write_text(THERMOMETER)
    monkeypatch.setattr(harness.probes, "__path__", [*harness.probes.__path__, str(tmp_path)])
    seen: list[str] = []
    runtime: Any = SimpleNamespace(topology=Topology(STACK))
    asyncio.run(_made(Scene(runtime, seen.append)))
    assert seen == ["gateway-a", "gateway-b"]


async def _made(of: Scene) -> list[Probe]:
    return probes_of(of)
