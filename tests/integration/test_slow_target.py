"""A target that takes longer than a look at a quick one, behind real toxiproxy: proofs wait as its clients do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.adapters.toxiproxy import Toxiproxy
from harness.faults import link
from harness.faults.base import FaultContext, Proof, fault_class, take_back
from harness.model.options import model
from harness.plan import guard
from harness.plan.guard import External
from harness.probes.path import PathProbe
from stack.engines import DEPLOYMENT
from stack.runtimes.external import ExternalRuntime
from stack.stacks import external
from tests.integration.foreign_service import ADDRESS, KEY, foreign_service
from tests.integration.simulated_stack import free_topology

LOOK_S = 1.0
#: 1.5 s for the 24 tokens of a crossing.
SLOW = ("--ttft-ms", "1000", "--tokens-per-second", "48")


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultContext]:
    """A look at a quick target would be over before this one has answered."""
    monkeypatch.setattr(link, "LOOK_S", LOOK_S)
    with free_topology() as topology, foreign_service(tmp_path, arguments=SLOW) as foreign:
        host = str(urlsplit(foreign.url).hostname)
        target = guard.admit(External(foreign.url, (host,)), lambda *_: ADDRESS)
        theirs = external.stack(target)
        led = replace(topology, stack=theirs, runtime="external", engine="external", target=target)
        runtime, api = ExternalRuntime(led), led.component("toxiproxy")
        toxiproxy = Toxiproxy(api.address, api.ports["api"])
        try:
            runtime.up(print)
            yield FaultContext(runtime, toxiproxy, PathProbe(led, KEY, DEPLOYMENT), patience_s=8.0)
        finally:
            runtime.down(print)


@pytest.mark.parametrize(
    ("type_name", "options"), [pytest.param("latency", {"latency": "700ms"}, marks=pytest.mark.night), ("timeout", {})]
)
def test_a_fault_of_its_link_is_proven_and_healed(type_name: str, options: dict[str, str], slow: FaultContext) -> None:
    """Measured, seen and seen to be gone: what is slow by design is compared with itself."""
    cls: Any = fault_class(type_name)

    async def drill() -> tuple[Proof, Proof]:
        one = cls("test", "client-to-target", model(type_name).model_validate(options))
        await one.measure(slow)
        await one.inject(slow)
        effect = await one.verify(slow)
        await asyncio.to_thread(take_back, slow, one.undo())
        return effect, await one.verify_healed(slow)

    effect, healed = asyncio.run(drill())
    assert effect.proven, effect
    assert healed.proven, healed
