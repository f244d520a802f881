"""Requests as bytes, hostile and odd ones, each with the answer that a gateway must give. Adding one is one entry.

``Raw.code`` is the error's code, or "ok". ``Raw.reaches`` is all that a replica sees of it: path and body, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model.topology import GatewayPolicy
from stack.gateway.haproxy.config import HEAD_BYTES_MAX
from tests.integration.gateway_stack import KEYS

BODY_MAX = GatewayPolicy().body_bytes_max
CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
BODY = b'{"model":"drillyard","messages":[],"max_tokens":5}'
USER, OPERATOR = KEYS.users["user-001"], KEYS.operator
STATUS = {
    "ok": 200,
    "bad_request": 400,
    "bad_header": 400,
    "body_not_expected": 400,
    "body_too_large": 413,
    "head_too_large": 431,
    "invalid_api_key": 401,
    "invalid_json": 400,
    "invalid_max_tokens": 400,
    "invalid_n": 400,
    "duplicate_key": 400,
    "length_required": 411,
    "max_tokens_missing": 400,
    "max_tokens_too_large": 400,
    "method_not_allowed": 405,
    "missing_api_key": 401,
    "pin_forbidden": 403,
    "unknown_path": 404,
    "unknown_replica": 400,
    "unreadable_models": 502,  # the fake replica lists none
}


@dataclass(frozen=True)
class Raw:
    """One request; ``reaches``: path and body that a replica sees."""

    name: str
    request: bytes
    code: str
    reaches: tuple[str, bytes] | None = None


def head(line: str, *headers: str, key: str | None = USER, host: str | None = "x", end: str = "\r\n") -> bytes:
    """A first line and headers, latin-1; no key or no host where they are None."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *([f"Authorization: Bearer {key}"] if key else [])]
    return (end.join([*lines, *headers]) + end + end).encode("latin-1")


def post(*headers: str, body: bytes = BODY, path: str = CHAT, length: str | None = None) -> bytes:
    """A POST; ``length`` instead of the true one."""
    sized = f"Content-Length: {len(body) if length is None else length}"
    return head(f"POST {path} HTTP/1.1", sized, *headers) + body


def unsized(*headers: str, body: bytes = BODY, path: str = CHAT) -> bytes:
    """A POST without a length of its own."""
    return head(f"POST {path} HTTP/1.1", *headers) + body


def get(*headers: str, path: str = MODELS, body: bytes = b"", version: str = "HTTP/1.1", method: str = "GET") -> bytes:
    """A GET, or another method."""
    return head(f"{method} {path} {version}", *headers) + body


SENT, LISTED = (CHAT, BODY), (MODELS, b"")


def lengths() -> Iterator[Raw]:
    """Content-Length in every spelling, of a POST and of a GET."""
    beyond = (2**31, 2**31 + 5, 2**32, 2**32 + len(BODY), 2**33 + 1, 2**62, 2**63 - 1, 2**64, 2**64 + 1, 10**9)
    for number in beyond:
        yield Raw(f"post {number}", post(length=str(number)), "body_too_large")
        yield Raw(f"get {number}", get(f"Content-Length: {number}", body=BODY), "body_not_expected")
    for number in (2**63, 2**64 + len(BODY), 10**30):
        yield Raw(f"post {number}", post(length=str(number)), "bad_request")
        yield Raw(f"get {number}", get(f"Content-Length: {number}"), "bad_request")
    for text in (
        "",
        "+50",
        "-1",
        "-0",
        "0x32",
        "5e1",
        "50.0",
        "5 0",
        "50;",
        "fifty",
        "\u00b2",
        "50\x00",
        "50,49",
        '"50"',
    ):
        yield Raw(f"post {text!r}", post(length=text), "bad_request")
        yield Raw(f"get {text!r}", get(f"Content-Length: {text}"), "bad_request")
    yield Raw("leading zeros", post(length="0000000000000050"), "length_required")
    yield Raw("zero in many digits", get("Content-Length: 0000"), "body_not_expected")
    yield Raw("blanks around", post(length="  50  "), "ok", SENT)
    yield Raw("the same in a list", post(length="50, 50"), "ok", SENT)
    yield Raw("the same in two headers", post("Content-Length: 50"), "ok", SENT)
    yield Raw("two that differ", post("Content-Length: 49"), "bad_request")
    yield Raw("two, one beyond 32 bits", post(f"Content-Length: {2**32 + 50}"), "bad_request")
    yield Raw("none", unsized(), "length_required")
    yield Raw("zero", post(body=b""), "invalid_json")
    yield Raw("shorter than the body", post(length="49"), "invalid_json")
    yield Raw("at the cap", *_filled(BODY_MAX, "ok"))
    yield Raw("one above the cap", *_filled(BODY_MAX + 1, "body_too_large"))
    yield Raw("completions above the cap", post(body=b" " * (BODY_MAX + 1), path=COMPLETIONS), "body_too_large")
    yield Raw("get with length 0", get("Content-Length: 0"), "ok", LISTED)
    yield Raw("get with a body", get("Content-Length: 5", body=b"hello"), "body_not_expected")
    yield Raw("get with an unannounced body", get(body=b"hello"), "ok", LISTED)
    yield Raw("one model with a body", get("Content-Length: 5", path=f"{MODELS}/x", body=b"hello"), "body_not_expected")


