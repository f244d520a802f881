"""Renders every component's configuration from the topology: ``render``.

=========================================== ===================================================================
a folder for each gateway                   what its software reads (stack/gateway/)
toxiproxy/toxiproxy.json                    one proxy per link
dns/                                        pdns.conf, named.conf, service.zone
exporter/                                   exporter.json
prometheus/, alertmanager/                  prometheus.yml, rules.yml; alertmanager.yml
=========================================== ===================================================================

Process runtime: components bind to their own loopback address and read their files where they were rendered. Docker:
they bind to all interfaces of their container and find the files at ``/etc/drillyard/<component>/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.model.topology import Topology
from stack import gateway
from stack.dns import zone
from stack.exporter.config import exporter_files
from stack.keys import Keys
from stack.monitoring import monitoring


def render(topology: Topology, keys: Keys, folder: Path) -> None:
    """Write ``folder/<component>/…`` for every component that has a configuration; ``folder`` becomes mode 700.

    For containers the files themselves are readable by all: another user reads them there. Equal arguments give equal
    bytes.
    """
    enter, read = (0o755, 0o644) if topology.runtime == "docker" else (0o700, 0o600)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for component in topology.components:
        if component.role not in _BY_ROLE:
            continue
        target, path = folder / component.name, config_path(topology, folder, component.name)
        target.mkdir(exist_ok=True)  # never another one: a container that has it mounted would keep the old one
        target.chmod(enter)
        for old in target.iterdir():
            old.unlink()  # what an earlier version rendered must not be read by this one
        for name, text in _BY_ROLE[component.role](topology, keys, component.name).items():
            (target / name).write_text(text.replace("@CONFIG@", path))
            (target / name).chmod(read)


def config_path(topology: Topology, folder: Path, component: str) -> str:
    """The folder in which ``component`` itself finds its files."""
    return f"/etc/drillyard/{component}" if topology.runtime == "docker" else str((folder / component).resolve())


def proxies(topology: Topology) -> list[dict[str, Any]]:
    """Toxiproxy's proxies, one per link, as its API takes them."""
    docker = topology.runtime == "docker"
    return [
        {
            "name": link.name,
            "listen": f"0.0.0.0:{link.inside_port}" if docker else f"{link.listen_address}:{link.listen_port}",
            "upstream": _upstream(topology, link.target),
            "enabled": True,
        }
        for link in topology.links
    ]


def _gateway(topology: Topology, keys: Keys, name: str) -> dict[str, str]:
    return gateway.kind_of(topology.component(name)).files(topology, keys, name)


def _upstream(topology: Topology, name: str) -> str:
    if topology.target is not None:
        return topology.target.service.pinned
    return f"{topology.seen_by_components(name)}:{topology.component(name).ports['http']}"


#: Role -> the files of a component of that role, by name: a role that is not here has none. In their text ``@CONFIG@``
#: stands for the folder in which the component finds them.
_BY_ROLE: Mapping[str, Callable[[Topology, Keys, str], dict[str, str]]] = {
    "gateway": _gateway,
    "toxiproxy": lambda topology, keys, name: {"toxiproxy.json": json.dumps(proxies(topology), indent=2) + "\n"},
    "dns": lambda topology, keys, name: zone.files(topology, "@CONFIG@"),
    "exporter": lambda topology, keys, name: exporter_files(topology),
    "prometheus": lambda topology, keys, name: monitoring.prometheus_files(topology),
    "alertmanager": lambda topology, keys, name: monitoring.alertmanager_files(topology),
}
