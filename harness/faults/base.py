"""What a fault is, a workload, and an operation. One file each, beside this one, in ``workloads/`` or in
``operations/``; the file's name is the ``type`` in a scenario.

A fault proves its effect and its healing on the data path; the proof is evidence for the report. A heal that is not
proven says whether something is still there, by the word of who holds it, or whether only service was not seen to be
back in time: a slow machine looks like the second and never like the first. Undo is data
(harness/model/journal.py): what it takes to heal is written down before anything is injected, and healing is nothing
else than running that data, so that another process can do it as well: a module that needs an action of its own lists
it in ``UNDO``.
"""

from __future__ import annotations

import asyncio
import fnmatch
import importlib
import pkgutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.adapters.toxiproxy import Toxiproxy
from harness.model import options
from harness.model.errors import AdapterError, FaultError, StackError
from harness.model.journal import Undo
from harness.model.scenario import Phase
from harness.model.topology import Topology
from harness.probes.path import PathProbe
from harness.probes.waves import Waves
from stack.runtimes.base import Runtime, has


@dataclass(frozen=True)
class FaultContext:
    """What faults act on and measure with."""

    runtime: Runtime
    toxiproxy: Toxiproxy
    path: PathProbe
    #: Records an event of the run: ``tell("fault_step", fault=…, …)``. Nobody listens where nothing is recorded.
    tell: Callable[..., object] = lambda kind, **data: None
    waves: Waves | None = None  # kept in runs, not where only healing is done
    #: Writes a file of the run: ``keep("rollout.json", data)``.
    keep: Callable[[str, dict[str, Any]], object] = lambda name, data: None
    zero_mono_s: float = 0.0  # of the run
    patience_s: float = 0.0  # how long the run's clients wait for a whole answer

    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return time.monotonic() - self.zero_mono_s

    @property
    def topology(self) -> Topology:
        """The stack's topology."""
        return self.runtime.topology


@dataclass(frozen=True)
class Proof:
    """Whether an effect (or a healing) was seen, in words for the report.

    ``left`` is for a healing that was not: what of the fault is still there, in words, read back from who holds it or
    measured on the data path; «» when it was looked for and nothing is; None when that could not be told.
    """

    proven: bool
    why: str
    before: str
    seen: str
    left: str | None = None


class Injected(Protocol):
    """What all have in common that a phase of a scenario lists under ``faults``: one on one target, for one phase."""

    id: str  # ``fault_id``
    phase: str
    type: str
    on: str  # the link or component
    options: Any
    #: What must be forgiven the component ``on`` while this lasts and until its heal is proven: it cannot be measured
    #: (``gaps``), it starts again (``restarts``).
    expected_disruptions: ClassVar[tuple[str, ...]]

    def __init__(self, phase: str, on: str, options: Any) -> None:
        """Make it for one phase and target; ``options`` are those of its type (harness/model/options/)."""

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """Names of everything that this can be put on."""

    @staticmethod
    def counts(options: Any, on: str, topology: Topology) -> dict[str, Any]:
        """What it will have done on that target, for the judge to compare (harness/judge/as_planned.py): nothing
        countable (empty), ``steps``, ``asks``, ``waves`` or ``rollout``.
        """

    def undo(self) -> Undo:
        """What rolls it back; known once the target was measured."""

    async def measure(self, context: FaultContext) -> None:
        """Remember what the target does while healthy. FaultError when it is not healthy."""

    async def verify_healed(self, context: FaultContext) -> Proof:
        """Measure that the effect is gone; waits for it, bounded. Else ``Proof.left`` says what is left."""


class Fault(Injected, Protocol):
    """It breaks something."""

    #: Whether it is there until the heal: then ``present`` is asked once a second. What ends by itself (a kill, a
    #: restart) is not.
    lasts: ClassVar[bool]
    #: Whether ``verify`` is asked once more just before the heal: where that is cheap and means the same then.
    proven_again: ClassVar[bool]
    #: Whether no whole answer comes from or over ``on`` while it is there: one that is recorded then is a false record.
    silences: ClassVar[bool]

    async def inject(self, context: FaultContext) -> None:
        """Break it."""

    async def verify(self, context: FaultContext) -> Proof:
        """Measure the effect on the data path."""

    async def present(self, context: FaultContext) -> bool | None:
        """Whether it is still there, by the word of who holds it; None when that cannot be told. It changes nothing."""


