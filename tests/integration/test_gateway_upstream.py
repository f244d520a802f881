"""What a gateway does when replicas are slow, silent, broken or busy: real HAProxy and toxiproxy, fake replicas."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from harness.model.server_error import ServerError, outcome_of_status
from stack import state
from tests.integration.gateway_stack import KEYS, QUICK, GatewayStack, chat
from tests.integration.test_gateway_requests import assert_refused
from tests.waiting import WITHIN_S, until

Start = Callable[..., GatewayStack]
STREAM = chat(stream=True)
FIRST_BYTE_S = QUICK.first_byte_timeout_s


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds it took."""
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def waiting(stack: GatewayStack) -> int:
    """How many requests wait in gateway-a's queue."""
    metrics = httpx.get(stack.topology.component("gateway-a").url("metrics", "/metrics"), trust_env=False).text
    (line,) = [
        line for line in metrics.splitlines() if line.startswith('haproxy_backend_current_queue{proxy="replicas"}')
    ]
    return int(line.split()[-1])


@pytest.mark.parametrize("mode", ["hang", "drop", "502", "503", "504"])
def test_a_failure_is_retried_on_the_other_replica(gateway_stack: Start, mode: str) -> None:
    """Whatever one replica does wrong before its first byte, the client gets the other one's answer."""
    stack = gateway_stack()
    stack.replicas["replica-1"].mode = mode
    for n in range(4):
        answer = stack.post(STREAM, X_Request_Id=f"{mode}-{n}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-drillyard-replica"] == "replica-2"
    assert any(stack.logged(f"{mode}-{n}")["retries"].startswith("+") for n in range(4))
    assert len(stack.replicas["replica-1"].seen) > 0


def test_a_link_slower_than_the_limit_is_left_behind(gateway_stack: Start) -> None:
    """Latency far above the limit on one link: users wait one first-byte time-out at most, then not at all."""
    stack = gateway_stack()
    stack.toxic("gateway-a-to-replica-2", type="latency", attributes={"latency": 20_000})
    slowest = 0.0
    for n in range(6):
        answer, took_s = timed(lambda n=n: stack.post(STREAM, X_Request_Id=f"slow-{n}"))
        assert answer.status_code == 200
        slowest = max(slowest, took_s)
    assert slowest >= FIRST_BYTE_S
    assert {stack.logged(f"slow-{n}")["retries"] for n in range(6)} == {"0", "+1"}
    until(lambda: not stack.server_up("replica-2"), WITHIN_S, "taken out")
    assert stack.post(STREAM, X_Request_Id="without-it").headers["x-drillyard-replica"] == "replica-1"
    assert stack.logged("without-it")["retries"] == "0"
    stack.heal()
    until(lambda: stack.server_up("replica-2"), WITHIN_S, "back in")
    until(lambda: stack.post(STREAM).headers["x-drillyard-replica"] == "replica-2", WITHIN_S, "used again")


def test_a_replica_that_passes_its_checks_and_fails_requests_is_taken_out(gateway_stack: Start) -> None:
    """The passive checks: failures in a row open the breaker although /health is fine; the active ones close it."""
    stack = gateway_stack(check_interval_s=1.0, check_rise=2)
    deaf = stack.replicas["replica-1"]
    deaf.mode = "hang"

    def taken_out() -> bool:
        assert stack.post(STREAM).status_code == 200
        return stack.statistics("replica-1")["chkdown"] != "0"  # it may be back by the time that we look

    until(taken_out, WITHIN_S, "taken out")
    assert len(deaf.seen) == QUICK.passive_error_limit
    deaf.mode = "ok"
    until(lambda: stack.server_up("replica-1"), WITHIN_S, "back in")


def test_a_bad_answer_is_looked_at_again_soon(gateway_stack: Start) -> None:
    """It is not a whole interval from the first check in vain to the last."""
    stack = gateway_stack(check_interval_s=3.0)
    stack.replicas["replica-1"].healthy = False
    until(lambda: int(stack.statistics("replica-1")["chkfail"]) > 0, WITHIN_S, "the first check in vain")
    until(lambda: stack.statistics("replica-1")["status"].startswith("DOWN"), 1.5, "taken out")


