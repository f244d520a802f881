"""A rollout on a simulated stack: weights that mean something, versions that change, and everything rolled back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.faults.base import FaultContext, take_back
from harness.faults.operations import swap
from harness.faults.server import ask
from harness.model.artifacts import rollout
from harness.model.artifacts.rollout import Rollout
from harness.model.errors import FaultError, OperationAborted
from harness.model.options import model
from harness.probes.question import version_of
from stack import models
from stack.stacks.vllm_haproxy import STACK
from tests.waiting import WITHIN_S, until

pytestmark = [pytest.mark.trust, pytest.mark.timeout(120)]

OLD, NEW = "v1@sim", "v2@sim"
AS_CONFIGURED = Server("ready", 100)
#: On a machine that tests other things meanwhile a replica that can start does so by then.
START_WITHIN = "20s"


@pytest.fixture(autouse=True)
def _as_it_was(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A part of the eval set will do; and no test leaves another version, weight or state behind."""
    some = [one for one in models.questions() if len(one.answer) > 60][:24]
    monkeypatch.setattr(models, "questions", lambda: some)
    until(lambda: in_use(context), WITHIN_S, "the gateways use every replica")
    yield
    for replica in STACK.of("replica"):
        context.runtime.serve(replica, None)
        if version_of(context.topology.component(replica)) != OLD:
            context.runtime.stop(replica, 1)
            context.runtime.start(replica)
        for gateway in STACK.of("gateway"):
            Haproxy(context.runtime, gateway).set_weight(replica, 100)
            Haproxy(context.runtime, gateway).set_state(replica, "ready")


def in_use(context: FaultContext) -> bool:
    """Whether every gateway finds every replica well."""
    return all(all(Haproxy(context.runtime, gateway).healthy().values()) for gateway in STACK.of("gateway"))


class Seen:
    """A world that remembers what a rollout told and kept."""

    def __init__(self, context: FaultContext) -> None:
        self.steps: list[str] = []
        self.kept: dict[str, Any] = {}
        self.context = replace(context, tell=self._tell, keep=self.kept.__setitem__)

    def _tell(self, kind: str, **data: Any) -> None:
        if kind == "fault_step":
            self.steps.append(data["name"] if data["step"] == "stage" else data["step"])

    @property
    def rollout(self) -> Rollout:
        """As the judge will read it."""
        return rollout.from_data(self.kept[rollout.FILE])


def make(**options: Any) -> swap.Swap:
    """A rollout as ``of_phase`` makes it, in a hurry."""
    return swap.Swap("s", "replica-2", model("swap").model_validate({"hold": "300ms", **options}))


async def perform(one: swap.Swap, context: FaultContext, aborted: str = "") -> None:
    """From the measurement to the proof of the heal; it is carried through, or aborted for that reason."""
    await one.measure(context)
    await one.begin(context)
    assert (proof := await one.verify(context)).proven, proof
    async with asyncio.timeout(90):
        with pytest.raises(OperationAborted, match=aborted) if aborted else nullcontext():
            await one.carry_out(context)
    for _ in range(2):  # twice is harmless
        take_back(context, one.undo())
    assert (healed := await one.verify_healed(context)).proven, healed
    if (stays := one.deferred_rollback()) is not None:
        assert {version_of(context.topology.component(replica)) for replica in STACK.of("replica")} == {NEW}
        take_back(context, stays)
        assert (gone := await one.verify_reverted(context)).proven, gone


def as_before(context: FaultContext) -> bool:
    """Whether every replica serves the old version, with its old part."""
    versions = {version_of(context.topology.component(replica)) for replica in STACK.of("replica")}
    servers = [
        Haproxy(context.runtime, gateway).servers()[replica]
        for gateway in STACK.of("gateway")
        for replica in STACK.of("replica")
    ]
    return versions == {OLD} and set(servers) == {AS_CONFIGURED}


def test_a_good_candidate_is_promoted_and_the_old_version_put_back(context: FaultContext) -> None:
    """Canary, half, all, then the other replica; each step in this order. It stays until somebody rolls it back."""
    seen = Seen(context)
    asyncio.run(perform(make(), seen.context))
    stages = [stage.name for stage in seen.rollout.stages]
    assert stages == ["canary", "half", "all", "promoted"]
    assert seen.steps.index("verified") < seen.steps.index("canary") < seen.steps.index("decided")
    assert seen.rollout.ended == "promoted"
    assert Counter(served.version for served in seen.rollout.served) == {OLD: 2, NEW: 2}
    assert seen.rollout.candidate.measured["right_ratio"] == 1.0
    assert as_before(context)


