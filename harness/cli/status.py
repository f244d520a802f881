"""``harness status``: what runs, where, since when, and how the gateways use the replicas; as tables or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from harness.adapters.gateway import Gateway, connect
from harness.cli import arguments
from harness.judge import capacity
from harness.model.errors import AdapterError, StackError
from harness.model.topology import Topology
from harness.plan import capacity_store, runtime
from harness.plan.options import StackOptions, build_topology
from harness.run.terminal import Console
from stack.runtimes.base import ComponentState, Runtime
from stack.state import StackState

ORDER, HELP = 120, "what runs, and where"
#: Gateway -> replica -> ``state``, ``weight`` in per cent, ``healthy``; None: the gateway does not answer.
Views = dict[str, dict[str, dict[str, Any]] | None]
_COLOURS = {"running": "green", "starting": "yellow", "paused": "yellow", "stopped": "dim", "failed": "red"}


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which stack, and how it is shown."""
    arguments.add_stack(parser, environment)
    parser.add_argument("--json", action="store_true", help="as data, with every address")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Show it."""
    return status(arguments.stack(options), as_json=options.json)


def status(options: StackOptions, as_json: bool = False, console: Console | None = None) -> int:
    """Print every component's state; 1 when one of a started stack does not run, else 0.

    Where nothing was started that is one line. JSON is one object, see ``as_data``.
    """
    console = console or Console(highlight=False)
    found = runtime.running(options)
    if found is None:
        topology = build_topology(options)
        states = tuple(ComponentState(c.name, "missing", None, None, 0) for c in topology.components)
        data, views = as_data(topology, states, None), Views()
    else:
        stack, state = found
        topology, states = stack.topology, stack.states()
        data, views = as_data(topology, states, state), gateway_views(stack)
    store = capacity_store.store_of(topology)
    entry = store.load() if topology.target is None else capacity_store.Entry()
    accepted = None if entry.accepted is None else capacity.as_data(entry.accepted)
    data["gateways"] = views
    data["capacity"] = {"accepted": accepted, "regression": entry.regression}
    if as_json:
        console.print(json.dumps(data, indent=2), markup=False, soft_wrap=True)
    else:
        if found is None:
            place = f"instance {topology.instance}: nothing runs; `make up` starts a stack, each drill its own"
            console.print(place, markup=False, soft_wrap=True)
        else:
            _print_table(console, topology, states, data)
            _print_views(console, topology, views)
        for line in capacity_store.lines(store, entry):
            console.print(line, markup=False, soft_wrap=True)
    return 0 if data["up"] or found is None else 1


def gateway_views(stack: Runtime) -> Views:
    """How each gateway uses each replica, by its own account."""
    return {gateway: _view(connect(stack, gateway)) for gateway in stack.topology.gateways}


def _view(gateway: Gateway) -> dict[str, dict[str, Any]] | None:
    try:
        servers, healthy = gateway.servers(), gateway.healthy()
        return {name: {**vars(server), "healthy": healthy.get(name)} for name, server in servers.items()}
    except (AdapterError, StackError):
        return None


def as_data(topology: Topology, states: tuple[ComponentState, ...], state: StackState | None) -> dict[str, Any]:
    """The status as plain data; runtime, engine and instance id are null when nothing runs."""
    by_name = {component.name: component for component in states}
    toxiproxy = topology.component("toxiproxy")
    return {
        "instance": topology.instance,
        "instance_id": state.instance_id if state else None,
        "runtime": state.runtime if state else None,
        "engine": topology.engine if state else None,
        "started": state.started if state else None,
        "fingerprint": state.fingerprint if state else None,
        "up": all(component.state == "running" for component in states),
        "toxiproxy_api": toxiproxy.url("api"),
        "components": [
            {
                "name": c.name,
                "role": c.role,
                "state": by_name[c.name].state,
                "pid": by_name[c.name].pid,
                "since_s": by_name[c.name].since_s,
                "restarts": by_name[c.name].restarts,
                "address": c.address,
                "ports": dict(c.ports),
            }
            for c in topology.components
        ],
        "links": [
            {
                "name": link.name,
                "source": link.source,
                "target": link.target,
                "listen": f"{link.listen_address}:{link.listen_port}",
            }
            for link in topology.links
        ],
    }


def _print_table(
    console: Console, topology: Topology, states: tuple[ComponentState, ...], data: dict[str, Any]
) -> None:
    title = f"instance {topology.instance}, runtime {data['runtime']}, engine {data['engine']}"
    table = Table(title=title, title_justify="left")
    for heading in ("component", "state", "address", "since"):
        table.add_column(heading, no_wrap=True)
    for state in states:
        component = topology.component(state.name)
        restarts = f", {state.restarts} restarts" if state.restarts else ""
        colour = _COLOURS.get(state.state, "dim")
        address = f"{component.address}:{next(iter(component.ports.values()))}"
        table.add_row(state.name, f"[{colour}]{state.state}[/]{restarts}", address, _since(state.since_s))
    console.print(table)


def _print_views(console: Console, topology: Topology, views: Views) -> None:
    if not views:
        return
    table = Table(title="replicas as the gateways use them", title_justify="left")
    for heading in ("replica", *views):
        table.add_column(heading, no_wrap=True)
    for replica in topology.replicas:
        cells = ("[red]no answer[/]" if view is None else _use(view.get(replica)) for view in views.values())
        table.add_row(replica, *cells)
    console.print(table)


def _use(server: dict[str, Any] | None) -> str:
    """One replica at one gateway, in the port's words for states: ready, drain, maint."""
    if server is None:
        return "[red]not known[/]"
    weight = "" if server["weight"] == 100 else f", weight {server['weight']} %"
    text = f"{server['state']}, {'healthy' if server['healthy'] else 'unhealthy'}{weight}"
    return f"[{'green' if text == 'ready, healthy' else 'yellow'}]{text}[/]"


def _since(since_s: float | None) -> str:
    if since_s is None:
        return "–"
    minutes, seconds = divmod(int(since_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