def _filled(size: int, code: str) -> tuple[bytes, str, tuple[str, bytes] | None]:
    start, end = b'{"max_tokens":5,"x":"', b'"}'
    body = start + b"x" * (size - len(start) - len(end)) + end
    return post(body=body), code, (CHAT, body) if code == "ok" else None


def encodings() -> Iterator[Raw]:
    """Transfer-Encoding, alone and beside a length: nothing that is framed in two ways reaches a replica."""
    whole = b"32\r\n" + BODY + b"\r\n0\r\n\r\n"
    smuggled = b"0\r\n\r\n" + get()
    te = "Transfer-Encoding: "
    yield Raw("chunked", unsized(te + "chunked", body=whole), "length_required")
    yield Raw("chunked, empty", unsized(te + "chunked", body=b"0\r\n\r\n"), "length_required")
    yield Raw(
        "chunked, extension", unsized(te + "chunked", body=b"32;x=y\r\n" + BODY + b"\r\n0\r\n\r\n"), "length_required"
    )
    yield Raw("chunked, trailers", unsized(te + "chunked", body=whole[:-2] + b"X: y\r\n\r\n"), "length_required")
    yield Raw("chunked, capitals", unsized("TRANSFER-ENCODING: CHUNKED", body=whole), "length_required")
    yield Raw("chunked, one large", unsized(te + "chunked", body=b"1ffff\r\n" + b"x" * 0x1FFFF), "length_required")
    yield Raw("CL.TE", post(te + "chunked", body=smuggled), "length_required")
    yield Raw("TE.CL", unsized(te + "chunked", "Content-Length: 4", body=whole), "length_required")
    yield Raw("chunked get", get(te + "chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), "length_required")
    yield Raw("chunked get, smuggling", get(te + "chunked", body=smuggled), "length_required")
    yield Raw("no chunks", unsized(te + "chunked"), "length_required")
    yield Raw("no chunks, then an end", unsized(te + "chunked", body=b"zz\r\nhello\r\n0\r\n\r\n"), "length_required")
    yield Raw("chunk longer than said", unsized(te + "chunked", body=b"5\r\nhello!\r\n0\r\n\r\n"), "length_required")
    large = b"f" * 16 + b"\r\nhello\r\n0\r\n\r\n"
    yield Raw("chunk of 64 bits", unsized(te + "chunked", body=large), "length_required")
    odd = ("identity", "gzip", "chunked, identity", "chunked, chunked", "xchunked", "chunkedx", "",
           "chunked;q=1", '"chunked"', "\x0bchunked", "chunk ed", "cow", "deflate")  # fmt: skip
    for coding in odd:
        yield Raw(f"TE {coding!r}", post(te + coding), "bad_request")
    yield Raw("TE of two codings", unsized(te + "gzip, chunked", body=whole), "length_required")
    yield Raw("TE after a blank", post("Transfer-Encoding : chunked"), "bad_request")
    yield Raw("TE folded", post("Transfer-Encoding:\r\n chunked", body=whole), "length_required")
    yield Raw("TE twice", unsized(te + "chunked", te + "chunked", body=whole), "bad_request")
    yield Raw("TE with an underscore", post("Transfer_Encoding: chunked"), "ok", SENT)
    yield Raw("compressed", post("Content-Encoding: gzip"), "ok", SENT)
    yield Raw("TE in HTTP/1.0", head("POST " + CHAT + " HTTP/1.0", te + "chunked") + whole, "length_required")


def pipelined() -> Iterator[Raw]:
    """Whatever follows a request is not one: one request per connection."""
    for name, more in (
        ("a get", get()),
        ("a post", post()),
        ("an administrative path", get(path="/collective_rpc", method="POST")),
        ("garbage", b"\x00\xff" * 100),
        ("a great deal", b"x" * 300_000),
    ):
        yield Raw(f"post, then {name}", post() + more, "ok", SENT)
        yield Raw(f"get, then {name}", get() + more, "ok", LISTED)
    yield Raw("refused, then a get", post(length="0") + get(), "invalid_json")
    yield Raw("kept alive", post("Connection: keep-alive") + post(), "ok", SENT)
    yield Raw("kept alive in HTTP/1.0", get("Connection: keep-alive", version="HTTP/1.0") * 2, "ok", LISTED)


def versions() -> Iterator[Raw]:
    """First lines: versions, other protocols, line ends."""
    for line in ("GET /x", "GET /v1/models", "GET /", "GET", "GET  /x", "G", "POST " + CHAT, "/v1/models HTTP/1.1"):
        yield Raw(f"bare {line}", f"{line}\r\n\r\n".encode(), "bad_request")
    yield Raw("bare, one line end", b"GET /x\r\n", "bad_request")
    yield Raw("bare with headers", head("GET /v1/models"), "bad_request")
    yield Raw("bare, newline only", b"GET /v1/models\n\n", "bad_request")
    for version in (
        "http/1.1",
        "HTTP/1",
        "HTTP/",
        "HTTP/1.",
        "HTTP/a.b",
        "HTTP/11.1",
        "HTTP 1.1",
        "HTP/1.1",
        "HTTP/1.1 x",
    ):
        yield Raw(f"version {version}", get(version=version), "bad_request")
    for version in ("HTTP/1.0", "HTTP/1.2", "HTTP/2.0"):
        yield Raw(f"version {version}", get(version=version), "ok", LISTED)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = bytes.fromhex("000000040000000000")
    yield Raw("h2 by prior knowledge", preface + settings, "bad_request")
    yield Raw("h2 preface alone", preface, "bad_request")
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    yield Raw("h2c upgrade, get", get(*upgrade), "ok", LISTED)
    yield Raw("h2c upgrade, post", post(*upgrade), "ok", SENT)
    yield Raw("websocket", get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), "bad_request")
    yield Raw("TLS", bytes.fromhex("16030100a5010000a10303") + b"\r\n\r\n", "bad_request")
    yield Raw("PROXY protocol", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + get(), "bad_request")
    yield Raw("NULs", b"\0\0\0\0\r\n\r\n", "bad_request")
    yield Raw("newlines only", head(f"GET {MODELS} HTTP/1.1", end="\n"), "ok", LISTED)
    yield Raw("an empty line first", b"\r\n" + get(), "ok", LISTED)
    yield Raw("two blanks", get().replace(b" /", b"  /", 1), "ok", LISTED)
    yield Raw("a tab", get().replace(b" /", b"\t/", 1), "ok", LISTED)


def paths() -> Iterator[Raw]:
    """Only three paths exist, however others are spelled; a replica sees none of a client's hosts and queries."""
    for path in ("/", "/health", "/metrics", "/stats", "/collective_rpc", "/reset_prefix_cache", "/sleep", "/v1",
                 "/v1/", "/v1/embeddings", "/v1/models/", "/V1/models", "//v1/models", "/v1//models", "/./v1/models",
                 "/x/../v1/models", "/v1/models/..", "/v1/models/../../metrics", "/v1/models%2f..", "/%761/models",
                 "/v1/models%00", "/v1/models;x", "/v1/load_lora_adapter", "/v1\\models", "/v1/models%20",
                 "/simulator/behaviour", "/v1/chat/completions/batch", "/tokenize"):  # fmt: skip
        yield Raw(f"path {path}", get(path=path), "unknown_path")
    yield Raw("query", get(path=f"{MODELS}?a=b&c=/../"), "ok", LISTED)
    yield Raw("absolute", head(f"GET http://x{MODELS} HTTP/1.1"), "ok", LISTED)
    yield Raw("absolute, another path", head("GET http://x/collective_rpc HTTP/1.1"), "unknown_path")
    yield Raw("absolute, another host", head(f"GET http://y{MODELS} HTTP/1.1"), "bad_request")
    yield Raw("host and path in one", head("GET x/v1/models HTTP/1.1"), "unknown_path")
    yield Raw("fragment", get(path=f"{MODELS}#x"), "bad_request")
    yield Raw("blank in the path", get(path="/v1/mo dels"), "bad_request")
    yield Raw("control character in the path", get(path="/v1/models\x1b[31m"), "bad_request")
    yield Raw("eight bits in the path", get(path="/v1/models\xff"), "bad_request")
    yield Raw("model with an escape", get(path=f"{MODELS}/%1b%5b31m"), "unreadable_models", LISTED)
    yield Raw("long path", get(path="/" + "x" * 9000), "unknown_path")
    yield Raw("long query", get(path=f"{MODELS}?" + "x" * HEAD_BYTES_MAX), "head_too_large")
    yield Raw("long model", get(path=f"{MODELS}/" + "x" * HEAD_BYTES_MAX), "head_too_large")


def methods() -> Iterator[Raw]:
    """GET lists models, POST completes; no other method is anything."""
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "GeT", "FOO", "X" * 9000):
        yield Raw(f"{method[:9]} models", get(method=method), "method_not_allowed")
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        yield Raw(f"{method} chat", get(method=method, path=CHAT), "method_not_allowed")
    yield Raw("POST models", post(path=MODELS), "method_not_allowed")
    yield Raw("HEAD one model", get(method="HEAD", path=f"{MODELS}/x"), "method_not_allowed")
    yield Raw("CONNECT", head("CONNECT x:80 HTTP/1.1"), "unknown_path")
    yield Raw("OPTIONS *", head("OPTIONS * HTTP/1.1"), "unknown_path")
    yield Raw("no letters", get(method="G{T"), "bad_request")
    override = get("X-HTTP-Method-Override: POST", path=CHAT)
    yield Raw("override", override, "method_not_allowed")


