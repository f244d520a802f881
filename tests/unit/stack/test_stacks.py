"""stack/stacks: what is drilled, as data. Counts are parameters, stored topologies come back, nonsense is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.gateway import kind_of
from harness.model.errors import UsageError
from harness.model.topology import Component, Endpoint, Stack, Target, Topology
from stack import stacks
from stack.commands import command
from stack.runtimes import ports
from stack.stacks import external, vllm_haproxy

TARGET = Target(Endpoint("https", "llm.example.com", 443, address="192.0.2.1"))
#: Name → role, last byte of the address, ports. Stored runs and people's bookmarks rest on it.
DEFAULT = {
    "replica-1": ("replica", 21, {"http": 8000}),
    "replica-2": ("replica", 22, {"http": 8000}),
    "toxiproxy": (
        "toxiproxy",
        5,
        {
            "api": 8474,
            "gateway-a-to-replica-1": 21011,
            "gateway-a-to-replica-2": 21012,
            "gateway-b-to-replica-1": 21021,
            "gateway-b-to-replica-2": 21022,
        },
    ),
    "gateway-a": ("gateway", 11, {"http": 8080, "metrics": 8404}),
    "gateway-b": ("gateway", 12, {"http": 8080, "metrics": 8404}),
    "dns": ("dns", 53, {"dns": 5300}),
    "exporter": ("exporter", 91, {"http": 9109, "agent": 9110}),
    "alertmanager": ("alertmanager", 93, {"http": 9093}),
    "prometheus": ("prometheus", 90, {"http": 9090}),
}


def test_the_default_stack_is_where_it_was() -> None:
    """Two gateways and two replicas, in the order of their dependencies, on the addresses of the instance."""
    found = Topology(vllm_haproxy.STACK, instance=7)
    assert {one.name: (one.role, one.address, one.ports) for one in found.components} == {
        name: (role, f"127.0.7.{last}", ports) for name, (role, last, ports) in DEFAULT.items()
    }
    assert [one.name for one in found.components] == list(DEFAULT)
    assert {link.name: (link.listen_address, link.listen_port, link.inside_port) for link in found.links} == {
        "client-to-gateway-a": ("127.0.7.111", 8080, 20001),
        "client-to-gateway-b": ("127.0.7.112", 8080, 20002),
        **{name: ("127.0.7.5", port, port) for name, port in DEFAULT["toxiproxy"][2].items() if name != "api"},
    }


def test_a_third_replica_and_a_single_gateway_are_a_count_each() -> None:
    """Names and links follow; what is there already keeps its place."""
    found = Topology(vllm_haproxy.stack(gateways=1, replicas=3), instance=7)
    assert (found.gateways, found.replicas) == (("gateway-a",), ("replica-1", "replica-2", "replica-3"))
    assert [link.name for link in found.links] == [
        "client-to-gateway-a",
        "gateway-a-to-replica-1",
        "gateway-a-to-replica-2",
        "gateway-a-to-replica-3",
    ]
    usual = Topology(vllm_haproxy.STACK, instance=7)
    for name in ("gateway-a", "replica-1", "replica-2", "prometheus"):
        assert found.component(name).url(next(iter(found.component(name).ports))) == usual.component(name).url(
            next(iter(usual.component(name).ports))
        )
    assert found.link("gateway-a-to-replica-2") == usual.link("gateway-a-to-replica-2")
    assert set(found.component("exporter").depends_on) == {*found.gateways, *found.replicas}


def test_the_address_plan_has_room() -> None:
    """The largest stack has each address once, at the host and in toxiproxy's container; none larger is made."""
    largest = Topology(vllm_haproxy.stack(vllm_haproxy.GATEWAYS_MAX, vllm_haproxy.REPLICAS_MAX))
    needed = [(need.address, need.port, need.udp) for need in ports.needs(largest)]
    assert len(set(needed)) == len(needed)
    assert len({one.address for one in largest.components}) == len(largest.components)
    assert len({link.inside_port for link in largest.links}) == len(largest.links) == 9 + 9 * 32
    for counts in ({"gateways": 10}, {"replicas": 33}, {"gateways": 0}, {"replicas": 0}):
        with pytest.raises(ValueError, match="expected 1 to"):
            vllm_haproxy.stack(**counts)


@pytest.mark.parametrize(
    ("components", "links", "says"),
    [
        ([{"name": "a"}, {"name": "a"}], [], "more than one a"),
        ([{"name": "a", "depends_on": ("b",)}], [], "depends on or links b"),
    ],
)
def test_what_cannot_be_a_stack_is_refused(components: list[dict[str, Any]], links: list[Any], says: str) -> None:
    """With what is wrong."""
    made = (Component(**{"role": "dns", "address": "127.0.0.9", "ports": {}, **one}) for one in components)
    with pytest.raises(ValueError, match=says):
        Stack("odd", tuple(made), tuple(links))


#: Nobody could read it again from a plan.
_HALF = """
from dataclasses import replace
from stack.stacks.vllm_haproxy import stack

whole = stack()
STACK = replace(whole, links=tuple(replace(link, inside_port=None) for link in whole.links))
"""


