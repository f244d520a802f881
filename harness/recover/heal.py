"""Takes back what a run has injected. One way for everybody who does it: the harness, the watchdog, the doctor."""

from __future__ import annotations

import time
from dataclasses import replace

from harness.adapters.toxiproxy import Toxiproxy
from harness.evidence.record import EventLog
from harness.faults.base import FaultContext, take_back, undo_actions
from harness.model.journal import Journal, Undo
from harness.model.topology import Topology
from harness.probes.path import PathProbe
from stack import state
from stack.engines import DEPLOYMENT
from stack.runtimes import readiness
from stack.runtimes.base import Runtime
from stack.runtimes.select import select

#: For each order to toxiproxy. A removal that hangs costs two of them before toxiproxy is restarted: well below the
#: five seconds within which everything is rolled back.
ORDER_WITHIN_S = 1.0
#: What could not be rolled back is tried again so often.
AGAIN_EVERY_S = 1.0
#: After a heal every component is ready again within this, or somebody has to look at it.
READY_WITHIN_S = 300.0
_POLL_S = 0.5


def context(runtime: Runtime) -> FaultContext:
    """What healing acts on. It crosses no link, so there is no key in it."""
    undo_actions()  # loaded now: the checkout may be gone when they are needed
    api = runtime.topology.component("toxiproxy")
    toxiproxy = Toxiproxy(api.address, api.ports["api"], ORDER_WITHIN_S)
    return FaultContext(runtime, toxiproxy, PathProbe(runtime.topology, "", DEPLOYMENT))


def here(topology: Topology) -> FaultContext:
    """What healing acts on, where the stack's files are now: the checkout may have been renamed meanwhile."""
    state.follow_checkout()
    return context(select(topology.runtime, topology)[0])


def take_everything_back(context: FaultContext, journal: Journal, log: EventLog, within_s: float, by: str) -> list[str]:
    """Replay the journal until nothing is open, ``within_s`` at most; what is injected still, one sentence each.

    ``by`` is who does it, for the report.
    """

    recorded = replace(context, tell=log.add)

    def run(undo: Undo) -> None:
        take_back(recorded, undo)
        log.add("fault_healed", fault=undo.id, phase=undo.phase, on_exit=True, by=by)

    deadline = time.monotonic() + within_s
    while problems := journal.replay(run, min(within_s, max(0.1, deadline - time.monotonic()))):
        if time.monotonic() + AGAIN_EVERY_S > deadline:
            break
        time.sleep(AGAIN_EVERY_S)
    return problems


def gone_with_the_stack(journal: Journal, undo: Undo, log: EventLog) -> None:
    """The stack that it was injected into does not run any more: nothing of it is left, and nothing is done."""
    log.add("note", text=f"{undo.id}: the stack that it was injected into is gone")
    log.add("fault_healed", fault=undo.id, phase=undo.phase, on_exit=True, by="the shutdown of the stack")
    journal.done(undo)


def watch_start(runtime: Runtime, log: EventLog, within_s: float = READY_WITHIN_S) -> None:
    """Wait until the stack is ready again, and record what became ready when, or what did not."""
    began = time.monotonic()
    waiting: dict[str, str] = {}
    while True:
        unready = readiness.unready(runtime.topology)
        waited_s = round(time.monotonic() - began, 1)
        for what in sorted(waiting.keys() - unready.keys()):
            log.add("component_ready", component=what, after_s=waited_s)
        waiting = unready
        if not waiting:
            return
        if waited_s > within_s:
            left = "; ".join(f"{what}: {why}" for what, why in waiting.items())
            log.add("cleanup_problem", why=f"not ready {waited_s:.0f} s after the heal: {left}")
            return
        time.sleep(_POLL_S)
