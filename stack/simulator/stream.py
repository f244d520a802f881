"""Server-sent events, from an open sequence to the socket, and what is broken on the way when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from stack.simulator.behaviour import Behaviour
from stack.simulator.engine import Engine
from stack.simulator.protocol import DONE, ENGINE_DEAD, Format, event
from stack.simulator.sequence import Sequence


class BrokenOff(Exception):
    """The connection is to break here."""


@asynccontextmanager
async def reading(engine: Engine, sequence: Sequence, receive: Receive) -> AsyncIterator[None]:
    """While the client is there. When it leaves, ``sequence`` wakes up; at the end the engine may forget it."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        engine.release(sequence)
        sequence.leave()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        if not sequence.reader_gone:
            engine.release(sequence)


class EventStream:
    """An ASGI response. Its headers go out before the sequence has left the engine's queue, as vLLM's do."""

    def __init__(
        self, engine: Engine, sequence: Sequence, form: Format, behaviour: Behaviour, headers: dict[str, str]
    ) -> None:
        self._engine, self._sequence, self._form, self._behaviour = engine, sequence, form, behaviour
        self._headers = {"content-type": "text/event-stream; charset=utf-8", **headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Returning without the last body message makes the server break the connection."""
        raw = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        async with reading(self._engine, self._sequence, receive):
            try:
                async for part in self._broken(self._events()):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except BrokenOff:
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[bytes]:
        sequence, form = self._sequence, self._form
        begun = not form.chat
        while sequence.finish_reason is None or sequence.news.is_set():
            fresh, finish_reason = await sequence.next()
            if sequence.reader_gone:
                return
            if finish_reason == "error":
                yield event(ENGINE_DEAD)
                yield DONE
                return
            if not begun:
                yield form.role_event()
                begun = True
            yield form.text_event("".join(fresh), self._told(finish_reason))
        if self._behaviour.silent_truncation:
            return
        if form.include_usage:
            yield form.usage_event(sequence.generated)
        yield DONE

    def _told(self, finish_reason: str | None) -> str | None:
        return None if self._behaviour.silent_truncation else finish_reason

    async def _broken(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The events, as far as the behaviour lets them through."""
        cut, spoil = self._behaviour.cut_after_events, self._behaviour.inband_error_after_events
        count = 0
        async for part in events:
            if cut is not None and count >= cut:
                raise BrokenOff
            if spoil is not None and count >= spoil:
                yield event(ENGINE_DEAD)
                yield DONE
                return
            yield part
            count += 1
