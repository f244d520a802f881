"""stack/runtimes/ports.py: who has the address that we need."""

from __future__ import annotations

import os
import socket

import pytest

from harness.model.errors import PortTaken
from harness.model.topology import Topology
from stack.runtimes import ports
from stack.stacks.vllm_haproxy import STACK

TOPOLOGY = Topology(STACK, instance=219)


def test_every_port_and_link_is_needed() -> None:
    """Links count, and DNS needs both of its protocols."""
    needed = {str(need) for need in ports.needs(TOPOLOGY)}
    assert {"127.0.219.111:8080", "127.0.219.5:21012", "127.0.219.53:5300", "127.0.219.53:5300/udp"} <= needed


def test_free_addresses_pass() -> None:
    """Nothing listens there: nothing to say."""
    ports.require_free(TOPOLOGY)


def test_a_taken_port_names_address_component_process_and_remedy() -> None:
    """The listener is this very process."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.219.11", 8404))
        listener.listen()
        with pytest.raises(PortTaken) as caught:
            ports.require_free(TOPOLOGY)
    message = str(caught.value)
    assert "127.0.219.11:8404 (for gateway-a)" in message
    assert f"process {os.getpid()} (" in message
    assert "INSTANCE=" in message


def test_a_listener_on_all_addresses_is_in_the_way() -> None:
    """It has every loopback address too, and is named."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        need = ports.Need("gateway-a", "127.0.219.11", listener.getsockname()[1])
        assert not ports._is_free(need)
        assert f"process {os.getpid()} (" in ports._holder(need)


def test_a_taken_udp_port_is_noticed() -> None:
    """DNS is asked over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.219.53", 5300))
        with pytest.raises(PortTaken, match="5300/udp"):
            ports.require_free(TOPOLOGY)
