"""What has run out here is told from what the other side does, by everybody who connects to it."""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from harness.adapters.stream import ChatStream
from harness.model import exhausted
from harness.model.errors import Exhausted
from harness.model.topology import Topology
from harness.probes.ask import Ask, send
from harness.probes.dns import DnsProbe
from harness.probes.engine import EngineProbe
from harness.probes.own_tokens import OwnTokens
from harness.probes.page import NoAnswer, Page
from harness.probes.path import PathProbe, page, synthetic
from harness.probes.readiness import ReadinessProbe
from harness.probes.release import reset_prefix_cache
from stack.stacks.vllm_haproxy import STACK
from tests.exhaustion import no_descriptor_left

TOPOLOGY = Topology(STACK, instance=16)
REPLICA, GATEWAY = TOPOLOGY.component("replica-1"), TOPOLOGY.component("gateway-a")
PATH = PathProbe(TOPOLOGY, "", "drillyard")
LINK = TOPOLOGY.link("client-to-gateway-a")


async def _wave_stream() -> None:
    ChatStream("127.0.16.1", 1, lambda: None).hang_up("fin")


ASKED: dict[str, Callable[[], Awaitable[object]]] = {
    "a page": lambda: Page("http://127.0.16.1:1/").get(),
    "a replica's metrics": lambda: EngineProbe.of_replica(REPLICA).sample(),
    "a gateway's readiness": lambda: ReadinessProbe(GATEWAY).sample(),
    "the name server": lambda: DnsProbe(TOPOLOGY.component("dns")).sample(),
    "a link": lambda: PATH.measure(LINK, 1.0),
    "a page for a proof": lambda: page("http://127.0.16.1:1/", 1.0),
    "a synthetic generation": lambda: synthetic(REPLICA, "drillyard", 1.0, OwnTokens((REPLICA.name,))),
    "an oversized request": lambda: send(PATH, LINK, Ask(b"{}"), 1.0),
    "a stream of a wave": _wave_stream,
}


@pytest.mark.parametrize("what", ASKED)
def test_out_of_descriptors_is_no_answer_of_the_other_side(what: str) -> None:
    """Nobody records a refusal, a 0 or a time-out for a connection that was never made."""

    async def ask() -> None:
        with suppress(NoAnswer):
            await ASKED[what]()  # libraries import what they need when it is needed first
        with no_descriptor_left():
            await ASKED[what]()

    with pytest.raises(Exhausted, match="no file descriptor was left") as raised:
        asyncio.run(ask())
    assert raised.value.what == "no_descriptor"


def test_a_refusal_is_one() -> None:
    """Where nobody listens, that is what is said."""
    with pytest.raises(NoAnswer, match="ConnectionRefusedError"):
        asyncio.run(Page("http://127.0.16.1:1/").get())
    assert asyncio.run(PATH.measure(LINK, 1.0)).outcome == "refused"


def test_resetting_a_cache_needs_a_socket_too() -> None:
    """Its client reads the certificates first: whichever error that gives, it is one of ours."""

    async def ask() -> None:
        with no_descriptor_left():
            await reset_prefix_cache(REPLICA, 0.5, "token")

    with pytest.raises((Exhausted, OSError)) as raised:
        asyncio.run(ask())
    assert exhausted.subtype(raised.value) == "no_descriptor"


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.EMFILE, "no_descriptor"), (errno.ENFILE, "no_descriptor"), (errno.EADDRNOTAVAIL, "no_port"),
        (errno.ENOMEM, "no_memory"), (errno.ENOBUFS, "no_memory"),
        (errno.ECONNREFUSED, None), (errno.ETIMEDOUT, None), (errno.EHOSTUNREACH, None), (errno.EPIPE, None),
    ],
)  # fmt: skip
def test_errors_are_told_apart_however_they_are_wrapped(number: int, what: str | None) -> None:
    """A library's own error, a group of several tries, an error on the way out of another."""
    bare = OSError(number, "why")
    wrapped = RuntimeError("all attempts failed")
    wrapped.__cause__ = ExceptionGroup("tries", [ValueError("no"), bare])
    for error in (bare, wrapped):
        assert exhausted.subtype(error) == what
    if what is None:
        exhausted.raise_if_local(bare)
    else:
        with pytest.raises(Exhausted, match=r"the harness itself could not make a connection"):
            exhausted.raise_if_local(wrapped)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """What an administrator allows is used; where there is nothing to raise nothing is said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 512), hard))
    try:
        said = exhausted.raise_open_files_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert str(hard) in said
        assert exhausted.raise_open_files_limit() == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
