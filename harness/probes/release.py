"""Whether a replica holds any KV block: it can let go of its prefix cache only when nobody does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx

from harness.model import exhausted
from harness.model.topology import Component
from stack import bounded

#: A synthetic generation may hold a block just now: it is asked again so often.
_AGAIN_EVERY_S = 0.2
_ANSWERS_WITHIN_S = 2.0


@dataclass(frozen=True)
class Reset:
    """What came of asking one replica."""

    component: str
    success: bool
    tries: int
    why: str


async def reset_prefix_cache(replica: Component, within_s: float, token: str) -> Reset:
    """Ask with the engine's ``token`` until it succeeds, ``within_s`` at most. Never raises for network trouble."""
    deadline, tries, why = time.monotonic() + within_s, 0, "it was not asked"
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=None, trust_env=False, headers=headers) as client:
        while time.monotonic() < deadline:
            tries += 1
            try:
                async with asyncio.timeout(_ANSWERS_WITHIN_S):
                    answer = await bounded.ask_async(client, "POST", replica.url(path="/reset_prefix_cache"))
                if answer.status_code == 200 and answer.json() == {"success": True}:
                    return Reset(
                        replica.name, True, tries, f"its prefix cache was reset, so it holds no KV block (try {tries})"
                    )
                why = f"it cannot reset its prefix cache: {answer.status_code} {answer.text[:100]}"
            except (httpx.HTTPError, TimeoutError, ValueError) as error:
                exhausted.raise_if_local(error)
                why = f"it does not answer: {type(error).__name__}"
            await asyncio.sleep(_AGAIN_EVERY_S)
    return Reset(replica.name, False, tries, f"{why} (tried {tries} times)")