@runtime_checkable
class Workload(Injected, Protocol):
    """Clients that misbehave. It breaks nothing by hand: it does what it does, which is recorded, and is over then."""

    async def run(self, context: FaultContext) -> Proof:
        """Do all of it; the proof is that it was done: that it reached somebody, at its moment."""


@runtime_checkable
class Operation(Injected, Protocol):
    """A procedure carried out on the stack, such as a restart. It is under way once ``begin`` has returned.

    Its progress is recorded as steps (``tell_step``). ``counts`` names those that every one of its kind takes.
    """

    async def begin(self, context: FaultContext) -> None:
        """Its first steps, up to the one whose effect is measured."""

    async def verify(self, context: FaultContext) -> Proof:
        """Measure that the first steps have had their effect."""

    async def carry_out(self, context: FaultContext) -> None:
        """All other steps, however long they take. OperationAborted says why it cannot go on: the heal rolls it back.

        It may be cancelled between any two of them, when its phase ends first.
        """


#: What a phase of a scenario may list under ``faults``.
Listed = Fault | Workload | Operation


@runtime_checkable
class ComesBack(Protocol):
    """What a fault may be besides: one after which the component comes back within the phase, before the heal."""

    async def come_back(self, context: FaultContext) -> None:
        """Start the component again where nobody else does, at its time, and wait until it is back, without bound."""


@runtime_checkable
class DeferredRollback(Protocol):
    """What an operation may be besides: one of which something stays until the users have gone, because they would
    feel it being rolled back. ``undo`` leaves that alone then.
    """

    def deferred_rollback(self) -> Undo | None:
        """What rolls it back; None when nothing stays. Known once the operation was carried out."""

    async def verify_reverted(self, context: FaultContext) -> Proof:
        """Measure that it is gone, too; waits for it, bounded."""


@runtime_checkable
class RollsBack(Protocol):
    """What an operation may be besides: one that whoever is on call can order back while it is carried out."""

    async def roll_back(self, context: FaultContext) -> None:
        """Give it up, gently for users, however far it has come; ``carry_out`` was cancelled. OperationAborted."""


@runtime_checkable
class TellsEffect(Protocol):
    """What a workload may be besides: one that takes long, and has had its effect before its end."""

    def effect_so_far(self) -> str:
        """What was seen of it so far, in words; «» while nothing was."""


@runtime_checkable
class NeedsRuntime(Protocol):
    """What a fault's class may be besides: one that not every runtime can carry out."""

    needs: ClassVar[tuple[type, ...]]  # capabilities in stack/runtimes/base.py


def lacking(type_name: str, runtime: Runtime) -> list[str]:
    """Names of the capabilities that a fault of that type needs and the runtime does not have."""
    cls: object = fault_class(type_name)
    needs = cls.needs if isinstance(cls, NeedsRuntime) else ()
    return [one.__name__ for one in needs if not has(runtime, one)]


async def read_back(question: Callable[[], str]) -> str | None:
    """What ``question`` (which may block) finds to be left; None when who holds it does not answer."""
    try:
        return await asyncio.to_thread(question)
    except (AdapterError, StackError):
        return None


def fault_id(phase: str, type_name: str, on: str) -> str:
    """Unique within a run, e.g. "one-replica/latency/gateway-a-to-replica-2"."""
    return f"{phase}/{type_name}/{on}"


def nothing_countable(options: Any, on: str, topology: Topology) -> dict[str, Any]:
    """``Fault.counts`` of a fault that is there or is not."""
    return {}


@dataclass(frozen=True)
class Healing:
    """What the proof of a heal waits for: that nothing is left, and that service is back.

    The two are told apart. ``left`` (see ``Proof.left``) is asked of who holds the fault's state, and does not depend
    on how quick the machine is. ``back`` tries the service, for so many seconds at most, and says whether it was good
    and what was seen. Its first try is given ``first_s``, each later one twice as long as the one before: what is slow
    because much has piled up is waited for, what hangs is asked again.

    No try ends later than ``within_s`` after the heal, also where ``back`` probes several components in turn: 120 s is
    an engine's own start, and a service that is not back then is judged by the checks of recovery. No try is started
    with less time than the first one had.
    """

    left: Callable[[], Awaitable[str | None]]
    back: Callable[[float], Awaitable[tuple[bool, str]]]
    done: str  # what is so once it is healed, e.g. "gateway-a works again"
    before: str
    within_s: float
    first_s: float
    every_s: float = 0.2

    async def proof(self) -> Proof:
        """Wait for both; without them the last try gives the reason."""
        began, patience_s, rest_s = time.monotonic(), self.first_s, max(self.first_s, self.within_s)
        while True:
            good, seen = await self._tried(patience_s, rest_s)
            left = await self.left()
            waited_s = time.monotonic() - began
            if good and left == "":
                return Proof(True, f"{self.done}, {waited_s:.1f} s after the heal", self.before, seen)
            rest_s = self.within_s - waited_s - self.every_s
            if rest_s < self.first_s:
                return Proof(False, f"{_why(left)}; {waited_s:.0f} s after the heal: {seen}", self.before, seen, left)
            patience_s = min(2 * patience_s, rest_s)
            await asyncio.sleep(self.every_s)

    async def _tried(self, patience_s: float, rest_s: float) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(rest_s):
                return await self.back(patience_s)
        except TimeoutError:
            return False, f"a try did not end within {rest_s:.3g} s"


