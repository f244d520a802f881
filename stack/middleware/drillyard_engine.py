"""What a replica answers to, whoever asks: an ASGI middleware around vLLM's routes (and the simulator's).

vLLM has many more routes than the drills need, and its own --api-key guards those under /v1, /v2 and /inference alone.
Only ``PATHS`` reach the engine. ``/reset_prefix_cache`` is answered here, for the token in DRILLYARD_ENGINE_TOKEN: with
VLLM_SERVER_DEV_MODE, which has that route, vLLM would add /collective_rpc and others for everybody on the machine.

Imported by vLLM's own Python, so it needs nothing but the standard library.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

TOKEN_VARIABLE = "DRILLYARD_ENGINE_TOKEN"
RESET = "/reset_prefix_cache"
#: Inference, and what probes read.
PATHS = frozenset(
    ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/version", "/metrics", "/metrics/")
)


class AllowList:
    """``more``: paths beside ``PATHS``. Without a token in the environment nobody resets anything."""

    def __init__(self, app: App, more: Iterable[str] = ()) -> None:
        self._app, self._paths = app, PATHS.union(more)
        self._expected = f"Bearer {token}".encode() if (token := os.environ.get(TOKEN_VARIABLE)) else None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One connection: passed on, answered here, or 404."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in self._paths):
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (scope["method"], scope["path"]) != ("POST", RESET):
            await _answer(send, 404, {"detail": "Not Found"})
        elif not self._is_ours(scope):
            await _answer(send, 401, {"error": "Unauthorized"})
        else:
            success = await scope["app"].state.engine_client.reset_prefix_cache()
            await _answer(send, 200, {"success": bool(success)})

    def _is_ours(self, scope: dict[str, Any]) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return self._expected is not None and hmac.compare_digest(given, self._expected)


async def _answer(send: Send, status: int, body: Message) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
