"""Undo records are checked against the topology before they are run: what faults write down passes, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.faults import simulator
from harness.faults.base import fault_class, types
from harness.model.journal import Undo
from harness.model.options import model
from harness.model.topology import Topology
from harness.recover.leftovers import belongs
from stack import config
from stack.stacks.vllm_haproxy import STACK

TOPOLOGY = Topology(STACK, instance=7, engine="sim", runtime="process")
LINK = config.proxies(TOPOLOGY)[0]
ADDRESSES = {"listen": LINK["listen"], "upstream": LINK["upstream"]}


def record(type_name: str, on: str) -> Undo:
    """What a fault of that type writes down, with what it has measured on a healthy stack."""
    kind = fault_class(type_name)
    required = {name: _some(field) for name, field in model(type_name).model_fields.items() if field.is_required()}
    fault: Any = kind("phase", on, model(type_name).model_construct(**required))
    proxy = next((one for one in config.proxies(TOPOLOGY) if one["name"] == on), LINK)
    servers = {gateway: dict.fromkeys(TOPOLOGY.replicas, Server("ready", 100)) for gateway in TOPOLOGY.gateways}
    measured = {"addresses": (proxy["listen"], proxy["upstream"]), "before": servers, "limit_before": None}
    if type_name == "widened":
        measured["before"] = dict.fromkeys(TOPOLOGY.replicas, 1)
    for name, value in measured.items():
        if hasattr(fault, name):
            setattr(fault, name, value)
    return fault.undo()  # type: ignore[no-any-return]


def _some(field: Any) -> object:
    return field.annotation(1) if field.annotation in (int, float) else 1


@pytest.mark.parametrize("type_name", types())
def test_what_a_fault_writes_down_is_of_its_own_stack(type_name: str) -> None:
    """A new fault whose record has an argument of another kind needs a line in ``belongs``."""
    for on in fault_class(type_name).targets(TOPOLOGY):
        assert belongs.strange(record(type_name, on), TOPOLOGY) == ""


def test_the_switches_of_a_simulator_are_of_its_stack() -> None:
    """Another replica than the stack has is not."""
    assert belongs.strange(simulator.undo("replica-1"), TOPOLOGY) == ""
    assert belongs.strange(simulator.undo("replica-9"), TOPOLOGY) == "component = 'replica-9'"


def test_toxiproxy_in_a_container_writes_its_address_otherwise() -> None:
    """It is the same one; another port is not."""
    docker = replace(TOPOLOGY, runtime="docker")
    proxy = config.proxies(docker)[0]
    args = {"proxy": proxy["name"], "listen": proxy["listen"].replace("0.0.0.0", "[::]"), "upstream": proxy["upstream"]}
    assert belongs.strange(Undo("x", "renew_proxy", args), docker) == ""
    assert belongs.strange(Undo("x", "renew_proxy", {**args, "listen": "[::]:1"}), docker) == "listen = '[::]:1'"


SERVER = {"gateway": "gateway-a", "replica": "replica-1", "state": "ready", "weight": 100}


@pytest.mark.parametrize(
    ("action", "args", "found"),
    [
        ("rm_rf", {}, "action"),
        ("renew_proxy", {"proxy": "no-link", **ADDRESSES}, "proxy"),
        ("renew_proxy", {"proxy": LINK["name"], **ADDRESSES, "listen": "0.0.0.0:80"}, "listen"),
        ("renew_proxy", {"proxy": LINK["name"], **ADDRESSES, "upstream": "10.0.0.1:80"}, "upstream"),
        ("renew_proxy", ADDRESSES, "listen"),
        ("remove_toxics", {"proxy": LINK["name"], **ADDRESSES, "toxics": ["../../x"]}, "toxics"),
        ("remove_toxics", {"proxy": LINK["name"], **ADDRESSES, "toxics": "x"}, "toxics"),
        ("remove_toxics", {"proxy": ["x"], **ADDRESSES, "toxics": []}, "proxy"),
        ("unpause", {"component": "sshd"}, "component"),
        ("unpause", {"component": None}, "component"),
        ("unpause", {"component": "replica-1", "host": "10.0.0.1"}, "host"),
        ("restore_memory", {"component": "replica-1", "limit_bytes": -1}, "limit_bytes"),
        ("restore_memory", {"component": "replica-1", "limit_bytes": "1"}, "limit_bytes"),
        ("restore_server", {**SERVER, "gateway": "replica-1"}, "gateway"),
        ("restore_server", {**SERVER, "replica": "replica-1 state maint; show info"}, "replica"),
        ("restore_server", {**SERVER, "state": "ready; shutdown sessions"}, "state"),
        ("restore_server", {**SERVER, "weight": "1%; show info"}, "weight"),
        ("restore_server", {**SERVER, "weight": True}, "weight"),
        ("restore_servers", {"servers": [SERVER, {**SERVER, "replica": "x"}]}, "replica"),
        ("restore_servers", {"servers": {"x": SERVER}}, "servers"),
        ("restore_long_connections", {"gateway": "gateway-a", "connections": {"x; show info": 1}}, "connections"),
        ("restore_long_connections", {"gateway": "gateway-a", "connections": {"replica-1": "1"}}, "connections"),
        ("restore_versions", {"component": "replica-1", "versions": {"gateway-a": "v1"}, "servers": []}, "versions"),
        ("end_wave", {"wave": 1}, "wave"),
    ],
)
def test_what_is_not_of_the_stack_is_named(action: str, args: dict[str, Any], found: str) -> None:
    """An address, name, command or value that the stack does not have."""
    assert belongs.strange(Undo("x", action, args), TOPOLOGY).startswith(f"{found} = ")
