"""``python -m stack.tunnel ADDRESS:PORT HOST:PORT VARIABLE …``: HOST:PORT at ADDRESS:PORT, through a proxy.

Each connection is one HTTP CONNECT (RFC 9110, section 9.3.6) to the proxy that the environment's VARIABLE names; the
proxy resolves HOST. So nobody who drills a target has to know of the proxy, and what a link in front of it does to a
connection stays as it is. The proxy's URL, which may hold a password, is read from the environment and never shown.

At its start it asks the proxy once for each host: a refusal ends it, with what the proxy said.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from stack import proxies
from stack.proxies import Proxy

#: For the proxy's answer to CONNECT, which has to reach the target first.
CONNECTS_WITHIN_S = 10.0
_HEAD_BYTES_MAX = 16 << 10
_PIECE_BYTES = 64 << 10


class Refused(Exception):
    """The proxy did not connect; the message says what it said."""


@dataclass(frozen=True)
class Way:
    """One way through: where it begins, ``HOST:PORT`` at its end, and the proxy between."""

    address: str
    port: int
    authority: str
    proxy: Proxy

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the other end. Refused when there is none within ``CONNECTS_WITHIN_S``."""
        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                reader, writer = await asyncio.open_connection(self.proxy.host, self.proxy.port, limit=_HEAD_BYTES_MAX)
                try:
                    await self._ask(reader, writer)
                except BaseException:
                    writer.transport.abort()
                    raise
                return reader, writer
        except TimeoutError as error:
            raise Refused(f"no answer within {CONNECTS_WITHIN_S:g} s") from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Refused(f"no answer ({type(error).__name__})") from error

    def refusal(self, error: Refused) -> str:
        """A sentence about a connection that could not be made."""
        return f"the proxy {self.proxy.host}:{self.proxy.port} does not connect to {self.authority}: {error}"

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"CONNECT {self.authority} HTTP/1.1", f"Host: {self.authority}"]
        lines += [f"Proxy-Authorization: {self.proxy.authorization}"] if self.proxy.authorization else []
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0]
        version, _, rest = first.partition(b" ")
        if not version.lower().startswith(b"http/1.") or not rest.startswith(b"2"):
            raise Refused("".join(chr(byte) if 32 <= byte < 127 else "?" for byte in first[:80]))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either end has ended it; how it ended is passed on."""
        try:
            there, back = await self.connect()
        except Refused as error:
            print(self.refusal(error), flush=True)
            writer.transport.abort()
            return
        whole = await asyncio.gather(_pump(reader, back), _pump(there, writer))
        for end in (back, writer):
            if all(whole):
                with suppress(OSError):
                    end.close()
            else:
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Copy until the end, and pass that on; False when it was no orderly one."""
    try:
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
        return False
    return True


def parse(words: Sequence[str], environment: dict[str, str]) -> list[Way]:
    """The ways that the arguments name, three words each. ValueError for anything else."""
    ways = []
    for listen, authority, variable in zip(words[::3], words[1::3], words[2::3], strict=True):
        address, _, port = listen.rpartition(":")
        ways.append(Way(address, int(port), authority, proxies.parse(environment[variable])))
    return ways


async def serve(ways: Sequence[Way]) -> str:
    """Serve them until SIGTERM. A sentence when the proxy does not connect at the start."""
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    for way in ways:
        try:
            _, writer = await way.connect()
        except Refused as error:
            return way.refusal(error)
        writer.transport.abort()
    servers = [await asyncio.start_server(way.serve, way.address, way.port) for way in ways]
    await over.wait()
    for server in servers:
        server.close()
    return ""


if __name__ == "__main__":
    trouble = asyncio.run(serve(parse(sys.argv[1:], dict(os.environ))))
    if trouble:
        print(trouble, file=sys.stderr)
    sys.exit(1 if trouble else 0)
