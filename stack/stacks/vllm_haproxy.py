"""vLLM replicas behind HAProxy gateways: toxiproxy on every link, DNS in front, monitoring beside.

Last bytes of the addresses: 5 toxiproxy, 11 to 19 gateways, 21 to 52 replicas, 53 DNS, 90 Prometheus, 91 the exporter,
93 Alertmanager, 111 to 119 where clients reach the gateways. Inside, a link's port is 21000 + 10 × its gateway + its
replica; from the tenth replica on, 1000 more for every ten.
"""

from __future__ import annotations

from string import ascii_lowercase

from harness.model.topology import CLIENT, SERVICE_PORT, Component, Link, Stack
from stack.stacks import toxiproxy

#: The address plan of an instance has room for no more.
GATEWAYS_MAX, REPLICAS_MAX = 9, 32


def stack(gateways: int = 2, replicas: int = 2) -> Stack:
    """Gateways are called gateway-a, gateway-b, …, replicas replica-1, replica-2, …

    ValueError for none of either, and for more than there is room for.
    """
    for what, count, most in (("gateways", gateways, GATEWAYS_MAX), ("replicas", replicas, REPLICAS_MAX)):
        if not 1 <= count <= most:
            raise ValueError(f"{what}={count}: expected 1 to {most}")
    fronts = tuple(f"gateway-{letter}" for letter in ascii_lowercase[:gateways])
    engines = tuple(f"replica-{number}" for number in range(1, replicas + 1))
    links = (*_links_of_clients(fronts), *_links_of_gateways(fronts, engines))
    return Stack(
        "vllm-haproxy",
        (
            *_replicas(engines),
            toxiproxy.component(links),
            *_gateways(fronts),
            Component("dns", "dns", "127.0.0.53", {"dns": 5300}, depends_on=fronts),
            *_monitoring((*fronts, *engines)),
        ),
        links,
    )


def _replicas(names: tuple[str, ...]) -> list[Component]:
    return [
        Component(
            name,
            "replica",
            f"127.0.0.{20 + i}",
            {"http": 8000},
            liveness_path="/health",
            readiness_path="/v1/models",
        )
        for i, name in enumerate(names, 1)
    ]


def _gateways(names: tuple[str, ...]) -> list[Component]:
    return [
        Component(
            name,
            "gateway",
            f"127.0.0.{10 + i}",
            {"http": 8080, "metrics": 8404},
            depends_on=("toxiproxy",),
            liveness_path="/livez",
            readiness_path="/readyz",
            kind="haproxy",
        )
        for i, name in enumerate(names, 1)
    ]


def _monitoring(watched: tuple[str, ...]) -> tuple[Component, ...]:
    exporter = Component(
        "exporter",
        "exporter",
        "127.0.0.91",
        {"http": 9109, "agent": 9110},
        depends_on=watched,
        liveness_path="/healthz",
    )
    alertmanager = Component(
        "alertmanager",
        "alertmanager",
        "127.0.0.93",
        {"http": 9093},
        depends_on=("exporter",),
        liveness_path="/-/healthy",
        readiness_path="/-/ready",
    )
    prometheus = Component(
        "prometheus",
        "prometheus",
        "127.0.0.90",
        {"http": 9090},
        depends_on=("alertmanager",),
        liveness_path="/-/healthy",
        readiness_path="/-/ready",
    )
    return exporter, alertmanager, prometheus


def _links_of_clients(gateways: tuple[str, ...]) -> list[Link]:
    return [
        Link(f"client-to-{name}", CLIENT, name, f"127.0.0.{110 + i}", SERVICE_PORT, 20000 + i)
        for i, name in enumerate(gateways, 1)
    ]


def _links_of_gateways(gateways: tuple[str, ...], replicas: tuple[str, ...]) -> list[Link]:
    ports = {
        (gateway, replica): 21000 + 1000 * (r // 10) + 10 * g + r % 10
        for g, gateway in enumerate(gateways, 1)
        for r, replica in enumerate(replicas, 1)
    }
    return [
        Link(f"{gateway}-to-{replica}", gateway, replica, "127.0.0.5", port, port, protocol="pinned chat")
        for (gateway, replica), port in ports.items()
    ]


STACK = stack()