def test_shedding_does_not_open_the_breaker(gateway_stack: Start) -> None:
    """503 is how an engine sheds load: it is passed on with Retry-After, and the replica stays in."""
    stack = gateway_stack(check_interval_s=30.0)
    for replica in stack.replicas.values():
        replica.mode = "503"
    for _ in range(2 * QUICK.passive_error_limit):
        answer = stack.post(STREAM)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == str(QUICK.retry_after_s)
        assert answer.json()["error"]["message"] == "from the engine"
    assert stack.server_up("replica-1")
    assert stack.server_up("replica-2")


@pytest.mark.parametrize("mode", ["500", "502", "504"])
def test_a_replica_that_answers_errors_again_and_again_is_taken_out(gateway_stack: Start, mode: str) -> None:
    """Its /health is fine, its answers are the failures: those in a row open the breaker as silence does."""
    stack = gateway_stack(check_interval_s=30.0)
    broken = stack.replicas["replica-1"]
    broken.mode = mode
    until(lambda: stack.post(STREAM) and len(broken.seen) >= QUICK.passive_error_limit, WITHIN_S, "at the limit")
    assert not stack.server_up("replica-1")
    assert {stack.post(STREAM).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-2"}


def test_the_last_replica_stays_whatever_it_answers(gateway_stack: Start) -> None:
    """A request that makes every engine fail takes out all but one: nobody gets a 503 where others would be served."""
    stack = gateway_stack(check_interval_s=30.0)
    for replica in stack.replicas.values():
        replica.mode = "500"
    for _ in range(4 * QUICK.passive_error_limit):
        assert stack.post(STREAM).status_code == 500
    assert [stack.server_up(name) for name in stack.replicas].count(True) == 1


@pytest.mark.parametrize("mode", ["400", "429"])
def test_refusals_of_an_engine_do_not_open_the_breaker(gateway_stack: Start, mode: str) -> None:
    """What is wrong with a request, or asked too often, is no failure of the replica that says so."""
    stack = gateway_stack(check_interval_s=30.0)
    for replica in stack.replicas.values():
        replica.mode = mode
    for _ in range(4 * QUICK.passive_error_limit):
        assert stack.post(STREAM).status_code == int(mode)
    assert stack.server_up("replica-1")
    assert stack.server_up("replica-2")


def test_errors_among_good_answers_do_not_open_the_breaker(gateway_stack: Start) -> None:
    """Failures in a row are counted: each good answer begins anew."""
    stack = gateway_stack(check_interval_s=30.0)
    uneven = stack.replicas["replica-1"]

    def asked(times: int) -> bool:
        stack.post(STREAM)
        assert stack.server_up("replica-1")
        return len(uneven.seen) >= times

    for n in range(4 * QUICK.passive_error_limit):
        uneven.mode = ("500", "ok")[n % 2]
        until(lambda n=n: asked(n + 1), WITHIN_S, "asked once more")


def test_cancels_do_not_open_the_breaker(gateway_stack: Start) -> None:
    """Clients that leave before the first byte say nothing about the replica."""
    stack = gateway_stack(first_byte_timeout_s=3.0, check_interval_s=5.0)
    for replica in stack.replicas.values():
        replica.mode = "hang"
    for _ in range(4 * QUICK.passive_error_limit):
        before = stack.seen()
        with stack.begin(STREAM):
            until(lambda before=before: stack.seen() > before, WITHIN_S, "at a replica")
    until(lambda: all(s.cancelled.is_set() for r in stack.replicas.values() for s in r.seen), WITHIN_S, "cancelled")
    assert stack.server_up("replica-1")
    assert stack.server_up("replica-2")


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "text/html", ""])
def test_an_error_that_is_no_json_becomes_one(gateway_stack: Start, content_type: str) -> None:
    """vLLM's plain «Internal Server Error» and proxies' pages: the same status in the one shape, whatever was asked
    for; one that reports no overload is no shedding; a status that nobody knows is a 500.
    """
    stack = gateway_stack(passive_error_limit=1000)
    for status in (500, 501, 502, 503, 504, 505, 529):
        for replica in stack.replicas.values():
            replica.mode, replica.error, replica.error_type = str(status), b"<html>queue full</html>", content_type
        for pin, body in (("", STREAM), ("", chat()), ("replica-2", STREAM)):
            answer = stack.post(body, key=KEYS.operator, **({"X_Drillyard_Pin": pin} if pin else {}))
            error = assert_refused(answer, 500 if status == 529 else status, "replica_error")
            said = ServerError(error["type"], error["code"], error["message"])
            assert outcome_of_status(answer.status_code, said)[0] == "http_5xx"
            line = stack.logged(answer.headers["x-request-id"])
            assert (line["status"], line["replica"]) == (answer.status_code, answer.headers["x-drillyard-replica"])
    headers = {"Authorization": f"Bearer {KEYS.operator}"}
    assert_refused(stack.client.get("/v1/models/drillyard", headers=headers), 500, "replica_error")
    assert stack.client.head("/v1/models", headers=headers).content == b""


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON;charset=utf-8", "application/problem+json"]
)
def test_an_error_in_json_is_the_engines_own(gateway_stack: Start, content_type: str) -> None:
    """It passes byte for byte, as does a refusal in whatever form."""
    stack = gateway_stack()
    for status in (400, 429, 500, 503):
        for replica in stack.replicas.values():
            replica.mode, replica.error_type = str(status), content_type if status >= 500 else "text/plain"
        answer = stack.post(STREAM)
        assert (answer.status_code, answer.headers["content-type"]) == (status, replica.error_type)
        assert answer.content == replica.error


