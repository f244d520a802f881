"""HAProxy's configuration, rendered from the topology: haproxy.cfg, keys.map, guard.lua."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

import jinja2

from harness.model.topology import Component, GatewayPolicy, Topology
from stack import state
from stack.gateway.haproxy import errors
from stack.keys import Keys

_FILES = Path(__file__).parent
#: Docker's own resolver, at the same address in every container.
DOCKER_RESOLVER = "127.0.0.11:53"
#: How long a gateway with the defect no_gateway_timeout or no_queue_limit waits.
_DEFECT_TIMEOUT_S = 600.0
_DEFECT_RETRIES, _DEFECT_RISE = 8, 80
#: Tokens per answer that a gateway with the defect no_caps allows.
_NO_CAP = 10**12
#: On which a gateway finds the way to the readiness agent in itself.
_AGENT_HOP_PORT = 8405
#: Room in a gateway's buffer beside the largest body: headers, and what HAProxy reserves to rewrite them.
_BUFFER_RESERVE_BYTES = 32768
_REWRITE_BYTES = 4096  # of that, what HAProxy reserves
#: Of a request's headers, and of its URL.
HEAD_BYTES_MAX = 8192

#: One line per request, JSON. Times in ms, -1 where a request never got so far. ``t_ms`` is the wall clock's.
_LOG_FIELDS = {
    "t_ms": "%Ts%ms",
    "gateway": '"{gateway}"',
    "request_id": '"%ID"',
    "key_id": '"%[var(txn.key_id)]"',
    # Cut to what a log line holds: HAProxy would cut the line, and what is left would be no JSON.
    "method": '"%[var(txn.method),bytes(0,32),json(utf8s)]"',
    "path": '"%[var(txn.path),bytes(0,512),json(utf8s)]"',
    "backend": '"%b"',
    "replica": '"%s"',
    "status": "%ST",
    "termination_state": '"%ts"',
    "retries": '"%rc"',  # «+2»: the last one went to another replica
    "stream": '"%[var(txn.stream,0)]"',  # quoted, as the next: «-» where no request could be read
    "asked_tokens": '"%[var(txn.asked_tokens,0)]"',
    "request_ms": "%TR",
    "queue_ms": "%[lua.queue_ms]",
    "connect_ms": "%Tc",
    "answer_ms": "%Tr",
    "total_ms": "%Ta",
    "bytes_in": "%U",
    "bytes_out": "%B",
    "queued_before": "%bq",
}


def files(topology: Topology, keys: Keys, gateway: str) -> dict[str, str]:
    """By name, as they are written."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FILES), undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["ms"] = lambda seconds: f"{round(seconds * 1000)}ms"
    config = environment.get_template("haproxy.cfg.j2").render(_values(topology, gateway))
    return {
        "haproxy.cfg": config + "\n",
        "keys.map": "".join(f"{key} {key_id}\n" for key, key_id in keys.by_key()),
        "guard.lua": (_FILES / "guard.lua").read_text(),
    }


def _values(topology: Topology, gateway: str) -> dict[str, Any]:
    policy, defects = topology.gateway_policy, topology.defects
    return {
        "gateway": gateway,
        "policy": policy,
        **_addresses(topology, gateway),
        **_times(policy, defects),
        **_readiness(policy, defects),
        **_limits(policy, defects),
        "own_errors": errors.own_errors(policy),
        "refusals": {**errors.refusals(policy), **errors.replica_errors()},
        "replica_errors": errors.replica_errors(),
        "html_errors": "html_errors" in defects,
        "replicas": [_server(topology, gateway, replica) for replica in topology.replicas],
        "backends": _backends(policy, defects),
        "sticky_sessions": "sticky_sessions" in defects,
        "weights_by_lot": "gateway_ignores_weight" not in defects and len(topology.replicas) > 1,
        "log_format": _log_format(gateway),
        "error_log_format": _log_format(gateway, queue_ms="-1"),
    }


def _addresses(topology: Topology, gateway: str) -> dict[str, Any]:
    """Where it listens, and where it finds names and the readiness agent."""
    component = topology.component(gateway)
    docker = topology.runtime == "docker"
    return {
        "config_path": "@CONFIG@",
        "admin_socket": _admin_socket(topology, gateway),
        "bind_address": _bind_address(topology, component),
        "service_socket": _socket(topology, gateway, "service"),
        "http_port": component.ports["http"],
        "metrics_port": component.ports["metrics"],
        "server_options": " resolvers runtime resolve-prefer ipv4 init-addr last,libc,none" if docker else "",
        "resolver": DOCKER_RESOLVER if docker else "",
        "agent_address": "127.0.0.1" if docker else component.address,
        "agent_port": _AGENT_HOP_PORT,
        "agent": f"{topology.seen_by_components('exporter')}:{topology.component('exporter').ports['agent']}",
    }


