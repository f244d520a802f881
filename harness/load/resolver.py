"""Name resolution as a careful client does it: TTL honoured, a short deadline, stale answers while DNS is silent.

One resolver per process, as on a host: all users of a worker share its cache. ``dns_ms`` of an attempt is null when
the answer came from the cache, the time waited otherwise, also when the wait was in vain.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import gevent.socket
from gevent.event import AsyncResult

from harness.model import exhausted
from harness.model.errors import Exhausted

DEADLINE_S = 0.3  # how long a query may take
STALE_S = 60.0  # how long the last answer is lived on when DNS does not answer
RETRY_S = 1.0  # after a query in vain the last answer serves so long before DNS is asked again


class NoAddress(Exception):
    """The name has no address now. ``subtype``: timeout, nxdomain, empty, … ``dns_ms``: how long that took to learn."""

    def __init__(self, subtype: str) -> None:
        super().__init__(subtype)
        self.subtype, self.dns_ms = subtype, 0.0


class _NoAnswer(Exception):
    """DNS did not answer the question: nothing usable within the deadline. Same subtypes as ``NoAddress``."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """One address to connect to. ``dns_ms`` is None when it came from the cache."""

    address: str
    dns_ms: float | None


class Pinned:
    """Always the same address, without asking anybody."""

    def __init__(self, address: str) -> None:
        self._address = address

    def resolve(self, rng: random.Random) -> Resolution:
        """The address."""
        return Resolution(self._address, None)

    def invalidate(self) -> None:
        """There is nobody to ask again."""


class Resolver:
    """Resolves one name. ``on_change`` is called with the new addresses when the answer differs from the last one."""

    def __init__(
        self,
        name: str,
        server: tuple[str, int],
        on_change: Callable[[frozenset[str]], None] = lambda addresses: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._server, self._on_change, self._clock = name, server, on_change, clock
        self._addresses: tuple[str, ...] = ()
        self._answered_s = 0.0  # when the addresses were learnt
        self._fresh_until_s = float("-inf")
        self._asking: AsyncResult | None = None  # a query under way, shared by all who need it
        self.queries = 0

    def resolve(self, rng: random.Random) -> Resolution:
        """An address, drawn by ``rng`` where there are several. NoAddress when there is none.

        Exhausted when no socket is left for a query; the cached answer is not used then.
        """
        if self._clock() < self._fresh_until_s:
            return Resolution(rng.choice(self._addresses), None)
        began_s = self._clock()
        try:
            self._refresh_together()
        except NoAddress as error:
            # A new one: several users may have waited for the same query, each its own time.
            own = NoAddress(error.subtype)
            own.dns_ms = (self._clock() - began_s) * 1000
            raise own from error
        return Resolution(rng.choice(self._addresses), (self._clock() - began_s) * 1000)

    def invalidate(self) -> None:
        """A connection failed before the first response byte: ask again before the next one."""
        self._fresh_until_s = float("-inf")

    def _refresh_together(self) -> None:
        """One query at a time; who comes while it is under way gets its result, so nobody waits longer than one."""
        if self._asking is not None:
            self._asking.get()
            return
        asking = self._asking = AsyncResult()
        try:
            self._refresh()
        except (NoAddress, Exhausted) as error:
            asking.set_exception(error)
            raise
        except BaseException:  # the asking user was cancelled: those who wait get the last answer or an error
            if self._addresses:
                asking.set()
            else:
                asking.set_exception(NoAddress("cancelled"))
            raise
        else:
            asking.set()
        finally:
            self._asking = None

    def _refresh(self) -> None:
        try:
            addresses, ttl_s = self._query()
        except _NoAnswer as error:
            if not self._addresses or self._clock() - self._answered_s > STALE_S:
                raise NoAddress(str(error)) from error
            self._fresh_until_s = self._clock() + RETRY_S
            return
        changed = frozenset(addresses) != frozenset(self._addresses)
        self._addresses, self._answered_s = addresses, self._clock()
        self._fresh_until_s = self._answered_s + ttl_s
        if changed:
            self._on_change(frozenset(addresses))

    def _query(self) -> tuple[tuple[str, ...], float]:
        """Ask once. Addresses and TTL (s); _NoAnswer: DNS is silent or broken. NoAddress: it denies the name."""
        self.queries += 1
        query = dns.message.make_query(self._name, dns.rdatatype.A)
        response = self._exchange(query)
        code = response.rcode()
        if code == dns.rcode.NXDOMAIN:
            raise NoAddress("nxdomain")
        if code != dns.rcode.NOERROR:
            raise _NoAnswer(dns.rcode.to_text(code).lower())
        records = [rrset for rrset in response.answer if rrset.rdtype == dns.rdatatype.A]
        addresses = tuple(sorted(record.address for rrset in records for record in rrset))
        if not addresses:
            raise NoAddress("empty")
        return addresses, float(min(rrset.ttl for rrset in records))

    def _exchange(self, query: dns.message.Message) -> dns.message.Message:
        deadline_s = time.monotonic() + DEADLINE_S
        try:
            with gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_DGRAM) as sock:
                sock.connect(self._server)  # errors (port unreachable) then come back to us
                sock.send(query.to_wire())
                while (left_s := deadline_s - time.monotonic()) > 0:
                    sock.settimeout(left_s)
                    try:
                        response = dns.message.from_wire(sock.recv(4096))
                    except dns.exception.DNSException:
                        continue  # not DNS: somebody else's datagram
                    if query.is_response(response):
                        return response
        except TimeoutError:
            pass
        except OSError as error:
            exhausted.raise_if_local(error)
            raise _NoAnswer("unreachable") from error
        raise _NoAnswer("timeout")