@pytest.mark.parametrize(
    ("mode", "status", "code"), [("hang", 504, "upstream_timeout"), ("drop", 502, "upstream_failed")]
)
def test_all_replicas_bad_is_said_in_time(gateway_stack: Start, mode: str, status: int, code: str) -> None:
    """Every attempt spent, a reused client connection or not: a JSON error with Retry-After, never silence."""
    stack = gateway_stack(check_interval_s=30.0, passive_error_limit=1000)
    assert stack.post(STREAM).status_code == 200
    for replica in stack.replicas.values():
        replica.mode, replica.seen = mode, []
    assert_refused(stack.post(STREAM), status, code)
    assert stack.seen() == QUICK.retries + 1
    assert all(len(replica.seen) > 0 for replica in stack.replicas.values())


def test_no_replica_left_is_503_and_not_ready(gateway_stack: Start) -> None:
    """With every replica out: 503 with Retry-After, /readyz says so, /livez stays up; all is well after the heal."""
    stack = gateway_stack()
    for replica in stack.replicas:
        stack.toxic(f"gateway-a-to-{replica}", type="timeout", attributes={"timeout": 0})
    until(lambda: stack.client.get("/readyz").status_code == 503, WITHIN_S, "not ready")
    assert_refused(stack.client.get("/readyz"), 503, "not_ready")
    assert stack.client.get("/livez").status_code == 200
    assert_refused(stack.post(STREAM), 503, "no_replica_free")
    stack.heal()
    until(lambda: stack.client.get("/readyz").status_code == 200, WITHIN_S, "ready again")
    assert stack.post(STREAM).status_code == 200


def test_time_limits_of_streams_and_whole_answers(gateway_stack: Start) -> None:
    """A stream may pause longer than its first byte may take, not forever; a whole answer has its own limit."""
    stack = gateway_stack()

    def both(gap_s: float) -> tuple[Future[httpx.Response], Future[httpx.Response]]:
        """A stream and a whole answer, side by side, of replicas that pause so long before each thing they send."""
        for replica in stack.replicas.values():
            replica.gap_s, replica.events = gap_s, 2
        with ThreadPoolExecutor(2) as pool:
            return pool.submit(stack.post, STREAM), pool.submit(stack.post, chat())

    stream, answer = both(2 * FIRST_BYTE_S)
    assert stream.result().text.count("data:") == 2
    assert answer.result().status_code == 200
    before = stack.seen()
    stream, answer = both(max(QUICK.stream_idle_timeout_s, QUICK.answer_timeout_s) + 1)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        stream.result()
    assert_refused(answer.result(), 504)  # before the replica answers
    assert stack.seen() == before + 2, "what is late after its first byte, or as a whole, is not asked for again"


