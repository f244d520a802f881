"""What all faults of a network link share: toxics, and proof by requests that cross the link."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from harness.adapters.toxiproxy import Toxic
from harness.faults.base import FaultContext, Proof, fault_id, nothing_countable, read_back, to_the_end
from harness.model.errors import AdapterError, FaultError
from harness.model.journal import Undo
from harness.model.topology import CLIENT, Topology
from harness.probes.path import PROTOCOLS, PathSample, page, synthetic

#: How much longer than the healthy crossing one may take while we look for an effect: well inside a phase.
LOOK_S = 4.0
#: How long a crossing may take to be as quick as before.
HEALED_WITHIN_S = 10.0
#: Comparisons of the link with the way past it, when that does not come: each has to say the same.
PAIRS = 5

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class LinkFault(Generic[OptionsT]):
    """A fault of one link. Subclasses give ``toxics`` and ``extra_ms``."""

    type: ClassVar[str]
    expected_disruptions: ClassVar[tuple[str, ...]] = ()
    lasts: ClassVar[bool] = True
    proven_again: ClassVar[bool] = True
    silences: ClassVar[bool] = False
    counts = staticmethod(nothing_countable)
    #: Whether a crossing that fails at once is an effect of this fault. Where not, a quick refusal has another reason.
    fails_at_once: ClassVar[bool] = False

    def __init__(self, phase: str, on: str, options: OptionsT) -> None:
        self.id, self.phase, self.on, self.options = fault_id(phase, self.type, on), phase, on, options
        self.before: PathSample | None = None
        self.addresses = ("", "")

    def toxics(self) -> tuple[Toxic, ...]:
        """What makes the fault."""
        raise NotImplementedError

    def extra_ms(self, before: PathSample) -> float:
        """How much longer a crossing must take than ``before`` for the effect to be real."""
        raise NotImplementedError

    @staticmethod
    def shown_ms(sample: PathSample) -> float:
        """What of a crossing grows by the effect: the whole of it."""
        return _took_ms(sample)

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All links that we know how to cross."""
        return [link.name for link in topology.links if link.protocol in PROTOCOLS]

    def undo(self) -> Undo:
        """What ``heals_by`` needs; the addresses are what it takes to make the proxy anew."""
        listen, upstream = self.addresses
        names = [toxic.name for toxic in self.toxics()]
        args = {"proxy": self.on, "toxics": names, "listen": listen, "upstream": upstream}
        return Undo(self.id, self.heals_by(), args, self.phase)

    def heals_by(self) -> str:
        """The undo action: the toxics are removed, and connections go on."""
        return "remove_toxics"

    async def measure(self, context: FaultContext) -> None:
        """Cross the healthy link, to compare; a second try forgives a hiccup, and waits for as long as clients do."""
        self.addresses = await asyncio.to_thread(context.toxiproxy.addresses, self.on)
        for within_s in (LOOK_S, max(LOOK_S, context.patience_s)):
            sample = await self._cross(context, within_s)
            if sample.outcome == "ok":
                self.before = sample
                return
        raise FaultError(f"{self.on} does not work before the fault ({sample.describe()}): nothing to compare with")

    async def inject(self, context: FaultContext) -> None:
        """Add the toxics."""
        for toxic in self.toxics():
            await to_the_end(context.toxiproxy.add, self.on, toxic)

    async def verify(self, context: FaultContext) -> Proof:
        """Cross the link again: slower by ``extra_ms``, or not at all although the far side itself answers.

        Slower than before, or, to a target that may have become slow itself, than past the link at the same time. A
        target's answers may vary as much as the delay, so up to ``PAIRS`` are compared, by the quickest of each way.
        """
        before = self._before()
        during, past, far_side_answers = await self._look(context)
        for _ in range(1, PAIRS):
            if past is None or during.outcome != "ok" or self._shown(during, past, "")[0]:
                break
            if math.isinf(self.extra_ms(past)):  # one answer is enough: there should have been none
                break
            over, beside, _ = await self._look(context)
            during = min((one for one in (during, over) if one.outcome == "ok"), key=self.shown_ms)
            past = past if beside is None else min(past, beside, key=self.shown_ms)
        seen = during.describe()
        if during.outcome == "ok":
            proven, why = self._shown(during, before if past is None else past, "before" if past is None else "past it")
            return Proof(proven, why if proven else f"the fault had no effect: {why}", before.describe(), seen)
        if not self.fails_at_once and _took_ms(during) < 900 * self._silent_s(context):
            why = f"the fault had no effect: {self.on} failed, but at once, which a slow or silent link does not"
            return Proof(False, why, before.describe(), seen)
        if not far_side_answers:
            return Proof(False, f"{self.on}: its far side does not answer either", before.describe(), seen)
        return Proof(True, f"nothing usable crossed {self.on} ({seen})", before.describe(), seen)

    def _shown(self, during: PathSample, without: PathSample, which: str) -> tuple[bool, str]:
        """Whether a crossing shows the effect, compared with one without it, and how much slower it was."""
        grown_ms, needed_ms = self.shown_ms(during) - self.shown_ms(without), self.extra_ms(without)
        needed = f"at least {needed_ms:.0f} needed" if needed_ms < math.inf else "no answer at all was expected"
        return grown_ms >= needed_ms, f"crossing {self.on} took {grown_ms:+.0f} ms compared with {which}, {needed}"

    async def _look(self, context: FaultContext) -> tuple[PathSample, PathSample | None, bool]:
        """A crossing; the way past a target's link at the same time, if it answered; whether the far side answers.

        A target may be slow, so it is asked at once; our own only where the crossing fails.
        """
        if context.topology.target is not None:
            during, past = await self._pair(context)
            return during, past if past.outcome == "ok" else None, past.outcome == "ok"
        during = await self._cross(context, self._look_s())
        return during, None, during.outcome != "ok" and await self._far_side_answers(context)

    def _look_s(self) -> float:
        """How long a crossing may take once the healthy one is known: what is slow by design is not silent."""
        return LOOK_S + _took_ms(self._before()) / 1000

    def _silent_s(self, context: FaultContext) -> float:
        """How long silence lasts: a gateway of ours gives up before we do, a target's link never does."""
        if context.topology.target is not None:
            return self._look_s()
        return min(LOOK_S, context.topology.gateway_policy.first_byte_timeout_s)

    async def present(self, context: FaultContext) -> bool | None:
        """Whether toxiproxy lists all of the toxics, as they were made."""
        try:
            listed = await asyncio.to_thread(context.toxiproxy.toxics, self.on)
        except AdapterError:
            return None
        return all(any(_same(toxic, one) for one in listed) for toxic in self.toxics())

    async def verify_healed(self, context: FaultContext) -> Proof:
        """Cross until it is as quick as before (3 × or + 1 s, and less than the effect adds).

        No crossing begins later than ``HEALED_WITHIN_S`` after the heal, each bounded (``_look_s``). How quick one
        is depends on the machine and on what has piled up, too. So when none is as before what decides is toxiproxy's
        word, and up to ``PAIRS`` comparisons of the way over the link with the way past it, at the same time.
        """
        before = self._before()
        as_before_ms = max(3 * _took_ms(before), _took_ms(before) + 1000)
        limit_ms = min(as_before_ms, _took_ms(before) + self.extra_ms(before))
        began = time.monotonic()
        while True:
            after = await self._cross(context, self._look_s())
            listed = await read_back(partial(self._listed, context))
            if listed == "" and after.outcome == "ok" and _took_ms(after) < limit_ms:
                return Proof(True, f"{self.on} works as before", before.describe(), after.describe())
            if (waited_s := time.monotonic() - began) > HEALED_WITHIN_S:
                break
            await asyncio.sleep(0.2)
        slow = f"{self.on} is not as before {waited_s:.0f} s after the heal (limit {limit_ms:.0f} ms)"
        if listed:
            return Proof(False, f"{slow}: still there: {listed}", before.describe(), after.describe(), listed)
        pairs = await self._pairs(context)
        seen = f"{after.describe()}; over the link and past it: {_describe(pairs)}"
        if self._felt(pairs):
            left = f"what crosses {self.on} still meets it, what goes past it does not"
            return Proof(False, f"{slow}: still there: {left}", before.describe(), seen, left)
        if listed == "" and self._absent(pairs):
            return Proof(True, f"{self.on} adds nothing any more, though {slow}", before.describe(), seen)
        return Proof(False, f"{slow}, and nothing of it was found", before.describe(), seen, listed)

    def _listed(self, context: FaultContext) -> str:
        """Which of our toxics toxiproxy lists; «» for none. Blocks."""
        ours = {toxic.name for toxic in self.toxics()}
        listed = [toxic.name for toxic in context.toxiproxy.toxics(self.on) if toxic.name in ours]
        return f"toxic {', '.join(listed)} on {self.on}" if listed else ""

    def _felt(self, pairs: Sequence[tuple[PathSample, PathSample]]) -> bool:
        """Whether every crossing shows the effect although every one past the link was well.

        In each pair, which is asked at the same time, the one over the link must take longer by what proves the effect:
        a pause of the machine meets both.
        """
        outcomes = {over.outcome for over, _ in pairs}
        if any(past.outcome != "ok" for _, past in pairs):
            return False
        if outcomes <= {"ok", "timeout"}:
            return outcomes == {"timeout"} or all(
                over.outcome == "timeout" or self._shown(over, past, "past it")[0] for over, past in pairs
            )
        return self.fails_at_once and not outcomes & {"ok", "refused"}

    def _absent(self, pairs: Sequence[tuple[PathSample, PathSample]]) -> bool:
        """Whether one crossing was without the effect: toxics are on every connection, so one is enough."""
        over = [sample for sample, _ in pairs if sample.outcome == "ok"]
        past = [sample for _, sample in pairs if sample.outcome == "ok"]
        if not over or not past:
            return False
        return not self._shown(min(over, key=self.shown_ms), min(past, key=self.shown_ms), "past it")[0]

    async def _pairs(self, context: FaultContext) -> list[tuple[PathSample, PathSample]]:
        """Comparisons of the two ways: ``PAIRS``, or fewer once an external target answers on neither.

        Then the cause is not the link, and the target may never answer again.
        """
        pairs: list[tuple[PathSample, PathSample]] = []
        while len(pairs) < PAIRS:
            pairs.append(await self._pair(context))
            if context.topology.target is not None and all(sample.outcome != "ok" for sample in pairs[-1]):
                break
        return pairs

    async def _pair(self, context: FaultContext) -> tuple[PathSample, PathSample]:
        """The same at the same time over the link and past it; of our own no generation, which waits in queues."""
        link, topology, look_s = context.topology.link(self.on), context.topology, self._look_s()
        if topology.target is not None:
            both = context.path.measure(link, look_s), context.path.straight(topology.target, look_s)
        else:
            far = topology.component(link.target)
            path = "/metrics" if far.role == "replica" else far.liveness_path or "/"
            over = f"http://{link.listen_address}:{link.listen_port}{path}"
            both = page(over, look_s), page(far.url(path=path), look_s)
        over_link, past_it = await asyncio.gather(*both)
        return over_link, past_it

    async def _cross(self, context: FaultContext, within_s: float) -> PathSample:
        return await context.path.measure(context.topology.link(self.on), within_s)

    async def _far_side_answers(self, context: FaultContext) -> bool:
        target = context.topology.component(context.topology.link(self.on).target)
        if target.role != "replica":
            return True
        return await synthetic(target, context.path.deployment, self._look_s(), context.path.own) is not None

    def _before(self) -> PathSample:
        if self.before is None:
            raise FaultError(f"{self.id}: verify was called before measure")
        return self.before


