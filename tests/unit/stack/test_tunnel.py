"""The way to a target through a proxy: what goes in at one end comes out at the other, its end included."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from stack import proxies, tunnel
from stack.tunnel import Refused, Way
from tests.connect_proxy import NAME, ConnectProxy, connect_proxy
from tests.listener import listening


@pytest.fixture(scope="module")
def proxy() -> Iterator[ConnectProxy]:
    """It wants a password."""
    with connect_proxy() as found:
        yield found


def way(proxy: ConnectProxy, authority: str, password: str | None = None) -> Way:
    """A way through the proxy."""
    url = proxy.url() if password is None else proxy.url(password)
    return Way("127.0.0.1", 0, authority, proxies.parse(url))


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


def talked(proxy: ConnectProxy, far: Talk, near: Talk) -> tuple[bytes, bytes]:
    """What both ends heard of each other."""

    async def run() -> tuple[bytes, bytes]:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.set_result(await far(reader, writer))
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            one = way(proxy, f"{NAME}:{port}")
            async with await asyncio.start_server(one.serve, "127.0.0.1", 0) as server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
                said = await near(reader, writer)
                writer.transport.abort()
                await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # each connection to its end
                return said, await heard

    return asyncio.run(run())


def test_what_is_said_arrives_whole(proxy: ConnectProxy) -> None:
    """More than one piece in each direction; the end of one direction ends only that."""
    much = bytes(range(256)) * 4096

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heard = await reader.read(-1)
        writer.write(heard[::-1])
        await writer.drain()
        return heard

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(much)
        writer.write_eof()
        return await reader.read(-1)

    assert talked(proxy, far, near) == (much[::-1], much)


def test_a_client_that_goes_is_missed(proxy: ConnectProxy) -> None:
    """A cancelled stream has to reach the engine through the tunnel as well."""

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"a token")
        try:
            return b"ended" + await reader.read(-1)
        except OSError:
            return b"ended"

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heard = await reader.readexactly(7)
        writer.transport.abort()
        return heard

    assert talked(proxy, far, near) == (b"a token", b"ended")


@pytest.mark.parametrize(
    ("authority", "password", "says"),
    [
        (f"{NAME}:1", "wrong", "407 Proxy Authentication Required"),
        ("elsewhere.test:443", None, "403 Forbidden"),
    ],
)
def test_a_refusal_says_what_the_proxy_said(
    proxy: ConnectProxy, authority: str, password: str | None, says: str
) -> None:
    """At the start, so that nobody drills a proxy; the password is not in it."""
    with pytest.raises(Refused, match=says):
        asyncio.run(way(proxy, authority, password).connect())
    said = asyncio.run(tunnel.serve([way(proxy, authority, password)]))
    assert said.startswith(f"the proxy 127.0.0.1:{proxy.port} does not connect to {authority}: ")
    assert "wrong" not in said


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\x1b[31m\r\n\r\n", b"x" * 40_000]
)
def test_what_is_no_proxy_refuses(answer: bytes) -> None:
    """Whatever answers there, there is no way through; control characters are not repeated."""
    with listening(answer) as server, pytest.raises(Refused) as refused:
        asyncio.run(Way("127.0.0.1", 0, "a:1", proxies.parse(f"127.0.0.1:{server.port}")).connect())
    assert str(refused.value).isprintable()


def test_nobody_there_refuses() -> None:
    """The proxy is down."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Refused, match="ConnectionRefusedError"):
        asyncio.run(Way("127.0.0.1", 0, "a:1", proxies.parse(f"127.0.0.1:{port}")).connect())


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.corp:3128", proxies.Proxy("proxy.corp", 3128)),
        ("proxy.corp:3128", proxies.Proxy("proxy.corp", 3128)),
        ("http://proxy.corp/", proxies.Proxy("proxy.corp", 80)),
        ("http://[::1]:3128", proxies.Proxy("::1", 3128)),
        ("http://a:b@c\udcff@proxy.corp", proxies.Proxy("proxy.corp", 80, "Basic YTpiQGP/")),
        ("http://a:b%40c@proxy.corp:3128", proxies.Proxy("proxy.corp", 3128, "Basic YTpiQGM=")),
    ],
)
def test_a_proxy_is_read(url: str, proxy: proxies.Proxy) -> None:
    """As curl reads it, with or without a scheme."""
    assert proxies.parse(url) == proxy


@pytest.mark.parametrize(
    "url", ["socks5://s3cret@p:1", "https://u:s3cret@p:1", "http://u:s3/cret@p:1", "http://", "http://p:s3cret"]
)
def test_what_is_no_http_proxy_is_refused_without_its_secrets(url: str) -> None:
    """A SOCKS or TLS proxy, a password that is not escaped, no host, no port."""
    with pytest.raises(ValueError, match=r"proxy|PORT") as refused:
        proxies.parse(url)
    assert "s3" not in str(refused.value)
    assert "s3cret" not in repr(proxies.Proxy("p", 1, "s3cret"))