def test_a_full_house_queues_then_refuses(gateway_stack: Start) -> None:
    """Beyond what replicas take, requests wait up to the time-out (503); beyond the queue's limit, not at all (503)."""
    stack = gateway_stack(replica_max_connections=1, queue_max=2, queue_timeout_s=2.0)
    for replica in stack.replicas.values():
        replica.gap_s, replica.events = 0.5, 12  # nobody's place is free before the last one has waited in vain
    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(stack.post, STREAM) for _ in range(2)]
        until(lambda: stack.seen() == 2, WITHIN_S, "both replicas busy")
        queued = [pool.submit(timed, lambda n=n: stack.post(STREAM, X_Request_Id=f"waits-{n}")) for n in range(2)]
        until(lambda: waiting(stack) == 2, WITHIN_S, "two wait")
        answer, took_s = timed(lambda: stack.post(STREAM))
        assert_refused(answer, 503, "queue_full")
        assert took_s < 2.0, "as long as those who wait"
        for n, future in enumerate(queued):
            answer, took_s = future.result()
            assert_refused(answer, 503, "no_replica_free")
            assert took_s > 1.9
            assert stack.logged(f"waits-{n}")["queue_ms"] == pytest.approx(2000, rel=0.25)
        assert all(future.result().status_code == 200 for future in running)
    answer = stack.post(chat(), X_Request_Id="free")
    assert stack.logged("free")["queue_ms"] < 1000


@pytest.mark.parametrize(
    ("mode", "body"),
    [("hang", STREAM), ("hang", chat()), ("ok", STREAM)],
    ids=["before the stream", "before the answer", "between two events"],
)
def test_a_cancel_reaches_the_replica(gateway_stack: Start, mode: str, body: dict[str, Any]) -> None:
    """The client's end closes the connection: the replica sees it before any limit, through gateway and link."""
    stack = gateway_stack(first_byte_timeout_s=5.0, stream_idle_timeout_s=10.0, answer_timeout_s=10.0)
    for replica in stack.replicas.values():
        replica.mode, replica.gap_s = mode, 5.0
    with stack.begin(body) as connection:
        until(lambda: stack.seen() == 1, WITHIN_S, "at a replica")
        if mode == "ok":
            assert b" 200 " in connection.recv(4096)
    (seen,) = [seen for replica in stack.replicas.values() for seen in replica.seen]
    assert seen.cancelled.wait(4.0), "only a limit of the gateway ends it"


def test_a_gateway_that_was_held_up_does_not_blame_replicas_for_cancels(gateway_stack: Start) -> None:
    """Parts of answers came in while it had no processor, and their readers went: that is a cancel, no failure."""
    stack = gateway_stack(check_interval_s=30.0)
    for replica in stack.replicas.values():
        replica.gap_s, replica.events = 0.003, 4000
    config = str(stack.log.parent / "config" / "gateway-a" / "haproxy.cfg")
    gateway = next(p for p in psutil.process_iter(["cmdline"]) if config in (p.info["cmdline"] or ()))
    for _ in range(3):
        streams = [stack.begin(STREAM) for _ in range(16)]
        assert all(b" 200 " in stream.recv(4096) for stream in streams)
        gateway.suspend()
        for stream in streams:
            stream.shutdown(socket.SHUT_WR)
        time.sleep(0.15)
        gateway.resume()
        time.sleep(0.15)
        for stream in streams:
            stream.close()
    until(lambda: len(stack.log_lines()) == 48, WITHIN_S, "all logged")
    assert {line["termination_state"] for line in stack.log_lines()} == {"CD"}


