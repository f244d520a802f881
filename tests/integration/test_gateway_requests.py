"""What a gateway lets through, what it refuses, and how: one real HAProxy with its real policy of requests."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from harness.model.topology import GatewayPolicy
from tests.integration.gateway_stack import KEYS, GatewayStack, chat
from tests.waiting import WITHIN_S, until

CAP = GatewayPolicy().chat_max_tokens
BODY_MAX = GatewayPolicy().body_bytes_max


def assert_refused(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The answer is a JSON error of the one shape, with the request id of its header."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"type", "code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert len(error["message"]) > 20
    assert answer.headers["x-drillyard-gateway"] == "gateway-a"
    assert ("retry-after" in answer.headers) == (status in (429, 502, 503, 504))
    if code is not None:
        assert error["code"] == code
    return error


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(max_tokens=CAP),
        chat(max_tokens=None, max_completion_tokens=CAP),
        chat(n=2, max_tokens=CAP // 2),
        chat(max_tokens=CAP + 1, max_completion_tokens=CAP),  # the engine reads the second where both stand
        chat(best_of=2, max_tokens=CAP),  # no field of this engine's, and so is a prompt here
        chat(prompt=["one", "two"], max_tokens=CAP),
        chat(stream=False, temperature=1e-3, stop=["\u00e9", "\n", '"max_tokens": 99999'], user=None),
        chat(messages=[{"role": "user", "content": "x" * 60_000}]),
        chat(messages=[{"role": "user", "content": '\u0001\ud83d\ude00 \\ " {}[]'}], max_tokens=0),
        chat(user="\U0001f600", stop=["\\ud800", "\\\U0001f600\uffff"], metadata={"\U00010000": 1e308}),
        {key: value for key, value in chat().items() if key != "max_tokens"},
    ],
)
def test_what_fits_passes_unchanged(shared_gateway: GatewayStack, body: dict[str, Any]) -> None:
    """Bodies within the limits reach a replica byte for byte; an absent max_tokens is the engine's to decide."""
    answer = shared_gateway.post(body)
    assert answer.status_code == 200, answer.text
    seen = shared_gateway.replicas[answer.headers["x-drillyard-replica"]].seen[-1]
    assert seen.body == json.dumps(body).encode()


@pytest.mark.parametrize(
    "body",
    [
        chat(max_tokens=CAP + 1),
        chat(max_completion_tokens=CAP + 1),
        chat(max_tokens=1, max_completion_tokens=CAP + 1),
        chat(max_tokens=10**30),
        chat(max_tokens=-1),
        chat(max_tokens="5000"),
        chat(max_tokens=5000.0),
        chat(max_tokens=[5000]),
        chat(max_tokens=True),
        chat(n=2, max_tokens=CAP),
        {"model": "drillyard", "messages": [], "n": 3},
        chat(messages=[{"role": "user", "content": "x" * 20_000}]) | {"max_completion_tokens": CAP + 1},
        b'{"messages":[{"role":"user","content":"' + b"x" * 40_000 + b'"}],"max_tokens":5000}',
        b'{"max_tokens":1e4}',
        b'{"max_tokens":1E+4}',
        b'{"max_tokens":0.5e5}',
        b'{"max_tokens":1,"max_tokens":5000}',
        b'{"max_tokens":5000,"max_tokens":1}',
        b'{"max\\u005ftokens":5000}',
        b'{"\\u006d\\u0061x_tokens":5000,"max_tokens":1}',
        b'{"max_tokens" : \n\t 5000 }',
        b'{"a":{"max_tokens":1},"max_tokens":5000}',
        '{"max_tokens":5000}'.encode("utf-16"),
        '{"max_tokens":5000}'.encode("utf-16-le"),
        '{"max_tokens":5000}'.encode("utf-32"),
        b"\xef\xbb\xbf" + b'{"max_tokens":5000}',
        b'{"max_tokens":05000}',
        b'{"max_tokens":5000,}',
        b'{"x":NaN,"max_tokens":1}',
        b'{"x":Infinity}',
        b'{"x":"\x01"}',
        b'{"x":"\xff"}',
        b'{"x":"\\x"}',
        b'{"x":"\\u12"}',
        b'{"x":"open',
        b'{"max_tokens":1} {"max_tokens":5000}',
        b'[{"max_tokens":5000}]',
        b"[" * 5000,
        b'{"x":' * 200 + b"1" + b"}" * 200,
        b"",
        b"max_tokens=5000",
        b'{"stream":"true"}',
        b'{"stream":1}',
    ],
    ids=lambda body: repr(body if isinstance(body, bytes) else json.dumps(body))[:50],
)  # fmt: skip
def test_the_cap_cannot_be_walked_around(shared_gateway: GatewayStack, body: Any) -> None:
    """Each known way past the cap on generated tokens, and whatever is no strict JSON, is a 400 before any replica."""
    before = shared_gateway.seen()
    assert_refused(shared_gateway.post(body), 400)
    assert shared_gateway.seen() == before


