"""Real gateways, a real toxiproxy and fake replicas on the loopback addresses of one instance."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from harness.model.topology import GatewayPolicy, Topology
from stack import config, state, tools
from stack.keys import Keys
from stack.stacks.vllm_haproxy import STACK
from tests.integration.fake_replica import FakeReplica
from tests.waiting import WITHIN_S, until
from tests.workers import worker

INSTANCE = 220 + worker()
KEYS = Keys("operator-0123456789", {"user-001": "first-user-0123456789", "user-002": "second-user-0123456789"})
#: Short times, in the proportions of the real policy.
QUICK = GatewayPolicy(
    first_byte_timeout_s=1.0,  # a fake replica on a busy machine answers within it
    stream_idle_timeout_s=3.0,
    answer_timeout_s=4.0,
    queue_timeout_s=0.4,
    long_queue_timeout_s=1.0,
    check_interval_s=0.3,
    check_again_s=0.15,
    check_timeout_s=0.3,
    tokens_per_minute=10_000_000,
    requests_per_minute=100_000,
)


@dataclass
class GatewayStack:
    """What a test sees of it. ``url``: the client's link of gateway-a (or the gateway itself)."""

    topology: Topology
    replicas: dict[str, FakeReplica]
    log: Path
    client: httpx.Client

    def post(self, body: Any = None, key: str = KEYS.users["user-001"], path: str = "/v1/chat/completions",
             **headers: str) -> httpx.Response:  # fmt: skip
        """POST ``body`` (bytes, or data for JSON) with a key («» sends none); underscores in header names mean «-»."""
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else chat()).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        return self.client.post(path, content=content, headers={"Content-Type": "application/json", **sent})

    def raw(self, request: bytes) -> bytes:
        """Send bytes that no client library would, read until the gateway closes (it must)."""
        gateway = self.topology.component("gateway-a")
        with socket.create_connection((gateway.address, gateway.ports["http"]), timeout=15) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def begin(self, body: Any) -> socket.socket:
        """A connection on which ``body`` has been posted with the operator's key; closing it is a cancel."""
        gateway, content = self.topology.component("gateway-a"), json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {KEYS.operator}\r\n"
        connection = socket.create_connection((gateway.address, gateway.ports["http"]), timeout=5)
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return connection

    def seen(self) -> int:
        """How many requests reached a replica."""
        return sum(len(replica.seen) for replica in self.replicas.values())

    def log_lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def logged(self, request_id: str) -> dict[str, Any]:
        """The line of one request, once it is there."""
        found: list[dict[str, Any]] = []
        until(
            lambda: found.extend(line for line in self.log_lines() if line["request_id"] == request_id) or found,
            WITHIN_S, f"a log line of {request_id}",
        )  # fmt: skip
        return found[0]

    def toxic(self, link: str, **toxic: Any) -> None:
        """Put a toxic on a link, downstream unless said otherwise."""
        api = self.topology.component("toxiproxy").url("api")
        httpx.post(f"{api}/proxies/{link}/toxics", json=toxic, trust_env=False).raise_for_status()

    def heal(self) -> None:
        """Remove all toxics by making every proxy anew: removing a toxic waits for what it holds back."""
        base = self.topology.component("toxiproxy").url("api")
        with httpx.Client(base_url=base, trust_env=False) as api:
            for name, proxy in api.get("/proxies").json().items():
                if proxy["toxics"]:
                    api.delete(f"/proxies/{name}").raise_for_status()
                    fresh = {field: proxy[field] for field in ("name", "listen", "upstream", "enabled")}
                    api.post("/proxies", json=fresh).raise_for_status()

    def server_up(self, replica: str) -> bool:
        """Whether gateway-a sends requests to ``replica``, by its statistics."""
        return self.statistics(replica)["status"].startswith("UP") or self.statistics(replica)["status"] == "no check"

    def checks(self, replica: str) -> int:
        """How often gateway-a's health check has asked ``replica``."""
        return self.replicas[replica].checked

    def statistics(self, replica: str) -> dict[str, str]:
        """gateway-a's line about ``replica`` in its CSV statistics."""
        text = httpx.get(self.topology.component("gateway-a").url("metrics", "/stats;csv"), trust_env=False).text
        names, *rows = [line.split(",") for line in text.lstrip("# ").splitlines()]
        for row in rows:
            if row[:2] == ["replicas", replica]:
                return dict(zip(names, row, strict=False))
        raise AssertionError(f"{replica} is not in the statistics: {text}")


def chat(**fields: Any) -> dict[str, Any]:
    """A small chat request."""
    return {"model": "drillyard", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16, **fields}


@contextmanager
def running(argv: list[str], tool: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A tool as a process for the length of the block; its output goes to ``output`` and ``output.err``."""
    found = tools.require(tool)
    with output.open("wb") as out, output.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            [str(found.path), *argv], env={**os.environ, **found.env}, stdout=out, stderr=err, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def listening(address: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as connection:
        connection.settimeout(0.5)
        return connection.connect_ex((address, port)) == 0


@contextmanager
def started(
    folder: Path,
    policy: GatewayPolicy = QUICK,
    defects: frozenset[str] = frozenset(),
    gateways: tuple[str, ...] = ("gateway-a",),
    **changes: Any,
) -> Iterator[GatewayStack]:
    """Start it all; ``changes`` to the policy. Ready when the gateways and links accept connections."""
    topology = Topology(STACK, instance=INSTANCE, gateway_policy=replace(policy, **changes), defects=defects)
    folder.mkdir(parents=True, exist_ok=True)
    config.render(topology, KEYS, folder / "config")
    state.make_private(state.socket_folder(topology))
    toxiproxy = topology.component("toxiproxy")
    with ExitStack() as stack:
        fakes = {name: FakeReplica(topology.component(name).address) for name in STACK.of("replica")}
        for fake in fakes.values():
            stack.callback(fake.close)
        arguments = ["-host", toxiproxy.address, "-port", str(toxiproxy.ports["api"])]
        arguments += ["-config", str(folder / "config/toxiproxy/toxiproxy.json")]
        stack.enter_context(running(arguments, "toxiproxy-server", folder / "toxiproxy.log"))
        for link in topology.links:
            until(lambda link=link: listening(link.listen_address, link.listen_port), WITHIN_S, f"link {link.name}")
        for name in gateways:
            arguments = ["-db", "-f", str(folder / "config" / name / "haproxy.cfg")]
            stack.enter_context(running(arguments, "haproxy", folder / f"{name}.log"))
        for name in gateways:
            gateway = topology.component(name)
            errors = folder / f"{name}.err"
            until(lambda gateway=gateway: listening(gateway.address, 8080), WITHIN_S, f"{name}: {errors.read_text()}")
        base_url = topology.component("gateway-a").url()
        client = stack.enter_context(httpx.Client(base_url=base_url, timeout=15, trust_env=False))
        yield GatewayStack(topology, fakes, folder / "gateway-a.log", client)
