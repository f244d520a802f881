"""Instances for tests: numbers that nobody uses right now, and process stacks on the simulator."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from harness.model.topology import Topology
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK

FIRST, LAST = 100, 199


@contextmanager
def free_topology() -> Iterator[Topology]:
    """A topology of the simulator whose instance number no other test holds, in any checkout of this host.

    The number is held by an abstract socket, which ends with its process however that ends.
    """
    for instance in range(FIRST, LAST + 1):
        topology = Topology(STACK, instance=instance, engine="sim", models=dict.fromkeys(STACK.of("replica"), "v1"))
        with closing(socket.socket(socket.AF_UNIX)) as claim:
            try:
                claim.bind(f"\0drillyard-test-{instance}")
            except OSError:
                continue
            ProcessRuntime(topology).down(print)  # what a test run that was killed has left
            yield topology
            return
    raise AssertionError(f"no free instance from {FIRST} to {LAST}")


@contextmanager
def started(topology: Topology) -> Iterator[ProcessRuntime]:
    """The stack of ``topology``, up and ready; down afterwards."""
    runtime = ProcessRuntime(replace(topology, runtime="process"))
    try:
        runtime.up(print)
        yield runtime
    finally:
        runtime.down(print)
