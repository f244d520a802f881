"""Proofs on the link to a target that is slow by design: slow is no silence, and a broken link is no slow one."""

from __future__ import annotations

import asyncio
import math
import random
from functools import partial
from typing import Any

import pytest

from harness.adapters.toxiproxy import Toxic
from harness.faults import link, slow_close
from harness.faults.base import fault_class
from harness.faults.link import LOOK_S, LinkFault
from harness.model.errors import FaultError
from harness.model.options import model
from harness.model.topology import Endpoint, Target, Topology
from harness.probes.path import PathSample
from stack.stacks import external

LINK = "client-to-target"
TARGET = Target(Endpoint("http", "h", 80, address="192.0.2.1"))
PATIENCE_S, SLOW_MS = 30.0, 5100.0
AFTER_MS = 2600.0  # from the first byte to the end
LATENCY = {"latency": "800ms"}


class Slow:
    """A world in which crossings take as long as the test says, over the link and past it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topology, self.patience_s = Topology(external.stack(TARGET), target=TARGET), PATIENCE_S
        self.path, self.toxiproxy = self, self
        self.over_ms = self.past_ms = SLOW_MS
        self.ends_as, self.after_ms = "ok", AFTER_MS  # what comes over the link
        self.waited_s: list[float] = []
        monkeypatch.setattr(link, "HEALED_WITHIN_S", 0.0)

    async def measure(self, link: object, deadline_s: float) -> PathSample:
        """Over the link."""
        self.waited_s.append(deadline_s)
        return _crossing(self.over_ms, deadline_s, self.ends_as, self.after_ms)

    async def straight(self, target: object, deadline_s: float) -> PathSample:
        """Past it."""
        return _crossing(self.past_ms, deadline_s)

    def addresses(self, proxy: str) -> tuple[str, str]:
        """Of the link."""
        return "", ""

    def toxics(self, proxy: str) -> list[Toxic]:
        """None is listed."""
        return []


def _crossing(took_ms: float, deadline_s: float, ends_as: str = "ok", after_ms: float = AFTER_MS) -> PathSample:
    if took_ms > 1000 * deadline_s:
        return PathSample("timeout", e2e_ms=1000 * deadline_s)
    return PathSample(ends_as, took_ms - after_ms, took_ms - after_ms, took_ms, body_bytes=6000)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The target takes longer than a look at a quick one."""
    assert SLOW_MS > 1000 * LOOK_S
    return Slow(monkeypatch)


def measured(context: Any, type_name: str = "latency") -> LinkFault[Any]:
    """A fault of the link that has seen it healthy."""
    cls: Any = fault_class(type_name)
    options = LATENCY if type_name == "latency" else {}
    one: LinkFault[Any] = cls("test", LINK, model(type_name).model_validate(options))
    asyncio.run(one.measure(context))
    return one


@pytest.mark.parametrize(
    ("type_name", "over_ms", "past_ms", "said"),
    [
        ("latency", SLOW_MS + 800, SLOW_MS, ""),
        ("latency", SLOW_MS + 100, SLOW_MS, "no effect"),
        ("latency", SLOW_MS + 800, SLOW_MS + 800, "no effect"),  # it was the target
        ("latency", SLOW_MS - 2200, SLOW_MS - 3000, ""),  # it was slow before
        ("latency", math.inf, SLOW_MS, ""),  # a longer delay than the look lasts
        ("latency", math.inf, math.inf, "far side does not answer"),
        ("timeout", math.inf, SLOW_MS, ""),
        ("timeout", SLOW_MS, SLOW_MS, "no effect"),
        ("timeout", SLOW_MS + 3900, SLOW_MS, "no answer at all was expected"),
        ("timeout", math.inf, math.inf, "far side does not answer"),
    ],
)
def test_an_effect_is_told_from_the_targets_own_slowness(
    type_name: str, over_ms: float, past_ms: float, said: str, context: Any
) -> None:
    """The crossing is compared with the healthy one, and given as much longer as any other."""
    one = measured(context, type_name)
    context.over_ms, context.past_ms = over_ms, past_ms
    proof = asyncio.run(one.verify(context))
    assert proof.proven is (said == ""), proof
    assert said in proof.why


