"""Stacks for long tests, and the user's ``runs/latest`` left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.model.topology import Topology
from stack.runtimes.process import ProcessRuntime
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology


@contextmanager
def warm_stack() -> Iterator[Topology]:
    """A simulated stack of our own, up; down afterwards."""
    with free_topology() as topology:
        runtime = ProcessRuntime(topology)
        try:
            runtime.up(silent)
            yield topology
        finally:
            runtime.down(silent)


@contextmanager
def latest_kept() -> Iterator[None]:
    """``runs/latest`` is the user's: when it points at a run that is gone, it points where it did before."""
    latest = CHECKOUT / "runs" / "latest"
    before = latest.readlink() if latest.is_symlink() else None
    try:
        yield
    finally:
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
            if before is not None:
                latest.symlink_to(before)


def silent(text: str) -> None:
    """For who is told what nobody wants to read."""
