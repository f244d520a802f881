"""What DNS answers, twice a second."""

from __future__ import annotations

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception

from harness.model import exhausted
from harness.model.topology import SERVICE_NAME, Component
from harness.probes.base import ProbeSet, Row


class DnsProbe:
    """The stack's name server."""

    name, period_s = "dns", 0.5

    def __init__(self, server: Component) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = [server.address]
        self._resolver.port = server.ports["dns"]
        self._resolver.lifetime = 0.3

    async def sample(self) -> Sequence[Row]:
        """One row per address; ``answered`` 0 when there was no answer within 300 ms."""
        try:
            answer = await self._resolver.resolve(SERVICE_NAME, "A")
        except dns.exception.DNSException as error:
            for *_, cause, _ in error.kwargs.get("errors", ()):  # of each query
                if isinstance(cause, Exception):
                    exhausted.raise_if_local(cause)
            return [Row("dns", "answered", "", 0.0)]
        addresses = sorted(record.to_text() for record in answer)
        return [Row("dns", "answered", "", 1.0), *(Row("dns", "answer", f"address={a}", 1.0) for a in addresses)]


PROBES = ProbeSet(("dns",), lambda scene, servers: map(DnsProbe, servers))
