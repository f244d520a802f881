"""Waves of streams that all hang up at one chosen moment: while queued, in prefill, in decode, or half read.

The connections are this process' own: they end with it, however it ends. So the undo has something to do only in the
process that opened them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import h11

from harness.adapters.stream import ChatStream
from harness.evidence.record import ANY_REPLICA
from harness.faults.base import FaultContext, Proof, fault_id, tell_step
from harness.model.artifacts.waves import Canary, Stream, Wave
from harness.model.errors import Exhausted, FaultError
from harness.model.journal import Undo
from harness.model.options.cancel_wave import Options
from harness.model.stream import CompletionReader
from harness.model.topology import CLIENT, Topology
from harness.probes import completion
from harness.probes.path import CHAT
from harness.probes.question import TOKENS_MAX
from harness.probes.waves import Waves
from stack import keys, state
from stack.engines import SEQUENCES_MAX
from stack.models import questions

#: In place of one gateway's name: the streams of a wave go through all of them in turn.
ALL_GATEWAYS = "gateways"
#: So much of a wave must still run when it is cancelled, and have reached its moment where each stream is looked at.
MOST = 0.9
#: Early decode: so many events with content have arrived. Late: so much of what was asked for. Not more: a quarter of
#: the tokens shows no text, one replica may be 1.75 times as fast as the other (measured in Docker on two cores), and
#: what has ended by itself cannot be cancelled.
EARLY_TOKENS, LATE_SHARE = 2, 0.4
#: A reader that stops, stops after so many events, for so long.
READ_TOKENS, HELD_S = 4, 1.0
#: The engines are looked at so long before a wave, and after it until they look as before, so long at most.
BEFORE_S, AFTER_S_MAX = 0.4, 6.0
#: An engine that has not shown its figures for so long does not show them.
LOOKED_AT_WITHIN_S = 5.0
#: A wave after whose cancel an engine was not seen, or in one step, for longer is repeated: it may decide nothing.
UNSEEN_MAX_S = 0.4
#: So many more waves than were asked for are made at most for that, or as many again.
MORE_WAVES = 3
CANARY_S = 5.0
#: The speed of one stream is the best of so many probes: the others may have run beside other requests.
SPEED_PROBES, SPEED_WITHIN_S = 3, 10.0
#: Room for a prompt in the model's length, in tokens per word and at least.
_TOKENS_PER_WORD, _PROMPT_TOKENS_MIN = 2, 64
#: Shorter streams leave no time between the first and the last token.
_TOKENS_MIN = 16


@dataclass(frozen=True)
class _Size:
    """Of one wave: the number of streams, and the length of each in tokens."""

    streams: int
    tokens: int


@dataclass
class _Open:
    """A stream with its connection and who reads it."""

    stream: Stream
    chat: ChatStream
    task: asyncio.Task[None]


class _Level(NamedTuple):
    """What a replica has to do, running and waiting, and what share of its KV cache is held."""

    work: float
    kv: float


#: Waves under way in this process, by the id of their workload.
_UNDER_WAY: dict[str, tuple[asyncio.Task[None], threading.Event]] = {}


class CancelWave:
    """Cancelled waves on one door: a gateway, all of them in turn, or a replica itself."""

    type = "cancel_wave"
    expected_disruptions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, phase: str, on: str, options: Any) -> None:
        self.id, self.phase, self.on = fault_id(phase, self.type, on), phase, on
        self.options: Options = options
        self.waves: list[Wave] = []
        self.size = _Size(0, 0)  # known once the target was measured
        self._words = sorted({word for item in questions() for word in item.question.split()})
        self._random = random.Random(self.id)

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All gateways, each of them, each replica; nothing of somebody else's."""
        return [] if topology.target is not None else [ALL_GATEWAYS, *topology.gateways, *topology.replicas]

    @staticmethod
    def counts(options: Options, on: str, topology: Topology) -> dict[str, Any]:
        """Waves that reach their moment, streams of each, and a canary for each replica after it."""
        return {
            "waves": options.waves,
            "moment": options.moment,
            "streams": _streams(options, len(_asked(on, topology.replicas))),
            "canaries": list(topology.replicas),
        }

    def undo(self) -> Undo:
        """Hang up whatever is still open."""
        return Undo(self.id, "end_wave", {"wave": self.id}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """Read the engines' metrics, without which nothing could be compared, and size the waves. FaultError."""
        ledger = _ledger(context)
        with ledger.watching():
            await _busiest(ledger)
        self.size = await self._sized(context)
        tell_step(context, self, "sized", streams=self.size.streams, tokens=self.size.tokens)

    async def _sized(self, context: FaultContext) -> _Size:
        streams = _streams(self.options, len(_asked(self.on, context.topology.replicas)))
        return _Size(streams, self.options.max_tokens or await self._tokens(context))

    async def _tokens(self, context: FaultContext) -> int:
        """The tokens of one stream in ``lasts``, capped by the model and the gateways. FaultError without a stream."""
        gateways = context.topology.gateways
        gateway = self.on if self.on in gateways else gateways[0]
        samples = [await context.path.through(gateway, SPEED_WITHIN_S) for _ in range(SPEED_PROBES)]
        speeds = [speed for sample in samples if (speed := sample.tokens_per_s) is not None]
        if not speeds:
            raise FaultError(f"{gateway} does not stream before the fault ({samples[-1].describe()})")
        prompt = max(_PROMPT_TOKENS_MIN, _TOKENS_PER_WORD * self.options.words)
        most = min(context.topology.max_model_len - prompt, context.topology.gateway_policy.chat_max_tokens)
        return max(_TOKENS_MIN, min(round(max(speeds) * self.options.lasts), most))

    async def run(self, context: FaultContext) -> Proof:
        """Make the waves: each is cancelled at its moment, which is seen."""
        storm, ended = asyncio.create_task(self._storm(context)), threading.Event()
        _UNDER_WAY[self.id] = (storm, ended)
        storm.add_done_callback(lambda _: _over(self.id))
        await storm
        reached = sum(wave.reached for wave in self.waves)
        cut = sum(stream.cut for wave in self.waves for stream in wave.streams)
        seen = f"{reached} of {len(self.waves)} waves reached it, {cut} streams were cancelled"
        size = f"{self.size.streams} streams of {self.size.tokens} tokens"
        before = f"{self.options.waves} waves of {size}, to be cancelled: {self.options.moment}"
        if reached >= self.options.waves:
            return Proof(True, f"{self.waves[-1].why}; {seen}", before, seen)
        missed = next((wave.why for wave in self.waves if not wave.reached), "no wave was begun")
        return Proof(False, f"the moment was not reached: {missed}; {seen}", before, seen)

    def effect_so_far(self) -> str:
        """What showed that the first wave was at its moment."""
        return next((wave.why for wave in self.waves if wave.reached), "")

    async def verify_healed(self, context: FaultContext) -> Proof:
        """No connection of these waves is open. What the engines do about them is for the checks."""
        open_ = [s for wave in self.waves for s in wave.streams if s.cancelled_s is None and s.ended is None]
        seen = f"{len(open_)} of {sum(len(wave.streams) for wave in self.waves)} connections are open"
        if self.id in _UNDER_WAY:
            seen = f"a wave is still under way; {seen}"
        elif not open_:
            return Proof(True, seen, "", seen)
        return Proof(False, f"still there: {seen}", "", seen, left=seen)

    # ── the waves ──

    async def _storm(self, context: FaultContext) -> None:
        """As many waves as were asked for.

        One that missed its moment, or whose aftermath was not seen, is repeated, up to a limit.
        """
        for number in range(1, self.options.waves + max(self.options.waves, MORE_WAVES) + 1):
            wave = await self._wave(context, number)
            if sum(one.reached and one.unseen_s <= UNSEEN_MAX_S for one in self.waves) >= self.options.waves:
                return
            await asyncio.sleep(self.options.pause if wave.reached else 0.5)

    async def _wave(self, context: FaultContext, number: int) -> Wave:
        ledger = _ledger(context)
        wave = Wave(self.id, self.phase, number, self.options.moment, ledger.now_s())
        self.waves.append(wave)
        with ledger.watching():
            before = await _busiest(ledger)
            async with self._streams(context, wave) as opened:
                await self._await_moment(ledger, wave, opened, before)
                await _cancel(ledger, opened)
                await _quiet_again(ledger, before, self.options.watch)
            wave.watched_until_s = ledger.now_s()
            wave.unseen_s = ledger.unseen_s(wave.cancelled_s or wave.began_s)
        replicas = context.topology.replicas
        wave.canaries = list(await asyncio.gather(*(self._canary(context, replica, number) for replica in replicas)))
        for replica in replicas:
            stats = await asyncio.to_thread(context.runtime.stats, replica)
            if stats.rss_bytes is not None:
                wave.rss_bytes[replica] = float(stats.rss_bytes)
        ledger.add(wave)
        return wave

    @contextlib.asynccontextmanager
    async def _streams(self, context: FaultContext, wave: Wave) -> AsyncIterator[list[_Open]]:
        """All streams of the wave, sent side by side. None stays open; what they may cost is counted."""
        opened: list[_Open] = []
        topology = context.topology
        entrypoints = topology.gateways if self.on == ALL_GATEWAYS else (self.on,)
        with contextlib.ExitStack() as asks:
            try:
                for number in range(self.size.streams):
                    entrypoint = entrypoints[number % len(entrypoints)]
                    ending = ("fin", "rst")[number // len(entrypoints) % 2]
                    stream = Stream(f"{self.id}/{wave.number}/{number}".replace("/", "."), entrypoint, ending)
                    wave.streams.append(stream)
                    tries = 1 if entrypoint in topology.replicas else 1 + topology.gateway_policy.retries
                    whose = entrypoint if entrypoint in topology.replicas else ANY_REPLICA
                    asks.enter_context(context.path.own.asking(whose, tries * self.size.tokens))
                    opened.append(self._open(context, stream))
                yield opened
            finally:
                await _cancel(_ledger(context), opened)

    def _open(self, context: FaultContext, stream: Stream) -> _Open:
        ledger = _ledger(context)

        def token() -> None:
            stream.tokens += 1
            if stream.first_token_s is None:
                stream.first_token_s = ledger.now_s()
            if self.options.moment == "half-read" and stream.tokens == READ_TOKENS:
                stream.paused_s = ledger.now_s()
                chat.pause()

        chat = ChatStream(*_address(context, stream.entrypoint), token)
        prompt = " ".join(self._random.choices(self._words, k=self.options.words))
        body = {
            "model": context.path.deployment,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.size.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        headers = {"X-Request-Id": stream.request_id[-64:]}
        if stream.entrypoint in context.topology.gateways:
            key = _user_key(context, len(self.waves) * self.size.streams + _number(stream))
            headers["Authorization"] = f"Bearer {key}"
        return _Open(stream, chat, asyncio.create_task(_follow(ledger, stream, chat, headers, body)))

    # ── its moment ──

    async def _await_moment(self, ledger: Waves, wave: Wave, opened: list[_Open], before: Mapping[str, _Level]) -> None:
        """Wait until the moment is there, and say what showed it; or until it can no longer come."""
        deadline = time.monotonic() + self.options.give_up
        while time.monotonic() < deadline:
            if all(one.stream.sent_s is not None or one.stream.ended for one in opened):
                alive = [one.stream for one in opened if one.stream.ended is None]
                if len(alive) < MOST * len(opened):
                    ended = next(one.stream.ended for one in opened if one.stream.ended)
                    wave.why = f"only {len(alive)} of {len(opened)} streams were still there: {ended}"
                    return
                if why := self._seen(ledger, alive, before):
                    wave.reached, wave.why = True, why
                    return
                if self.options.moment in ("queued", "prefill") and all(stream.tokens for stream in alive):
                    break  # it is past
            await asyncio.sleep(0.004)
        tokens = sorted(one.stream.tokens for one in opened)
        wave.why = f"{self.options.moment} was not seen in time; tokens per stream: {tokens}"

    def _seen(self, ledger: Waves, alive: list[Stream], before: Mapping[str, _Level]) -> str | None:
        """What shows that the moment is there now; None while nothing does."""
        sent_s = max(stream.sent_s or 0.0 for stream in alive)
        looks = {replica: probe for replica, probe in ledger.latest.items() if probe.asked_s >= sent_s}
        silent = sum(stream.tokens == 0 for stream in alive)
        match self.options.moment:
            case "queued":
                waiting = ledger.queues(sent_s)
                if silent and waiting.keys() >= _asked(self.on, ledger.replicas):
                    return f"{silent} streams without a token while {_counts(waiting)} waited for a place"
            case "prefill":
                running = sum(probe.values["running"] for probe in looks.values())
                more = running - sum(before[replica].work for replica in looks) - (len(alive) - silent)
                if silent and more >= 1:
                    return f"{silent} streams without a token while {running:.0f} ran"
            case "half-read":
                stopped = [s.paused_s for s in alive if s.paused_s is not None]
                if len(stopped) >= MOST * len(alive) and ledger.now_s() - max(stopped) >= HELD_S:
                    return f"{len(stopped)} readers had stopped for {HELD_S:g} s after {READ_TOKENS} events"
            case moment:
                wanted = EARLY_TOKENS if moment == "early" else LATE_SHARE * self.size.tokens
                there = sum(stream.tokens >= wanted for stream in alive)
                if there >= MOST * len(alive):
                    return f"{there} streams had {wanted:.0f} or more of {self.size.tokens} tokens"
        return None

    async def _canary(self, context: FaultContext, replica: str, number: int) -> Canary:
        """Ask the replica itself something that has one right answer."""
        question = questions()[number % len(questions())]
        body = {
            "model": context.path.deployment,
            "messages": [{"role": "user", "content": question.question}],
            "max_tokens": TOKENS_MAX,
            "temperature": 0,
        }
        began, reader = time.monotonic(), CompletionReader(stream=False)
        request = {"url": context.topology.component(replica).url(path=CHAT), "json": body}
        with context.path.own.asking(replica, TOKENS_MAX) as ask:
            trouble = await completion.ask(reader, CANARY_S, request)
            ask.got = reader.answer.output_tokens or 0
        outcome = trouble or reader.outcome()[0]
        right = outcome == "ok" and reader.answer.text.strip() == question.answer.strip()
        why = "the right answer" if right else "another answer than the right one"
        if outcome != "ok":
            why = f"no answer ({outcome})"
        return Canary(replica, right, why, time.monotonic() - began)


def _streams(options: Options, replicas: int) -> int:
    """How many streams one wave has."""
    return options.streams or max(2, math.ceil(options.demand * SEQUENCES_MAX * replicas))


def _asked(on: str, replicas: Sequence[str]) -> set[str]:
    """Those of the replicas that a wave on that door comes to in the end."""
    return {on} if on in replicas else set(replicas)


def _over(id: str) -> None:
    _, ended = _UNDER_WAY.pop(id)
    ended.set()


def _number(stream: Stream) -> int:
    """Its number in the wave."""
    return int(stream.request_id.rpartition(".")[2])


async def _follow(
    ledger: Waves, stream: Stream, chat: ChatStream, headers: Mapping[str, str], body: Mapping[str, Any]
) -> None:
    """Send the request and read until it is over, unless it is cancelled before."""
    try:
        await chat.send(headers, body)
        stream.sent_s = ledger.now_s()
        stream.ended = await chat.read()
    except (OSError, h11.RemoteProtocolError, Exhausted) as error:
        stream.ended = f"{type(error).__name__}: {error}"


async def _cancel(ledger: Waves, opened: list[_Open]) -> None:
    """Hang up all connections that are open, at once. Harmless when none is."""
    for one in opened:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in opened), return_exceptions=True)
    for one in opened:
        if one.stream.cancelled_s is None:
            one.chat.hang_up(one.stream.ending)
            one.stream.cancelled_s = ledger.now_s()
            one.stream.status = one.chat.status
            one.stream.replica = one.chat.headers.get("x-drillyard-replica") or (
                one.stream.entrypoint if one.stream.entrypoint in ledger.replicas else None
            )


async def _busiest(ledger: Waves) -> dict[str, _Level]:
    """The most that each replica had to do and held at once for a while. FaultError when one does not show it."""
    most: dict[str, _Level] = {}
    began = time.monotonic()
    while (passed := time.monotonic() - began) < BEFORE_S or len(most) < len(ledger.replicas):
        if passed > LOOKED_AT_WITHIN_S:
            missing = next(replica for replica in ledger.replicas if replica not in most)
            raise FaultError(f"{missing} does not show its metrics: a wave could not be told from its aftermath")
        for replica, now in _levels(ledger).items():
            before = most.get(replica, now)
            most[replica] = _Level(max(before.work, now.work), max(before.kv, now.kv))
        await asyncio.sleep(0.02)
    return most


async def _quiet_again(ledger: Waves, before: Mapping[str, _Level], least_s: float) -> None:
    """Go on looking for a while, and longer while a replica has more to do or holds more than before the wave."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(0.05)
        back = all(
            now.work <= before[replica].work + 1 and now.kv <= before[replica].kv
            for replica, now in _levels(ledger).items()
        )
        passed = time.monotonic() - began
        if passed > AFTER_S_MAX or (passed > least_s and back):
            return


def _levels(ledger: Waves) -> dict[str, _Level]:
    return {
        replica: _Level(probe.values["running"] + probe.values["waiting"], probe.values["kv_usage_ratio"])
        for replica, probe in ledger.latest.items()
    }


def _counts(by_replica: Mapping[str, int]) -> str:
    return ", ".join(f"{count} at {replica}" for replica, count in by_replica.items() if count)


def _address(context: FaultContext, entrypoint: str) -> tuple[str, int]:
    """Where users reach a gateway; a replica's own address."""
    if entrypoint in context.topology.gateways:
        link = context.topology.link_between(CLIENT, entrypoint)
        return link.listen_address, link.listen_port
    component = context.topology.component(entrypoint)
    return component.address, component.ports["http"]


def _user_key(context: FaultContext, number: int) -> str:
    """A user's key, the last users' first: the load begins with the others."""
    users = sorted(keys.load_or_create(state.instance_folder(context.topology)).users.items(), reverse=True)
    return users[number % min(len(users), 24)][1]


def _ledger(context: FaultContext) -> Waves:
    if context.waves is None:
        raise FaultError("nobody keeps a ledger of waves here: they belong into a run")
    return context.waves


def _end_wave(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Cancel the waves under way in this process. In any other the connections ended with whoever had them."""
    if (found := _UNDER_WAY.get(args["wave"])) is not None:
        task, ended = found
        task.get_loop().call_soon_threadsafe(task.cancel)
        if not ended.wait(5.0):
            raise FaultError(f"{args['wave']}: the streams did not end within 5 s")


WORKLOAD = CancelWave
UNDO = {"end_wave": _end_wave}
