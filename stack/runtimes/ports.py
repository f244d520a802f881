"""Addresses that a stack needs: are they free, and if not, who has them."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psutil

from harness.model.errors import PortTaken, UsageError
from harness.model.topology import Topology


@dataclass(frozen=True)
class Need:
    """One address that ``component`` listens on."""

    component: str
    address: str
    port: int
    udp: bool = False

    def __str__(self) -> str:
        """``127.0.0.53:5300/udp``."""
        return f"{self.address}:{self.port}{'/udp' if self.udp else ''}"


def needs(topology: Topology) -> list[Need]:
    """Every address that the stack listens on at the host's side, links included."""
    found = {Need(c.name, c.address, port) for c in topology.components for port in c.ports.values()}
    found |= {Need("toxiproxy", link.listen_address, link.listen_port) for link in topology.links}
    servers = [component for component in topology.components if component.role == "dns"]
    found |= {Need(c.name, c.address, c.ports["dns"], udp=True) for c in servers}
    return sorted(found, key=str)


def require_free(topology: Topology) -> None:
    """Raise PortTaken naming each address that is taken, by which process, and what to do."""
    taken = [need for need in needs(topology) if not _is_free(need)]
    if taken:
        lines = [f"{need} (for {need.component}) is taken by {_holder(need)}" for need in taken[:5]]
        more = [f"and {len(taken) - 5} more"] if len(taken) > 5 else []
        raise PortTaken("; ".join([*lines, *more]) + ". End that process, or choose other addresses with INSTANCE=n")


def _is_free(need: Need) -> bool:
    kind = socket.SOCK_DGRAM if need.udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if not need.udp:  # connections in TIME_WAIT are no reason to refuse; a second UDP listener is
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((need.address, need.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise UsageError(
                f"{need} (for {need.component}) cannot be used: {error.strerror}. Every address in 127.0.0.0/8 is the "
                f"machine's own on Linux; elsewhere add it to the loopback interface first"
            ) from error
    return True


def _holder(need: Need) -> str:
    """The process that listens there, in words. Without root only one's own processes can be seen."""
    try:
        connections = psutil.net_connections("udp4" if need.udp else "tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        listening = need.udp or connection.status == psutil.CONN_LISTEN
        if not listening or not connection.laddr or connection.pid is None:
            continue
        if connection.laddr.port == need.port and connection.laddr.ip in (need.address, "0.0.0.0", "::"):
            return _describe(connection.pid)
    return "a process of another user (`ss -lntup` as root names it)"


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        line = " ".join(process.cmdline()) or process.name()
        return f"process {pid} ({line if len(line) <= 100 else line[:99] + '…'}, user {process.username()})"
    except psutil.Error:
        return f"process {pid}"
