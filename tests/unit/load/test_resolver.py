"""The resolver: TTL, deadline, stale answers, one query for many."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import dns.message
import dns.rcode
import dns.rrset
import gevent
import pytest

from harness.load.resolver import DEADLINE_S, RETRY_S, STALE_S, NoAddress, Resolver

NAME = "llm.drillyard.test"


class Server(threading.Thread):
    """A DNS server with one switchable answer: addresses, ``None`` (silence), or a response code."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.16.1", 0))
        self.answer: list[str] | int | None = ["127.0.16.2"]
        self.ttl = 1
        self.noise = False
        self.queries = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.sock.getsockname()
        return host, port

    def run(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                data, source = self.sock.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            self.queries += 1
            response = dns.message.make_response(query := dns.message.from_wire(data))
            if self.noise:  # an answer to somebody else's question must be ignored
                stray = dns.message.make_response(dns.message.make_query("other.test", "A"))
                self.sock.sendto(stray.to_wire(), source)
                self.sock.sendto(b"\x00", source)
            if self.answer is None:
                continue
            if isinstance(self.answer, int):
                response.set_rcode(dns.rcode.Rcode(self.answer))
            elif self.answer:
                response.answer.append(
                    dns.rrset.from_text_list(query.question[0].name, self.ttl, "IN", "A", self.answer)
                )
            self.sock.sendto(response.to_wire(), source)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    server = Server()
    server.start()
    yield server
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
        stopper.sendto(b"", server.address)
    server.join(timeout=5)
    server.sock.close()


class Clock:
    """A clock that runs, and jumps when told to."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.monotonic() + self.jumped_s


@pytest.fixture
def clock() -> Clock:
    """A clock to jump with."""
    return Clock()


@pytest.fixture
def make(server: Server, clock: Clock) -> Callable[[], tuple[Resolver, list[frozenset[str]]]]:
    """Makes a resolver and the list of the changes that it announces."""

    def build() -> tuple[Resolver, list[frozenset[str]]]:
        changes: list[frozenset[str]] = []
        return Resolver(NAME, server.address, changes.append, clock), changes

    return build


Make = Callable[[], tuple[Resolver, list[frozenset[str]]]]
RNG = random.Random(1)


def test_ttl_is_honoured(server: Server, clock: Clock, make: Make) -> None:
    """Within the TTL the cache answers (dns_ms null), after it DNS is asked, and a change is announced once."""
    resolver, changes = make()
    first = resolver.resolve(RNG)
    assert (first.address, first.dns_ms is not None) == ("127.0.16.2", True)
    assert resolver.resolve(RNG).dns_ms is None
    server.answer = ["127.0.16.3"]
    assert resolver.resolve(RNG).address == "127.0.16.2"
    clock.jumped_s += 1.01
    assert resolver.resolve(RNG).address == "127.0.16.3"
    assert (server.queries, changes) == (2, [frozenset({"127.0.16.2"}), frozenset({"127.0.16.3"})])


def test_asks_again_after_a_failure(server: Server, make: Make) -> None:
    """A failure before the first response byte makes the cached answer worthless."""
    resolver, _ = make()
    resolver.resolve(RNG)
    server.answer = ["127.0.16.3"]
    resolver.invalidate()
    assert resolver.resolve(RNG).address == "127.0.16.3"


def test_lives_on_the_last_answer_for_a_minute(server: Server, clock: Clock, make: Make) -> None:
    """Silence costs the deadline once a second, not once a request; after 60 s it is a dns_error."""
    resolver, changes = make()
    resolver.resolve(RNG)
    server.answer = None
    clock.jumped_s += 1.01
    stale = resolver.resolve(RNG)
    assert stale.address == "127.0.16.2"
    assert stale.dns_ms is not None
    assert stale.dns_ms / (DEADLINE_S * 1000) > 0.9
    assert resolver.resolve(RNG).dns_ms is None
    assert server.queries == 2
    clock.jumped_s += RETRY_S
    resolver.resolve(RNG)
    assert server.queries == 3
    clock.jumped_s += STALE_S
    with pytest.raises(NoAddress) as caught:
        resolver.resolve(RNG)
    assert (caught.value.subtype, len(changes)) == ("timeout", 1)


def test_failing_server_is_silence_but_a_denied_name_is_an_answer(server: Server, clock: Clock, make: Make) -> None:
    """SERVFAIL: live on. NXDOMAIN: the name is gone, and the life belt is not for that."""
    resolver, _ = make()
    resolver.resolve(RNG)
    server.answer = int(dns.rcode.SERVFAIL)
    clock.jumped_s += 1.01
    assert resolver.resolve(RNG).address == "127.0.16.2"
    clock.jumped_s += RETRY_S
    server.answer = int(dns.rcode.NXDOMAIN)
    with pytest.raises(NoAddress, match="nxdomain"):
        resolver.resolve(RNG)


def test_silence_from_the_start_is_an_error_within_the_deadline(server: Server, make: Make) -> None:
    """Fifty users that wait for one query all get their error when it ends, not one after the other."""
    server.answer = None
    resolver, _ = make()
    began_s = time.monotonic()

    def user() -> None:
        with pytest.raises(NoAddress):
            resolver.resolve(RNG)

    users = [gevent.spawn(user) for _ in range(50)]
    gevent.joinall(users, timeout=10, raise_error=True)
    assert all(user.successful() for user in users)
    assert time.monotonic() - began_s < len(users) / 2 * DEADLINE_S
    assert server.queries == 1


def test_stray_datagrams_are_ignored(server: Server, make: Make) -> None:
    """Only the answer to our question counts."""
    server.noise = True
    resolver, _ = make()
    assert resolver.resolve(RNG).address == "127.0.16.2"


def test_several_addresses_are_all_used(server: Server, make: Make) -> None:
    """Each request draws one with its own randomness."""
    server.answer = ["127.0.16.2", "127.0.16.3"]
    resolver, _ = make()
    assert {resolver.resolve(RNG).address for _ in range(50)} == {"127.0.16.2", "127.0.16.3"}
