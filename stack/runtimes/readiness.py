"""When a stack is ready, in both runtimes: seen from the host, through the addresses that everybody uses.

Ready means: every health and readiness URL answers 200; each replica has generated a token (vLLM answers /health
long before that means anything); toxiproxy has a proxy for every link; each gateway calls itself ready; and
DNS has given clients the same link for three seconds.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import dns.exception
import dns.resolver
import httpx

from harness.model.errors import StackError
from harness.model.topology import CLIENT, SERVICE_NAME, Component, Topology
from stack import bounded
from stack.engines import DEPLOYMENT
from stack.runtimes.base import Say

STABLE_DNS_S = 3.0
ENGINE_TIMEOUT_S = {"vllm": 300.0, "sim": 60.0}
OTHER_TIMEOUT_S = 60.0
SAY_EVERY_S = 5.0
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 2.0
_GENERATION_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Condition:
    """Something that must become true: ``unmet`` says why it is not, or None when it is."""

    what: str
    timeout_s: float
    unmet: Callable[[], str | None]


def wait_ready(topology: Topology, say: Say, watch: Callable[[], None]) -> None:
    """Wait until the stack is ready. ``watch`` is called several times a second and raises when waiting is vain.

    Raises StackError naming what was not ready in its time, and why not.
    """
    with _client() as client:
        for stage in _stages(topology, client):
            _wait_stage(stage, say, watch)


def unready(topology: Topology) -> dict[str, str]:
    """What is not ready at this moment, and why; empty when all is. Takes one round of questions."""
    with _client() as client:
        conditions = [condition for stage in _stages(topology, client, stable_dns_s=0.0) for condition in stage]
        with ThreadPoolExecutor(len(conditions)) as pool:
            reasons = pool.map(lambda condition: condition.unmet(), conditions)
            return {c.what: why for c, why in zip(conditions, reasons, strict=True) if why is not None}


def _client() -> httpx.Client:
    return httpx.Client(trust_env=False)  # no proxy stands between us and loopback


def _stages(
    topology: Topology, client: httpx.Client, stable_dns_s: float = STABLE_DNS_S
) -> tuple[tuple[Condition, ...], ...]:
    first = tuple(
        Condition(c.name, _timeout_s(topology, c), partial(_component_unmet, topology, c, client))
        for c in topology.components
        if c.role != "dns"  # its answers depend on the gateways: last stage
    )
    gateways = tuple(
        Condition(f"{c.name} with its replicas", OTHER_TIMEOUT_S, partial(_get, client, c, c.readiness_path or "/"))
        for c in topology.components
        if c.role == "gateway"
    )
    if not gateways:  # a target that is not ours: it has its own, and its own DNS
        return (first,)
    answers = Condition(
        f"DNS giving the same answer for {stable_dns_s:.0f} s", OTHER_TIMEOUT_S, StableAnswer(topology, stable_dns_s)
    )
    return first, gateways, (answers,)


def _timeout_s(topology: Topology, component: Component) -> float:
    return ENGINE_TIMEOUT_S[topology.engine] if component.role == "replica" else OTHER_TIMEOUT_S


def _component_unmet(topology: Topology, component: Component, client: httpx.Client) -> str | None:
    # A gateway is ready only with a replica behind it: here it only has to live.
    paths = [component.liveness_path, None if component.role == "gateway" else component.readiness_path]
    for path in paths:
        if path is not None and (why := _get(client, component, path)) is not None:
            return why
    further = _BY_ROLE.get(component.role)
    return None if further is None else further(topology, client, component)


def _get(client: httpx.Client, component: Component, path: str) -> str | None:
    try:
        status = bounded.ask(client, "GET", component.url(component.probe_port, path), _ANSWER_TIMEOUT_S).status_code
    except httpx.HTTPError as error:
        return f"{path}: {_words(error)}"
    return None if status == 200 else f"{path} answers {status}"


def _no_generation(topology: Topology, client: httpx.Client, replica: Component) -> str | None:
    request = {"model": DEPLOYMENT, "prompt": "ready?", "max_tokens": 1}
    try:
        answer = bounded.ask(client, "POST", replica.url(path="/v1/completions"), _GENERATION_TIMEOUT_S, json=request)
    except httpx.HTTPError as error:
        return f"no token generated: {_words(error)}"
    return None if answer.status_code == 200 else f"no token generated: {answer.status_code} {answer.text[:200]}"


def _missing_links(topology: Topology, client: httpx.Client, toxiproxy: Component) -> str | None:
    try:
        proxies = bounded.ask(client, "GET", toxiproxy.url("api", "/proxies"), _ANSWER_TIMEOUT_S).json()
    except (httpx.HTTPError, ValueError) as error:
        return f"/proxies: {_words(error)}"
    missing = [link.name for link in topology.links if link.name not in proxies]
    return f"no proxy for {', '.join(missing)}" if missing else None


def _refused(topology: Topology, client: httpx.Client, component: Component) -> str | None:
    for port in component.ports.values():
        try:
            socket.create_connection((component.address, port), _ANSWER_TIMEOUT_S).close()
        except OSError as error:
            return f"port {port}: {_words(error)}"
    return None


#: Role -> what else must be so before a component of that role is ready, beside its pages: why it is not, or None.
_BY_ROLE: Mapping[str, Callable[[Topology, httpx.Client, Component], str | None]] = {
    "replica": _no_generation,
    "toxiproxy": _missing_links,
    "tunnel": _refused,
}


def _words(error: Exception) -> str:
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


class StableAnswer:
    """Condition: the name server has given the same client link for ``stable_s`` seconds."""

    def __init__(self, topology: Topology, stable_s: float) -> None:
        server = topology.component("dns")
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [server.address]
        self._resolver.port = server.ports["dns"]
        self._links = {link.listen_address for link in topology.links if link.source == CLIENT}
        self._stable_s = stable_s
        self._answer: str | None = None
        self._since_s = 0.0

    def __call__(self) -> str | None:
        """Ask once; None when the answer is the same for long enough."""
        try:
            answers = [record.to_text() for record in self._resolver.resolve(SERVICE_NAME, "A", lifetime=1.0)]
        except (dns.exception.DNSException, OSError) as error:
            self._answer = None
            return f"{SERVICE_NAME}: {_words(error)}"
        if len(answers) != 1 or answers[0] not in self._links:
            self._answer = None
            return f"{SERVICE_NAME} is {answers}, expected one of {sorted(self._links)}"
        if answers[0] != self._answer:
            self._answer, self._since_s = answers[0], time.monotonic()
        stable_s = time.monotonic() - self._since_s
        return None if stable_s >= self._stable_s else f"{answers[0]} for {stable_s:.1f} s so far"


def _wait_stage(stage: tuple[Condition, ...], say: Say, watch: Callable[[], None]) -> None:
    began_s, last_said_s = time.monotonic(), 0.0
    reasons = {condition.what: "not asked yet" for condition in stage}
    pool = ThreadPoolExecutor(len(stage))
    try:
        asked: dict[Future[str | None], Condition] = {pool.submit(c.unmet): c for c in stage}
        while asked:
            watch()
            waited_s = time.monotonic() - began_s
            done, _ = wait(asked, timeout=_POLL_S)
            for future in done:
                condition, why = asked.pop(future), future.result()
                if why is None:
                    say(f"ready after {waited_s:.1f} s: {condition.what}")
                else:
                    reasons[condition.what] = why
                    asked[pool.submit(_later, condition)] = condition
            _raise_late(asked.values(), reasons, waited_s)
            if asked and waited_s - last_said_s >= SAY_EVERY_S:
                last_said_s = waited_s
                say(_waiting_line([c for c in stage if c in asked.values()], reasons, waited_s))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _later(condition: Condition) -> str | None:
    time.sleep(_POLL_S)
    return condition.unmet()


def _raise_late(pending: Iterable[Condition], reasons: dict[str, str], waited_s: float) -> None:
    late = [condition for condition in pending if waited_s > condition.timeout_s]
    if late:
        names = "; ".join(f"{condition.what} ({reasons[condition.what]})" for condition in late)
        raise StackError(f"not ready within {late[0].timeout_s:.0f} s: {names}")


def _waiting_line(pending: list[Condition], reasons: dict[str, str], waited_s: float) -> str:
    most_s = max(condition.timeout_s for condition in pending)
    by_reason: dict[str, list[str]] = {}
    for condition in pending:
        by_reason.setdefault(reasons[condition.what], []).append(condition.what)
    names = ", ".join(f"{' and '.join(what)} ({reason})" for reason, what in by_reason.items())
    return f"waiting for {names}: {waited_s:.0f} s of at most {most_s:.0f} s"
