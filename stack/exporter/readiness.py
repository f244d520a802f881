"""The readiness agent: tells the gateways which replica generates and which is deaf.

A deaf replica answers its health checks, takes requests and makes no token. One that is only busy misses the deadline
of a synthetic generation, too, but it makes tokens for others meanwhile: to take it out would only shift its load.
So deaf means: several deadlines in a row, and the engine's own counter stood still between them.
"""

from __future__ import annotations

import asyncio

#: Of a question: the name of a replica and a line feed. Nothing else asks here.
_QUESTION_BYTES_MAX = 256
_QUESTION_S = 1.0


class Readiness:
    """What is known of each replica. One of which nothing is known is ready: health checks see those that are not."""

    def __init__(self, fall: int) -> None:
        self._fall = fall
        self._in_vain: dict[str, int] = {}
        self._tokens: dict[str, float] = {}

    def answered(self, replica: str) -> None:
        """It made a token, or said something else in time: that is for others to judge."""
        self._in_vain.pop(replica, None)
        self._tokens.pop(replica, None)

    def timed_out(self, replica: str, tokens: float | None) -> None:
        """It let a deadline pass. ``tokens`` is its counter now; None when it does not even tell that."""
        if tokens is None:
            return self.answered(replica)
        stood_still = self._tokens.get(replica, tokens) == tokens
        self._in_vain[replica] = self._in_vain.get(replica, 0) + 1 if stood_still else 1
        self._tokens[replica] = tokens
        return None

    def ready(self, replica: str) -> bool:
        """Whether it may get requests as far as this agent knows."""
        return self._in_vain.get(replica, 0) < self._fall

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question of the gateways' agent check: ``up`` or ``down``; nothing where it is none."""
        try:
            async with asyncio.timeout(_QUESTION_S):
                replica = (await reader.readuntil(b"\n")).decode(errors="replace").strip()
                writer.write(b"up\n" if self.ready(replica) else b"down\n")
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a gateway that hears nothing leaves the replica as it is
        finally:
            writer.close()

    async def serve(self, host: str, port: int) -> None:
        """Answer for ever."""
        server = await asyncio.start_server(self.answer, host, port, limit=_QUESTION_BYTES_MAX)
        async with server:
            await server.serve_forever()
