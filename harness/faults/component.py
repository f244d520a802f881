"""What all faults of a whole component share: proof by its signs of life (harness/probes/health.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from harness.faults.base import FaultContext, Healing, Proof, fault_id, nothing_countable, read_back
from harness.model.errors import FaultError
from harness.model.journal import Undo
from harness.model.topology import Topology
from harness.probes.health import Health, probe
from stack.runtimes import family
from stack.runtimes.base import ComponentState, Freezes, able

#: How long a sign of life is waited for while we look for an effect.
LOOK_S = 4.0
#: How long service may take to be back: an engine starts for most of that time, and others may wait for one behind.
HEALED_WITHIN_S = 120.0

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class ComponentFault(Generic[OptionsT]):
    """A fault of one component with all its processes. Subclasses give ``heals_by`` and ``inject``."""

    type: ClassVar[str]
    heals_by: ClassVar[str]  # the undo action
    expected_disruptions: ClassVar[tuple[str, ...]] = ("gaps", "restarts")
    lasts: ClassVar[bool] = True
    proven_again: ClassVar[bool] = True
    silences: ClassVar[bool] = False
    counts = staticmethod(nothing_countable)

    def __init__(self, phase: str, on: str, options: OptionsT) -> None:
        self.id, self.phase, self.on, self.options = fault_id(phase, self.type, on), phase, on, options
        self.before: Health | None = None

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All components."""
        return [component.name for component in topology.components]

    def undo(self) -> Undo:
        """The component's name is all it takes."""
        return Undo(self.id, self.heals_by, {"component": self.on}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """Look at the healthy component once, for comparison; a second try forgives a hiccup."""
        for _ in range(2):
            health = await self.probe(context)
            if health.works and health.answers:
                self.before = health
                return
        raise FaultError(f"{self.on} does not work before the fault ({health.seen}): nothing to compare with")

    async def inject(self, context: FaultContext) -> None:
        """Break it."""
        raise NotImplementedError

    async def verify(self, context: FaultContext) -> Proof:
        """Look again: it neither works nor answers anything. One that only fails to work has another trouble."""
        during, now = await asyncio.gather(self.probe(context), self.state(context))
        seen = f"{during.seen}; the runtime says {now.state}"
        if during.works or during.answers:
            return Proof(False, f"the fault had no effect: {self.on} still answers", self.seen_before(), seen)
        return Proof(True, f"{self.on} is silent", self.seen_before(), seen)

    async def present(self, context: FaultContext) -> bool | None:
        """Whether anything of it is left, as after the heal."""
        left = await read_back(partial(self.what_is_left, context))
        return None if left is None else left != ""

    async def verify_healed(self, context: FaultContext) -> Proof:
        """Look until it works again, for at most two minutes. What is left is the runtime's word."""

        async def back(patience_s: float) -> tuple[bool, str]:
            after = await self.probe(context, patience_s)
            return after.works and after.answers, after.seen

        async def left() -> str | None:
            return await read_back(partial(self.what_is_left, context))

        done = f"{self.on} works again"
        return await Healing(left, back, done, self.seen_before(), HEALED_WITHIN_S, LOOK_S).proof()

    def what_is_left(self, context: FaultContext) -> str:
        """What of the fault is still there, by the runtime's word; «» for nothing. Blocks."""
        now = next(state for state in context.runtime.states() if state.name == self.on)
        if now.state in ("paused", "stopped"):
            return f"{self.on} is {now.state}"
        stopped = family.stopped_in(now.pid)
        return f"process {', '.join(map(str, stopped))} of {self.on} is frozen" if stopped else ""

    async def probe(self, context: FaultContext, patience_s: float | None = None) -> Health:
        """Its signs of life now, waited for so long; ``LOOK_S`` by default."""
        return await probe(context.path, context.topology.component(self.on), patience_s or LOOK_S)

    async def state(self, context: FaultContext) -> ComponentState:
        """What the runtime says about it now."""
        states = await asyncio.to_thread(context.runtime.states)
        return next(state for state in states if state.name == self.on)

    def seen_before(self) -> str:
        """What the healthy component showed."""
        if self.before is None:
            raise FaultError(f"{self.id}: verify was called before measure")
        return self.before.seen


def _unpause(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Thaw the component; harmless when it is not frozen."""
    able(context.runtime, Freezes).unpause(args["component"])


def _start(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Start the component, whatever became of it; harmless when it runs."""
    context.runtime.start(args["component"])


UNDO = {"unpause": _unpause, "start": _start}
