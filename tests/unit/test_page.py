"""What probes ask HTTP servers with: whole answers within a deadline, and never somebody else's, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from harness.probes.page import Answer, NoAnswer, Page

OK = b"HTTP/1.1 200 OK\r\n"
#: What a server may send, and what that is.
WHOLE = (
    (OK + b"Content-Length: 5\r\n\r\nhello", Answer(200, b"hello")),
    (b"HTTP/1.1 200 \r\nCONTENT-LENGTH:5\r\n\r\nhello", Answer(200, b"hello")),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n", Answer(200, b"hello")),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", Answer(200, b"")),
    (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"")),
    (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", Answer(302, b"")),
    (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", Answer(503, b"no")),
)  # fmt: skip
#: What is none of the above, when the server then waits for the next request.
SENSELESS = (
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    OK + b"Content-Length: x\r\n\r\n",
    OK + b"Content-Length: -1\r\n\r\n",
    OK + b"Content-Length: 99999999999\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
)


@dataclass
class Server:
    """Answers each request on a connection with what ``answer`` says; what it returns None for ends the connection."""

    answer: Callable[[int], bytes | None]
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                said = self.answer(len(self.asked))
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Callable[[int], bytes | None], keep: bool = True) -> AsyncIterator[tuple[Page, Server]]:
    """A server, and a page of it."""
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        page = Page(f"http://127.0.0.1:{port}/metrics?name[]=a", deadline_s=0.5, keep=keep)
        try:
            yield page, server
        finally:
            page.close()


async def refusal(page: Page) -> str:
    """Why there is no answer."""
    with pytest.raises(NoAnswer) as caught:
        await page.get()
    return caught.value.reason


def run(test: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, until the servers have ended as well."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()
            servers = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*servers, return_exceptions=True)
            for _ in range(3):  # what was aborted ends in the loop's next rounds
                await asyncio.sleep(0)

    asyncio.run(bounded())


@pytest.mark.parametrize(("said", "expected"), WHOLE, ids=str)
def test_a_whole_answer_is_read_and_the_connection_kept(said: bytes, expected: Answer) -> None:
    """By its length and in chunks; other statuses are answers as well, and redirects are not followed."""

    async def test() -> None:
        async with serving(lambda _: said) as (page, server):
            assert [await page.get() for _ in range(3)] == [expected] * 3
            assert server.connections == 1
            first = server.asked[0].splitlines()
            assert first[0] == b"GET /metrics?name[]=a HTTP/1.1"
            assert any(line.startswith(b"Host: 127.0.0.1:") for line in first)

    run(test)


def test_an_answer_may_come_byte_by_byte() -> None:
    """TCP keeps no boundaries."""

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in WHOLE[2][0]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(slowly, "127.0.0.1", 0) as listening:
            page = Page(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
            assert await page.get() == Answer(200, b"hello")
            page.close()

    run(test)


def test_a_body_may_end_with_the_connection() -> None:
    """Without a length; the next request has a connection of its own."""

    async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhel")
        await writer.drain()
        writer.write(b"lo")
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(until_end, "127.0.0.1", 0) as listening:
            page = Page(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
            assert [await page.get(), await page.get()] == [Answer(200, b"hello")] * 2

    run(test)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("closes", [True, False], ids=["server closes", "server keeps"])
def test_a_connection_is_kept_when_both_want_that(keep: bool, closes: bool) -> None:
    """A checker's connection is its own each time; a server that says close is believed."""
    said = OK + (b"Connection: close\r\n" if closes else b"") + b"Content-Length: 0\r\n\r\n"

    async def test() -> None:
        async with serving(lambda _: said, keep) as (page, server):
            await page.get()
            await page.get()
            assert server.connections == (1 if keep and not closes else 2)

    run(test)


def test_a_kept_connection_that_the_server_ended_is_no_failure() -> None:
    """Servers end idle connections: nobody has heard the request, so it is asked on another one, once."""

    async def test() -> None:
        async with serving(lambda n: None if n == 2 else WHOLE[0][0]) as (page, server):
            assert await page.get() == await page.get() == Answer(200, b"hello")
            assert (server.connections, len(server.asked)) == (2, 3)
        async with serving(lambda n: None if n >= 2 else WHOLE[0][0]) as (page, server):
            await page.get()
            assert await refusal(page) == "broken"
            assert (server.connections, len(server.asked)) == (2, 3)

    run(test)


@pytest.mark.parametrize("said", SENSELESS, ids=lambda said: str(said[:60]))
def test_nonsense_is_no_answer_and_ends_the_connection(said: bytes) -> None:
    """What is no HTTP, and what is larger than anybody should read; the next request is a new beginning."""

    async def test() -> None:
        async with serving(lambda n: said if n == 1 else WHOLE[0][0]) as (page, server):
            assert await refusal(page) == "broken"
            assert await page.get() == Answer(200, b"hello")
            assert server.connections == 2

    run(test)


def test_a_huge_answer_without_a_length_is_given_up_on() -> None:
    """Memory is bounded whatever a server sends."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async def test() -> None:
        async with await asyncio.start_server(endless, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
            assert await refusal(Page(url, bytes_max=100_000)) == "broken"

    run(test)


@pytest.mark.parametrize("length", [0, 5, 17, 30, len(WHOLE[0][0]) - 1])
@pytest.mark.parametrize("ends", [True, False], ids=["broken", "timeout"])
def test_half_an_answer_is_none(length: int, ends: bool) -> None:
    """Whether the connection breaks off or nothing more comes: then the deadline counts from the request."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE[0][0][:length])
        await writer.drain()
        if ends:
            writer.close()
        else:
            with suppress(ConnectionError):
                await reader.read()
            writer.close()

    async def test() -> None:
        async with await asyncio.start_server(half, "127.0.0.1", 0) as listening:
            page = Page(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", deadline_s=0.3)
            began = time.monotonic()
            assert await refusal(page) == ("broken" if ends else "timeout")
            assert ends or time.monotonic() - began >= 0.3

    run(test)


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    """A replica that was frozen answers all that it was asked when it goes on."""

    melted = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/first" in request:
            await melted.wait()
        body = request.split()[1]
        writer.write(OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(late, "127.0.0.1", 0) as listening:
            page = Page(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/first", deadline_s=1.0)
            assert await refusal(page) == "timeout"
            melted.set()
            assert await page.get("/second") == Answer(200, b"/second")
            page.close()

    run(test)


def test_nobody_there_and_nobody_answering() -> None:
    """A closed port refuses; one whose owner accepts nobody, as a frozen process, lets the deadline pass."""

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            assert await refusal(Page(f"http://127.0.0.1:{port}/", deadline_s=0.2)) == "timeout"
        assert await refusal(Page(f"http://127.0.0.1:{port}/", deadline_s=0.2)) == "refused"
        assert await refusal(Page(f"http://{'a' * 64}.example/", deadline_s=0.2)) == "refused"

    run(test)


def test_a_server_without_tls_refuses_tls() -> None:
    """What cannot be connected to as asked is no answer, not a crash."""

    async def test() -> None:
        async with serving(lambda _: WHOLE[0][0]) as (page, _):
            secure = Page(f"https://127.0.0.1:{page._port}/", deadline_s=1.0, tls=ssl.create_default_context())
            assert await refusal(secure) in ("refused", "timeout")

    run(test)
