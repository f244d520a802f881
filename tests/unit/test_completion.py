"""Requests of the harness itself over TLS: however it breaks, that is how the request ended."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.model.stream import CompletionReader
from harness.probes import completion
from tests.certificate import self_signed

ADDRESS = "127.0.0.1"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
REST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
#: A TLS record (RFC 8446 §5.1) that nobody can decrypt, as when a middlebox has changed a byte.
GARBLED = b"\x17\x03\x03\x00\x20" + bytes(32)
DEADLINE_S = 20.0

Serve = Callable[[ssl.SSLSocket, Callable[[bytes], None]], None]


def chunk(data: bytes) -> bytes:
    """A chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def asked(
    serve: Serve, folder: Path, change: Callable[[ssl.SSLContext], None] = lambda context: None
) -> tuple[CompletionReader, str | None]:
    """What a request comes to. ``serve`` gets the connection, and a function that writes below TLS."""
    certificate, context = self_signed(folder, f"IP:{ADDRESS}")
    change(context)

    def accept() -> None:
        connection, _ = listening.accept()
        below = socket.socket(fileno=os.dup(connection.fileno()))
        with suppress(OSError), below, context.wrap_socket(connection, server_side=True) as secure:
            serve(secure, below.sendall)
            below.settimeout(DEADLINE_S)
            while below.recv(65536):  # to close with something unread would take back what was sent
                pass

    reader = CompletionReader()
    with socket.create_server((ADDRESS, 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        request = {"url": f"https://{ADDRESS}:{listening.getsockname()[1]}/", "json": {}}
        verify = ssl.create_default_context(cafile=str(certificate))
        trouble = asyncio.run(completion.ask(reader, DEADLINE_S, request, verify=verify))
        thread.join(DEADLINE_S)
    return reader, trouble


def test_a_record_that_is_garbled_in_the_stream(tmp_path: Path) -> None:
    """The answer broke off."""

    def serve(secure: ssl.SSLSocket, below: Callable[[bytes], None]) -> None:
        secure.recv(65536)
        secure.sendall(HEAD + chunk(TOKEN))
        below(GARBLED)

    reader, trouble = asked(serve, tmp_path)
    assert (trouble, reader.outcome(), reader.answer.text) == ("broken", ("broken_stream", "fin"), "x")


def test_a_record_that_is_garbled_after_the_answer(tmp_path: Path) -> None:
    """The answer was whole by then."""

    def serve(secure: ssl.SSLSocket, below: Callable[[bytes], None]) -> None:
        secure.recv(65536)
        secure.sendall(HEAD + chunk(TOKEN + REST))
        below(GARBLED)

    reader, trouble = asked(serve, tmp_path)
    assert (trouble, reader.outcome()) == (None, ("ok", None))


def test_a_record_that_is_garbled_before_the_answer(tmp_path: Path) -> None:
    """There was none."""

    def serve(secure: ssl.SSLSocket, below: Callable[[bytes], None]) -> None:
        secure.recv(65536)
        below(GARBLED)

    reader, trouble = asked(serve, tmp_path)
    assert (trouble, reader.status) == ("broken", 0)


def test_a_server_that_wants_a_certificate_of_ours(tmp_path: Path) -> None:
    """With TLS 1.3 it says so only after the handshake, to the request."""

    def change(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED

    reader, trouble = asked(lambda secure, below: None, tmp_path, change)
    assert (trouble, reader.status) == ("broken", 0)
