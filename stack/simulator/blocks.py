"""The KV cache as a count of blocks."""

from __future__ import annotations


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
