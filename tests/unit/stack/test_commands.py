"""stack/commands.py: one process per component, with nothing of the caller's environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.model.topology import Topology
from stack import tools
from stack.commands import ENGINE_NICENESS, command
from stack.stacks.vllm_haproxy import STACK

TOPOLOGY = Topology(STACK, instance=12, engine="sim")
CONFIG = Path("/checkout/.state/12/config")


@pytest.fixture(autouse=True)
def _every_tool_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "require", lambda name: tools.Tool(Path("/tools") / name, {"LD_LIBRARY_PATH": "/lib"}))


@pytest.mark.parametrize("component", TOPOLOGY.components, ids=lambda component: component.name)
def test_every_component_has_an_absolute_program_and_a_marked_environment(
    component: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs are absolute, secrets of the caller stay outside, and the process says which component it is."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = command(TOPOLOGY, component, CONFIG, "token")  # type: ignore[arg-type]
    assert Path(found.argv[0]).is_absolute()
    assert "AWS_SECRET_ACCESS_KEY" not in found.env
    assert ("token" in found.env.values()) == (component.role == "replica")  # type: ignore[attr-defined]
    assert "token" not in found.argv
    assert found.env["DRILLYARD_COMPONENT"] == component.name  # type: ignore[attr-defined]


def test_only_engines_yield() -> None:
    """Replicas run at a worse priority than the load generator; nothing else does."""
    niceness = {c.name: command(TOPOLOGY, c, CONFIG, "token").nice for c in TOPOLOGY.components}
    assert {name for name, nice in niceness.items() if nice == ENGINE_NICENESS} == {"replica-1", "replica-2"}


def test_programs_listen_on_their_own_address_only() -> None:
    """What takes its address on the command line gets the component's; Alertmanager's gossip is off."""
    for name in ("toxiproxy", "prometheus", "alertmanager", "replica-1"):
        component = TOPOLOGY.component(name)
        assert component.address in " ".join(command(TOPOLOGY, component, CONFIG, "token").argv)
    alertmanager = command(TOPOLOGY, TOPOLOGY.component("alertmanager"), CONFIG, "token").argv
    assert "--cluster.listen-address=" in alertmanager


def test_the_simulator_runs_with_the_harness_own_python() -> None:
    """ENGINE=sim needs neither vLLM nor its environment."""
    assert command(TOPOLOGY, TOPOLOGY.component("replica-2"), CONFIG, "token").argv[:3] == [
        sys.executable,
        "-m",
        "stack.simulator",
    ]


def test_a_tool_brings_its_libraries() -> None:
    """Programs unpacked without root find their libraries through the environment."""
    assert command(TOPOLOGY, TOPOLOGY.component("gateway-a"), CONFIG, "token").env["LD_LIBRARY_PATH"] == "/lib"