def headers() -> Iterator[Raw]:
    """Sizes, numbers, duplicates, line breaks in headers, and headers that are ours."""
    yield Raw("one large header", get("X: " + "y" * HEAD_BYTES_MAX), "head_too_large")
    yield Raw("many headers", get(*[f"X-{n}: {'y' * 90}" for n in range(90)]), "head_too_large")
    yield Raw("too many headers", get(*["X: y"] * 150), "bad_request")
    yield Raw("more than a buffer", get("X: " + "y" * 200_000), "bad_request")
    yield Raw("large headers of a post", post("X: " + "y" * HEAD_BYTES_MAX), "head_too_large")
    yield Raw("without a host", head(f"GET {MODELS} HTTP/1.0", host=None), "ok", LISTED)
    for name, header in (
        ("without a colon", "X"), ("without a name", ": y"), ("blank in the name", "X Y: z"),
        ("blank before the colon", "X : y"), ("carriage return", "X: a\rb"),
        ("NUL in the name", "X\0: y"), ("brackets in the name", "X[]: y"),
    ):  # fmt: skip
        yield Raw(name, get(header), "bad_request")
    for byte in (*range(1, 9), 11, 12, *range(14, 32), 127):
        yield Raw(f"control character {byte:#x}", post(f"X: a{chr(byte)}b"), "bad_header")
    yield Raw("control character in a host", head(f"GET {MODELS} HTTP/1.1", host="x\x01"), "bad_header")
    yield Raw("control character in a type", post("Content-Type: application/json\x1b[2J"), "bad_header")
    yield Raw("control character after a key", head(f"GET {MODELS} HTTP/1.1", key=USER + "\x7f"), "bad_header")
    yield Raw("tabs and eight bits in a header", post("X: a\tb\x80\xff"), "ok", SENT)
    yield Raw("newline in a header", get("X: a\nX-Drillyard-Link: pinned-whole 1"), "ok", LISTED)
    yield Raw("our own header", get("X-Drillyard-Link: pinned-whole 1", "X-Drillyard-Link: stream 2"), "ok", LISTED)
    yield Raw("folded", get("X: a\r\n b"), "ok", LISTED)
    yield Raw("Connection names the length", post("Connection: close, Content-Length, X-Request-Id"), "ok", SENT)
    yield Raw("expects to go on", post("Expect: 100-continue"), "ok", SENT)
    yield Raw("expects something else", post("Expect: 200-ok"), "ok", SENT)
    yield Raw("hostile request id", get('X-Request-Id: "}<b>%x'), "ok", LISTED)
    yield Raw("request id with an escape", get('X-Request-Id: "}\x1b[2J'), "bad_header")
    yield Raw("two request ids", get("X-Request-Id: a", "X-Request-Id: b"), "ok", LISTED)
    yield Raw("forwarded", get("X-Forwarded-For: 127.0.0.1", "X-Original-URL: /collective_rpc"), "ok", LISTED)


