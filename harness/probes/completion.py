"""Completion requests of the harness itself, parsed as the load generator parses its own."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx

from harness.model import exhausted
from harness.model.stream import END_BYTES_MAX, END_GRACE_S, CompletionReader


async def ask(
    reader: CompletionReader,
    deadline_s: float,
    request: dict[str, Any],
    *,
    verify: ssl.SSLContext | bool = False,
    head: Callable[[httpx.Response], object] = lambda response: None,
    piece: Callable[[int], object] = lambda size: None,
) -> str | None:
    """POST ``request`` (httpx's arguments) and feed the answer to ``reader``, for ``deadline_s`` at most.

    None, or why there was no whole HTTP answer: ``timeout``, ``refused``, ``broken``. Network errors do not raise;
    Exhausted when no file descriptor, port or memory is left here.
    ``head`` is called with the head of the answer, ``piece`` with the size in bytes of each piece of the body.
    """
    request = {**request, "headers": {"Accept-Encoding": "identity", **request.get("headers", {})}}
    trouble, after = None, 0
    try:
        async with (
            asyncio.timeout(deadline_s) as limit,
            httpx.AsyncClient(
                timeout=None, verify=verify, trust_env=False, event_hooks={"response": [_forget_redirect]}
            ) as client,
            client.stream("POST", **request) as response,
        ):
            reader.head(
                response.status_code, response.headers.get("Content-Type"), response.headers.get("Content-Encoding")
            )
            head(response)
            _hurry(limit, reader)
            async for data in response.aiter_raw():
                reader.feed(data, time.monotonic())
                piece(len(data))
                after += len(data) if reader.over else 0
                if after > END_BYTES_MAX:
                    break
                _hurry(limit, reader)
    except TimeoutError:
        trouble = None if reader.over else "timeout"
    except httpx.ConnectError as error:
        exhausted.raise_if_local(error)
        trouble = "refused"
    except (httpx.HTTPError, ssl.SSLError):  # httpx wraps TLS errors of the handshake only
        trouble = "broken"
    if reader.status:
        reader.end("fin" if trouble == "broken" else trouble)
    return None if trouble == "broken" and reader.over else trouble


def forget_redirect(response: httpx.Response) -> None:
    """httpx makes the next request of a redirect that nobody follows, too, and raises where it leads to no URL."""
    response.headers.pop("Location", None)


async def _forget_redirect(response: httpx.Response) -> None:
    forget_redirect(response)


def _hurry(limit: asyncio.Timeout, reader: CompletionReader) -> None:
    """Read on briefly after the end of the answer: closing before the HTTP message ends would look like a cancel."""
    if reader.over:
        soon = asyncio.get_running_loop().time() + END_GRACE_S
        limit.reschedule(min(soon, limit.when() or soon))
