"""An SSE server with known delays, in a process of its own: ``python stream_server.py ADDRESS FIRST_S GAP_S EVENTS``.

Prints ``HTTP_PORT DNS_PORT`` and serves until its stdin closes. Each event leaves on a schedule fixed at the
request's arrival, and the server notes how late it was itself: what remains in the client's figures is the client's. On
closing it prints one JSON line with the lateness of its own first tokens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import dns.message
import dns.rrset

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
late_ms: list[float] = []


def chunk(event: Any) -> bytes:
    """One event as a chunk."""
    data = b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(finish: str | None = None, **said: str) -> bytes:
    """A completion event, as large as vLLM's."""
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return chunk(
        {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "object": "chat.completion.chunk", "created": 1700000000,
         "model": "v1@abcdef01", "choices": [choice]}
    )  # fmt: skip


ROLE, TOKEN = delta(role="assistant", content=""), delta(content=" token")
END = delta(finish="length") + chunk(b"[DONE]") + b"0\r\n\r\n"


class Stream(asyncio.Protocol):
    """One connection: each request is answered by timers, without a task."""

    first_s, gap_s, events = 0.2, 0.02, 64

    def connection_made(self, transport: Any) -> None:
        """Remember whom to answer."""
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer when the request is whole."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length:
            self.buffer = body[length:]
            self.transport.write(HEAD)
            loop = asyncio.get_running_loop()
            self.tell(loop, loop.time() + self.first_s, 0)

    def tell(self, loop: asyncio.AbstractEventLoop, due_s: float, number: int) -> None:
        """Send event ``number`` at ``due_s``."""
        loop.call_at(due_s, self.send, loop, due_s, number)

    def send(self, loop: asyncio.AbstractEventLoop, due_s: float, number: int) -> None:
        """Send event ``number``, and plan the next."""
        if self.transport.is_closing():
            return
        if number == 0:
            late_ms.append((loop.time() - due_s) * 1000)
        self.transport.write((ROLE if number == 0 else b"") + TOKEN + (END if number + 1 == self.events else b""))
        if number + 1 < self.events:
            self.tell(loop, due_s + self.gap_s, number + 1)


class Dns(asyncio.DatagramProtocol):
    """Every name is here."""

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
    server = await loop.create_server(Stream, address, 0, backlog=1024)
    dns_transport, _ = await loop.create_datagram_endpoint(lambda: Dns(address), local_addr=(address, 0))
    print(server.sockets[0].getsockname()[1], dns_transport.get_extra_info("sockname")[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    ranked = sorted(late_ms) or [0.0]
    p50, p99 = ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.99)]
    print(json.dumps({"server_late_p50_ms": round(p50, 2), "server_late_p99_ms": round(p99, 2)}), flush=True)


if __name__ == "__main__":
    Stream.first_s, Stream.gap_s, Stream.events = float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    asyncio.run(main(sys.argv[1]))
