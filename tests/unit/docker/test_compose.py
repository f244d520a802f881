"""stack/compose.yaml says the same as stack/stacks/vllm_haproxy.py."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.model.topology import Component, Topology
from stack.runtimes import ports
from stack.runtimes.images import TARGETS
from stack.stacks.vllm_haproxy import STACK

FOLDER = Path(__file__).resolve().parents[3] / "stack"
_VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


@cache
def services(instance: int = 0, file: str = "compose.yaml") -> dict[str, Any]:
    """The file's services with defaults put in for all variables but INSTANCE."""
    text = (FOLDER / file).read_text()
    text = _VARIABLE.sub(lambda found: str(instance) if found[1] == "INSTANCE" else found[2] or "", text)
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def published(service: dict[str, Any]) -> set[tuple[str, int, int, bool]]:
    """(host address, host port, port inside, is UDP) of each published port."""
    found = set()
    for entry in service.get("ports", ()):
        address, outer, inner = entry.partition("/")[0].split(":")
        found.add((address, int(outer), int(inner), entry.endswith("/udp")))
    return found


COMPONENTS = Topology(STACK).components


def test_services_are_the_components_and_the_one_shot_config() -> None:
    """A component that only one of the two knows would be missing in one runtime."""
    assert set(services()) == {c.name for c in COMPONENTS} | {"config"}


@pytest.mark.parametrize("instance", [0, 13])
def test_published_addresses_are_those_of_the_topology(instance: int) -> None:
    """Exactly what the process runtime would bind, for each component."""
    topology = Topology(STACK, instance=instance, runtime="docker")
    found = {
        (name, address, outer, udp)
        for name, service in services(instance).items()
        for address, outer, _, udp in published(service)
    }
    assert found == {(need.component, need.address, need.port, need.udp) for need in ports.needs(topology)}


def test_ports_lead_to_what_listens_inside() -> None:
    """Links end at the port on which toxiproxy listens in its container, all else at the port of the same number."""
    inside = {(link.listen_address, link.listen_port): link.inside_port for link in Topology(STACK).links}
    for service in services().values():
        for address, outer, inner, _ in published(service):
            assert inner == inside.get((address, outer), outer)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_each_container_sees_its_own_configuration_only(component: Component) -> None:
    """Neither the gateways' keys nor anybody else's files, through a mount of a folder that holds them."""
    own = f"../.state/7/config/{component.name}:/etc/drillyard/{component.name}:ro"
    mounts = services(7)[component.name]["volumes"]
    assert [mount for mount in mounts if ".state" in mount] == [own]
    assert {mount.partition(":")[0] for mount in mounts} - {own.partition(":")[0]} <= {"logs", "../.tools/models"}


def test_the_configuration_is_written_where_it_is_mounted() -> None:
    """Only the one-shot service sees the whole folder, and none has a mount by way of a default or another file."""
    assert services(7)["config"]["volumes"][0] == "../.state/7:/state"
    for file in ("compose.image.yaml", "compose.gpu.yaml"):
        assert not any("volumes" in service for service in services(7, file).values())


def test_nothing_is_published_beyond_loopback() -> None:
    """A port without a loopback address would be open to the network."""
    for service in services().values():
        assert all(address.startswith("127.") for address, *_ in published(service))


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_no_container_asks_its_stack_through_a_proxy(component: Component) -> None:
    """Docker's configuration may name proxies for all containers; only a replica fetches something, a model."""
    service = services()[component.name]
    told = service.get("environment", {})
    assert component.role == "replica" or (told["no_proxy"], told["NO_PROXY"]) == ("*", "*")
    check = service["healthcheck"]["test"]
    assert "curl" not in check or check[check.index("--noproxy") + 1] == "*"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_each_component_is_run_as_described(component: Component) -> None:
    """Role, dependencies, restart policy, memory limit and health check."""
    service = services()[component.name]
    assert service["labels"]["drillyard.role"] == component.role
    assert set(service["depends_on"]) - {"config"} == set(component.depends_on)
    assert service["depends_on"]["config"] == {"condition": "service_completed_successfully"}
    assert service["restart"] == "always"  # vLLM exits 0 when its engine dies: on-failure would leave it
    assert service["deploy"]["resources"]["limits"]["memory"]
    if component.liveness_path is not None:
        url = f"http://127.0.0.1:{component.ports[component.probe_port]}{component.liveness_path}"
        assert service["healthcheck"]["test"][-1] == url


def test_every_image_has_a_target() -> None:
    """What is not built here would be pulled from a registry under our name."""
    images = {service["image"].partition(":")[0] for service in services().values()}
    assert images <= {f"drillyard/{target}" for target in TARGETS}


def test_every_service_carries_the_instance() -> None:
    """The labels by which a runtime finds, and leaves alone, what is and what is not its own."""
    for service in services(5).values():
        assert service["labels"]["drillyard.instance"] == "5"
        assert "drillyard.instance_id" in service["labels"]


@pytest.mark.parametrize("file", ["compose.image.yaml", "compose.gpu.yaml"])
def test_overlays_change_replicas_only(file: str) -> None:
    """They replace the image of each replica and nothing of anybody else."""
    found = services(0, file)
    assert set(found) == set(STACK.of("replica"))
    assert all("image" in service for service in found.values())