@pytest.mark.parametrize(("delayed_ms", "proven"), [(800.0, True), (0.0, False)])
@pytest.mark.parametrize("quicker_ms", [300.0, -700.0])
def test_a_delay_is_seen_at_the_first_byte(delayed_ms: float, proven: bool, quicker_ms: float, context: Any) -> None:
    """This time the rest of the answer is quicker, or slower, as of a server under load."""
    one = measured(context)
    context.over_ms, context.after_ms = SLOW_MS + delayed_ms - quicker_ms, AFTER_MS - quicker_ms
    assert asyncio.run(one.verify(context)).proven is proven


@pytest.mark.parametrize("delayed_ms", [800.0, 0.0])
def test_a_delay_is_told_from_a_target_that_varies_as_much(
    delayed_ms: float, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First bytes between 0.1 and 0.7 s: the delay is proven nearly always, and no delay never is."""
    draw, one = random.Random(3), measured(context)

    async def varying(_: object, deadline_s: float, slower_ms: float) -> PathSample:
        return _crossing(AFTER_MS + draw.uniform(100, 700) + slower_ms, deadline_s)

    monkeypatch.setattr(context, "measure", partial(varying, slower_ms=delayed_ms))
    monkeypatch.setattr(context, "straight", partial(varying, slower_ms=0.0))
    proven = sum(asyncio.run(one.verify(context)).proven for _ in range(100))
    assert proven >= 90 if delayed_ms else proven == 0


def test_a_link_that_breaks_is_not_slow(context: Any) -> None:
    """It failed after three seconds, which neither a delay nor a silence does."""
    one = measured(context)
    context.over_ms, context.ends_as = 3000.0, "broken"
    proof = asyncio.run(one.verify(context))
    assert not proof.proven
    assert "failed, but at once" in proof.why


@pytest.mark.parametrize(
    ("over_ms", "past_ms", "proven", "said"),
    [
        (SLOW_MS, SLOW_MS, True, "works as before"),
        (SLOW_MS + 800, SLOW_MS, False, "still meets it"),
        (SLOW_MS + 2000, SLOW_MS + 2000, True, "adds nothing any more"),
        (math.inf, math.inf, False, "nothing of it was found"),
    ],
)
def test_a_heal_is_told_from_the_targets_own_slowness(
    over_ms: float, past_ms: float, proven: bool, said: str, context: Any
) -> None:
    """As quick as before, or as quick as the way past the link at the same time."""
    one = measured(context)
    context.over_ms, context.past_ms = over_ms, past_ms
    healed = asyncio.run(one.verify_healed(context))
    assert healed.proven is proven, healed
    assert said in healed.why


def test_a_dead_link_is_found_dead_in_bounded_time(context: Any) -> None:
    """After twice as long as clients wait; one that answers later than they wait is of no use to them either."""
    context.over_ms = 1000 * PATIENCE_S + 1
    with pytest.raises(FaultError, match="does not work before the fault"):
        measured(context)
    assert context.waited_s == [LOOK_S, PATIENCE_S]


def test_a_hiccup_is_no_measure(context: Any) -> None:
    """A crossing that takes longer than a look is tried again before it is what others are compared with."""
    context.over_ms, quick_ms = 12_000.0, 300.0
    cross = context.measure

    async def once_slow(link: object, deadline_s: float) -> PathSample:
        found: PathSample = await cross(link, deadline_s)
        context.over_ms = quick_ms
        return found

    context.measure = once_slow
    one = measured(context)
    assert one.before is not None
    assert one.before.e2e_ms == quick_ms


def test_a_hang_up_past_the_link_goes_the_targets_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy that is the tunnel: the target's own address is unknown there."""
    asked: list[tuple[str, int]] = []

    async def hang_up(address: str, port: int, within_s: float) -> PathSample:
        asked.append((address, port))
        return PathSample("ok", 1.0, e2e_ms=1.0)

    monkeypatch.setattr(slow_close, "_hang_up", hang_up)
    target = Target(Endpoint("https", "h", 443, proxy="http://127.0.0.1:1", tunnel="127.0.0.6:8443"))
    context: Any = Slow(monkeypatch)
    context.topology = Topology(external.stack(target), target=target)
    one: LinkFault[Any] = slow_close.SlowClose("x", LINK, model("slow_close").model_validate({"delay": "1s"}))
    one.before = PathSample("ok", 1.0, e2e_ms=1.0)
    asyncio.run(one._pair(context))
    assert ("127.0.0.6", 8443) in asked
