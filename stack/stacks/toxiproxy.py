"""The component that all links of a stack run through."""

from __future__ import annotations

from collections.abc import Iterable

from harness.model.topology import CLIENT, Component, Link


def component(links: Iterable[Link], depends_on: tuple[str, ...] = ()) -> Component:
    """Its ports are that of its API and those of the links; links of clients have addresses of their own."""
    inner = {link.name: link.listen_port for link in links if link.source != CLIENT}
    return Component(
        "toxiproxy",
        "toxiproxy",
        "127.0.0.5",
        {"api": 8474, **inner},
        depends_on=depends_on,
        liveness_path="/version",
        probe_port="api",
    )
