"""The KV cache: a count of blocks, and which prompts it has seen."""

from __future__ import annotations

from collections.abc import Sequence


def chain(tokens: Sequence[str | int], size_tokens: int) -> tuple[int, ...]:
    """One number per block that ``tokens`` fill: equal for two prompts that are equal up to the end of that block."""
    numbers: list[int] = []
    for end in range(size_tokens, len(tokens) + 1, size_tokens):
        numbers.append(hash((numbers[-1] if numbers else 0, *tokens[end - size_tokens : end])))
    return tuple(numbers)


class PrefixCache:
    """Full blocks of prompts that were computed before, at most ``count``; the one unused for longest goes first."""

    def __init__(self, count: int, size_tokens: int) -> None:
        self._count, self._size_tokens = count, size_tokens
        self._known: dict[int, None] = {}

    def look_up(self, prefixes: Sequence[int], prompt_tokens: int) -> int:
        """Tokens of a prompt that need not be computed again, from its ``chain``; it is known from now on.

        As in vLLM its last token is computed always, and with it the whole block that it is in.
        """
        usable = prefixes[: (prompt_tokens - 1) // self._size_tokens]
        found = next((i for i, number in enumerate(usable) if number not in self._known), len(usable))
        for number in prefixes:
            self._known.pop(number, None)
            self._known[number] = None
        for number in list(self._known)[: max(0, len(self._known) - self._count)]:
            del self._known[number]
        return found * self._size_tokens

    def reset(self) -> None:
        """Forget all of them."""
        self._known.clear()


class Blocks:
    """A pool of KV blocks. As in vLLM one block of the configured number is set aside and never handed out."""

    def __init__(self, count: int, size_tokens: int) -> None:
        self.count = count
        self.size_tokens = size_tokens
        self.usable = count - 1
        self.held = 0
        self.leaked = 0

    def needed(self, tokens: int) -> int:
        """Blocks that ``tokens`` tokens fill or begin."""
        return -(-tokens // self.size_tokens)

    def take(self, number: int) -> bool:
        """Hold that many more; False, and nothing taken, when there are not enough."""
        if self.held + self.leaked + number > self.usable:
            return False
        self.held += number
        return True

    def give_back(self, number: int) -> None:
        """Release blocks that were taken."""
        self.held -= number

    def leak(self, number: int) -> None:
        """Lose blocks that were taken: nobody holds them and nobody can."""
        self.held -= number
        self.leaked += number

    def mend(self) -> None:
        """Bring back what leaked."""
        self.leaked = 0

    @property
    def usage(self) -> float:
        """Share of the usable blocks that are not free, 0 to 1."""
        return (self.held + self.leaked) / self.usable