def test_a_stack_has_a_name_or_a_file(tmp_path: Path) -> None:
    """Either is enough; a name that is none, a file that is none or has none is refused in one sentence."""
    assert stacks.names() == [stacks.DEFAULT]
    assert stacks.find(stacks.DEFAULT) == vllm_haproxy.STACK
    mine = tmp_path / "mine.py"
    mine.write_text("from stack.stacks.vllm_haproxy import stack\n\nSTACK = stack(replicas=3)\n")
    assert stacks.find(str(mine)).of("replica") == ("replica-1", "replica-2", "replica-3")
    empty, large, broken, wrong = (tmp_path / f"{name}.py" for name in ("empty", "large", "broken", "wrong"))
    half = tmp_path / "half.py"
    half.write_text(_HALF)
    empty.touch()
    large.write_text("from stack.stacks.vllm_haproxy import stack\n\nSTACK = stack(replicas=99)\n")
    broken.write_text("STACK =\n")
    wrong.write_text("STACK = stack()\n")
    for name, says in (
        ("rag", "expected one of vllm-haproxy"),
        ("external", "expected one of vllm-haproxy"),
        (str(tmp_path / "none.py"), "No such file"),
        (str(empty), "found no STACK"),
        (str(large), "replicas=99: expected 1 to 32"),
        (str(broken), "invalid syntax"),
        (str(half), "stack.links.0.inside_port: .*valid integer"),
        (str(wrong), "NameError: name 'stack' is not defined"),
    ):
        with pytest.raises(UsageError, match=says):
            stacks.find(name)


@pytest.mark.parametrize(
    "topology",
    [
        Topology(vllm_haproxy.stack(gateways=1, replicas=3), instance=3, models={"replica-3": "v2"}),
        Topology(external.stack(TARGET), instance=3, runtime="external", engine="external", target=TARGET),
    ],
    ids=["ours", "theirs"],
)
def test_a_stored_topology_names_its_own_components(topology: Topology) -> None:
    """It comes back whole, whatever the stacks of today are; what a later version adds is left out."""
    stored = json.loads(json.dumps(topology.as_data()))
    assert stacks.restored(stored) == topology
    assert stacks.restored({**stored, "later": 1}) == topology


def test_topologies_of_before_mean_the_stacks_of_then() -> None:
    """They name no component: two of each, or a target behind toxiproxy."""
    assert stacks.restored({"instance": 3, "models": {}}) == Topology(vllm_haproxy.stack(2, 2), instance=3)
    theirs = Topology(external.stack(TARGET), instance=3, target=TARGET).as_data()
    del theirs["stack"]
    assert stacks.restored(json.loads(json.dumps(theirs))).components == (
        Topology(external.stack(TARGET), instance=3).components
    )


def test_nonsense_is_no_topology() -> None:
    """Whatever it is: a ValueError that says where, and nothing else."""
    good = Topology(vllm_haproxy.STACK).as_data()
    for bad, says in (
        (None, "dictionary"),
        ([], "dictionary"),
        ({}, "neither a stack nor an instance"),
        ({**good, "stack": "vllm-haproxy"}, "stack"),
        ({**good, "instance": "seven"}, "instance"),
        ({**good, "target": {"service": 1}}, "target.service"),
        ({**good, "stack": {**good["stack"], "components": good["stack"]["components"][1:]}}, "replica-1"),
    ):
        with pytest.raises(ValueError, match=says):
            stacks.restored(bad)


def test_a_role_that_nobody_can_start_is_refused(tmp_path: Path) -> None:
    """Of a stack of the user's own: the sentence names the component, its role and those that there are."""
    redis = Component("cache", "redis", "127.0.0.61", {"http": 6379})
    usual = vllm_haproxy.STACK
    topology = Topology(replace(usual, components=(*usual.components, redis)))
    with pytest.raises(
        UsageError, match="cache of the stack vllm-haproxy: found the role 'redis', expected one of repl"
    ):
        command(topology, topology.component("cache"), tmp_path, "token")


def test_gateways_of_earlier_plans_are_haproxy() -> None:
    """A plan written before gateways named their software can be healed: there was no other."""
    data = Topology(vllm_haproxy.STACK).as_data()
    for one in data["stack"]["components"]:
        del one["kind"]
    assert stacks.restored(data) == Topology(vllm_haproxy.STACK)


def test_a_gateway_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """Before anything is started, with what there is; and whoever would speak with it says so, too."""
    found = vllm_haproxy.stack(gateways=1)
    components = tuple(replace(one, kind="envoy" if one.role == "gateway" else "") for one in found.components)
    gateway = Topology(replace(found, components=components)).component("gateway-a")
    with pytest.raises(UsageError, match="gateway-a is of the kind 'envoy': expected haproxy"):
        command(Topology(replace(found, components=components)), gateway, tmp_path, "token")
    with pytest.raises(UsageError, match="gateway-a is of the kind 'envoy': expected one of haproxy"):
        kind_of(gateway)
