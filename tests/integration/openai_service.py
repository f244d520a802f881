"""A service of somebody else's, as a program: the simulator behind what stands in front of real ones.

``python -m tests.integration.openai_service [--base PATH] [--gzip] <the simulator's options>``: below ``--base``
alone, where ``/metrics`` leads to ``/metrics/``; answers compressed for whoever offers to read that. The simulator's
switches stay where they are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import zlib

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stack.simulator import __main__ as simulator
from stack.simulator.app import Server
from stack.simulator.options import parse


class Below:
    """The service below a base path; the way there is no part of it."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app, self._base = app, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Strip the base, or there is nothing."""
        path: str = scope["path"]
        if path.startswith("/simulator/"):
            await self._app(scope, receive, send)
        elif path == f"{self._base}/metrics":
            await RedirectResponse(f"{self._base}/metrics/")(scope, receive, send)
        elif path.startswith(f"{self._base}/"):
            await self._app({**scope, "path": path.removeprefix(self._base)}, receive, send)
        else:
            await PlainTextResponse("default backend - 404", 404)(scope, receive, send)


class Compressed:
    """Everything in gzip, each piece at once, where the client has offered to read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As it is, or compressed."""
        offered = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if b"gzip" not in offered:
            await self._app(scope, receive, send)
            return
        packer = zlib.compressobj(wbits=31)

        async def pack(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name != b"content-length"]
                message = {**message, "headers": [*kept, (b"content-encoding", b"gzip")]}
            elif message["type"] == "http.response.body":
                more = message.get("more_body", False)
                body = packer.compress(message.get("body", b""))
                body += packer.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
                message = {**message, "body": body}
            await send(message)

        await self._app(scope, receive, pack)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="")
    parser.add_argument("--gzip", action="store_true")
    given, rest = parser.parse_known_args()

    class Fronted(Server):
        def app(self) -> ASGIApp:
            app: ASGIApp = super().app()
            if given.base:
                app = Below(app, given.base)
            return Compressed(app) if given.gzip else app

    simulator.Server = Fronted  # type: ignore[misc]
    asyncio.run(simulator.serve(parse(rest)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
