"""The one description of what is drilled, as plain data. All runtimes are driven from it, so they cannot drift apart.

A ``Stack`` says which components and links there are (``stack/stacks/`` holds them), a ``Topology`` what one instance
of it is like. The plan of a run stores its topology: who judges or shows the run asks that, never today's stacks.

Addresses: instance ``n`` lives on 127.0.n.* with the same port numbers for every instance, so any number of
stacks stand side by side. Every component has one loopback address at which the *host* reaches it, in both
runtimes (process: it binds it; Docker: the port is published there). Inside the Docker network a component is
reached by its name instead; ``Topology.seen_by_components`` says which of the two a config file must contain.
A link is one toxiproxy proxy.

With a ``target`` the service is somebody else's (``stack/stacks/external.py``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # only stored topologies need it, and settings are checked before any package is there
    from pydantic import TypeAdapter

SERVICE_NAME = "llm.drillyard.test"
SERVICE_PORT = 8080
#: The source of links that users come over, and the far end of one to a service that is not ours.
CLIENT, TARGET = "client", "target"

#: Stack defects that can be switched on to prove that a drill notices them: name -> what is wrong.
DEFECTS: Mapping[str, str] = {
    "no_gateway_retries": "the gateways do not retry a failed request on another replica",
    "no_readiness_checks": "the gateways neither check replicas actively nor take them out passively",
    "bypass_toxiproxy": "the gateways talk to the replicas directly, past toxiproxy",
    "html_errors": "the gateways answer errors with their built-in HTML pages",
    "no_gateway_timeout": "the gateways wait for an answer for ten minutes",
    "many_gateway_retries": "the gateways try a failed request up to eight times more, whatever the policy says",
    "slow_put_back": "the gateways use a replica again only after twenty good checks in a row",
    "wrong_check_path": "the gateways check /version, which a replica that cannot generate answers as well",
    "no_queue_limit": "the gateways queue without a limit, in number and in time",
    "no_abort_on_close": "the gateways do not notice that a client has gone until they write to it",
    "long_prompts_share_queue": "the gateways treat long prompts like any others: as many at a time, in one queue",
    "no_caps": "the gateways look neither at the size of a body nor at the tokens that it asks for",
    "dns_health_checks_off": "DNS hands out the first gateway, dead or alive",
    "dns_long_ttl": "DNS answers may be kept for a minute, whatever the policy says",
    "no_readiness_agent": "the gateways ask nobody whether a replica generates: /health is all they know",
    "sticky_sessions": "the gateways send each key to the replica that it had before, a draining one, too",
    "gateway_ignores_weight": "the gateways fill whatever replica is idle, as leastconn does, whatever its weight",
    "stale_model": "a replica that is told to serve another model starts with the one that it had",
    "alert_rule_missing": "Prometheus has no rule ReplicaDown",
}


#: Where the way to an external target through a proxy begins: the last byte of its address, a port for each purpose.
TUNNEL_HOST = 6
TUNNEL_PORTS: Mapping[str, int] = {"service": 8443, "metrics": 8444}


@dataclass(frozen=True)
class Component:
    """One thing that runs. ``ports`` maps a port's purpose to its number; paths are on the port named first."""

    name: str
    role: str  # gateway | replica | toxiproxy | tunnel | dns | exporter | prometheus | alertmanager
    address: str  # loopback address on which the host reaches it
    ports: Mapping[str, int]
    depends_on: tuple[str, ...] = ()
    liveness_path: str | None = None
    readiness_path: str | None = None
    probe_port: str = "http"  # which of ``ports`` the two paths are on
    kind: str = ""  # of a gateway: its software, an adapter in harness/adapters/gateways/

    def url(self, port: str = "http", path: str = "") -> str:
        """Base URL at which the host reaches ``port`` of this component."""
        return f"http://{self.address}:{self.ports[port]}{path}"


@dataclass(frozen=True)
class Link:
    """One network link, one toxiproxy proxy: whoever connects to ``listen`` ends at ``target``'s http port."""

    name: str
    source: str  # CLIENT or a component
    target: str  # a component, or TARGET
    listen_address: str  # host side
    listen_port: int  # host side
    inside_port: int  # the port on which toxiproxy listens inside its container
    protocol: str = "chat"  # what proves it: a way to cross it that harness/probes/path.py knows


