"""Each fault on real toxiproxy and HAProxy in front of the simulator: its effect and its healing are measured."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxic, Toxiproxy
from harness.faults import bandwidth, latency, link, reset, slicer, slow_close, timeout
from harness.faults.base import (
    Fault,
    FaultContext,
    Proof,
    _modules,
    fault_class,
    matching,
    take_back,
    types,
    undo_actions,
)
from harness.model.errors import AdapterError, FaultError
from harness.model.journal import Undo
from harness.model.options import model
from harness.model.topology import Topology
from stack.engines import DEPLOYMENT
from stack.stacks.vllm_haproxy import STACK
from tests.waiting import until

LINK = "gateway-a-to-replica-2"
#: Small enough for a quick test, far above what a healthy crossing needs.
OPTIONS: dict[str, dict[str, Any]] = {
    latency.FAULT.type: {"latency": "600ms"},
    timeout.FAULT.type: {},
    bandwidth.FAULT.type: {"rate_kb": 4},
    slicer.FAULT.type: {"size": 100, "delay": "40ms"},
    reset.FAULT.type: {},
    slow_close.FAULT.type: {"delay": "2500ms"},
}
HANG_S = 20.0
STREAMS = 12


def fault(type_name: str, on: str = LINK, **options: Any) -> Fault:
    """A fault as ``of_phase`` makes it."""
    cls = fault_class(type_name)
    return cls("test", on, model(type_name).model_validate(options or OPTIONS[type_name]))


@pytest.fixture(autouse=True)
def _clean(context: FaultContext) -> Iterator[None]:
    """No test leaves a toxic behind, whatever becomes of it."""
    yield
    for one in context.topology.links:
        if context.toxiproxy.toxics(one.name):
            context.toxiproxy.recreate(one.name, *context.toxiproxy.addresses(one.name))


def toxics(context: FaultContext, link: str = LINK) -> list[str]:
    """Names of the toxics that are on the link now."""
    return [toxic.name for toxic in context.toxiproxy.toxics(link)]


def test_every_link_fault_is_tested_here() -> None:
    """A new fault of a link needs a line above."""
    assert set(OPTIONS) == {name for name in types() if LINK in fault_class(name).targets(Topology(STACK))}


@pytest.mark.parametrize("type_name", sorted(OPTIONS))
def test_fault_is_proven_and_healed(context: FaultContext, type_name: str) -> None:
    """Measure, inject, prove, take back, prove the healing: all on the data path, and nothing is left."""

    async def drill() -> None:
        one = fault(type_name)
        await one.measure(context)
        assert await one.present(context) is False
        await one.inject(context)
        assert await one.present(context) is True
        effect = await one.verify(context)
        assert effect.proven, effect.why
        assert "answered in" in effect.before
        assert effect.seen != effect.before
        await asyncio.to_thread(take_back, context, one.undo())
        assert await one.present(context) is False
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        assert toxics(context) == []

    asyncio.run(drill())


@pytest.mark.parametrize("type_name", sorted(OPTIONS))
def test_fault_that_was_not_injected_is_not_proven(context: FaultContext, type_name: str) -> None:
    """The mutant of every proof: without the toxic, verify must say that there was no effect."""

    async def drill() -> None:
        one = fault(type_name)
        await one.measure(context)
        effect = await one.verify(context)
        assert not effect.proven
        assert "the fault had no effect" in effect.why
        assert LINK in effect.why

    asyncio.run(drill())


@pytest.mark.parametrize("other", ["gateway-a-to-replica-1", "gateway-b-to-replica-2"])
def test_toxic_on_another_link_is_no_proof(context: FaultContext, other: str) -> None:
    """The proof crosses the very link that the fault is on: a toxic that sits elsewhere proves nothing."""

    async def drill() -> None:
        one, elsewhere = fault("latency"), fault("latency", other)
        await one.measure(context)
        await elsewhere.measure(context)
        await elsewhere.inject(context)
        effect = await one.verify(context)
        assert not effect.proven
        await asyncio.to_thread(take_back, context, elsewhere.undo())

    asyncio.run(drill())


@pytest.mark.parametrize("type_name", sorted(set(OPTIONS) - {"reset"}))
def test_quick_failure_is_no_proof_of_a_slow_link(context: FaultContext, type_name: str) -> None:
    """An overloaded gateway refuses at once: that must not count as the silence or the delay that was meant."""

    async def drill() -> None:
        one, resetting = fault(type_name), fault("reset")
        await one.measure(context)
        await resetting.measure(context)
        await resetting.inject(context)
        effect = await one.verify(context)
        assert not effect.proven
        assert "at once" in effect.why
        await asyncio.to_thread(take_back, context, resetting.undo())

    asyncio.run(drill())


def test_fault_on_a_clients_link(context: FaultContext) -> None:
    """Links between clients and gateways are crossed at the address that DNS gives to clients."""

    async def drill() -> None:
        one = fault("latency", "client-to-gateway-b")
        await one.measure(context)
        await one.inject(context)
        effect = await one.verify(context)
        assert effect.proven, effect.why
        await asyncio.to_thread(take_back, context, one.undo())
        assert (await one.verify_healed(context)).proven

    asyncio.run(drill())


@pytest.mark.parametrize("told", [True, False], ids=["toxiproxy lists it", "toxiproxy lists nothing"])
@pytest.mark.parametrize(
    "type_name",
    ["latency", *(pytest.param(name, marks=pytest.mark.night) for name in sorted({*OPTIONS} - {"latency"}))],
)
def test_a_toxic_that_stays_is_left(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, type_name: str, told: bool
) -> None:
    """The mutant of every heal: by toxiproxy's word; where that is wrong, by the way past the link, which is well."""
    monkeypatch.setattr(link, "HEALED_WITHIN_S", 0.0)
    monkeypatch.setattr(link, "PAIRS", 2)  # each takes as long as a look; that all have to agree: test_heal_proofs.py
    if not told:
        monkeypatch.setattr(link.LinkFault, "_listed", lambda *_: "")

    async def drill() -> None:
        one = fault(type_name)
        await one.measure(context)
        await one.inject(context)
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert "not as before" in healed.why
        assert ("toxic drillyard_" if told else "still meets it") in (healed.left or ""), healed
        await asyncio.to_thread(take_back, context, one.undo())

    asyncio.run(drill())


