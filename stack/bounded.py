"""Answers of HTTP servers, read whole and never beyond a size or a time, which whoever asks decides.

What comes is kept as it is sent: nothing is decompressed, so that a small body cannot become a large one.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

#: A metrics page of a replica has 60 kB, everything else that is asked for less.
BODY_BYTES_MAX = 4 << 20


class TooMuch(httpx.HTTPError):
    """The answer was larger than ``BODY_BYTES_MAX``, or had not come whole in time."""


@dataclass(frozen=True)
class Answer:
    """A whole answer, whatever its status."""

    status_code: int
    headers: httpx.Headers
    content: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. ValueError when it is none."""
        try:
            return json.loads(self.content)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def ask(client: httpx.Client, method: str, url: str, deadline_s: float, **request: Any) -> Answer:
    """``client.request`` whose answer is bounded; each read may wait ``deadline_s``. httpx.HTTPError without one."""
    body, deadline = bytearray(), time.monotonic() + deadline_s
    with client.stream(method, url, **_plain(request), timeout=deadline_s) as response:
        for piece in response.iter_raw():
            _take(body, piece)
            if time.monotonic() > deadline:
                raise TooMuch(f"the answer had not come whole in {deadline_s:g} s")
    return Answer(response.status_code, response.headers, bytes(body))


async def ask_async(client: httpx.AsyncClient, method: str, url: str, **request: Any) -> Answer:
    """As ``ask``; how long it may take is said by an ``asyncio.timeout`` around it."""
    body = bytearray()
    async with client.stream(method, url, **_plain(request)) as response:
        async for piece in response.aiter_raw():
            _take(body, piece)
    return Answer(response.status_code, response.headers, bytes(body))


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "headers": {"Accept-Encoding": "identity", **request.get("headers", {})}}


def _take(body: bytearray, piece: bytes) -> None:
    body += piece
    if len(body) > BODY_BYTES_MAX:
        raise TooMuch(f"the answer has more than {BODY_BYTES_MAX} bytes, which are read at most")
