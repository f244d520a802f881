"""What the harness itself asks of replicas, counted: its crossings and synthetic generations cost tokens, too.

Sampled as three counters per replica, so that a check can tell the harness' tokens from the users': those asked for,
those of asks that have ended, and those that certainly were made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.evidence.record import ANY_REPLICA
from harness.probes.base import ProbeSet, Row


@dataclass
class Ask:
    """One request of the harness; ``got`` is set to the tokens that certainly were made.

    ``whole``: the answer came to its end by itself, so that no more will be made.
    """

    got: int = 0
    whole: bool = False


@dataclass
class _Count:
    asked: int = 0
    ended: int = 0
    got: int = 0


class OwnTokens:
    """The counts of one run, and the probe that samples them."""

    name, period_s = "own tokens", 0.2

    def __init__(self, replicas: Sequence[str]) -> None:
        self._counts = {replica: _Count() for replica in (*replicas, ANY_REPLICA)}
        self._unspent = dict.fromkeys(self._counts, 0)  # of whole answers: asked for, not ended, taken for the next

    @contextlib.contextmanager
    def asking(self, replica: str, tokens: int) -> Iterator[Ask]:
        """Around a request for at most ``tokens`` from ``replica``; ANY_REPLICA when a gateway chooses it."""
        count, ask = self._counts[replica], Ask()
        spent = min(self._unspent[replica], tokens)
        self._unspent[replica] -= spent
        count.asked += tokens - spent
        try:
            yield ask
        finally:
            count.ended += ask.got if ask.whole else tokens
            self._unspent[replica] += tokens - ask.got if ask.whole else 0
            count.got += ask.got

    async def sample(self) -> Sequence[Row]:
        """The counters of each replica, from 0 on."""
        return [
            Row(replica, f"own_tokens_{what}_total", "by=harness", float(value))
            for replica, count in self._counts.items()
            for what, value in vars(count).items()
        ]


PROBES = ProbeSet(("replica",), lambda scene, _: scene.own)