def test_a_cancel_in_the_queue_never_reaches_a_replica(gateway_stack: Start) -> None:
    """Who leaves the queue is not served."""
    stack = gateway_stack(replica_max_connections=1, queue_timeout_s=30.0)
    for replica in stack.replicas.values():
        replica.gap_s, replica.events = 0.3, 400  # for as long as it takes us
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(stack.post, STREAM) for _ in range(2)]
        until(lambda: stack.seen() == 2, WITHIN_S, "both replicas busy")
        with stack.begin(STREAM):
            until(lambda: waiting(stack) == 1, WITHIN_S, "waits")
        until(lambda: waiting(stack) == 0, WITHIN_S, "left the queue")
        for replica in stack.replicas.values():
            replica.gap_s = 0.0
        assert all(future.result().status_code == 200 for future in running)
    assert stack.post(STREAM).status_code == 200
    assert stack.seen() == 3


def test_limits_per_key(gateway_stack: Start) -> None:
    """Requests and asked tokens per minute are counted per key; refusals are 429 with Retry-After and cost nothing."""
    stack = gateway_stack(requests_per_minute=3, tokens_per_minute=2000)
    first, second = KEYS.users.values()
    for _ in range(3):
        assert stack.post(key=first).status_code == 200
    assert_refused(stack.post(key=first), 429, "requests_per_minute")
    assert stack.post(chat(max_tokens=1000), key=second).status_code == 200
    assert_refused(stack.post(chat(max_tokens=1024), key=second), 429, "tokens_per_minute")
    assert stack.post(chat(max_tokens=900), key=second).status_code == 200
    assert stack.post(chat(max_tokens=1024), key=KEYS.operator).status_code == 200


def test_pinned_requests_are_left_alone(gateway_stack: Start) -> None:
    """The operator's way has no retries, no checks and no queue: what the link does shows, on that replica only."""
    stack = gateway_stack()
    stack.toxic("gateway-a-to-replica-2", type="timeout", attributes={"timeout": 0})
    for n in range(QUICK.passive_error_limit + 1):
        headers = {"X_Drillyard_Pin": "replica-2", "X_Request_Id": f"pinned-{n}"}
        answer, took_s = timed(lambda headers=headers: stack.post(STREAM, key=KEYS.operator, **headers))
        assert_refused(answer, 504, "upstream_timeout")
        assert took_s > FIRST_BYTE_S * 0.9
        assert stack.logged(f"pinned-{n}")["retries"] == "0"
    assert len(stack.replicas["replica-1"].seen) == 0
    assert stack.post(STREAM, key=KEYS.operator, X_Drillyard_Pin="replica-1").status_code == 200


def test_admin_socket_drains_and_weighs(gateway_stack: Start) -> None:
    """Weights and draining work at run time over the local socket."""
    stack = gateway_stack()

    def admin(command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(state.admin_socket(state.socket_folder(stack.topology), "gateway-a")))
            connection.sendall(command.encode() + b"\n")
            assert connection.recv(4096).strip() == b""

    admin("set weight replicas/replica-1 0")
    assert {stack.post().headers["x-drillyard-replica"] for _ in range(6)} == {"replica-2"}
    admin("set weight replicas/replica-1 100%")
    admin("set server replicas/replica-2 state drain")
    assert {stack.post().headers["x-drillyard-replica"] for _ in range(6)} == {"replica-1"}


