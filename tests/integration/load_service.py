"""A scripted service for the load generator's tests, in a process of its own: DNS and an SSE server.

``python load_service.py ADDRESS`` prints ``HTTP_PORT DNS_PORT`` and serves until its stdin closes. What
a request gets is in its prompt: ``"case:NAME"`` (see ``CASES``). Requests are written to stderr as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import dns.flags
import dns.message
import dns.rrset

Writer = asyncio.StreamWriter
SSE = "text/event-stream; charset=utf-8"
seen: dict[str, int] = {}  # request id → attempts


class Reply:
    """Writes one chunked answer. ``ended``: as HTTP it is whole, so the connection can serve again."""

    def __init__(self, writer: Writer) -> None:
        self.writer, self.ended = writer, False

    async def head(self, status: int = 200, content_type: str = SSE, **headers: str) -> None:
        """Status line and headers."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def raw(self, data: bytes) -> None:
        """These very bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """One chunk."""
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, data: Any) -> None:
        """One event."""
        text = data if isinstance(data, str) else json.dumps(data)
        await self.chunk(f"data: {text}\n\n".encode())

    async def delta(self, finish: str | None = None, model: str = "v1@abc", **delta: str) -> None:
        """One completion event."""
        await self.event({"model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    async def usage(self, count: int) -> None:
        """The usage event."""
        await self.event({"model": "v1@abc", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": count}})

    async def end(self) -> None:
        """The last chunk."""
        self.ended = True
        await self.raw(b"0\r\n\r\n")

    async def json(self, status: int, body: Any, **headers: str) -> None:
        """A whole JSON answer."""
        await self.head(status, "application/json", **headers)
        await self.chunk(json.dumps(body).encode())
        await self.end()

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def ok(r: Reply, request: dict[str, Any]) -> None:
    """A good answer: role, «right», « answer», finish, usage, [DONE]."""
    await r.head(X_Drillyard_Replica="replica-1")
    await r.delta(role="assistant", content="")
    await r.delta(content="right")
    await asyncio.sleep(0.02)
    await r.delta(content=" answer")
    await r.delta(finish="stop")
    await r.usage(2)
    await r.event("[DONE]")
    await r.end()


async def first(r: Reply) -> None:
    """Headers, role and a first token."""
    await r.head()
    await r.delta(role="assistant", content="")
    await r.delta(content="right")


async def whole(r: Reply, request: dict[str, Any]) -> None:
    """An answer that is not streamed."""
    choice = {"message": {"content": "right answer"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    await r.json(200, {"model": "v1@abc", "choices": [choice], "usage": usage})


async def timed(r: Reply, request: dict[str, Any]) -> None:
    """First token after 200 ms, then a token every 20 ms."""
    await r.head()
    await asyncio.sleep(0.2)
    await r.delta(role="assistant", content="")
    for _ in range(10):
        await r.delta(content="x")
        await asyncio.sleep(0.02)
    await r.delta(finish="length")
    await r.event("[DONE]")
    await r.end()


async def fin(r: Reply, request: dict[str, Any]) -> None:
    """Closed in the middle of the stream."""
    await first(r)


async def reset(r: Reply, request: dict[str, Any]) -> None:
    """Reset in the middle of the stream."""
    await first(r)
    await asyncio.sleep(0.05)
    r.reset()


async def truncated(r: Reply, request: dict[str, Any]) -> None:
    """The HTTP message ends well, the stream does not."""
    await first(r)
    await r.end()


async def abort(r: Reply, request: dict[str, Any]) -> None:
    """The engine gave up: HTTP 200, finish_reason abort."""
    await first(r)
    await r.delta(finish="abort")
    await r.event("[DONE]")
    await r.end()


async def error_event(r: Reply, request: dict[str, Any]) -> None:
    """An error inside the stream."""
    await first(r)
    await r.event({"error": {"type": "server_error", "code": 500, "message": "it broke", "request_id": "r1"}})
    await r.event("[DONE]")
    await r.end()


async def stall(r: Reply, request: dict[str, Any]) -> None:
    """One token, then nothing."""
    await first(r)
    await asyncio.sleep(60)


async def silent(r: Reply, request: dict[str, Any]) -> None:
    """Accepted, never answered."""
    await asyncio.sleep(60)


async def headers_only(r: Reply, request: dict[str, Any]) -> None:
    """Headers and role at once, no token ever."""
    await r.head()
    await r.delta(role="assistant", content="")
    await asyncio.sleep(60)


async def trickle(r: Reply, request: dict[str, Any]) -> None:
    """Tokens without end."""
    await first(r)
    while True:
        await asyncio.sleep(0.05)
        await r.delta(content="x")


async def empty(r: Reply, request: dict[str, Any]) -> None:
    """A stream without content."""
    await r.head()
    await r.delta(role="assistant", content="")
    await r.delta(finish="stop")
    await r.event("[DONE]")
    await r.end()


async def wrong_model(r: Reply, request: dict[str, Any]) -> None:
    """Served by another version."""
    await r.head()
    await r.delta(content="right", model="v2@def")
    await r.delta(finish="stop", model="v2@def")
    await r.event("[DONE]")
    await r.end()


async def garbage(r: Reply, request: dict[str, Any]) -> None:
    """Not HTTP."""
    await r.raw(b"what is this\r\n\r\n")


async def bad_event(r: Reply, request: dict[str, Any]) -> None:
    """An event that is not JSON."""
    await first(r)
    await r.event("{not json")
    await r.end()


async def eof(r: Reply, request: dict[str, Any]) -> None:
    """Not one byte."""


async def shed_429(r: Reply, request: dict[str, Any]) -> None:
    """Refused: rate limit."""
    error = {"type": "rate_limit_error", "code": "requests_per_minute", "message": "slower", "request_id": "r2"}
    await r.json(429, {"error": error}, Retry_After="1")


async def shed_503(r: Reply, request: dict[str, Any]) -> None:
    """Refused: overload."""
    await r.json(503, {"error": {"type": "overloaded_error", "code": "queue_full", "message": "busy"}}, Retry_After="1")


async def plain_503(r: Reply, request: dict[str, Any]) -> None:
    """A 503 that is no refusal, in HTML."""
    await r.head(503, "text/html")
    await r.chunk(b"<html>no server</html>")
    await r.end()


async def http_400(r: Reply, request: dict[str, Any]) -> None:
    """Refused: bad request."""
    await r.json(400, {"error": {"type": "BadRequestError", "code": 400, "message": "too long"}})


async def quoting(r: Reply, request: dict[str, Any]) -> None:
    """A refusal that quotes all that was sent, as validation errors do."""
    message = f"1 validation error:\n  {{'input': {request['body']}, 'headers': {request['headers']}}}"
    await r.json(400, {"error": {"type": "Bad Request", "code": 400, "message": message}})


async def quoting_event(r: Reply, request: dict[str, Any]) -> None:
    """An error event that quotes, as JSON, what was asked and answered."""
    await first(r)
    asked = request["body"]["messages"][0]["content"]
    message = json.dumps([f"asked {asked}", "said right", request["headers"]["authorization"]])
    await r.event({"error": {"type": f"about {asked}", "code": 500, "message": message}})


async def http_504(r: Reply, request: dict[str, Any]) -> None:
    """Too late, and come back in a second."""
    error = {"type": "timeout_error", "code": "upstream_timeout", "message": "late", "request_id": "r3"}
    await r.json(504, {"error": error}, Retry_After="1")


async def retry_then_ok(r: Reply, request: dict[str, Any]) -> None:
    """504 with Retry-After: 1 at first, then a good answer."""
    await (http_504 if request["nth"] == 1 else ok)(r, request)


async def hang_then_ok(r: Reply, request: dict[str, Any]) -> None:
    """Closed without a byte at first, then a good answer."""
    if request["nth"] > 1:
        await ok(r, request)


CASES: dict[str, Callable[[Reply, dict[str, Any]], Awaitable[None]]] = {
    f.__name__: f
    for f in (
        ok, whole, timed, fin, reset, truncated, abort, error_event, stall, silent, headers_only, trickle, empty,
        wrong_model, garbage, bad_event, eof, shed_429, shed_503, plain_503, http_400, quoting, quoting_event,
        http_504, retry_then_ok, hang_then_ok,
    )
}  # fmt: skip


async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
    """Requests of one connection, until a case ends it."""
    served = 0
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            request_id = headers["x-request-id"]
            seen[request_id] = seen.get(request_id, 0) + 1
            served += 1
            note = {"t": time.monotonic(), "headers": headers, "body": body, "nth_on_connection": served}
            print(json.dumps(note), file=sys.stderr, flush=True)
            case = body["messages"][0]["content"].split()[0].removeprefix("case:")
            reply = Reply(writer)
            await CASES[case](reply, {"body": body, "headers": headers, "nth": seen[request_id]})
            if not reply.ended:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


class Dns(asyncio.DatagramProtocol):
    """Answers every question with one address, TTL 1 s."""

    def __init__(self, address: str) -> None:
        self.address = address

    def connection_made(self, transport: Any) -> None:
        """Remember where to answer."""
        self.transport = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        """Answer."""
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 1, "IN", "A", self.address))
        self.transport.sendto(answer.to_wire(), source)


async def main(address: str) -> None:
    """Serve until stdin closes."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(serve, address, 0, limit=1 << 20)
    transport, _ = await loop.create_datagram_endpoint(lambda: Dns(address), local_addr=(address, 0))
    print(server.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    transport.close()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
