"""Every raw request gets the answer that it must get, and a replica sees what it may: one real gateway."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.fake_replica import Seen
from tests.integration.gateway_stack import KEYS, GatewayStack
from tests.integration.raw_requests import BODY_MAX, REQUESTS, STATUS, Raw

#: Headers that must end at the gateway.
OURS_ALONE = {"authorization", "x-drillyard-pin", "transfer-encoding", "upgrade", "http2-settings"}


def test_there_are_many() -> None:
    """Names are unique, so that a failure names its request."""
    assert len({raw.name for raw in REQUESTS}) == len(REQUESTS) >= 400


@pytest.mark.parametrize("raw", REQUESTS, ids=lambda raw: raw.name)
def test_raw_request(shared_gateway: GatewayStack, raw: Raw) -> None:
    """Status, JSON error and what reached a replica; nothing else did, and nothing above the cap."""
    for replica in shared_gateway.replicas.values():
        replica.seen.clear()
    answer = shared_gateway.raw(raw.request)
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split()[1:2] == [str(STATUS[raw.code]).encode()], (head, body[:300])
    if raw.request.startswith(b"HEAD "):
        assert not body
    elif raw.code != "ok":
        assert_error(head, body, raw.code)
    seen = [one for replica in shared_gateway.replicas.values() for one in replica.seen]
    assert [(one.path, one.body) for one in seen] == ([raw.reaches] if raw.reaches else [])
    for one in seen:
        assert_clean(one)


def assert_error(head: bytes, body: bytes, code: str) -> None:
    """JSON of the one shape, whose request id is the header's."""
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert lines[b"x-drillyard-gateway"] == b"gateway-a"
    assert lines[b"content-type"] == b"application/json"
    error = json.loads(body)["error"]
    assert error.keys() == {"type", "code", "message", "request_id"}
    assert (error["code"], error["request_id"].lower().encode()) == (code, lines[b"x-request-id"])
    assert len(error["message"]) > 20


def assert_clean(seen: Seen) -> None:
    """No key, no framing but a length, no switch of protocol; no more bytes than the gateway says."""
    assert not OURS_ALONE & seen.headers.keys(), seen.headers
    assert seen.headers.get("connection", "keep-alive") == "keep-alive"  # which HAProxy says for an HTTP/1.0 client
    assert seen.headers["x-drillyard-link"].split()[0] in ("whole", "stream", "pinned-whole")
    assert re.fullmatch(r"[\w.:-]{1,64}", seen.headers["x-request-id"])
    assert len(seen.body) <= BODY_MAX
    assert not any(key in str(seen.headers) for key, _ in KEYS.by_key())


def test_every_log_line_is_json(shared_gateway: GatewayStack) -> None:
    """After all of them: whatever a request was, its line is whole, and the Lua code never failed."""
    shared_gateway.raw(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: the-last\r\n\r\n")
    shared_gateway.logged("the-last")
    lines = [json.loads(line) for line in shared_gateway.log.read_text().splitlines()]
    assert len(lines) > 1
    assert all(isinstance(line["queue_ms"], int) for line in lines)
    assert "lua" not in shared_gateway.log.with_suffix(".err").read_text().lower()
