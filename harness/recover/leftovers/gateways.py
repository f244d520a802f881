"""Gateways that use a replica otherwise than configured: drained, in maintenance, or with another weight."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from harness.adapters.gateway import connect
from harness.faults.base import FaultContext, take_back
from harness.model.errors import AdapterError
from harness.model.journal import Undo
from harness.recover.leftovers.base import Leftover, Site

#: A gateway that has just been started answers within this.
ANSWERS_WITHIN_S = 3.0


def find(site: Site) -> Iterator[Leftover]:
    """Each replica that a running gateway does not use as it should; a gateway that cannot be asked."""
    context = site.context
    for gateway in context.topology.components if context is not None else ():
        if context is None or gateway.role != "gateway" or site.states[gateway.name].state != "running":
            continue  # one that does not run is found among the components, and has forgotten what it was told
        try:
            servers = connect(context.runtime, gateway.name).servers()
        except AdapterError as error:
            remedy = "it is restarted if it goes on so"
            yield site.leftover("gateway", str(error), remedy, partial(_restart, context, gateway.name))
            continue
        for replica, found in servers.items():
            if found.state != "ready" or found.weight != 100:
                what = f"{gateway.name} has {replica} in state {found.state} with weight {found.weight} %"
                remedy = "it is made ready with weight 100 %"
                yield site.leftover("server", what, remedy, partial(_restore, context, gateway.name, replica))


def _restore(context: FaultContext, gateway: str, replica: str) -> None:
    arguments = {"gateway": gateway, "replica": replica, "state": "ready", "weight": 100}
    take_back(context, Undo(f"doctor/{gateway}/{replica}", "restore_server", arguments))


def _restart(context: FaultContext, gateway: str) -> None:
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(AdapterError):
            connect(context.runtime, gateway).servers()
            return
        time.sleep(0.2)
    context.runtime.kill(gateway)
