"""Each fault's proof of its heal, in both directions: what is left is said to be left, and slow service is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxic
from harness.faults import base, component, kill, link, server, slow_close, widened
from harness.faults.base import Fault, Healing, Proof, fault_class, types
from harness.faults.operations import restart
from harness.faults.workloads import cancel_wave, oversized
from harness.model.artifacts.rollout import Deployment, Gates, Rollout
from harness.model.artifacts.waves import Stream, Wave
from harness.model.errors import AdapterError
from harness.model.options import model
from harness.model.topology import Topology
from harness.probes import question
from harness.probes.health import Health
from harness.probes.path import PathSample
from harness.probes.question import Reply
from stack.runtimes.base import ComponentState
from stack.stacks.vllm_haproxy import STACK

REPLICA, GATEWAY, LINK = "replica-2", "gateway-a", "gateway-a-to-replica-2"
READY = Server("ready", 100)
QUICK = PathSample("ok", 1.0, 2.0, 20.0, body_bytes=6000)
LATE = PathSample("timeout", e2e_ms=4000.0)
LINK_FAULTS: dict[str, dict[str, Any]] = {
    "bandwidth": {"rate_kb": 4},
    "latency": {"latency": "600ms"},
    "reset": {},
    "slicer": {"size": 100, "delay": "40ms"},
    "slow_close": {"delay": "2500ms"},
    "timeout": {},
}
SERVER_FAULTS: dict[str, dict[str, Any]] = {"drain": {}, "weight": {"percent": 20}, "restart": {}, "swap": {}}
COMPONENT_FAULTS: dict[str, dict[str, Any]] = {
    "deaf": {},
    "kill": {},
    "memory": {"headroom_mb": 0},
    "oom": {"headroom_mb": 0},
    "pause": {},
    "stop": {},
}
ASKS = ("long_contexts", "oversized")
OTHERS = ("cancel_wave", "widened")


class Stack:
    """A stack of which the test says what is left in it and how quick it is; it stands for a whole world."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topology = Topology(STACK, engine="sim")
        self.runtime, self.toxiproxy, self.path, self.deployment = self, self, self, "m"
        self.quick, self.reachable = True, True
        self.state, self.limit, self.hang, self.version = "running", None, False, "v1@sim"
        self.listed: list[Toxic] = []
        self.server, self.connections = READY, 4
        self.over = self.past = QUICK  # of pages: over the link, and past it
        for module in (component, restart):
            monkeypatch.setattr(module, "probe", self._look)
        monkeypatch.setattr(server, "ask", self._ask)
        monkeypatch.setattr(link, "page", self._page)
        monkeypatch.setattr(slow_close, "_hang_up", self._hang_up)
        monkeypatch.setattr(question, "ask", self._question)
        monkeypatch.setattr(question, "version_of", lambda replica: self.version)
        monkeypatch.setattr(Haproxy, "servers", lambda _: self._told(dict.fromkeys(STACK.of("replica"), self.server)))
        monkeypatch.setattr(Haproxy, "healthy", lambda _: self._told(dict.fromkeys(STACK.of("replica"), self.quick)))
        monkeypatch.setattr(
            Haproxy, "long_connections", lambda _: self._told(dict.fromkeys(STACK.of("replica"), self.connections))
        )
        monkeypatch.setattr(Simulator, "behaviour", lambda _: self._told({"hang": self.hang}))
        for module in (component, link, oversized, server, widened):
            monkeypatch.setattr(module, "HEALED_WITHIN_S", 0.0)

    def _told(self, what: Any) -> Any:
        if not self.reachable:
            raise AdapterError("it does not answer")
        return what

    # what faults ask of the runtime, of toxiproxy and of the data path

    def states(self) -> tuple[ComponentState, ...]:
        """All of them alike."""
        names = [one.name for one in self.topology.components]
        found: tuple[ComponentState, ...] = self._told(
            tuple(ComponentState(name, self.state, None, 1.0, 0) for name in names)
        )
        return found

    def memory_limit(self, name: str) -> int | None:
        """In force now."""
        limit: int | None = self._told(self.limit)
        return limit

    def limit_memory(self, name: str, limit_bytes: int | None) -> None:
        """Nobody asks for it here: it makes this a runtime that limits memory."""

    def toxics(self, proxy: str) -> list[Toxic]:
        """On the link now."""
        listed: list[Toxic] = self._told(self.listed)
        return listed

    async def measure(self, link: object, deadline_s: float) -> PathSample:
        """A request over the link."""
        return QUICK if self.quick else LATE

    async def through(self, gateway: str, deadline_s: float) -> PathSample:
        """An ordinary request."""
        return QUICK if self.quick else LATE

    async def _look(self, *_: object) -> Health:
        return Health(self.quick, True, "a token in 20 ms" if self.quick else "no token in 4000 ms")

    async def _ask(self, context: object, gateways: list[str], count: int, *_: object) -> server.Answers:
        return server.Answers(count, {REPLICA: 4} if self.quick else {})

    async def _page(self, url: str, deadline_s: float) -> PathSample:
        listen = self.topology.link(LINK)
        return self.over if f"{listen.listen_address}:{listen.listen_port}/" in url else self.past

    async def _hang_up(self, address: str, port: int, within_s: float) -> PathSample:
        return self.over if port == self.topology.link(LINK).listen_port else self.past

    async def _question(self, *_: object) -> Reply:
        return Reply("ok", self.version, True) if self.quick else Reply("timeout")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Healed, and quick."""
    return Stack(monkeypatch)


def made(type_name: str) -> Fault:
    """A fault that was measured on a healthy stack."""
    options = {**LINK_FAULTS, **SERVER_FAULTS, **COMPONENT_FAULTS}.get(type_name, {})
    if type_name == "cancel_wave":
        options = {"moment": "early"}
    cls = fault_class(type_name)
    on = LINK if type_name in LINK_FAULTS else GATEWAY if type_name in (*ASKS, *OTHERS) else REPLICA
    one: Any = cls("test", on, model(type_name).model_validate(options))
    if type_name in LINK_FAULTS:
        one.before = QUICK
    elif type_name in COMPONENT_FAULTS:
        one.before = Health(True, True, "a token in 20 ms")
    elif type_name in SERVER_FAULTS:
        one.before = {gateway: dict.fromkeys(STACK.of("replica"), READY) for gateway in STACK.of("gateway")}
        one.first = ComponentState(REPLICA, "running", 7, 1.0, 0, "7@1")
    elif type_name == "widened":
        one.before = dict.fromkeys(STACK.of("replica"), 4)
    if type_name == "swap":
        one.stable, candidate = "v1@sim", Deployment("v2", "v2@sim", None)
        one.rollout = Rollout(one.id, "test", REPLICA, candidate, candidate, Gates(0.95, 1.5), 1)
    return one  # type: ignore[no-any-return]


def proof(type_name: str, stack: Stack) -> Proof:
    """What the fault says about its heal."""
    return asyncio.run(made(type_name).verify_healed(stack))  # type: ignore[arg-type]


def test_every_fault_is_here() -> None:
    """A new one needs a line above."""
    assert {*LINK_FAULTS, *SERVER_FAULTS, *COMPONENT_FAULTS, *ASKS, *OTHERS} == set(types())


@pytest.mark.parametrize("type_name", types())
def test_healed_and_quick_is_proven(type_name: str, stack: Stack) -> None:
    """At the first look."""
    healed = proof(type_name, stack)
    assert healed.proven, healed


SLOW = sorted({*LINK_FAULTS, *SERVER_FAULTS, *COMPONENT_FAULTS, *ASKS})


@pytest.mark.parametrize("type_name", SLOW)
def test_slow_service_is_nothing_left(type_name: str, stack: Stack) -> None:
    """Requests run into their time-out, past the link, too: not proven, and nothing of the fault is there."""
    stack.quick, stack.past, stack.over = False, LATE, LATE
    healed = proof(type_name, stack)
    assert not healed.proven
    assert healed.left == ""
    assert healed.why


@pytest.mark.parametrize("type_name", sorted(set(LINK_FAULTS) - {"slow_close"}))  # whose crossing waits in no queue
def test_a_slow_crossing_is_compared_with_the_way_past_the_link(type_name: str, stack: Stack) -> None:
    """Requests wait in a queue; the link itself is as quick as the way past it, and that proves the heal."""
    stack.quick = False
    healed = proof(type_name, stack)
    assert healed.proven, healed
    assert "adds nothing any more" in healed.why


#: Type → what is left in the stack, and a word that tells it.
LEFT: dict[str, tuple[Callable[[Stack], Any], str]] = {
    **dict.fromkeys(("drain", "restart", "swap"), (lambda s: setattr(s, "server", Server("drain", 100)), "as drain")),
    "weight": (lambda s: setattr(s, "server", Server("ready", 20)), "20 %"),
    **dict.fromkeys(("kill", "stop"), (lambda s: setattr(s, "state", "stopped"), "replica-2 is stopped")),
    "pause": (lambda s: setattr(s, "state", "paused"), "replica-2 is paused"),
    "deaf": (lambda s: setattr(s, "hang", True), "«hang» of replica-2"),
    **dict.fromkeys(("memory", "oom"), (lambda s: setattr(s, "limit", 4096), "limited to 4096 bytes")),
    "widened": (lambda s: setattr(s, "connections", 32), "replica-2: 32"),
}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("type_name", sorted(LEFT))
def test_what_is_left_is_told(type_name: str, quick: bool, stack: Stack) -> None:
    """By the word of who holds it, whether service is quick or not."""
    leave, word = LEFT[type_name]
    stack.quick = quick
    leave(stack)
    healed = proof(type_name, stack)
    assert not healed.proven
    assert word in (healed.left or "")
    assert word in healed.why


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("type_name", sorted(LINK_FAULTS))
def test_a_toxic_that_is_listed_is_left(type_name: str, quick: bool, stack: Stack) -> None:
    """Whatever crossings say; somebody else's toxic is not ours."""
    stack.quick = quick
    stack.listed = list(made(type_name).toxics())  # type: ignore[attr-defined]
    healed = proof(type_name, stack)
    assert not healed.proven
    assert f"toxic {stack.listed[0].name}" in (healed.left or "")
    stack.listed, stack.quick = [Toxic("mine", "latency", "upstream", {})], True
    assert proof(type_name, stack).proven