def keys() -> Iterator[Raw]:
    """Who may ask, however it is written."""
    line = f"GET {MODELS} HTTP/1.1"
    for header in ("X: y", "Authorization: " + USER, f"Authorization: Basic {USER}", "Authorization: Bearer",
                   f"X-Api-Key: {USER}", f"Cookie: key={USER}", f"Proxy-Authorization: Bearer {USER}"):  # fmt: skip
        yield Raw(f"no key: {header[:20]}", head(line, header, key=None), "missing_api_key")
    for key in ("x", USER + "x", USER[:-1], USER.upper(), "user-001", "operator", f"x,{OPERATOR}", USER + "%00"):
        yield Raw(f"key {key[:8]}…{len(key)}", head(line, key=key), "invalid_api_key")
    both = head(line, "X-Drillyard-Pin: replica-1", key=f"{USER},{OPERATOR}")
    yield Raw("a user's key and the operator's", both, "pin_forbidden")
    yield Raw("pinned by a user", get("X-Drillyard-Pin: replica-1"), "pin_forbidden")
    yield Raw("pinned by the operator", head(line, "X-Drillyard-Pin: replica-1", key=OPERATOR), "ok", LISTED)
    yield Raw("pinned to nothing", head(line, "X-Drillyard-Pin: replica-9", key=OPERATOR), "unknown_replica")
    large = f"Content-Length: {2**32 + 50}"
    yield Raw("the operator's large body", head(f"POST {CHAT} HTTP/1.1", large, key=OPERATOR) + BODY, "body_too_large")
    pinned = head(f"POST {CHAT} HTTP/1.1", large, "X-Drillyard-Pin: replica-1", key=OPERATOR)
    yield Raw("a pinned large body", pinned + BODY, "body_too_large")