@pytest.mark.parametrize(
    ("prompt", "fits"),
    [
        ("one", True),
        ([1, 2, 3, 4, 5], True),
        (["one", "two"], False),
        ([[1, 2], [3]], False),
        (["one"], True),
    ],
)
def test_a_batch_of_prompts_counts_each(shared_gateway: GatewayStack, prompt: Any, fits: bool) -> None:
    """Several prompts in one completions request share the cap; one list of tokens is one prompt."""
    body = {"model": "drillyard", "prompt": prompt, "max_tokens": CAP - 1}
    answer = shared_gateway.post(body, path="/v1/completions")
    if fits:
        assert answer.status_code == 200
    else:
        assert_refused(answer, 400, "max_tokens_too_large")


@pytest.mark.parametrize(
    ("path", "fields", "tokens"),
    [
        ("chat/completions", {"max_tokens": 7}, 7),
        ("chat/completions", {"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ("chat/completions", {"max_tokens": 7, "max_completion_tokens": None}, 7),
        ("chat/completions", {"max_tokens": 7, "n": 3, "best_of": 5, "prompt": ["a", "b"]}, 21),
        ("chat/completions", {"max_completion_tokens": 0}, 1),
        ("chat/completions", {}, CAP),
        ("completions", {"max_tokens": 7}, 7),
        ("completions", {"max_completion_tokens": 0}, CAP),
        ("completions", {"max_tokens": 7, "max_completion_tokens": 0}, 7),
        ("completions", {"max_tokens": 7, "max_completion_tokens": "x", "best_of": 9}, 7),
        ("completions", {"max_tokens": 0}, 1),
        ("completions", {"max_tokens": None, "n": None}, CAP),
        ("completions", {"max_tokens": 7, "n": 2, "prompt": ["a", "b", "c"]}, 42),
        ("completions", {"max_tokens": 7, "n": 2, "prompt": [[1, 2], [3]]}, 28),
        ("completions", {"max_tokens": 7, "n": 2, "prompt": [1, 2, 3]}, 14),
        ("completions", {"max_tokens": 7, "n": 2, "prompt": []}, 14),
        ("completions", {"max_tokens": 7, "prompt": [1, "two"]}, 14),  # whatever an engine takes it for
    ],
)
def test_tokens_are_charged_as_the_engine_reads_the_request(
    shared_gateway: GatewayStack, path: str, fields: dict[str, Any], tokens: int
) -> None:
    """The limit that counts for the endpoint, times answers and prompts; without one the cap; never nothing."""
    answer = shared_gateway.post({"model": "drillyard", **fields}, path=f"/v1/{path}")
    assert answer.status_code == 200, answer.text
    assert shared_gateway.logged(answer.headers["x-request-id"])["asked_tokens"] == str(tokens)


def test_large_and_unmeasured_bodies_are_refused(shared_gateway: GatewayStack) -> None:
    """Too long: 413. Chunked, without a length, or with several: 411 or 400, whatever the chunks hold."""
    assert_refused(shared_gateway.post(b" " * (BODY_MAX + 1)), 413, "body_too_large")
    chunked = shared_gateway.client.post(
        "/v1/chat/completions",
        content=iter([b'{"max_tokens":', b"x" * 1_000_000]),
        headers={"Authorization": f"Bearer {KEYS.users['user-001']}"},
    )
    assert_refused(chunked, 411, "length_required")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS.users['user-001']}\r\n".encode()
    )
    assert b" 411 " in shared_gateway.raw(head + b"\r\n").splitlines()[0]
    both = head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert shared_gateway.raw(both).splitlines()[0].split()[1] in (b"411", b"400")


@pytest.mark.parametrize(
    ("header", "body", "status"),
    [
        (f"Content-Length: {BODY_MAX + 1}", b"x" * (BODY_MAX + 1), b"413"),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (BODY_MAX, b"x" * BODY_MAX), b"411"),
    ],
)
def test_who_still_sends_is_heard_out_before_he_is_refused(
    shared_gateway: GatewayStack, header: str, body: bytes, status: bytes
) -> None:
    """Refused while he sends, a client may find his connection reset, and no refusal: it comes after his last byte."""
    gateway = shared_gateway.topology.component("gateway-a")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS.operator}\r\n{header}\r\n\r\n"
    with socket.create_connection((gateway.address, gateway.ports["http"]), timeout=0.3) as connection:
        connection.sendall(head.encode() + body[:-1])
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(3)
        connection.sendall(body[-1:])
        assert connection.recv(65536).split()[1] == status


