"""Whether a component lives: does it what it is for, and does anything of it answer at all?

Two questions, because each alone misleads. A replica that is overloaded or deaf generates nothing although its process
runs; one whose process was frozen or ended answers nothing whatever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from harness.model.topology import SERVICE_NAME, Component
from harness.probes.page import NoAnswer, Page
from harness.probes.path import PROTOCOLS, PathProbe, PathSample, synthetic

#: A name server that has not answered by then does not.
_DNS_DEADLINE_S = 1.0


@dataclass(frozen=True)
class Health:
    """What a look found; ``seen`` is one phrase for evidence tables."""

    works: bool  # it did what it is for
    answers: bool  # it said something, be it a refusal
    seen: str
    healthy: bool = True  # its health check said that all is well, where it has one


async def probe(path: PathProbe, component: Component, deadline_s: float) -> Health:
    """Look at ``component`` once, for ``deadline_s`` at most. Never raises for network trouble."""
    if component.role == "dns":
        return await _dns(component)
    work, (status, heard) = await asyncio.gather(
        _WORK.get(component.role, serves)(path, component, deadline_s),
        _get(component, component.liveness_path or "/", deadline_s),
    )
    return Health(work[0], status is not None, f"{work[1]}; {heard}", status == 200)


async def _generates(path: PathProbe, replica: Component, deadline_s: float) -> tuple[bool, str]:
    started = time.monotonic()
    ttft_ms = await synthetic(replica, path.deployment, deadline_s, path.own)
    waited_ms = (time.monotonic() - started) * 1000
    return (False, f"no token in {waited_ms:.0f} ms") if ttft_ms is None else (True, f"a token in {ttft_ms:.0f} ms")


async def _forwards(path: PathProbe, gateway: Component, deadline_s: float) -> tuple[bool, str]:
    return _as_work(await path.through(gateway.name, deadline_s))


async def _links(path: PathProbe, toxiproxy: Component, deadline_s: float) -> tuple[bool, str]:
    link = next(link for link in path.topology.links if link.protocol in PROTOCOLS)
    return _as_work(await path.measure(link, deadline_s))


async def serves(path: PathProbe, component: Component, deadline_s: float) -> tuple[bool, str]:
    """Whether it serves its readiness URL, and what it said. Never raises for network trouble."""
    status, heard = await _get(component, component.readiness_path or component.liveness_path or "/", deadline_s)
    return status == 200, heard


#: Role -> whether it does what it is for; the roles that are not here serve their readiness URL.
_WORK: dict[str, Callable[[PathProbe, Component, float], Coroutine[Any, Any, tuple[bool, str]]]] = {
    "replica": _generates,
    "gateway": _forwards,
    "toxiproxy": _links,
}


def _as_work(sample: PathSample) -> tuple[bool, str]:
    return sample.outcome == "ok", sample.describe()


async def _get(component: Component, path: str, deadline_s: float) -> tuple[int | None, str]:
    """The status of ``path``, None without any answer; and that in words."""
    page = Page(component.url(component.probe_port, path), deadline_s, keep=False)
    try:
        status = (await page.get()).status
    except NoAnswer as error:
        said = {"timeout": f"no answer in {deadline_s:.0f} s", "refused": "connection refused"}
        return None, f"{path}: {said.get(error.reason, 'connection broken')}"
    return status, f"{path}: {status}"


async def _dns(server: Component) -> Health:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [server.address], server.ports["dns"]
    resolver.lifetime = _DNS_DEADLINE_S
    try:
        answer = await resolver.resolve(SERVICE_NAME, "A")
    except (dns.resolver.LifetimeTimeout, OSError):
        return Health(False, False, f"no answer in {_DNS_DEADLINE_S:.0f} s")
    except dns.exception.DNSException as error:
        return Health(False, True, f"an answer without an address ({type(error).__name__})")
    return Health(True, True, f"{SERVICE_NAME} is {', '.join(sorted(record.to_text() for record in answer))}")