def _same(toxic: Toxic, listed: Toxic) -> bool:
    """Whether the listed one is that toxic; toxiproxy adds attributes that were left out."""
    attributes = {name: value for name, value in listed.attributes.items() if name in toxic.attributes}
    return replace(listed, attributes=attributes) == toxic


def _took_ms(sample: PathSample) -> float:
    return sample.e2e_ms or 0.0


def _describe(pairs: Sequence[tuple[PathSample, PathSample]]) -> str:
    return ", ".join(
        " / ".join(f"{_took_ms(one):.0f} ms" if one.outcome == "ok" else one.outcome for one in pair) for pair in pairs
    )


def remove_toxics(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Remove the toxics; if that hangs recreate the proxy; if that hangs restart toxiproxy, which starts clean."""
    try:
        for toxic in args["toxics"]:
            context.toxiproxy.remove(args["proxy"], toxic)
    except AdapterError as error:
        renew_proxy(context, args, str(error))


def renew_proxy(context: FaultContext, args: Mapping[str, Any], why: str = "its toxics could not be removed") -> None:
    """Recreate the proxy, without its toxics and its connections; if that hangs restart toxiproxy.

    That cuts the requests on the link. The event ``link_cut`` records it, so that the service is not blamed.
    """
    began_s = time.monotonic()
    cut = [context.topology.link(args["proxy"])]
    try:
        context.toxiproxy.recreate(args["proxy"], args["listen"], args["upstream"])
    except AdapterError as error:
        why, cut = f"{why}; {error}", list(context.topology.links)
        context.runtime.kill("toxiproxy")
    took_s = round(time.monotonic() - began_s, 6)
    addresses = [link.listen_address for link in cut if link.source == CLIENT]
    context.tell("link_cut", links=[link.name for link in cut], addresses=addresses, took_s=took_s, why=why)


UNDO = {"remove_toxics": remove_toxics, "renew_proxy": renew_proxy}