@pytest.mark.parametrize(
    "path",
    ["/", "/metrics", "/health", "/reset_prefix_cache", "/v1/models/", "/v1/models/../../metrics", "/v1/models/x/..",
     "/v1/embeddings", "//v1/models", "/V1/models", "/v1/chat/completions%2f..", "/v1/load_lora_adapter", "/stats"],
)  # fmt: skip
def test_other_paths_do_not_exist(shared_gateway: GatewayStack, path: str) -> None:
    """Only three routes and the models are served: the engine's administrative ones stay out of reach."""
    before = shared_gateway.seen()
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS.operator}\r\n\r\n"
    answer = shared_gateway.raw(request.encode())
    assert answer.splitlines()[0].split()[1] == b"404"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "unknown_path"
    assert shared_gateway.seen() == before


CARDS = {
    "v1@00000000": '{"id":"v1@00000000","object":"model", "n": [1, {"id": "drillyard"}]}',
    "drillyard": '{"object":"model","id":"drillyard","root":"\\u0022]}"}',
    "org/model-7B": '{ "id" : "org\\/model-7B" }',
    "ä ö": '{"id":"ä ö"}',
}
LIST = ('{"object":"list","data":[null, 7, {"id": 7}, ' + ", ".join(CARDS.values()) + "]}").encode()


def ask_for_model(gateway: GatewayStack, model: str, listed: bytes = LIST, method: str = "GET") -> httpx.Response:
    """``method`` of one model, while the replicas list these."""
    for replica in gateway.replicas.values():
        replica.answers["/v1/models"] = listed
    try:
        headers = {"Authorization": f"Bearer {KEYS.users['user-001']}"}
        return gateway.client.request(method, f"/v1/models/{model}", headers=headers)
    finally:
        for replica in gateway.replicas.values():
            replica.answers.clear()


@pytest.mark.parametrize("model", CARDS)
def test_one_model_is_its_card_of_the_list(shared_gateway: GatewayStack, model: str) -> None:
    """Byte for byte what a replica lists it as, whatever is in its name; engines are asked for nothing but the list."""
    for asked in (quote(model, safe="/"), quote(model, safe="")):
        answer = ask_for_model(shared_gateway, asked)
        assert (answer.status_code, answer.text) == (200, CARDS[model])
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        replica = shared_gateway.replicas[answer.headers["x-drillyard-replica"]]
        assert replica.seen[-1].path == "/v1/models"
        assert "authorization" not in replica.seen[-1].headers


@pytest.mark.parametrize(
    "model", ["nobody", "drillyar", "drillyard/", "DRILLYARD", "7", "%22", "%00", "n" * 2000, "a?b=c"]
)
def test_a_model_that_is_not_listed_is_not_there(shared_gateway: GatewayStack, model: str) -> None:
    """404 in the one shape, and it says where to look."""
    error = assert_refused(ask_for_model(shared_gateway, model), 404, "model_not_found")
    assert "GET /v1/models" in error["message"]


@pytest.mark.parametrize("listed", [b"", b"[]", b'{"data":7}', b'{"data":[', b"<html>", b"\xff", b'{"object":"list"}'])
def test_no_list_is_no_model(shared_gateway: GatewayStack, listed: bytes) -> None:
    """What a replica says instead of a list is the replica's failure, and not that there is no such model."""
    assert_refused(ask_for_model(shared_gateway, "drillyard", listed), 502, "unreadable_models")


def test_one_model_is_asked_for_as_anything_else(shared_gateway: GatewayStack) -> None:
    """With a key, by GET alone; a replica's own error stays its error."""
    assert_refused(shared_gateway.client.get("/v1/models/drillyard"), 401, "missing_api_key")
    for method in ("POST", "HEAD", "DELETE"):
        assert ask_for_model(shared_gateway, "drillyard", method=method).status_code == 405
    for replica in shared_gateway.replicas.values():
        replica.mode = "500"
    try:
        answer = ask_for_model(shared_gateway, "drillyard")
        assert (answer.status_code, answer.json()["error"]["message"]) == (500, "from the engine")
    finally:
        for replica in shared_gateway.replicas.values():
            replica.mode = "ok"


def test_methods(shared_gateway: GatewayStack) -> None:
    """The wrong method is a 405 that names the right ones; a GET takes no body."""
    for method, path in (("GET", "/v1/chat/completions"), ("PUT", "/v1/completions"), ("POST", "/v1/models")):
        answer = shared_gateway.client.request(method, path)
        assert_refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]
    headers = {"Authorization": f"Bearer {KEYS.operator}"}
    assert shared_gateway.client.get("/v1/models", headers=headers).status_code == 200
    with_body = shared_gateway.client.request("GET", "/v1/models", content=b"x", headers=headers)
    assert_refused(with_body, 400, "body_not_expected")