def test_a_slow_replica_after_the_heal_is_no_toxic(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crossings take a second and more, as on a slow machine; nothing is left, and a page over the link is as quick."""
    monkeypatch.setattr(link, "HEALED_WITHIN_S", 0.0)
    simulator = Simulator(context.topology.component("replica-2").url())

    async def drill() -> Proof:
        one = fault("timeout")
        await one.measure(context)
        await one.inject(context)
        await asyncio.to_thread(take_back, context, one.undo())
        simulator.behave({"slow_factor": 50})
        return await one.verify_healed(context)

    try:
        healed = asyncio.run(drill())
    finally:
        simulator.heal()
    assert not healed.left, healed
    assert healed.proven, healed
    assert "adds nothing any more" in healed.why


def test_fault_on_a_dead_link_is_refused(context: FaultContext) -> None:
    """What does not work before the fault cannot show its effect: FaultError, and nothing is injected."""

    async def drill() -> None:
        dead = fault("timeout")
        await dead.measure(context)
        await dead.inject(context)
        with pytest.raises(FaultError, match="does not work before the fault"):
            await fault("reset").measure(context)

    asyncio.run(drill())


@pytest.mark.parametrize("type_name", ["latency", "timeout"])
def test_taking_back_twice_is_harmless(context: FaultContext, type_name: str) -> None:
    """Undo is idempotent: it works when nothing was injected, and again after it was done."""

    async def drill() -> None:
        one = fault(type_name)
        await one.measure(context)
        take_back(context, one.undo())
        await one.inject(context)
        for _ in range(2):
            await asyncio.to_thread(take_back, context, one.undo())
            assert toxics(context) == []
        assert (await one.verify_healed(context)).proven

    asyncio.run(drill())


def test_injection_cut_off_by_ctrl_c_is_taken_back(context: FaultContext) -> None:
    """A run that is cancelled while a toxic is on its way waits for it: else the heal would come first, and it stay."""
    slow = Toxiproxy(context.toxiproxy.host, context.toxiproxy.port)
    ordered, go_on, add = threading.Event(), threading.Event(), slow.add

    def dawdle(proxy: str, toxic: Toxic) -> None:
        ordered.set()
        go_on.wait(5)
        add(proxy, toxic)

    slow.add = dawdle  # type: ignore[method-assign]

    async def drill() -> None:
        one = fault("latency")
        await one.measure(context)
        injection = asyncio.create_task(one.inject(replace(context, toxiproxy=slow)))
        await asyncio.to_thread(ordered.wait, 5)
        injection.cancel()
        asyncio.get_running_loop().call_later(0.2, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await injection
        assert toxics(context) != [], "the toxic came after the cancelled injection had returned"
        await asyncio.to_thread(take_back, context, one.undo())
        assert toxics(context) == []

    asyncio.run(drill())


def test_unknown_undo_is_said() -> None:
    """A journal of another version names an action that nobody knows: an error, not silence."""
    with pytest.raises(FaultError, match="make_tea"):
        take_back(None, Undo("x", "make_tea", {}))  # type: ignore[arg-type]


def test_every_undo_action_belongs_to_one_module() -> None:
    """Two modules that call different actions by one name would take each other's faults back."""
    listed = [action for module in _modules() for action in getattr(module, "UNDO", {})]
    assert sorted(listed) == sorted(undo_actions())


def test_globs_match_links(context: FaultContext) -> None:
    """``gateway-*-to-replica-2`` are two links, in the topology's order; a typing error matches none."""
    assert matching("timeout", "gateway-*-to-replica-2", context.topology) == [
        "gateway-a-to-replica-2",
        "gateway-b-to-replica-2",
    ]
    assert matching("timeout", "gateway-c-*", context.topology) == []


def abandon(context: FaultContext, clients: int = 3, tokens: int = 24) -> None:
    """Ask the replica over the link, wait until its answers wait in the toxic, and hang up."""
    link = context.topology.link(LINK)
    body = json.dumps(
        {
            "model": DEPLOYMENT,
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
    )
    lines = ("POST /v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json")
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}"])
    before = _generated(context)
    with ExitStack() as connections:
        for _ in range(clients):
            client = socket.create_connection((link.listen_address, link.listen_port), timeout=5)
            connections.enter_context(closing(client)).sendall(f"{head}\r\n\r\n{body}".encode())
        until(
            lambda: _generated(context) >= before + clients * tokens and _running(context) == 0,
            10,
            "the replica did not answer over the link",
        )


def _metric(context: FaultContext, name: str) -> float:
    text = httpx.get(context.topology.component("replica-2").url(path="/metrics"), timeout=5, trust_env=False).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))