@pytest.mark.parametrize(("candidate", "gates"), [("bad", {"quality"}), ("slow", {"ttft", "rate"})])
def test_a_poor_candidate_is_stopped_by_its_gate(candidate: str, gates: set[str], context: FaultContext) -> None:
    """It never gets more than the canary's share, and is replaced afterwards."""
    seen = Seen(context)
    asyncio.run(perform(make(candidate=candidate), seen.context))
    assert [stage.name for stage in seen.rollout.stages] == ["canary", "rolled back", "restored"]
    assert seen.rollout.decision is not None
    assert seen.rollout.decision.gate in gates
    assert max(stage.percent for stage in seen.rollout.stages) == 10
    assert as_before(context)


def test_a_candidate_that_never_starts_is_stopped_before_any_user_meets_it(context: FaultContext) -> None:
    """It answers 503 for ever: after the time that it has it is replaced, and had no part of the traffic."""
    seen = Seen(context)
    asyncio.run(perform(make(candidate="truncated", start_within=START_WITHIN), seen.context))
    assert [stage.name for stage in seen.rollout.stages] == ["rolled back", "restored"]
    assert seen.rollout.decision is not None
    assert (seen.rollout.decision.gate, seen.rollout.ended) == ("start", "rolled back")
    assert "replica-2 could not be used within 20 s of its start" in seen.rollout.decision.why
    assert not seen.rollout.probes
    assert as_before(context)


def test_a_replica_that_does_not_follow_breaks_the_rollout_off(context: FaultContext) -> None:
    """The candidate is good where it was tried, and does not start on the other replica: the heal rolls it back."""

    class OneIsTooSmall:
        def __getattr__(self, name: str) -> Any:
            return getattr(context.runtime, name)

        def serve(self, name: str, model: str | None) -> None:
            context.runtime.serve(name, "truncated" if (name, model) == ("replica-1", "v2") else model)

    seen = Seen(context)
    one = make(start_within=START_WITHIN)
    why = "replica-1 could not be used within 20 s of its start"
    asyncio.run(perform(one, replace(seen.context, runtime=OneIsTooSmall()), aborted=why))
    assert seen.steps[-1] == "started"
    assert seen.rollout.ended == "aborted"
    assert why in str(seen.rollout.broken)
    assert one.deferred_rollback() is None
    assert as_before(context)


def test_a_rollout_that_is_cut_off_is_taken_back(context: FaultContext) -> None:
    """Whoever dies in the middle: the undo alone brings version, state and weight back."""
    seen = Seen(context)

    async def begin() -> swap.Swap:
        one = make()
        await one.measure(seen.context)
        await one.begin(seen.context)
        await one._comes_back(seen.context, "replica-2")
        await one._share(seen.context, "canary", 10)
        return one

    one = asyncio.run(begin())
    assert version_of(context.topology.component("replica-2")) == NEW
    take_back(context, one.undo())
    until(lambda: as_before(context), WITHIN_S, "everything is as it was")


def test_what_is_served_already_cannot_be_rolled_out(context: FaultContext) -> None:
    """A comparison of a version with itself would always pass."""
    with pytest.raises(FaultError, match="nothing to roll out"):
        asyncio.run(make(candidate="v1").measure(context))


def test_a_runtime_that_restarts_nothing_is_not_proven(context: FaultContext) -> None:
    """Orders that change nothing: the replica is the same process as before."""

    class Idle:
        def __init__(self, runtime: Any) -> None:
            self._runtime = runtime

        def __getattr__(self, name: str) -> Any:
            return (lambda *_: None) if name in ("stop", "start", "serve") else getattr(self._runtime, name)

    async def drill() -> None:
        one, idle = make(), replace(context, runtime=Idle(context.runtime))
        await one.measure(idle)
        await one.begin(idle)
        proof = await one.verify(idle)
        assert not proof.proven
        assert "no effect" in proof.why

    asyncio.run(drill())


def test_weights_are_shares_however_little_there_is_to_do(context: FaultContext) -> None:
    """One request at a time, and a replica of 20 % gets every fifth, not every second."""
    for gateway in STACK.of("gateway"):
        Haproxy(context.runtime, gateway).set_weight("replica-1", 80)
        Haproxy(context.runtime, gateway).set_weight("replica-2", 20)

    async def answers() -> int:
        return sum([(await ask(context, ["gateway-a"], 1)).by.get("replica-2", 0) for _ in range(60)])

    assert 3 <= asyncio.run(answers()) <= 22