@dataclass(frozen=True)
class Stack:
    """Components, dependencies first, and the links between them. ValueError for what cannot be a stack.

    Of the addresses only the last byte counts: the rest is the instance's, see ``at``.
    """

    name: str
    components: tuple[Component, ...]
    links: tuple[Link, ...]

    def __post_init__(self) -> None:
        """Every name is one thing, and what depends or links has something to depend on or to link."""
        names = Counter([*(one.name for one in self.components), *(link.name for link in self.links)])
        if doubled := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"found more than one {doubled[0]} in the stack {self.name}")
        meant = {name for one in self.components for name in one.depends_on}
        meant |= {end for link in self.links for end in (link.source, link.target)} - {CLIENT, TARGET}
        if missing := sorted(meant - {one.name for one in self.components}):
            raise ValueError(f"the stack {self.name} depends on or links {missing[0]}, which it does not have")

    def of(self, role: str) -> tuple[str, ...]:
        """Names of the components with that role, in order."""
        return tuple(one.name for one in self.components if one.role == role)

    def at(self, instance: int) -> Stack:
        """The same stack on the addresses of that instance."""
        components = (replace(one, address=_at(instance, one.address)) for one in self.components)
        links = (replace(one, listen_address=_at(instance, one.listen_address)) for one in self.links)
        return replace(self, components=tuple(components), links=tuple(links))


def _at(instance: int, address: str) -> str:
    return f"127.0.{instance}.{address.rpartition('.')[2]}"


@dataclass(frozen=True)
class GatewayPolicy:
    """What the gateways enforce. Times in seconds, sizes in bytes, rates per minute and key."""

    first_byte_timeout_s: float = 3.0  # a stream that has sent no response byte for so long is retried, then 504
    stream_idle_timeout_s: float = 10.0  # gap inside a running stream
    answer_timeout_s: float = 60.0  # non-streamed answer
    connect_timeout_s: float = 1.0
    retries: int = 2
    queue_timeout_s: float = 2.0
    replica_max_connections: int = 32
    queue_max: int = 64
    check_interval_s: float = 0.5
    check_again_s: float = 0.25  # instead of the interval, between the first bad (or good) answer and the verdict
    check_timeout_s: float = 1.0
    check_fall: int = 2
    check_rise: int = 2
    passive_error_limit: int = 3
    readiness_period_s: float = 2.0  # the readiness agent asks each replica for a token so often,
    readiness_deadline_s: float = 2.0  # waits so long for it,
    readiness_fall: int = 2  # and calls a replica deaf after so many in vain in which it made none for others either
    agent_interval_s: float = 1.0  # the gateways ask the agent so often
    body_bytes_max: int = 65536
    #: A larger body is a long prompt: it has a queue of its own, and so many at a time in each replica. One from each
    #: gateway, of the model's length, are half of a replica's KV cache here: what is left is for everybody else.
    long_body_bytes: int = 5120
    long_connections: int = 1
    long_queue_max: int = 8
    long_queue_timeout_s: float = 5.0
    chat_max_tokens: int = 1024
    completions_max_tokens: int = 1024
    requests_per_minute: int = 600
    tokens_per_minute: int = 200_000
    retry_after_s: int = 1

    @property
    def silent_noticed_within_s(self) -> float:
        """How long it takes at most until no gateway uses a replica that does not even refuse connections.

        A dead container is like that: its address leads nowhere, and each check waits for its time-out.
        """
        again_s = (self.check_fall - 1) * (self.check_again_s + self.check_timeout_s)
        return self.check_interval_s + self.check_timeout_s + again_s

    @property
    def deaf_noticed_within_s(self) -> float:
        """How long it takes at most until no gateway uses a replica that makes no tokens any more.

        It went deaf just after it had given one: a period, the deadlines in vain, the gateway's next question.
        """
        return self.readiness_period_s + self.readiness_fall * self.readiness_deadline_s + self.agent_interval_s


@dataclass(frozen=True)
class DnsPolicy:
    """How quickly DNS leads clients to another gateway. Whole seconds: PowerDNS takes no others."""

    ttl_s: int = 1  # so long a client may live on an answer
    check_interval_s: int = 1  # between two checks of a gateway's readiness
    check_timeout_s: int = 1  # a gateway that hangs is noticed after the interval plus this; PowerDNS' default is two


DNS_POLICY = DnsPolicy()
#: Whose numbers objectives may name, as ``gateway.retries`` or ``dns.ttl_s``.
POLICIES: Mapping[str, type[GatewayPolicy] | type[DnsPolicy]] = {"gateway": GatewayPolicy, "dns": DnsPolicy}


