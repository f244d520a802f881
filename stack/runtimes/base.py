"""What a runtime must be able to do, and what it may. All calls block; the engine runs them in threads with a deadline.

Errors: StackError when the stack misbehaves, UsageError (PortTaken, MissingTool, RuntimeUnavailable) when the
machine or the configuration is to blame: those are raised before anything is started.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness.model.errors import UsageError
from harness.model.topology import Topology

#: What the user may choose; ``auto``: Docker where its daemon answers, else host processes.
NAMES = ("auto", "docker", "process", "external")
#: Called with one line for people each time something is waited for or done.
Say = Callable[[str], None]


@dataclass(frozen=True)
class ComponentState:
    """What one component is doing now."""

    name: str
    state: str  # running | starting | paused | stopped | failed | missing
    pid: int | None  # host pid of the component's main process, where there is one
    since_s: float | None  # seconds in this state
    restarts: int
    #: What runs, told from all that ran under this name before or will; None while nothing does. Equal means the same:
    #: a pid alone may be another's by now. Its form is the runtime's.
    incarnation: str | None = None


@dataclass(frozen=True)
class ComponentStats:
    """Resources of one component with all its processes. None where it cannot be measured: None is not 0."""

    rss_bytes: int | None
    cpu_s: float | None
    oom_kills: int | None
    charged_bytes: int | None = None  # what the kernel counts against a memory limit and cannot drop
    limit_hits: int | None = None  # times that memory beyond the limit was asked for


class Runtime(Protocol):
    """Drives the components of one topology."""

    name: str
    topology: Topology

    def preflight(self) -> None:
        """Raise UsageError for anything that would make ``up`` fail: binaries, ports, daemon, memory."""

    def up(self, say: Say) -> bool:
        """Start what is not running; wait until all is ready. True if the whole stack was warm already."""

    def down(self, say: Say) -> None:
        """Stop everything that this checkout started for this instance and remove its state."""

    def start(self, name: str) -> None:
        """Start one component that does not run, whatever became of it; does not wait for readiness."""

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM, SIGKILL after ``grace_s``; the component stays down until ``start``."""

    def kill(self, name: str) -> None:
        """SIGKILL the component's processes from outside; the restart policy applies as after a crash."""

    def logs(self, name: str) -> Path | str:
        """The component's log: the file where there is one, else its text."""

    def stats(self, name: str) -> ComponentStats:
        """Memory and CPU of the component."""

    def states(self) -> tuple[ComponentState, ...]:
        """All components of the topology, in its order."""

    def usage(self) -> tuple[tuple[ComponentState, ComponentStats], ...]:
        """``states`` with the ``stats`` of each, in one look: what is asked every second of a run must be cheap."""

    def gateway_command(self, gateway: str, command: str) -> str:
        """Send one command to a gateway's admin socket, in that gateway's own words; its answer, stripped."""


# What a runtime may be able to do besides. A fault names what it needs (harness/faults/base.py, ``NeedsRuntime``).


class ServesModels(Protocol):
    """Another model in a replica."""

    def serve(self, name: str, model: str | None) -> None:
        """From its next start on the replica serves ``model``; None: what the topology says. MissingTool without it."""


class Freezes(Protocol):
    """A component stands still, and goes on."""

    def pause(self, name: str) -> None:
        """Freeze all processes of the component."""

    def unpause(self, name: str) -> None:
        """Undo ``pause``; harmless when not paused."""


class FreezesEngine(Protocol):
    """The engine behind a replica's API server stands still, and goes on."""

    def pause_engine(self, name: str) -> None:
        """Freeze only the engine core of a vLLM replica: its API server goes on answering. StackError without one."""

    def unpause_engine(self, name: str) -> None:
        """Undo ``pause_engine``; harmless when not frozen, and when the replica does not run."""


class LimitsMemory(Protocol):
    """A component gets no more memory."""

    def limit_memory(self, name: str, limit_bytes: int | None) -> None:
        """Limit what the component may be charged for, or lift the limit (None); UsageError where that cannot be."""

    def memory_limit(self, name: str) -> int | None:
        """The limit that is in force for the component now; None without one."""


CapabilityT = TypeVar("CapabilityT")


def has(runtime: Runtime, capability: type) -> bool:
    """Whether it has every method of that capability; one that wraps another has its methods, too."""
    return all(hasattr(runtime, name) for name in vars(capability) if not name.startswith("_"))


def able(runtime: Runtime, capability: type[CapabilityT]) -> CapabilityT:
    """The runtime as one that has that capability, a protocol above. UsageError when it has not."""
    if not has(runtime, capability):
        raise UsageError(f"the {runtime.name} runtime lacks {capability.__name__}")
    found: Any = runtime
    return found  # type: ignore[no-any-return]