def _generated(context: FaultContext) -> float:
    return _metric(context, "generation_tokens_total")


def _running(context: FaultContext) -> float:
    return _metric(context, "num_requests_running")


def test_long_delay_is_taken_back_though_its_clients_have_gone(context: FaultContext) -> None:
    """Removing such a toxic at once would hang toxiproxy: the link is back within seconds, nothing was made again."""

    async def drill() -> None:
        one = fault("latency", latency=f"{HANG_S:.0f}s")
        await one.measure(context)
        restarts = _restarts(context)
        await one.inject(context)
        await asyncio.to_thread(abandon, context)
        began, told = time.monotonic(), list[str]()
        telling = replace(context, tell=lambda kind, **data: told.append(kind))
        await asyncio.to_thread(take_back, telling, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        assert time.monotonic() - began < HANG_S
        assert (_restarts(context), told) == (restarts, [])

    asyncio.run(drill())


def test_taking_a_delay_back_cuts_nobody(context: FaultContext) -> None:
    """Streams that run over the link when its delay ends come to their end, quicker than they would have with it."""
    link = context.topology.link(LINK)
    body: dict[str, Any] = {
        "model": DEPLOYMENT,
        "messages": [{"role": "user", "content": "Say something."}],
        "max_tokens": 200,
        "ignore_eos": True,
        "stream": True,
    }

    async def one_stream(client: httpx.AsyncClient) -> tuple[str, float]:
        began = time.monotonic()
        url = f"http://{link.listen_address}:{link.listen_port}/v1/chat/completions"
        try:
            answer = await client.post(url, json=body)
        except httpx.HTTPError as error:
            return type(error).__name__, time.monotonic() - began
        return "whole" if answer.text.endswith("data: [DONE]\n\n") else "cut", time.monotonic() - began

    async def drill() -> list[tuple[str, float]]:
        one = fault("latency", latency=f"{HANG_S:.0f}s")
        await one.measure(context)
        await one.inject(context)
        told: list[str] = []
        async with httpx.AsyncClient(timeout=4 * HANG_S, trust_env=False) as client:
            before = _generated(context)
            streams = [asyncio.create_task(one_stream(client)) for _ in range(STREAMS)]
            # Half of the answers, or more, waits in the link.
            await asyncio.to_thread(_until_generated, context, before + STREAMS * body["max_tokens"] / 2)
            telling = replace(context, tell=lambda kind, **data: told.append(kind))
            await asyncio.to_thread(take_back, telling, one.undo())
            found = await asyncio.gather(*streams)
        assert told == []
        assert (await one.verify_healed(context)).proven
        return found

    ends = asyncio.run(drill())
    assert [end for end, _ in ends] == ["whole"] * len(ends)
    assert max(took_s for _, took_s in ends) < HANG_S
    assert toxics(context) == []


def _until_generated(context: FaultContext, tokens: float) -> None:
    until(lambda: _generated(context) >= tokens, 15, "the replica did not answer over the link")


def test_what_a_heal_cuts_is_told(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where toxiproxy does not do what it is asked, the proxy is made again, and the run knows over which link."""
    told: list[dict[str, Any]] = []

    def refuse(*_: object) -> None:
        raise AdapterError("it hangs")

    async def drill(on: str) -> None:
        one = fault("latency", on)
        await one.measure(context)
        await one.inject(context)
        monkeypatch.setattr(context.toxiproxy, "change", refuse)
        telling = replace(context, tell=lambda kind, **data: told.append({"kind": kind, **data}))
        await asyncio.to_thread(take_back, telling, one.undo())
        assert (await one.verify_healed(context)).proven

    for on in (LINK, "client-to-gateway-b"):
        asyncio.run(drill(on))
    address = context.topology.link("client-to-gateway-b").listen_address
    assert [(one["kind"], one["links"], one["addresses"]) for one in told] == [
        ("link_cut", [LINK], []),
        ("link_cut", ["client-to-gateway-b"], [address]),
    ]
    assert all(one["why"] == "it hangs" and one["took_s"] >= 0 for one in told)


def test_removal_that_hangs_is_noticed_and_helped(context: FaultContext) -> None:
    """When removing a toxic deadlocks toxiproxy, undo notices it, makes the proxy anew or restarts toxiproxy."""

    async def drill() -> None:
        one = fault("latency", latency=f"{HANG_S:.0f}s")
        await one.measure(context)
        await one.inject(context)
        await asyncio.to_thread(abandon, context)
        undo = one.undo()
        await asyncio.to_thread(take_back, context, Undo(undo.id, "remove_toxics", undo.args))
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        await asyncio.to_thread(context.runtime.up, print)
        assert {link.name for link in context.topology.links} == set(context.toxiproxy.proxies())

    asyncio.run(drill())


def _restarts(context: FaultContext) -> int:
    return next(s.restarts for s in context.runtime.states() if s.name == "toxiproxy")


CALLS: list[Callable[[Toxiproxy], object]] = [
    lambda t: t.proxies(),
    lambda t: t.add("x", Toxic("a", "latency", "downstream", {})),
    lambda t: t.remove("x", "a"),
    lambda t: t.recreate("x", "127.0.0.1:1", "127.0.0.1:2"),
]


@pytest.mark.parametrize("call", CALLS)
def test_absent_toxiproxy_is_named(call: Callable[[Toxiproxy], object]) -> None:
    """Where nobody listens, every call is an AdapterError that says which toxiproxy, not a traceback of a library."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(AdapterError, match=f"toxiproxy at 127.0.0.1:{port}"):
            call(Toxiproxy("127.0.0.1", port))


def test_silent_toxiproxy_is_given_up() -> None:
    """One that takes the connection and never answers costs the deadline, not for ever."""
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        began = time.monotonic()
        with pytest.raises(AdapterError, match="timed out"):
            Toxiproxy("127.0.0.1", deaf.getsockname()[1], deadline_s=0.3).proxies()
        assert time.monotonic() - began < 30


def test_wrong_toxics_are_refused(context: FaultContext) -> None:
    """An unknown proxy, an unknown type and a name that is taken are errors with toxiproxy's own words."""
    toxic = Toxic("drillyard_test", "latency", "downstream", {"latency": 1})
    with pytest.raises(AdapterError, match="proxy not found"):
        context.toxiproxy.add("no-such-link", toxic)
    with pytest.raises(AdapterError, match="toxic type"):
        context.toxiproxy.add(LINK, Toxic("x", "no-such-type", "downstream", {}))
    context.toxiproxy.add(LINK, toxic)
    with pytest.raises(AdapterError, match="already exists"):
        context.toxiproxy.add(LINK, toxic)
    context.toxiproxy.remove(LINK, toxic.name)
    context.toxiproxy.remove(LINK, toxic.name)
    assert toxics(context) == []
