"""The one description of the stack. Both runtimes are driven from it, so they cannot drift apart.

Addresses: instance ``n`` lives on 127.0.n.* with the same port numbers for every instance, so any number of
stacks stand side by side. Every component has one loopback address at which the *host* reaches it, in both
runtimes (process: it binds it; Docker: the port is published there). Inside the Docker network a component is
reached by its name instead; ``Topology.seen_by_components`` says which of the two a config file must contain.

Names: gateways ``gateway-a|b``, replicas ``replica-1|2``, links ``client-to-gateway-a``,
``gateway-a-to-replica-1``: a link is one toxiproxy proxy.

With a ``target`` the service is somebody else's: toxiproxy is the only component, with a tunnel behind it
where the environment names a proxy, and ``client-to-target`` the only link.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SERVICE_NAME = "llm.drillyard.test"
SERVICE_PORT = 8080
GATEWAYS = ("gateway-a", "gateway-b")
REPLICAS = ("replica-1", "replica-2")

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

    def url(self, port: str = "http", path: str = "") -> str:
        """Base URL at which the host reaches ``port`` of this component."""
        return f"http://{self.address}:{self.ports[port]}{path}"


@dataclass(frozen=True)
class Link:
    """One network link, one toxiproxy proxy: whoever connects to ``listen`` ends at ``target``'s http port."""

    name: str
    source: str  # "client" or a gateway
    target: str  # a gateway or a replica; "target" for the service that is not ours
    listen_address: str  # host side
    listen_port: int  # host side
    inside_port: int  # the port on which toxiproxy listens inside its container


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
    def bracketed(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def pinned(self) -> str:
        """Address and port to connect to."""
        if self.tunnel:
            return self.tunnel
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


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
    """The whole stack of one instance."""

    instance: int = 0
    runtime: str = "process"  # process | docker | external
    engine: str = "vllm"  # vllm | sim; "external" where the service is not ours
    models: Mapping[str, str] = field(default_factory=dict)  # replica -> model name (v1, …), path or hub id
    gateway_policy: GatewayPolicy = field(default_factory=GatewayPolicy)
    defects: frozenset[str] = frozenset()
    kv_cache_bytes: int = 64 * 1024 * 1024
    max_model_len: int = 2048
    target: Target | None = None  # the external runtime's

    def host(self, last: int) -> str:
        """The loopback address with that last byte in this instance's range."""
        return f"127.0.{self.instance}.{last}"

    @property
    def components(self) -> tuple[Component, ...]:
        """All components, dependencies first."""
        if self.target is not None:
            return (*self._tunnel(self.target), self._toxiproxy())
        replicas = tuple(
            Component(
                name,
                "replica",
                self.host(20 + i),
                {"http": 8000},
                liveness_path="/health",
                readiness_path="/v1/models",
            )
            for i, name in enumerate(REPLICAS, 1)
        )
        gateways = tuple(
            Component(
                name,
                "gateway",
                self.host(10 + i),
                {"http": 8080, "metrics": 8404},
                depends_on=("toxiproxy",),
                liveness_path="/livez",
                readiness_path="/readyz",
            )
            for i, name in enumerate(GATEWAYS, 1)
        )
        dns = Component("dns", "dns", self.host(53), {"dns": 5300}, depends_on=GATEWAYS)
        exporter = Component(
            "exporter",
            "exporter",
            self.host(91),
            {"http": 9109, "agent": 9110},
            depends_on=(*GATEWAYS, *REPLICAS),
            liveness_path="/healthz",
        )
        alertmanager = Component(
            "alertmanager",
            "alertmanager",
            self.host(93),
            {"http": 9093},
            depends_on=("exporter",),
            liveness_path="/-/healthy",
            readiness_path="/-/ready",
        )
        prometheus = Component(
            "prometheus",
            "prometheus",
            self.host(90),
            {"http": 9090},
            depends_on=("alertmanager",),
            liveness_path="/-/healthy",
            readiness_path="/-/ready",
        )
        return (*replicas, self._toxiproxy(), *gateways, dns, exporter, alertmanager, prometheus)

    def _tunnel(self, target: Target) -> tuple[Component, ...]:
        ends = {name: end for name, end in target.endpoints.items() if end.tunnel}
        ports = {name: int(end.tunnel.rpartition(":")[2]) for name, end in ends.items()}
        return (Component("tunnel", "tunnel", self.host(TUNNEL_HOST), ports),) if ports else ()

    def _toxiproxy(self) -> Component:
        links = {link.name: link.listen_port for link in self.links if link.source != "client"}
        return Component(
            "toxiproxy",
            "toxiproxy",
            self.host(5),
            {"api": 8474, **links},
            depends_on=tuple(one.name for one in self._tunnel(self.target)) if self.target is not None else (),
            liveness_path="/version",
            probe_port="api",
        )

    @property
    def links(self) -> tuple[Link, ...]:
        """One link per edge: client to each gateway, each gateway to each replica; or client to the target."""
        if self.target is not None:
            return (Link("client-to-target", "client", "target", self.host(111), SERVICE_PORT, 20001),)
        client = tuple(
            Link(f"client-to-{gw}", "client", gw, self.host(110 + i), SERVICE_PORT, 20000 + i)
            for i, gw in enumerate(GATEWAYS, 1)
        )
        inner = tuple(
            Link(f"{gw}-to-{replica}", gw, replica, self.host(5), 21000 + 10 * g + r, 21000 + 10 * g + r)
            for g, gw in enumerate(GATEWAYS, 1)
            for r, replica in enumerate(REPLICAS, 1)
        )
        return client + inner

    def component(self, name: str) -> Component:
        """The component called ``name``; KeyError when there is none."""
        return {c.name: c for c in self.components}[name]

    def link(self, name: str) -> Link:
        """The link called ``name``; KeyError when there is none."""
        return {link.name: link for link in self.links}[name]

    def seen_by_components(self, component: str) -> str:
        """The host name or address by which *other components* reach ``component`` in this runtime."""
        return component if self.runtime == "docker" else self.component(component).address

    def fingerprint(self) -> str:
        """Short hash of everything that shapes the running stack: a warm stack is reused only when equal."""
        data = dataclasses.asdict(self)
        data["defects"] = sorted(self.defects)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