def characters() -> Iterator[Raw]:
    """What is no character: engines take it in and fail on the way out, with a 500. Wherever it stands, and however."""
    halves = (rb"\ud800", rb"\uDBFF", rb"\udc00", rb"\uDfFf", rb"\ude00\ud83d", rb"\ud83d\ud83d\ude00",
              rb"\ud83d\ude00\ude00", rb"\ud800\\udc00", rb"\ud800 \udc00", rb"\ud800\u0041", rb"\ud800\n",
              rb"\\\ud800")  # fmt: skip
    broken = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf",
              b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"\x80", b"\xc3",
              b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\x80")  # fmt: skip
    for text in (*halves, *broken):
        yield Raw(f"in the model: {text!r}", post(body=b'{"model":"a%sb"}' % text), "invalid_json")
    for text in (halves[0], halves[2], broken[0], broken[3]):
        for place in (b'{"%s":1}', b'{"messages":[{"role":"user","content":"%s"}]}', b'{"messages":[{"%s":1}]}',
                      b'{"messages":[{"content":[{"type":"text","text":"%s"}]}]}', b'{"stop":["a","%s"]}',
                      b'{"tools":[{"function":{"name":"%s"}}]}', b'{"metadata":{"a":{"%s":null}}}'):  # fmt: skip
            yield Raw(f"{text!r} in {place[:30]!r}", post(body=place % text), "invalid_json")
        for place in (b'{"prompt":"%s"}', b'{"prompt":["a","%s"]}', b'{"suffix":"%s"}'):
            yield Raw(f"{text!r} in {place!r}", post(body=place % text, path=COMPLETIONS), "invalid_json")
    yield Raw("half a pair at the end", post(body=rb'{"model":"\ud800'), "invalid_json")
    fine = (rb"\ud83d\ude00", rb"\uD800\uDC00", rb"\uDBFF\uDFFF", rb"\\ud800", rb"\\\\udc00", rb"\\\ud83d\ude00",
            rb"\ud7ff\ue000", "\U0001f600\ud7ff\ue000\U0010ffff".encode(), rb"\uffff\u0000")  # fmt: skip
    for text in fine:
        body = b'{"model":"%s","%s":{"%s":0},"max_tokens":5}' % (text, text, text)
        yield Raw(f"whole: {text!r}", post(body=body), "ok", (CHAT, body))
    twice = rb'{"\ud83d\ude00":1,"%s":2}' % "\U0001f600".encode()
    yield Raw("a key, escaped and not", post(body=twice), "duplicate_key")


