"""``harness status``: what runs, where, since when; as a table or as JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from harness.judge import capacity
from harness.model.topology import Topology
from harness.plan import capacity_store, runtime
from harness.plan.options import StackOptions, build_topology
from harness.run.terminal import Console
from stack.runtimes.base import ComponentState
from stack.state import StackState

_COLOURS = {"running": "green", "starting": "yellow", "paused": "yellow", "stopped": "dim", "failed": "red"}


def status(options: StackOptions, as_json: bool = False, console: Console | None = None) -> int:
    """Print every component's state; 0 when all of them run, 1 otherwise. JSON is one object, see ``as_data``."""
    console = console or Console(highlight=False)
    found = runtime.running(options)
    if found is None:
        topology = build_topology(options)
        states = tuple(ComponentState(c.name, "missing", None, None, 0) for c in topology.components)
        data = as_data(topology, states, None)
    else:
        stack, state = found
        topology, states = stack.topology, stack.states()
        data = as_data(topology, states, state)
    store = capacity_store.store_of(topology)
    entry = store.load() if topology.target is None else capacity_store.Entry()
    accepted = None if entry.accepted is None else capacity.as_data(entry.accepted)
    data["capacity"] = {"accepted": accepted, "regression": entry.regression}
    if as_json:
        console.print(json.dumps(data, indent=2), markup=False, soft_wrap=True)
    else:
        _print_table(console, topology, states, data)
        for line in capacity_store.lines(store, entry):
            console.print(line, markup=False, soft_wrap=True)
    return 0 if data["up"] else 1


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
    if data["runtime"] is None:
        title = f"instance {topology.instance}: nothing runs"
    else:
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


def _since(since_s: float | None) -> str:
    if since_s is None:
        return "–"
    minutes, seconds = divmod(int(since_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