FELT = {name: PathSample("broken", e2e_ms=1.0) if name == "reset" else LATE for name in LINK_FAULTS}


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("type_name", sorted(LINK_FAULTS))
def test_an_absent_toxic_that_is_felt_is_left(type_name: str, reachable: bool, stack: Stack) -> None:
    """The data path decides where toxiproxy lists nothing, or hangs: well past the link, and never over it."""
    stack.quick, stack.over, stack.reachable = False, FELT[type_name], reachable
    healed = proof(type_name, stack)
    assert not healed.proven
    assert "still meets it" in (healed.left or "")


def test_one_crossing_without_the_effect_is_enough(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toxic is on every connection: four crossings that took too long, and a fifth that did not, met none."""
    late = [LATE] * (link.PAIRS - 1)

    async def page(url: str, deadline_s: float) -> PathSample:
        over = await stack._page(url, deadline_s) is stack.over
        return late.pop() if over and late else QUICK

    stack.quick, stack.over = False, LATE
    monkeypatch.setattr(link, "page", page)
    healed = proof("latency", stack)
    assert healed.proven, healed
    assert late == []
    assert healed.seen.count("timeout") == link.PAIRS, "the crossing before them, too"


def test_a_pause_of_the_machine_is_not_felt_as_a_latency(stack: Stack) -> None:
    """A crossing that takes longer by less than the delay, or fails at once, is none of it."""
    stack.quick = False
    for over in (
        PathSample("ok", 300.0, e2e_ms=300.0),
        PathSample("http_503", e2e_ms=1.0),
        PathSample("refused", e2e_ms=1),
    ):
        stack.over = over
        assert not proof("latency", stack).left, over


@pytest.mark.parametrize("type_name", sorted({*LINK_FAULTS, *SERVER_FAULTS, *COMPONENT_FAULTS, "widened"}))
def test_who_does_not_answer_tells_nothing(type_name: str, stack: Stack) -> None:
    """None, neither «there» nor «gone»: not proven, even where service is quick."""
    stack.reachable = False
    stack.past = LATE
    if type_name == "slow_close":
        stack.over = LATE
    healed = proof(type_name, stack)
    assert not healed.proven
    assert healed.left is None


def test_a_promoted_version_that_stays_too_long_is_left(stack: Stack) -> None:
    """A replica's own word; in the proof for the end of the run."""
    one: Any = made("swap")
    one.rollout.ended, stack.version = "promoted", "v2@sim"
    assert asyncio.run(one.verify_healed(stack)).proven
    gone = asyncio.run(one.verify_reverted(stack))
    assert not gone.proven
    assert "replica-2 serves v2@sim" in gone.left


def test_a_wave_that_is_still_open_is_left(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open connection, or a wave under way; closed ones are the proof, however slow the engines are."""
    one: Any = made("cancel_wave")
    one.waves = [Wave(one.id, "test", 1, "early", 0.0)]
    one.waves[0].streams = [Stream("a", GATEWAY, "fin")]
    opened = asyncio.run(one.verify_healed(stack))
    assert not opened.proven
    assert opened.left == "1 of 1 connections are open"
    one.waves[0].streams[0].cancelled_s = 1.0
    assert asyncio.run(one.verify_healed(stack)).proven
    monkeypatch.setitem(cancel_wave._UNDER_WAY, one.id, SimpleNamespace())  # type: ignore[arg-type]
    assert "still under way" in asyncio.run(one.verify_healed(stack)).left


def test_what_is_slow_is_waited_for_longer_each_time() -> None:
    """Twice as long with each try, within the bound; the first good look ends it."""
    tries: list[float] = []

    async def back(patience_s: float) -> tuple[bool, str]:
        tries.append(patience_s)
        return len(tries) == 4, "seen"

    async def left() -> str:
        return ""

    healed = asyncio.run(Healing(left, back, "done", "before", 100.0, 1.0, every_s=0.0).proof())
    assert healed.proven
    assert healed.why.startswith("done, ")
    assert tries == [1.0, 2.0, 4.0, 8.0]


def test_no_try_ends_after_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes all that it is given; together they are the bound, and none is given less than the first."""
    tries: list[float] = []
    monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: sum(tries)))

    async def back(patience_s: float) -> tuple[bool, str]:
        tries.append(patience_s)
        return False, "a time-out"

    async def left() -> str:
        return ""

    healed = asyncio.run(Healing(left, back, "done", "before", 120.0, 4.0, every_s=0.0).proof())
    assert tries == [4.0, 8.0, 16.0, 32.0, 60.0]
    assert (healed.proven, healed.left) == (False, "")
    assert "120 s after the heal: a time-out" in healed.why


def test_a_try_that_does_not_end_is_given_up() -> None:
    """One that asks several in turn would take several times as long as it was given."""

    async def back(patience_s: float) -> tuple[bool, str]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def left() -> str:
        return "still here"

    healed = asyncio.run(Healing(left, back, "done", "before", 0.2, 0.1, every_s=0.0).proof())
    assert (healed.proven, healed.left) == (False, "still here")
    assert healed.seen == "a try did not end within 0.2 s"


@pytest.mark.parametrize(("pid", "incarnation", "another"), [(7, "7@1", False), (7, "7@2", True), (None, None, True)])
def test_another_process_with_the_same_pid_is_another(pid: int | None, incarnation: str | None, another: bool) -> None:
    """A pid is given again; pid and start are not."""
    first = ComponentState(REPLICA, "running", 7, 1.0, 0, "7@1")
    assert kill._is_another(first, ComponentState(REPLICA, "running", pid, 1.0, 0, incarnation)) is another
