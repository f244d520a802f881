"""One request inside the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class Sequence:
    """What the engine knows of one request. Times are of the event loop's clock; tokens that the reader has not fetched
    yet gather in ``fresh``, as vLLM merges outputs for a slow reader."""

    answer: Iterator[str]
    prompt_tokens: int
    max_tokens: int
    arrived_s: float
    generated: int = 0
    blocks: int = 0
    prefilled_at_s: float = 0.0
    scheduled_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float = 0.0
    preemptions: int = 0
    finish_reason: str | None = None
    prefixes: tuple[int, ...] = ()  # of its prompt: ``blocks.chain``
    reader_gone: bool = False
    fresh: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> int:
        """Tokens whose keys and values are in the cache."""
        return self.prompt_tokens + self.generated

    def push(self, text: str) -> None:
        """One more token; the empty text is the end-of-sequence token."""
        self.generated += 1
        self.fresh.append(text)
        self.news.set()

    def finish(self, reason: str) -> None:
        """The last word; wakes the reader."""
        self.finish_reason = reason
        self.news.set()

    def leave(self) -> None:
        """The reader is gone; wakes it up so that it ends."""
        self.reader_gone = True
        self.news.set()

    async def next(self) -> tuple[list[str], str | None]:
        """Wait for news: (tokens since the last call, finish reason or None). Both empty when the reader has gone."""
        await self.news.wait()
        self.news.clear()
        fresh, self.fresh = self.fresh, []
        return fresh, self.finish_reason
