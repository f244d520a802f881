"""How each component is started as a process of this host.

Environments are complete, not additions: a component sees nothing else of the caller's environment. Folders are
those of stack/state.py: ``<instance folder>/config/<component>`` and ``<instance folder>/data/<component>``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.model.topology import Component, Topology
from stack import engines, proxies, tools
from stack.middleware.drillyard_engine import TOKEN_VARIABLE
from stack.state import CHECKOUT, COMPONENT_VARIABLE, socket_folder

#: Engines yield to everything else: on a small machine the load generator must keep its schedule.
ENGINE_NICENESS = 10

#: Of the caller's environment, what vLLM needs to fetch a model from a hub, perhaps through a proxy.
_HUB = ("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
HUB_VARIABLES = (*_HUB, *proxies.VARIABLES)


@dataclass(frozen=True)
class Command:
    """One process: its arguments (the program first, absolute), whole environment, niceness and working folder."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    nice: int = 0
    cwd: Path = CHECKOUT


def command(topology: Topology, component: Component, config_folder: Path, engine_token: str) -> Command:
    """The process that is ``component``. Raises MissingTool when its program or model is not there.

    ``engine_token``: for which an engine resets its cache.
    """
    config, data = config_folder / component.name, data_folder(config_folder, component.name)
    match component.role:
        case "replica":
            return _replica(topology, component, data, engine_token)
        case "gateway":
            return _tool("haproxy", component, ["-db", "-f", str(config / "haproxy.cfg")], data)
        case "toxiproxy":
            api = ["-proxy-metrics", "-host", component.address, "-port", str(component.ports["api"])]
            started = _tool("toxiproxy-server", component, [*api, "-config", str(config / "toxiproxy.json")], data)
            return replace(started, env={**started.env, "LOG_LEVEL": "warn"})  # by default several lines a connection
        case "tunnel":
            return _tunnel(topology, component)
        case "dns":
            return _tool("pdns_server", component, _pdns(topology, config), data)
        case "prometheus":
            return _tool("prometheus", component, _prometheus(component, config, data), data)
        case "alertmanager":
            return _tool("alertmanager", component, _alertmanager(component, config, data), data)
        case "exporter":
            arguments = ["-m", "stack.exporter", "--config", str(config / "exporter.json")]
            return Command([sys.executable, *arguments], _environment(component))
        case other:
            raise ValueError(f"component {component.name}: unknown role {other!r}")


def data_folder(config_folder: Path, component: str) -> Path:
    """Where ``component`` may write; its working folder where it has no other."""
    return config_folder.parent / "data" / component


def _environment(component: Component) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # logs are read while the component runs
        COMPONENT_VARIABLE: component.name,
    }


def _tool(name: str, component: Component, arguments: list[str], data: Path) -> Command:
    tool = tools.require(name)
    return Command([str(tool.path), *arguments], {**_environment(component), **tool.env}, cwd=data)


def _tunnel(topology: Topology, component: Component) -> Command:
    assert topology.target is not None
    ends = [end for end in topology.target.endpoints.values() if end.tunnel]
    words = [word for end in ends for word in (end.tunnel, f"{end.bracketed}:{end.port}", end.proxy)]
    named = {end.proxy: os.environ[end.proxy] for end in ends if end.proxy in os.environ}
    return Command([sys.executable, "-m", "stack.tunnel", *words], {**_environment(component), **named})


def _replica(topology: Topology, component: Component, data: Path, token: str) -> Command:
    arguments, extra = engines.engine_command(topology, component.name, component.address, component.ports["http"])
    environment = {**_environment(component), **extra, TOKEN_VARIABLE: token}
    if topology.engine == "sim":
        return Command([sys.executable, *arguments], environment, ENGINE_NICENESS)
    python = tools.require("vllm-python")
    # Not started in the checkout: `-m` puts the working folder first in the path of vLLM's own imports.
    hub = {name: os.environ[name] for name in _HUB if name in os.environ}
    hub |= proxies.excluding_loopback(os.environ, sorted({one.address for one in topology.components}))
    return Command([str(python.path), *arguments], {**hub, **environment, **python.env}, ENGINE_NICENESS, cwd=data)


def _pdns(topology: Topology, config: Path) -> list[str]:
    return [
        f"--config-dir={config}",
        f"--socket-dir={socket_folder(topology)}",
        *("--daemon=no", "--guardian=no", "--write-pid=no", "--disable-syslog=yes"),
    ]


def _prometheus(component: Component, config: Path, data: Path) -> list[str]:
    return [
        f"--config.file={config / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=1d",
        "--storage.tsdb.retention.size=256MB",
        f"--web.listen-address={component.address}:{component.ports['http']}",
    ]


def _alertmanager(component: Component, config: Path, data: Path) -> list[str]:
    return [
        f"--config.file={config / 'alertmanager.yml'}",
        f"--storage.path={data}",
        f"--web.listen-address={component.address}:{component.ports['http']}",
        "--cluster.listen-address=",  # one Alertmanager is no cluster; without this it gossips on every interface
    ]