@dataclass(frozen=True)
class Endpoint:
    """Where a service of somebody else's answers.

    ``address`` is what ``host`` resolved to, once; "" while unknown. Where the environment's variable ``proxy`` leads
    to it through a proxy, that resolves the name, and the way to it begins at ``tunnel`` (address:port on loopback).
    """

    scheme: str  # http | https
    host: str
    port: int
    path: str = ""  # what stands before /v1/…, without a slash at its end; of a metrics page the whole of its path
    address: str = ""
    proxy: str = ""
    tunnel: str = ""

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = self.bracketed
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """As its owner wrote it, without a slash at its end; a path alone may follow."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def bracketed(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def connects_to(self) -> tuple[str, int]:
        """Address and port to connect to."""
        address, _, port = self.tunnel.rpartition(":")
        return (address, int(port)) if self.tunnel else (self.address, self.port)

    @property
    def pinned(self) -> str:
        """The same as it stands in a URL."""
        address, port = self.connects_to
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True)
class Target:
    """A service that Drillyard did not start. ``api_key_env`` names the variable that holds the key; never the key."""

    service: Endpoint
    api_key_env: str | None = None
    model: str | None = None  # None: the first that it lists
    metrics: Endpoint | None = None  # vLLM's metrics page, if it may be read

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """All that is asked, by purpose."""
        return {"service": self.service, **({"metrics": self.metrics} if self.metrics else {})}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Target:
        """The target that ``dataclasses.asdict`` made this of."""
        metrics = data["metrics"]
        endpoints = {"service": Endpoint(**data["service"]), "metrics": Endpoint(**metrics) if metrics else None}
        return cls(**{**data, **endpoints})


@dataclass(frozen=True)
class Topology:
    """One instance of a stack."""

    stack: Stack
    instance: int = 0
    runtime: str = "process"  # process | docker | external
    engine: str = "vllm"  # vllm | sim; "external" where the service is not ours
    models: Mapping[str, str] = field(default_factory=dict)  # replica -> model name (v1, …), path or hub id
    gateway_policy: GatewayPolicy = field(default_factory=GatewayPolicy)
    defects: frozenset[str] = frozenset()
    kv_cache_bytes: int = 64 * 1024 * 1024
    max_model_len: int = 2048
    target: Target | None = None  # the external runtime's

    def __post_init__(self) -> None:
        """The stack's addresses are the instance's."""
        object.__setattr__(self, "stack", self.stack.at(self.instance))

    @classmethod
    def of(cls, data: object) -> Topology:
        """The topology that ``as_data`` made this of; what is unknown is left out.

        ValueError, with what is wrong and where, for anything else.
        """
        from pydantic import ValidationError

        try:
            return _stored().validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))) from None

    def as_data(self) -> dict[str, Any]:
        """The topology as JSON data."""
        return {**dataclasses.asdict(self), "defects": sorted(self.defects)}

    def host(self, last: int) -> str:
        """The loopback address with that last byte in this instance's range."""
        return f"127.0.{self.instance}.{last}"

    @property
    def components(self) -> tuple[Component, ...]:
        """All components, dependencies first."""
        return self.stack.components

    @property
    def links(self) -> tuple[Link, ...]:
        """All links."""
        return self.stack.links

    @cached_property
    def replicas(self) -> tuple[str, ...]:
        """Names of the replicas, in order; none where the service is not ours."""
        return self.stack.of("replica")

    @cached_property
    def gateways(self) -> tuple[str, ...]:
        """Names of the gateways, in order; none where the service is not ours."""
        return self.stack.of("gateway")

    def component(self, name: str) -> Component:
        """The component called ``name``; KeyError when there is none."""
        return {c.name: c for c in self.components}[name]

    def link(self, name: str) -> Link:
        """The link called ``name``; KeyError when there is none."""
        return {link.name: link for link in self.links}[name]

    def link_between(self, source: str, target: str) -> Link:
        """The link from one to the other; KeyError when there is none."""
        return {(link.source, link.target): link for link in self.links}[source, target]

    def seen_by_components(self, component: str) -> str:
        """The host name or address by which *other components* reach ``component`` in this runtime."""
        return component if self.runtime == "docker" else self.component(component).address

    def fingerprint(self) -> str:
        """Short hash of everything that shapes the running stack: a warm stack is reused only when equal."""
        return hashlib.sha256(json.dumps(self.as_data(), sort_keys=True).encode()).hexdigest()[:16]


@cache
def _stored() -> TypeAdapter[Topology]:
    from pydantic import TypeAdapter

    return TypeAdapter(Topology)
