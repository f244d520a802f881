"""Another model is rolled out: one replica first, with a small share of the users, and judged before it gets more.

What happens is decided by ``harness/model/artifacts/rollout.py`` from paired questions; this is who carries it out.
Whatever the end is, the run leaves the stack as it was: every replica serves the stable version again. A candidate that
was stopped is replaced at once; one that was promoted stays until the users have gone: it is what they have now.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.adapters.gateway import Gateway, Server, connect
from harness.faults import comeback, server, streams
from harness.faults.base import FaultContext, Healing, Proof, take_back, tell_step, to_the_end
from harness.faults.server import AtGateways
from harness.model.artifacts.rollout import (
    FILE,
    OPEN,
    PROMOTE,
    ROLL_BACK,
    Decision,
    Deployment,
    Gates,
    Probe,
    Rollout,
    Side,
    Stage,
    decide,
    speed_is_open,
)
from harness.model.errors import AdapterError, FaultError, OperationAborted, StackError
from harness.model.journal import Undo
from harness.model.options.swap import Options
from harness.model.topology import Topology
from harness.probes import question
from harness.probes.component_logs import LogMarks
from stack import engines, models
from stack.runtimes.base import ComponentState, ServesModels, able

#: How long one question may take, and how often the whole eval set is asked before the comparison is given up.
ANSWER_S = 10.0
ROUNDS = 2
#: Once it is known who is slower nothing is timed any more, and so many questions are asked of the candidate at once.
AT_ONCE = 3
#: So long a replica that was started again is left alone: its counters have to be read before its first user comes.
READ_S = 1.5
_POLL_S = 0.25
#: On the way out nobody waits for streams.
_UNDO_GRACE_S = 1.0


@dataclass
class _Part:
    """This operation at one of the replicas, for the steps that are told of it."""

    id: str
    phase: str
    on: str


class Swap(AtGateways[Options]):
    """It ends when the rollout has ended and every replica serves the version that it ended with."""

    type = "swap"
    needs = (ServesModels,)
    expected_disruptions = ("gaps", "restarts")

    def __init__(self, phase: str, on: str, options: Any) -> None:
        super().__init__(phase, on, options)
        self.first: ComponentState | None = None
        self.gates = Gates(self.options.quality, self.options.slower)
        self.questions = models.questions()
        self.stable = ""
        self.rollout: Rollout | None = None
        self.logged = LogMarks({})
        self.started_s = 0.0

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """The replicas that have another one to be compared with."""
        return list(topology.replicas) if len(topology.replicas) > 1 else []

    @staticmethod
    def counts(options: Any, on: str, topology: Topology) -> dict[str, Any]:
        """The rollout that is asked for: of whom, to how many, judged by what, and by how many questions."""
        gates = {"quality": options.quality, "slower": options.slower}
        asked = {"candidate": options.candidate, "candidate_on": on, "percent": options.percent}
        return {"rollout": {**asked, **gates, "questions": len(models.questions())}}

    def undo(self) -> Undo:
        """Version, state and weight of every replica, as they were measured; without ``deferred_rollback``."""
        if self.deferred_rollback() is not None:
            args = {"component": self.on, "servers": self._servers_before()}
            return Undo(self.id, "restore_servers", args, self.phase)
        return self._everything_back(self.id)

    def deferred_rollback(self) -> Undo | None:
        """A version that was promoted. To take it back means to start every replica once more."""
        promoted = self.rollout is not None and self.rollout.ended == "promoted"
        return self._everything_back(f"{self.id}/version") if promoted else None

    def _everything_back(self, id: str) -> Undo:
        versions = dict.fromkeys(self._replicas(), self.stable)
        args = {"component": self.on, "versions": versions, "servers": self._servers_before()}
        return Undo(id, "restore_versions", args, self.phase)

    def _servers_before(self) -> list[dict[str, Any]]:
        return [
            {"gateway": gateway, "replica": replica, **asdict(one)}
            for gateway, found in self.before.items()
            for replica, one in found.items()
        ]

    async def measure(self, context: FaultContext) -> None:
        """As for anything at the gateways; which version is the stable one, and that the candidate is another."""
        await super().measure(context)
        self.first = await self._state(context)
        replicas = [context.topology.component(name) for name in context.topology.replicas]
        serves = {one.name: await asyncio.to_thread(question.version_of, one) for one in replicas}
        if len(set(serves.values())) != 1 or None in serves.values():
            raise FaultError(f"the replicas serve {serves}: there is no one stable version to compare with")
        self.stable = str(serves[self.on])
        wanted = self._deployment(context, self.options.candidate)
        if wanted.version == self.stable:
            raise FaultError(f"{wanted.version} is what the replicas serve already: nothing to roll out")
        stable = self._deployment(context, engines.model_name(context.topology, self.on))
        self.rollout = Rollout(self.id, self.phase, self.on, wanted, stable, self.gates, len(self.questions))
        for replica in serves:
            self.rollout.serves(replica, self.stable, 0.0)

    async def begin(self, context: FaultContext) -> None:
        """The candidate's replica is drained, ended, and started with the new model."""
        await self._restart(context, self.on, self.options.candidate)

    async def verify(self, context: FaultContext) -> Proof:
        """Another process. Which version it serves is the rollout's own question."""
        assert self.first is not None, "measure comes first"
        now = await self._state(context)
        seen = f"process {self.first.pid} → {now.pid or 'none'}"
        if now.incarnation == self.first.incarnation:
            why = f"the fault had no effect: {self.on} is the same process as before"
            return Proof(False, why, self.seen_before, seen)
        why = f"{self.on} was ended and started again, to serve {self._rollout().candidate.version} ({seen})"
        return Proof(True, why, self.seen_before, seen)

    async def carry_out(self, context: FaultContext) -> None:
        """Compare, decide, promote or roll back. OperationAborted when a replica that was started gives no token."""
        rollout = self._rollout()
        try:
            await self._roll_out(context)
        except OperationAborted as error:
            rollout.ended, rollout.broken = "aborted", str(error)
            self._keep(context)
            raise

    async def roll_back(self, context: FaultContext) -> None:
        """Every replica that serves another version is drained, and started with the stable one: one after the other.

        OperationAborted when one that was started gives no token.
        """
        rollout = self._rollout()
        rollout.decision, rollout.decided_s = Decision(ROLL_BACK, "", "it was ordered back"), context.now_s()
        tell_step(context, self, "decided", verdict=ROLL_BACK, gate="", why="it was ordered back")
        rollout.traffic_s = context.now_s()
        for replica in (self.on, *self.others):
            component = context.topology.component(replica)
            if await asyncio.to_thread(question.version_of, component) == self.stable:
                continue
            await self._restart(context, replica, None)
            await self._comes_back(context, replica)
            rollout.serves(replica, self.stable, context.now_s())
            await self._all_alike(context)
        await self._all_alike(context)
        self._stage(context, "restored", 0, context.now_s())
        rollout.restored_s, rollout.ended = context.now_s(), "rolled back"
        tell_step(context, self, "restored")
        self._keep(context)

    async def verify_healed(self, context: FaultContext) -> Proof:
        """The gateways use every replica as before, and all answer with the version that the rollout ended with."""
        promoted = self.deferred_rollback() is not None
        return await self._all_answer(context, self._rollout().candidate.version if promoted else self.stable)

    async def verify_reverted(self, context: FaultContext) -> Proof:
        """The same, with the stable version."""
        return await self._all_answer(context, self.stable)

    async def _all_answer(self, context: FaultContext, version: str) -> Proof:
        async def left() -> str | None:
            at_gateways, served = (
                await self.what_is_left(context),
                await asyncio.to_thread(self._others_than, context, version),
            )
            found = [words for words in (at_gateways, served) if words]
            return "; ".join(found) if found or at_gateways is not None else None

        async def back(patience_s: float) -> tuple[bool, str]:
            used, seen = await self.back(context, patience_s)
            gateway, replicas = context.topology.gateways[0], context.topology.replicas
            replies = {
                name: await question.ask(context.path, gateway, name, self.questions[0], patience_s)
                for name in replicas
            }
            words = ", ".join(f"{name} answers with {reply.version}" for name, reply in replies.items())
            good = all(reply.version == version for reply in replies.values())
            return used and good and await self._all_in_use(context), f"{seen}; {words}"

        done = f"the gateways use every replica as before, and each serves {version}"
        within_s = server.HEALED_WITHIN_S
        return await Healing(left, back, done, self.seen_before, within_s, ANSWER_S, every_s=_POLL_S).proof()

    def changes(self) -> tuple[str, ...]:
        """The weights of all of them, and their states one after the other."""
        return (self.on, *self.others)

    @property
    def others(self) -> tuple[str, ...]:
        """The other replicas, once they are measured."""
        return tuple(name for name in self._replicas() if name != self.on)

    def _replicas(self) -> tuple[str, ...]:
        """All of them, as the gateways have told."""
        return tuple(dict.fromkeys(name for found in self.before.values() for name in found))

    def _others_than(self, context: FaultContext, version: str) -> str:
        """Which replicas say that they serve another version; one that says nothing says nothing of the kind."""
        serves = {name: question.version_of(context.topology.component(name)) for name in context.topology.replicas}
        return ", ".join(f"{name} serves {found}" for name, found in serves.items() if found not in (None, version))

    async def _all_in_use(self, context: FaultContext) -> bool:
        """Whether every gateway finds every replica well; one that does not answer does not."""
        try:
            found = [await asyncio.to_thread(gateway.healthy) for gateway in self._gateways(context)]
        except (AdapterError, StackError):
            return False
        return all(healthy.get(replica) for healthy in found for replica in context.topology.replicas)

    # ── the rollout ──

    async def _roll_out(self, context: FaultContext) -> None:
        decision = await self._started(context)
        if decision.verdict == OPEN:
            decision = await self._verified(context)
        if decision.verdict == OPEN:
            await self._share(context, "canary", self.options.percent)
            decision = await self._compare(context)
        rollout = self._rollout()
        rollout.decision, rollout.decided_s = decision, context.now_s()
        tell_step(context, self, "decided", verdict=decision.verdict, gate=decision.gate, why=decision.why)
        await (self._promote(context) if decision.verdict == PROMOTE else self._roll_back(context))

    async def _started(self, context: FaultContext) -> Decision:
        """Whether the candidate's engine gives a token at all."""
        try:
            await self._comes_back(context, self.on)
        except OperationAborted as error:
            return Decision(ROLL_BACK, "start", str(error))
        return Decision(OPEN, "", "it gives tokens")

    async def _verified(self, context: FaultContext) -> Decision:
        """One answer, before any user gets one: the right version, be the answer as it may."""
        probe = await self._ask(context, 0, "candidate", self.on, 0)
        rollout = self._rollout()
        rollout.probes.append(probe)
        rollout.serves(self.on, probe.version or "nothing", context.now_s())
        tell_step(context, self, "verified", version=probe.version, outcome=probe.outcome)
        if probe.outcome != "ok":
            return Decision(ROLL_BACK, "errors", f"its first answer failed: {probe.outcome}")
        if probe.version != rollout.candidate.version:
            return decide(rollout.probes, rollout.candidate.version, rollout.questions, self.gates)
        return Decision(OPEN, "", "it answers")

    async def _compare(self, context: FaultContext) -> Decision:
        """Ask the eval set until the gates say so; twice over at most.

        While speed is undecided both sides are asked the same at the same moment: what else the machine does then
        slows down both.
        """
        rollout = self._rollout()
        began, order = context.now_s(), list(range(rollout.questions))
        random.Random(self.id).shuffle(order)
        left = list(enumerate(order * ROUNDS, 1))
        while left:
            timed = speed_is_open(rollout.probes, self.gates)
            some, left = (left[:1], left[1:]) if timed else (left[:AT_ONCE], left[AT_ONCE:])
            rollout.probes += await asyncio.gather(*self._questions(context, some, timed))
            decision = decide(rollout.probes, rollout.candidate.version, rollout.questions, self.gates)
            if decision.verdict == ROLL_BACK:
                return decision
            if decision.verdict == PROMOTE:
                await asyncio.sleep(max(0.0, began + 2 * self.options.hold - context.now_s()))
                return decision
        return Decision(ROLL_BACK, "undecided", f"nothing was proven either way: {decision.why}")

    def _questions(
        self, context: FaultContext, some: Sequence[tuple[int, int]], timed: bool
    ) -> Iterator[Coroutine[Any, Any, Probe]]:
        """To ask these (pair, question): of the candidate, and when timed of stable, too, by turns first and second."""
        for pair, number in some:
            sides: list[Side] = ["candidate", "stable"] if timed else ["candidate"]
            for side in sides if pair % 2 else reversed(sides):
                yield self._ask(context, pair, side, self.on if side == "candidate" else self.others[0], number)

    async def _ask(self, context: FaultContext, pair: int, side: Side, replica: str, number: int) -> Probe:
        gateways = context.topology.gateways
        gateway = gateways[pair % len(gateways)]
        reply = await question.ask(context.path, gateway, replica, self.questions[number], ANSWER_S)
        return Probe(context.now_s(), pair, side, replica, number, **asdict(reply))

    async def _promote(self, context: FaultContext) -> None:
        rollout = self._rollout()
        await self._share(context, "half", 50)
        rollout.traffic_s = context.now_s()
        await asyncio.sleep(self.options.hold)
        await self._share(context, "all", 100)
        await asyncio.sleep(self.options.hold)
        for replica in self.others:
            await self._restart(context, replica, self.options.candidate)
            await self._comes_back(context, replica)
            rollout.serves(replica, rollout.candidate.version, context.now_s())
        await self._all_alike(context)
        self._stage(context, "promoted", 100, context.now_s())
        tell_step(context, self, "promoted")
        await asyncio.sleep(self.options.hold)
        rollout.ended = "promoted"
        self._keep(context)

    async def _roll_back(self, context: FaultContext) -> None:
        rollout = self._rollout()
        await self._share(context, "rolled back", 0)
        rollout.traffic_s = context.now_s()
        tell_step(context, self, "rolled_back")
        await self._restart(context, self.on, None)
        await self._comes_back(context, self.on)
        rollout.serves(self.on, self.stable, context.now_s())
        await self._all_alike(context)
        self._stage(context, "restored", 0, context.now_s())
        rollout.restored_s, rollout.ended = context.now_s(), "rolled back"
        tell_step(context, self, "restored")
        self._keep(context)

    # ── orders ──

    async def _restart(self, context: FaultContext, replica: str, model: str | None) -> None:
        """Drain, wait for the streams, end, start with that model; None is the stable one."""
        if replica != self.on:  # what it is told from now on is this operation's doing, too
            told = {"fault": self.id, "phase": self.phase, "on": replica, "type": self.type}
            context.tell("fault_injecting", **told, expected_disruptions=self.expected_disruptions)
        part, gateways = _Part(self.id, self.phase, replica), self._gateways(context)
        for gateway in gateways:
            await to_the_end(gateway.set_state, replica, "drain")
        tell_step(context, part, "drained")
        left = await streams.end(context, replica, self.options.at(context.topology), self.options.drain_within)
        tell_step(context, part, "stopping", streams=left)
        self._rollout().ends(replica, context.now_s())
        await to_the_end(context.runtime.stop, replica, self.options.grace)
        await to_the_end(able(context.runtime, ServesModels).serve, replica, model)
        self.logged = await asyncio.to_thread(LogMarks.take, context.runtime, replica)
        await to_the_end(context.runtime.start, replica)
        self.started_s = context.now_s()
        tell_step(context, part, "started", model=model or "the stable one")
        self._keep(context)

    async def _comes_back(self, context: FaultContext, replica: str) -> None:
        """It has given its first token, and every gateway has noticed. OperationAborted when that takes too long."""
        part = _Part(self.id, self.phase, replica)
        limit = asyncio.timeout(max(0.0, self.started_s + self.options.start_within - context.now_s()))
        try:
            async with limit:
                await comeback.watch(context, part)
                await self._in_use(context, replica)
        except TimeoutError:
            if not limit.expired():
                raise
            raise OperationAborted(await self._why_not_up(context, replica)) from None
        await asyncio.sleep(READ_S)
        tell_step(context, part, "healthy")

    async def _why_not_up(self, context: FaultContext, replica: str) -> str:
        words = f"{replica} could not be used within {self.options.start_within:g} s of its start"
        error = await asyncio.to_thread(self.logged.first_error, context.runtime, replica)
        return f"{words}: {error}" if error else f"{words}, and its log names no error"

    async def _in_use(self, context: FaultContext, replica: str) -> None:
        """Every gateway would use it: before that nobody else may be drained."""
        while True:
            found = [await asyncio.to_thread(gateway.healthy) for gateway in self._gateways(context)]
            if all(healthy.get(replica) for healthy in found):
                return
            await asyncio.sleep(_POLL_S)

    async def _share(self, context: FaultContext, name: str, percent: int) -> None:
        """``percent`` of the users' requests go to the candidate's replica, the others to the rest."""
        requested_at_s = context.now_s()

        async def tell(gateway: Gateway) -> None:
            for replica in (self.on, *self.others):
                weight = percent if replica == self.on else round((100 - percent) / len(self.others))
                await to_the_end(gateway.use, replica, Server("ready", weight))

        await asyncio.gather(*map(tell, self._gateways(context)))
        self._stage(context, name, percent, requested_at_s)

    async def _all_alike(self, context: FaultContext) -> None:
        """Every replica gets its part again, as before the rollout."""
        for gateway, found in self.before.items():
            for replica, was in found.items():
                await to_the_end(connect(context.runtime, gateway).use, replica, was)

    def _stage(self, context: FaultContext, name: str, percent: int, requested_at_s: float) -> None:
        self._rollout().stages.append(Stage(name, percent, requested_at_s, context.now_s()))
        tell_step(context, self, "stage", name=name, percent=percent)
        self._keep(context)

    # ── small things ──

    def _gateways(self, context: FaultContext) -> Sequence[Gateway]:
        return [connect(context.runtime, name) for name in self.options.at(context.topology)]

    def _deployment(self, context: FaultContext, model: str) -> Deployment:
        """Raises MissingTool for a model of ours that is not trained."""
        topology = context.topology
        version = engines.version_of(topology, model)
        return Deployment(model, version, None if topology.engine == "sim" else models.weights(model))

    def _keep(self, context: FaultContext) -> None:
        context.keep(FILE, self._rollout().as_data())

    def _rollout(self) -> Rollout:
        assert self.rollout is not None, "measure comes first"
        return self.rollout

    async def _state(self, context: FaultContext) -> ComponentState:
        states = await asyncio.to_thread(context.runtime.states)
        return next(state for state in states if state.name == self.on)


def _restore_versions(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Every replica serves its old version again, restarted where it does not, and has its state and weight back."""
    for replica, version in args["versions"].items():
        able(context.runtime, ServesModels).serve(replica, None)
        if question.version_of(context.topology.component(replica), 1.0) != version:
            context.runtime.stop(replica, _UNDO_GRACE_S)
            context.runtime.start(replica)
    take_back(context, Undo(args["component"], "restore_servers", args))


UNDO = {"restore_versions": _restore_versions}
OPERATION = Swap
