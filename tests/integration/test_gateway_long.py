"""Long prompts at a gateway: a queue and a number of their own, and what it is like without; caps that are off."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.adapters.gateways.haproxy import Haproxy
from harness.model.topology import GatewayPolicy
from stack import state
from tests.integration.gateway_stack import QUICK, GatewayStack, chat
from tests.integration.test_gateway_requests import assert_refused
from tests.waiting import WITHIN_S, until

Start = Callable[..., GatewayStack]
POLICY = GatewayPolicy()
SHORT = chat(stream=True)
LONG = chat(stream=True, messages=[{"role": "user", "content": "x" * POLICY.long_body_bytes}])


class Admin:
    """The admin socket of the stack's gateway, as a runtime offers it."""

    def __init__(self, stack: GatewayStack) -> None:
        self._path = str(state.admin_socket(state.socket_folder(stack.topology), "gateway-a"))

    def gateway_command(self, gateway: str, command: str) -> str:
        """The answer, stripped."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._path)
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()


def busy(stack: GatewayStack) -> None:
    """Every answer takes almost two seconds from now on."""
    for replica in stack.replicas.values():
        replica.gap_s, replica.events = 0.3, 6


def waiting(stack: GatewayStack) -> int:
    """How many long prompts wait."""
    rows = Admin(stack).gateway_command("gateway-a", "show stat").splitlines()
    return sum(int(row.split(",")[2]) for row in rows if row.startswith("long,BACKEND,"))


def test_long_prompts_wait_among_themselves(gateway_stack: Start) -> None:
    """So many at a time in each replica, so many waiting for so long, the next refused; a short one passes them all."""
    stack = gateway_stack(long_connections=1, long_queue_max=2)
    busy(stack)
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(stack.post, LONG) for _ in range(2)]
        until(lambda: stack.seen() == 2, WITHIN_S, "one at each replica")
        queued = [pool.submit(stack.post, LONG) for _ in range(2)]
        until(lambda: waiting(stack) == 2, WITHIN_S, "two wait")
        refused = assert_refused(stack.post(LONG), 503, "long_queue_full")
        assert str(POLICY.long_body_bytes) in refused["message"]
        assert stack.post(SHORT, X_Request_Id="short").status_code == 200
        assert stack.logged("short")["queue_ms"] < 500 * QUICK.long_queue_timeout_s, "not half of what those wait"
        assert stack.logged("short")["backend"] == "replicas"
        for future in queued:
            refused = assert_refused(future.result(), 503, "no_replica_free")
            assert f"{QUICK.long_queue_timeout_s:g} s" in refused["message"]
        assert [future.result().status_code for future in running] == [200, 200]


def test_long_prompts_follow_the_state_of_the_replicas(gateway_stack: Start) -> None:
    """Out by its checks, drained by an operator or without weight: a replica gets no long prompts, either."""
    stack = gateway_stack()
    admin = Haproxy(Admin(stack), "gateway-a")
    stack.replicas["replica-1"].healthy = False
    until(lambda: stack.statistics("replica-1")["status"] == "DOWN", WITHIN_S, "out")
    assert {stack.post(LONG).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-2"}
    stack.replicas["replica-1"].healthy = True
    until(lambda: stack.statistics("replica-1")["status"] == "UP", WITHIN_S, "back")
    admin.set_state("replica-2", "drain")
    assert {stack.post(LONG).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-1"}
    admin.set_state("replica-2", "ready")
    admin.set_weight("replica-1", 0)
    assert {stack.post(LONG).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-2"}


def test_their_number_can_be_changed_while_it_runs(gateway_stack: Start) -> None:
    """An order of the runtime API, read back; and as many more get through."""
    stack = gateway_stack(long_connections=1)
    admin = Haproxy(Admin(stack), "gateway-a")
    assert admin.long_connections() == {"replica-1": 1, "replica-2": 1}
    for replica in stack.replicas:
        admin.set_long_connections(replica, 3)
    busy(stack)
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(stack.post, LONG) for _ in range(6)]
        until(lambda: stack.seen() == 6, WITHIN_S, "three at each replica")
        assert {future.result().status_code for future in running} == {200}


def test_defect_long_prompts_share_queue(gateway_stack: Start) -> None:
    """The defect shows: as many long prompts as one likes are sent on at once."""
    stack = gateway_stack(defects=frozenset({"long_prompts_share_queue"}), long_connections=1)
    assert Haproxy(Admin(stack), "gateway-a").long_connections() == {}
    busy(stack)
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(stack.post, LONG) for _ in range(6)]
        until(lambda: stack.seen() == 6, WITHIN_S, "all are at the replicas")
        assert {future.result().status_code for future in running} == {200}


@pytest.mark.parametrize(
    "body", [chat(max_tokens=5000), chat(n=4, max_tokens=1000), chat(padding="x" * POLICY.body_bytes_max)]
)
def test_defect_no_caps(gateway_stack: Start, body: dict[str, object]) -> None:
    """The defect shows: what is over a cap reaches a replica."""
    assert gateway_stack(defects=frozenset({"no_caps"})).post(body).status_code == 200
