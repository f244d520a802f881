"""``python -m tests.drills.small_stack ARGUMENTS``: the program on a stack that few requests fill, on any machine.

A gateway gives each replica two requests at a time. So a machine that other tests share carries 60 % of the load that
the stack can, and one replica cannot: what a game's load is about.
"""

from __future__ import annotations

import dataclasses
import sys

from harness.cli import main
from harness.model.topology import Topology
from harness.plan import options, runtime

#: Requests that a gateway gives a replica at a time, and may queue.
AT_A_TIME, QUEUE = 2, 32


def small(wanted: options.StackOptions) -> Topology:
    """The stack that was asked for, with gateways that give a replica less."""
    topology = options.build_topology(wanted)
    policy = dataclasses.replace(topology.gateway_policy, replica_max_connections=AT_A_TIME, queue_max=QUEUE)
    return dataclasses.replace(topology, gateway_policy=policy)


if __name__ == "__main__":
    runtime.build_topology = small
    sys.exit(main.main())
