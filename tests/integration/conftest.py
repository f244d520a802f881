"""Fixtures that several integration tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.toxiproxy import Toxiproxy
from harness.faults.base import FaultContext
from harness.probes.path import PathProbe
from stack import keys, state
from stack.engines import DEPLOYMENT
from stack.runtimes.process import ProcessRuntime
from tests.integration import simulated_stack
from tests.integration.gateway_stack import GatewayStack, started


@pytest.fixture
def gateway_stack(tmp_path: Path) -> Iterator[Callable[..., GatewayStack]]:
    """Start real gateways with toxiproxy and fake replicas: ``gateway_stack(defects=…, <policy field>=…)``."""
    with ExitStack() as stack:

        def start(**options: Any) -> GatewayStack:
            return stack.enter_context(started(tmp_path, **options))

        yield start


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayStack]:
    """One gateway stack for a whole module whose tests leave it as it was."""
    with started(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture(scope="package")
def sim_stack() -> Iterator[ProcessRuntime]:
    """A whole stack on the simulator in the process runtime, warm for this package; tests leave it as it was.

    It goes before the unit tests: idle stacks look after themselves, and take from what computes beside them.
    """
    with simulated_stack.free_topology() as topology, simulated_stack.started(topology) as runtime:
        yield runtime


@pytest.fixture(scope="package")
def context(sim_stack: ProcessRuntime) -> FaultContext:
    """What faults act on: the simulated stack of all tests here."""
    topology = sim_stack.topology
    operator = keys.load_or_create(state.instance_folder(topology)).operator
    api = topology.component("toxiproxy")
    return FaultContext(sim_stack, Toxiproxy(api.address, api.ports["api"]), PathProbe(topology, operator, DEPLOYMENT))