def test_keys(shared_gateway: GatewayStack) -> None:
    """No key and an unknown one are 401; no key at all is needed for health; upstream sees no key."""
    missing = shared_gateway.post(key="")
    assert_refused(missing, 401, "missing_api_key")
    assert missing.headers["www-authenticate"] == "Bearer"
    for key in ("wrong", KEYS.operator[:-1], KEYS.operator + "x", KEYS.operator.upper(), "operator", "user-001"):
        assert_refused(shared_gateway.post(key=key), 401, "invalid_api_key")
    basic = shared_gateway.post(key="", Authorization=f"Basic {KEYS.operator}")
    assert_refused(basic, 401)
    assert shared_gateway.client.get("/livez").text == "ok"
    assert shared_gateway.client.get("/readyz").text == "ready"
    answer = shared_gateway.post()
    seen = shared_gateway.replicas[answer.headers["x-drillyard-replica"]].seen[-1]
    assert "authorization" not in seen.headers


def test_request_ids(shared_gateway: GatewayStack) -> None:
    """A fit id is taken, anything else replaced; upstream, answer and log carry the same one."""
    for given, kept in (("my-id_1.2:3", True), ("x" * 64, True), ("x" * 65, False), ('a"b', False), ("", False)):
        answer = shared_gateway.post(X_Request_Id=given)
        request_id = answer.headers["x-request-id"]
        assert (request_id == given) == kept
        seen = shared_gateway.replicas[answer.headers["x-drillyard-replica"]].seen[-1]
        assert seen.headers["x-request-id"] == request_id
    refused = shared_gateway.post(b"{", X_Request_Id="refused-1")
    assert_refused(refused, 400)["request_id"] = "refused-1"
    assert shared_gateway.logged("refused-1")["status"] == 400


def test_access_log(shared_gateway: GatewayStack) -> None:
    """One JSON line per request with who, where, how long and how it ended; never a key; health is not logged."""
    answer = shared_gateway.post(chat(stream=True, max_tokens=7), X_Request_Id="log-1", key=KEYS.users["user-002"])
    line = shared_gateway.logged("log-1")
    expected = {
        "gateway": "gateway-a", "key_id": "user-002", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "replica": answer.headers["x-drillyard-replica"], "termination_state": "--", "retries": "0",
        "stream": "1", "asked_tokens": "7",
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected
    assert line["queue_ms"] >= 0
    assert line["total_ms"] >= line["answer_ms"] >= 0
    assert line["t_ms"] > 1.6e12
    shared_gateway.client.get("/livez")
    odd = shared_gateway.raw(b'GET /"\\x HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-2\r\n\r\n')
    assert b" 404 " in odd
    assert shared_gateway.logged("log-2")["path"] == '/"\\x'
    text = shared_gateway.log.read_text()
    assert "livez" not in text
    assert not any(key in text for key, _ in KEYS.by_key())


def test_pins(shared_gateway: GatewayStack) -> None:
    """The operator chooses a replica by name; others may not, and unknown names are refused."""
    for replica in shared_gateway.replicas:
        for _ in range(3):
            answer = shared_gateway.post(key=KEYS.operator, X_Drillyard_Pin=replica)
            assert answer.headers["x-drillyard-replica"] == replica
    assert_refused(shared_gateway.post(X_Drillyard_Pin="replica-1"), 403, "pin_forbidden")
    assert_refused(shared_gateway.post(key=KEYS.operator, X_Drillyard_Pin="replica-9"), 400, "unknown_replica")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
def test_what_is_no_http_is_answered_as_json_too(shared_gateway: GatewayStack, request_bytes: bytes) -> None:
    """Even what cannot be parsed gets the JSON error, not HAProxy's page."""
    head, _, body = shared_gateway.raw(request_bytes).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    error = json.loads(body)["error"]
    assert error["code"] == "bad_request"
    assert error["request_id"]


def test_metrics_and_statistics(shared_gateway: GatewayStack) -> None:
    """Prometheus' metrics and the CSV statistics are read on their own port and change nothing."""
    base = shared_gateway.topology.component("gateway-a").url("metrics")
    with httpx.Client(base_url=base, trust_env=False) as client:
        assert 'haproxy_server_status{proxy="replicas",server="replica-1",state="UP"}' in client.get("/metrics").text
        assert client.get("/v1/models").status_code == 404
        client.post("/stats", data={"s": "replica-1", "action": "drain", "b": "replicas"})
    until(lambda: shared_gateway.server_up("replica-1"), WITHIN_S, "replica-1 up")
    assert int(shared_gateway.statistics("replica-1")["stot"]) > 0
