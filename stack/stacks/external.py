"""A service that Drillyard did not start: toxiproxy in front of it; a tunnel where the environment names a proxy."""

from __future__ import annotations

from harness.model.topology import CLIENT, SERVICE_PORT, TARGET, TUNNEL_HOST, Component, Link, Stack, Target
from stack.stacks import toxiproxy

_LINK = Link("client-to-target", CLIENT, TARGET, "127.0.0.111", SERVICE_PORT, 20001)


def stack(target: Target) -> Stack:
    """What is ours of the way to ``target``."""
    ends = {name: end.tunnel for name, end in target.endpoints.items() if end.tunnel}
    ports = {name: int(tunnel.rpartition(":")[2]) for name, tunnel in ends.items()}
    tunnel = (Component("tunnel", "tunnel", f"127.0.0.{TUNNEL_HOST}", ports),) if ports else ()
    proxy = toxiproxy.component([_LINK], depends_on=tuple(one.name for one in tunnel))
    return Stack("external", (*tunnel, proxy), (_LINK,))