def _times(policy: GatewayPolicy, defects: Set[str]) -> dict[str, Any]:
    """How long it waits, and how often it tries again."""
    waits = {
        "first_byte_timeout_s": policy.first_byte_timeout_s,
        "idle_timeout_s": policy.stream_idle_timeout_s,
        "answer_timeout_s": policy.answer_timeout_s,
    }
    if "no_gateway_timeout" in defects:
        waits = dict.fromkeys(waits, _DEFECT_TIMEOUT_S)
    kinds = {
        "stream": waits["first_byte_timeout_s"],
        # The backend's own time-out comes first: a link that hangs up is retried, a late whole answer is not.
        "whole": waits["answer_timeout_s"] + 1,
    }
    return {
        **waits,
        # Never the first to run out: what the server side waits for, in every retry, comes before it.
        "client_timeout_s": _client_timeout_s(policy, _retries(policy, defects), max(waits.values())),
        "link_limits_s": {f"{pinned}{kind}": s for pinned in ("", "pinned-") for kind, s in kinds.items()},
        "retries": _retries(policy, defects),
        "abort_on_close": "no_abort_on_close" not in defects,
    }


def _readiness(policy: GatewayPolicy, defects: Set[str]) -> dict[str, Any]:
    """How it finds out which replicas can be used."""
    return {
        "checks": "no_readiness_checks" not in defects,
        "readiness_agent": not {"no_readiness_checks", "no_readiness_agent"} & defects,
        "check_path": "/version" if "wrong_check_path" in defects else "/health",
        "check_rise": _DEFECT_RISE if "slow_put_back" in defects else policy.check_rise,
    }


def _limits(policy: GatewayPolicy, defects: Set[str]) -> dict[str, Any]:
    """How much it takes: bytes of a request, requests that wait, tokens of an answer."""
    caps = "no_caps" not in defects
    return {
        "buffer_bytes": policy.body_bytes_max + _BUFFER_RESERVE_BYTES,
        "rewrite_bytes": _REWRITE_BYTES,
        "head_bytes_max": HEAD_BYTES_MAX,
        "queue_max": None if "no_queue_limit" in defects else policy.queue_max,
        "caps": caps,
        "chat_max_tokens": policy.chat_max_tokens if caps else _NO_CAP,
        "completions_max_tokens": policy.completions_max_tokens if caps else _NO_CAP,
    }


def _backends(policy: GatewayPolicy, defects: Set[str]) -> list[dict[str, Any]]:
    """Where requests wait, and how many of them each replica is given at a time. The first one checks the replicas."""
    endless = "no_queue_limit" in defects
    ordinary = {
        "name": "replicas",
        "maxconn": policy.replica_max_connections,
        "queue_timeout_s": _DEFECT_TIMEOUT_S if endless else policy.queue_timeout_s,
    }
    long = {
        "name": "long",
        "maxconn": policy.long_connections,
        "queue_timeout_s": _DEFECT_TIMEOUT_S if endless else policy.long_queue_timeout_s,
    }
    return [ordinary] if "long_prompts_share_queue" in defects else [ordinary, long]


def _retries(policy: GatewayPolicy, defects: Set[str]) -> int:
    if "no_gateway_retries" in defects:
        return 0
    return _DEFECT_RETRIES if "many_gateway_retries" in defects else policy.retries


def _client_timeout_s(policy: GatewayPolicy, retries: int, longest_wait_s: float) -> float:
    return max(policy.queue_timeout_s, policy.long_queue_timeout_s) + (retries + 1) * (
        policy.connect_timeout_s + longest_wait_s
    )


def _server(topology: Topology, gateway: str, replica: str) -> dict[str, str]:
    if "bypass_toxiproxy" in topology.defects:
        address = f"{topology.seen_by_components(replica)}:{topology.component(replica).ports['http']}"
    else:
        link = topology.link_between(gateway, replica)
        port = link.inside_port if topology.runtime == "docker" else link.listen_port
        address = f"{topology.seen_by_components('toxiproxy')}:{port}"
    return {
        "name": replica,
        "address": address,
        "socket": _socket(topology, gateway, replica),
    }


def _socket(topology: Topology, gateway: str, name: str) -> str:
    """An abstract socket: needs no file, ends with its process, and its name keeps stacks of one host apart."""
    return f"abns@drillyard-{topology.instance}-{gateway}-{name}"


def _log_format(gateway: str, **instead: str) -> str:
    fields = (f'"{name}":{value.format(gateway=gateway)}' for name, value in {**_LOG_FIELDS, **instead}.items())
    return "{" + ",".join(fields) + "}"


def _admin_socket(topology: Topology, gateway: str) -> str:
    """The admin socket as the gateway's process sees it."""
    if topology.runtime == "docker":
        return "/run/drillyard/admin.sock"
    return str(state.admin_socket(state.socket_folder(topology), gateway))


def _bind_address(topology: Topology, component: Component) -> str:
    return "0.0.0.0" if topology.runtime == "docker" else component.address
