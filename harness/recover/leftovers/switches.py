"""Replicas of the simulator that still do something wrong on purpose, which no run has asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.adapters.simulator import Simulator
from harness.faults import simulator
from harness.faults.base import take_back
from harness.recover.leftovers.base import Leftover, Site
from stack.simulator.behaviour import Behaviour


def find(site: Site) -> Iterator[Leftover]:
    """Switches that do not stand as a healthy engine's. AdapterError when a replica does not tell."""
    context = site.context
    if context is None or context.topology.engine != "sim" or context.topology.runtime != "process":
        return  # only there switches can be reached
    for replica in context.topology.replicas:
        if site.states[replica].state != "running":
            continue  # found among the components; it starts healthy
        healthy = Behaviour().model_dump()
        found = Simulator(context.topology.component(replica).url()).behaviour()
        on = {name: value for name, value in found.items() if value != healthy.get(name)}
        if on:
            what = f"{replica} still has defects switched on: {', '.join(f'{n} = {v}' for n, v in on.items())}"
            repair = partial(take_back, context, simulator.undo(replica))
            yield site.leftover("defect", what, "they are switched off", repair)