def test_half_a_request_is_a_json_408(gateway_stack: Start) -> None:
    """A request whose headers or body do not come to an end: 408, as JSON; the two wait side by side."""
    stack = gateway_stack()
    gateway = stack.topology.component("gateway-a")
    whole = (
        f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {KEYS.operator}\r\nContent-Length: 9\r\n\r\n{{"
    )
    found = {}

    def send(text: str) -> None:
        with socket.create_connection((gateway.address, 8080), timeout=10) as connection:
            connection.sendall(text.encode())
            found[text] = b"".join(iter(lambda: connection.recv(65536), b""))

    threads = [threading.Thread(target=send, args=(text,)) for text in (whole[:60], whole)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in found.values():
        assert b" 408 " in answer.splitlines()[0]
        assert b'"code": "request_timeout"' in answer


def test_defect_no_gateway_retries(gateway_stack: Start) -> None:
    """The defect shows: the failure of one replica reaches the client."""
    stack = gateway_stack(defects=frozenset({"no_gateway_retries"}))
    stack.replicas["replica-1"].mode = "drop"
    assert {stack.post(STREAM).status_code for _ in range(4)} == {200, 502}


def test_defect_no_readiness_checks(gateway_stack: Start) -> None:
    """The defect shows: neither active nor passive checks take a replica out."""
    stack = gateway_stack(defects=frozenset({"no_readiness_checks"}))
    replica = stack.replicas["replica-1"]
    replica.mode, replica.healthy = "hang", False
    for _ in range(2 * QUICK.passive_error_limit + 2):
        assert stack.post(STREAM).status_code == 200
    assert len(replica.seen) > QUICK.passive_error_limit
    assert stack.statistics("replica-1")["status"] == "no check"


def test_defect_bypass_toxiproxy(gateway_stack: Start) -> None:
    """The defect shows: a toxic on the links changes nothing."""
    stack = gateway_stack(defects=frozenset({"bypass_toxiproxy"}))
    for replica in stack.replicas:
        stack.toxic(f"gateway-a-to-{replica}", type="timeout", attributes={"timeout": 0})
    assert timed(lambda: stack.post(STREAM))[1] < FIRST_BYTE_S
    assert {stack.post(STREAM).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-1", "replica-2"}


def test_defect_html_errors(gateway_stack: Start) -> None:
    """The defect shows: errors are HAProxy's pages."""
    stack = gateway_stack(defects=frozenset({"html_errors"}))
    for replica in stack.replicas.values():
        replica.mode = "drop"
    for answer in (stack.post(STREAM), stack.post(key=""), stack.client.get("/nothing")):
        assert answer.status_code in (401, 404, 502)
        assert answer.headers["content-type"] == "text/html"
        assert "retry-after" not in answer.headers


def test_defect_no_gateway_timeout(gateway_stack: Start) -> None:
    """The defect shows: a silent replica is waited for, beyond every limit of the policy."""
    stack = gateway_stack(defects=frozenset({"no_gateway_timeout"}))
    for replica in stack.replicas.values():
        replica.mode = "hang"
    longest_s = (QUICK.retries + 1) * FIRST_BYTE_S
    with pytest.raises(httpx.ReadTimeout):
        stack.client.post("/v1/chat/completions", json=STREAM, timeout=longest_s + 1,
                          headers={"Authorization": f"Bearer {KEYS.operator}"})  # fmt: skip
    assert stack.seen() == 1


def test_defect_many_gateway_retries(gateway_stack: Start) -> None:
    """The defect shows: one request becomes more upstream ones than the policy allows."""
    stack = gateway_stack(defects=frozenset({"many_gateway_retries", "no_readiness_checks"}))
    for replica in stack.replicas.values():
        replica.mode = "drop"
    assert stack.post(STREAM).status_code == 502
    assert stack.seen() > 2 * (1 + QUICK.retries)


def test_defect_slow_put_back(gateway_stack: Start) -> None:
    """The defect shows: a replica that is well again stays out for many times what the policy says."""
    stack = gateway_stack(defects=frozenset({"slow_put_back"}))
    replica = stack.replicas["replica-1"]
    replica.healthy = False
    until(lambda: stack.statistics("replica-1")["status"] == "DOWN", WITHIN_S, "out")
    replica.healthy = True
    back_s = 3 * QUICK.check_rise * QUICK.check_interval_s + 0.5
    with pytest.raises(AssertionError, match="back in use"):
        until(lambda: stack.statistics("replica-1")["status"] == "UP", back_s, "back in use")


def test_defect_wrong_check_path(gateway_stack: Start) -> None:
    """The defect shows: a replica that says of itself that it is ill stays in use."""
    stack = gateway_stack(defects=frozenset({"wrong_check_path"}))
    stack.replicas["replica-1"].healthy = False
    out_s = 3 * QUICK.check_fall * (QUICK.check_interval_s + QUICK.check_timeout_s)
    with pytest.raises(AssertionError, match="taken out"):
        until(lambda: stack.statistics("replica-1")["status"].startswith("DOWN"), out_s, "taken out")


def test_defect_no_queue_limit(gateway_stack: Start) -> None:
    """The defect shows: a request that finds no place waits for longer than the policy says."""
    stack = gateway_stack(
        defects=frozenset({"no_queue_limit", "no_gateway_timeout", "no_readiness_checks"}), replica_max_connections=1
    )
    for replica in stack.replicas.values():
        replica.mode = "hang"
    with ThreadPoolExecutor(3) as pool:
        for waiting in [pool.submit(_impatient, stack, QUICK.queue_timeout_s + 2) for _ in range(3)]:
            assert waiting.result() is None


def _impatient(stack: GatewayStack, for_s: float) -> int | None:
    """The status of the answer; None when there is none in that time."""
    headers = {"Authorization": f"Bearer {KEYS.operator}"}
    try:
        return stack.client.post("/v1/chat/completions", json=STREAM, timeout=for_s, headers=headers).status_code
    except httpx.ReadTimeout:
        return None


@contextmanager
def readiness_agent(stack: GatewayStack, deaf: set[str]) -> Iterator[None]:
    """An agent at the exporter's address that calls the replicas in ``deaf`` so."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            """Answer the gateway's question."""
            replica = self.rfile.readline().decode().strip()
            self.wfile.write(b"down\n" if replica in deaf else b"up\n")

    class Agent(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    exporter = stack.topology.component("exporter")
    with Agent((exporter.address, exporter.ports["agent"]), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_a_deaf_replica_is_out_while_the_agent_says_so(gateway_stack: Start) -> None:
    """Its health checks are all right: only the agent takes it out, and lets it in again. An agent that is not there
    changes nothing.
    """
    stack, deaf = gateway_stack(agent_interval_s=0.2), set[str]()
    assert stack.server_up("replica-1"), "nobody answers for the agent yet"
    with readiness_agent(stack, deaf):
        deaf.add("replica-1")
        until(lambda: not stack.server_up("replica-1"), WITHIN_S, "the deaf replica is ejected")
        assert stack.server_up("replica-2")
        assert {stack.post(STREAM).headers["x-drillyard-replica"] for _ in range(4)} == {"replica-2"}
        deaf.clear()
        until(lambda: stack.server_up("replica-1"), WITHIN_S, "the replica is back")


def test_defect_no_readiness_agent(gateway_stack: Start) -> None:
    """The defect shows: the agent is not asked."""
    stack, deaf = gateway_stack(defects=frozenset({"no_readiness_agent"}), agent_interval_s=0.2), {"replica-1"}
    with readiness_agent(stack, deaf):
        begun = stack.checks("replica-1")
        until(lambda: stack.checks("replica-1") >= begun + 3, WITHIN_S, "three more health checks")
        assert stack.server_up("replica-1")


@pytest.mark.parametrize(("defects", "after"), [((), "replica-2"), (("sticky_sessions",), "replica-1")])
def test_defect_sticky_sessions(gateway_stack: Start, defects: tuple[str, ...], after: str) -> None:
    """The defect shows: a key that has met a replica goes on meeting it, although that is drained."""
    stack = gateway_stack(defects=frozenset(defects))
    drain(stack, "replica-2")
    assert stack.post(STREAM).headers["x-drillyard-replica"] == "replica-1"
    drain(stack, "replica-2", "ready")
    drain(stack, "replica-1")
    assert stack.post(STREAM).headers["x-drillyard-replica"] == after


def drain(stack: GatewayStack, replica: str, wanted: str = "drain") -> None:
    """Give gateway-a an order over its admin socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(state.admin_socket(state.socket_folder(stack.topology), "gateway-a")))
        connection.sendall(f"set server replicas/{replica} state {wanted}\n".encode())
        assert connection.recv(1024).strip() == b""