def numbers() -> Iterator[Raw]:
    """Python's json reads the largest ones as Infinity, which JSON has no word for; limits are digits alone."""
    for text in (b"1e999", b"-1e999", b"1E+309", b"9" * 400, b"0." + b"9" * 9 + b"e400", b"NaN", b"-Infinity"):
        yield Raw(f"number {text[:12]!r}", post(body=b'{"temperature":%s}' % text), "invalid_json")
        yield Raw(f"number {text[:12]!r} inside", post(body=b'{"x":{"y":[0,%s]}}' % text), "invalid_json")
    for text in (b"-0", b"1e3", b"5.0", b"-5", b"5e0", b"0e0"):
        yield Raw(f"max_tokens {text!r}", post(body=b'{"max_tokens":%s}' % text), "invalid_max_tokens")
        yield Raw(f"n {text!r}", post(body=b'{"max_tokens":5,"n":%s}' % text), "invalid_n")
    body = b'{"temperature":1e-999,"x":[1.7976931348623157e308,-0,0e999,18446744073709551616],"max_tokens":5}'
    yield Raw("numbers that fit", post(body=body), "ok", (CHAT, body))


def bodies() -> Iterator[Raw]:
    """JSON that one parser reads so and the next one otherwise; limits in every place."""
    cap = GatewayPolicy().chat_max_tokens
    for text, code in (
        (f'{{"max_tokens":{cap + 1}}}', "max_tokens_too_large"), ('{"max_tokens":1e4}', "invalid_max_tokens"),
        ('{"max_tokens":"5"}', "invalid_max_tokens"), ('{"max_tokens":1,"max_tokens":2}', "duplicate_key"),
        ('{"max_tokens":1,"max\\u005ftokens":9999}', "duplicate_key"), ('{"n":2}', "max_tokens_missing"),
        ('{"n":"2"}', "invalid_n"), ('{"max_tokens":4294967297}', "max_tokens_too_large"),
        ('{"n":4294967297,"max_tokens":1}', "max_tokens_too_large"),
        ('{"n":999999999999,"max_tokens":1024}', "max_tokens_too_large"),
        ("[]", "invalid_json"), ('{"a":NaN}', "invalid_json"), ("{}{}", "invalid_json"), ("{" * 100, "invalid_json"),
        ("\x00", "invalid_json"),
    ):  # fmt: skip
        yield Raw(f"body {text[:30]!r}", post(body=text.encode()), code)
    prompts = b'{"prompt":["a","b","c"],"max_tokens":1000}'
    yield Raw("three prompts", post(body=prompts, path=COMPLETIONS), "max_tokens_too_large")
    ignored = b'{"prompt":"a","max_completion_tokens":99999,"max_tokens":5}'
    yield Raw("what the engine ignores", post(body=ignored, path=COMPLETIONS), "ok", (COMPLETIONS, ignored))


KINDS = (lengths, encodings, pipelined, versions, paths, methods, headers, keys, characters, numbers, bodies)
REQUESTS = [raw for kind in KINDS for raw in kind()]
