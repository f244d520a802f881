"""Whether an undo record is about this stack: each of its arguments is checked before anything is done with it.

A record is a file's word. Whoever wrote it (another checkout, an earlier topology, a stranger) could name addresses,
commands and programs of others, so only names, addresses and values that this stack itself has are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from harness.adapters.gateway import State
from harness.faults.base import undo_actions
from harness.model.journal import Undo
from harness.model.topology import Topology
from stack import config

#: Enough of a strange value to find it by.
_QUOTED_CHARS = 60


def strange(undo: Undo, topology: Topology) -> str:
    """What of the record is not of the stack of ``topology``, in words; empty when all of it is."""
    if undo.action not in undo_actions():
        return f"action = {_quoted(undo.action)}"
    return ", ".join(_strange(undo.args, topology))


def listen_address(address: object) -> str:
    """Where a proxy listens, as the topology writes it. Toxiproxy writes 0.0.0.0 as [::]."""
    return str(address).replace("[::]:", "0.0.0.0:")


def _strange(args: Mapping[str, Any], topology: Topology) -> Iterator[str]:
    proxy = next((known for known in config.proxies(topology) if known["name"] == args.get("proxy")), None)
    for key, value in args.items():
        if key == "servers" and isinstance(value, list) and all(isinstance(one, dict) for one in value):
            for server in value:
                yield from _strange(server, topology)
        elif key in ("proxy", "listen", "upstream"):
            if proxy is None or listen_address(value) != proxy["name" if key == "proxy" else key]:
                yield f"{key} = {_quoted(value)}"
        elif not (key in _KNOWN and _KNOWN[key](value, topology)):
            yield f"{key} = {_quoted(value)}"


def _quoted(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _has_role(name: Any, topology: Topology, *roles: str) -> bool:
    return any(name == one.name and (not roles or one.role in roles) for one in topology.components)


def _per_replica(values: Any, topology: Topology, is_good: Callable[[Any], bool]) -> bool:
    return isinstance(values, dict) and all(
        _has_role(replica, topology, "replica") and is_good(value) for replica, value in values.items()
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: By name of the argument, whether a value is one that the stack can have. What has no line here belongs to nobody.
_KNOWN: Mapping[str, Callable[[Any, Topology], bool]] = {
    "component": _has_role,
    "gateway": lambda value, topology: _has_role(value, topology, "gateway"),
    "replica": lambda value, topology: _has_role(value, topology, "replica"),
    "state": lambda value, topology: value in get_args(State),
    "weight": lambda value, topology: _is_count(value),
    "connections": lambda value, topology: _per_replica(value, topology, _is_count),
    "versions": lambda value, topology: _per_replica(value, topology, _is_text),  # compared with, never started
    "limit_bytes": lambda value, topology: value is None or _is_count(value),
    "toxics": lambda value, topology: isinstance(value, list) and all(
        isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in value
    ),
    "wave": lambda value, topology: isinstance(value, str),  # looked up among the waves of one's own process
}  # fmt: skip