def _why(left: str | None) -> str:
    if left is None:
        return "whether anything is left is unknown"
    return f"still there: {left}" if left else "nothing of it is left, but service was not seen to be back in time"


class Named(Protocol):
    """Of a fault, what its steps are told with."""

    id: str
    phase: str
    on: str


def tell_step(context: FaultContext, fault: Named, step: str, **data: Any) -> None:
    """Record how far a fault or an operation that takes its time has come."""
    context.tell("fault_step", fault=fault.id, phase=fault.phase, on=fault.on, step=step, **data)


async def to_the_end(function: Callable[..., None], *args: object) -> None:
    """Run a blocking call in a thread and wait for its end, even when cancelled meanwhile.

    An order that is on its way cannot be called back: what is done next, healing above all, has to come after it.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.gather(call, return_exceptions=True)
        raise


#: Runs what one undo record asks for: with the record's arguments, idempotent, blocking for a bounded time.
UndoAction = Callable[[FaultContext, Mapping[str, Any]], None]


@cache
def undo_actions() -> Mapping[str, UndoAction]:
    """What undo records may ask for: the ``UNDO`` of every module here."""
    return {action: run for module in _modules() for action, run in getattr(module, "UNDO", {}).items()}


def take_back(context: FaultContext, undo: Undo) -> None:
    """Run one undo record. FaultError when its action is unknown; AdapterError when it fails."""
    try:
        action = undo_actions()[undo.action]
    except KeyError:
        raise FaultError(f"undo record {undo.id!r} asks for {undo.action!r}, which nobody knows how to do") from None
    action(context, undo.args)


def types() -> list[str]:
    """All types that a scenario may name, sorted: the modules here that have one of the constants of ``_PLACES``."""
    return sorted(_kinds())


def fault_class(type_name: str) -> type[Fault] | type[Workload] | type[Operation]:
    """The class behind a type name of ``types()``."""
    return _kinds()[type_name]


def has_to_settle(type_name: str) -> bool:
    """Whether a part of it comes after its proof, in a phase with ``until: settled`` alone: steps or a comeback."""
    return hasattr(fault_class(type_name), "carry_out") or hasattr(fault_class(type_name), "come_back")


#: Package → the constant that names the class of each type in it.
_PLACES = {"harness.faults": "FAULT", "harness.faults.workloads": "WORKLOAD", "harness.faults.operations": "OPERATION"}


@cache
def _kinds() -> Mapping[str, type[Fault] | type[Workload] | type[Operation]]:
    found = {}
    for module in _modules():
        package, _, name = module.__name__.rpartition(".")
        if hasattr(module, _PLACES[package]):
            found[name] = getattr(module, _PLACES[package])
    return found


def _modules() -> list[ModuleType]:
    packages = [importlib.import_module(name) for name in _PLACES]
    return [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for package in packages
        for found in pkgutil.iter_modules(package.__path__)
        if not found.ispkg
    ]


def of_phase(phase: Phase, topology: Topology) -> list[Listed]:
    """The faults, workloads and operations of a phase, one per target."""
    return [
        cls(phase.name, on, options.of_spec(spec))
        for spec in phase.faults
        for cls in (fault_class(spec.type),)
        for on in matching(spec.type, spec.on, topology)
    ]


def matching(type_name: str, on: str, topology: Topology) -> list[str]:
    """The targets of that fault type which the glob ``on`` matches, in the topology's order."""
    return [name for name in fault_class(type_name).targets(topology) if fnmatch.fnmatchcase(name, on)]
