"""What the exporter is told: ``exporter.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.model.topology import Topology
from stack import gateway
from stack.engines import DEPLOYMENT


@dataclass(frozen=True)
class Config:
    """Addresses, what to ask, where the gateways' access logs lie. Times in seconds."""

    host: str
    port: int
    agent_port: int
    replicas: dict[str, str]  # replica -> base URL, its own address: past gateways and links
    gateway_logs: dict[str, str]  # gateway -> access log
    gateway_kinds: dict[str, str]  # gateway -> its software, whose log that is: a kind in stack/gateway/
    deployment: str = DEPLOYMENT
    synthetic_period_s: float = 2.0
    synthetic_deadline_s: float = 2.0
    synthetic_fall: int = 2  # deadlines in vain after which a replica is deaf
    own_groups: bool = False  # the exporter's cgroups hold the whole stack: their limits are the stack's

    @classmethod
    def read(cls, path: Path) -> Config:
        """The stored configuration; TypeError for an unknown or missing key."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def exporter_files(topology: Topology) -> dict[str, str]:
    """exporter.json. ``@CONFIG@`` stands for the exporter's own configuration folder, as in stack/config.py.

    The logs lie beside that folder in the process runtime, in a volume of the gateways' in Docker.
    """
    docker = topology.runtime == "docker"
    logs = "/var/log/drillyard" if docker else "@CONFIG@/../../logs"
    component = topology.component("exporter")
    config = Config(
        host="0.0.0.0" if docker else component.address,
        port=component.ports["http"],
        agent_port=component.ports["agent"],
        replicas={
            name: f"http://{topology.seen_by_components(name)}:{topology.component(name).ports['http']}"
            for name in topology.replicas
        },
        gateway_logs={name: f"{logs}/{name}.log" for name in topology.gateways},
        gateway_kinds={one.name: kind for kind, found in gateway.by_kind(topology).items() for one in found},
        synthetic_period_s=topology.gateway_policy.readiness_period_s,
        synthetic_deadline_s=topology.gateway_policy.readiness_deadline_s,
        synthetic_fall=topology.gateway_policy.readiness_fall,
        own_groups=not docker,
    )
    return {"exporter.json": json.dumps(asdict(config), indent=2) + "\n"}
