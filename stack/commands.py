"""How each component is started as a process of this host.

Environments are complete, not additions: a component sees nothing else of the caller's environment. Folders are
those of stack/state.py: ``<instance folder>/config/<component>`` and ``<instance folder>/data/<component>``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.errors import UsageError
from harness.model.topology import Component, Topology
from stack import engines, gateway, proxies, tools
from stack.middleware.drillyard_engine import TOKEN_VARIABLE
from stack.state import CHECKOUT, COMPONENT_VARIABLE, socket_folder

#: Engines yield to everything else: on a small machine the load generator must keep its schedule.
ENGINE_NICENESS = 10

#: Of the caller's environment, what vLLM needs to fetch a model from a hub, perhaps through a proxy.
_HUB = ("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
#: Of every component's environment, what the caller's shell decides.
_CALLERS = frozenset({"PATH", "HOME"})


@dataclass(frozen=True)
class Command:
    """One process: its arguments (the program first, absolute), whole environment, niceness and working folder.

    ``incidental`` are variables of ``env`` in which another value is no reason to start a running stack again.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    nice: int = 0
    cwd: Path = CHECKOUT
    incidental: frozenset[str] = _CALLERS


@dataclass(frozen=True)
class Start:
    """A component that is to be started: with the folders of its configuration and its data."""

    topology: Topology
    component: Component
    config: Path
    data: Path
    engine_token: str  # for which an engine resets its cache


def command(topology: Topology, component: Component, config_folder: Path, engine_token: str) -> Command:
    """The process that is ``component``. Raises MissingTool when its program or model is not there.

    ``engine_token``: for which an engine resets its cache. UsageError for a role that nobody can start.
    """
    if component.role not in _BY_ROLE:
        raise UsageError(
            f"{component.name} of the stack {topology.stack.name}: found the role {component.role!r}, "
            f"expected one of {', '.join(_BY_ROLE)}"
        )
    config, data = config_folder / component.name, data_folder(config_folder, component.name)
    return _BY_ROLE[component.role](Start(topology, component, config, data, engine_token))


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


def _tool(name: str, start: Start, arguments: list[str], **environment: str) -> Command:
    tool = tools.require(name)
    whole = {**_environment(start.component), **tool.env, **environment}
    return Command([str(tool.path), *arguments], whole, cwd=start.data)


def _replica(start: Start) -> Command:
    topology, component = start.topology, start.component
    arguments, extra = engines.engine_command(topology, component.name, component.address, component.ports["http"])
    environment = {**_environment(component), **extra, TOKEN_VARIABLE: start.engine_token}
    if topology.engine == "sim":
        return Command([sys.executable, *arguments], environment, ENGINE_NICENESS)
    python = tools.require("vllm-python")
    # Not started in the checkout: `-m` puts the working folder first in the path of vLLM's own imports.
    hub = {name: os.environ[name] for name in _HUB if name in os.environ}
    hub |= proxies.excluding_loopback(os.environ, sorted({one.address for one in topology.components}))
    whole = {**hub, **environment, **python.env}
    return Command([str(python.path), *arguments], whole, ENGINE_NICENESS, start.data, _CALLERS | hub.keys())


def _gateway(start: Start) -> Command:
    program, arguments = gateway.kind_of(start.component).start(start.config)
    return _tool(program, start, arguments)


def _toxiproxy(start: Start) -> Command:
    api = ["-proxy-metrics", "-host", start.component.address, "-port", str(start.component.ports["api"])]
    arguments = [*api, "-config", str(start.config / "toxiproxy.json")]
    return _tool("toxiproxy-server", start, arguments, LOG_LEVEL="warn")  # by default several lines a connection


def _tunnel(start: Start) -> Command:
    assert start.topology.target is not None
    ends = [end for end in start.topology.target.endpoints.values() if end.tunnel]
    words = [word for end in ends for word in (end.tunnel, f"{end.bracketed}:{end.port}", end.proxy)]
    named = {end.proxy: os.environ[end.proxy] for end in ends if end.proxy in os.environ}
    return Command([sys.executable, "-m", "stack.tunnel", *words], {**_environment(start.component), **named})


def _dns(start: Start) -> Command:
    arguments = [
        f"--config-dir={start.config}",
        f"--socket-dir={socket_folder(start.topology)}",
        *("--daemon=no", "--guardian=no", "--write-pid=no", "--disable-syslog=yes"),
    ]
    return _tool("pdns_server", start, arguments)


def _prometheus(start: Start) -> Command:
    arguments = [
        f"--config.file={start.config / 'prometheus.yml'}",
        f"--storage.tsdb.path={start.data}",
        "--storage.tsdb.retention.time=1d",
        "--storage.tsdb.retention.size=256MB",
        f"--web.listen-address={start.component.address}:{start.component.ports['http']}",
    ]
    return _tool("prometheus", start, arguments)


def _alertmanager(start: Start) -> Command:
    arguments = [
        f"--config.file={start.config / 'alertmanager.yml'}",
        f"--storage.path={start.data}",
        f"--web.listen-address={start.component.address}:{start.component.ports['http']}",
        "--cluster.listen-address=",  # one Alertmanager is no cluster; without this it gossips on every interface
    ]
    return _tool("alertmanager", start, arguments)


def _exporter(start: Start) -> Command:
    arguments = ["-m", "stack.exporter", "--config", str(start.config / "exporter.json")]
    return Command([sys.executable, *arguments], _environment(start.component))


#: Role -> how a component of that role is started.
_BY_ROLE: Mapping[str, Callable[[Start], Command]] = {
    "replica": _replica,
    "gateway": _gateway,
    "toxiproxy": _toxiproxy,
    "tunnel": _tunnel,
    "dns": _dns,
    "prometheus": _prometheus,
    "alertmanager": _alertmanager,
    "exporter": _exporter,
}
