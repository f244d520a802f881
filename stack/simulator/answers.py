"""What the «model» says: the right answer to a known question, deterministic filler to anything else."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import chain, islice

from stack.models import questions
from stack.simulator.tokens import tokenize

_FILLER = re.findall(
    r"\w+",
    "the a one some of in on at by for with from and or but so then now here there this that each more less time way "
    "day work part place case point hand line end side water light stone river road house tree field wind rain sun "
    "sea bird horse open close move turn carry hold keep find make give take come go stay wait small large long short "
    "old new clear dark warm cold quiet plain",
)


class Answers:
    """Answers by prompt. The same seed and prompt give the same tokens, in every process."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._known = {item.question.strip(): item.answer for item in questions()}

    def to(self, prompt: str, *, endless: bool, wrong: bool) -> Iterator[str]:
        """Tokens of the answer. A known question's answer is finite unless ``endless``; filler never ends."""
        answer = self._known.get(prompt.strip())
        if answer is None:
            return self._filler(prompt)
        if wrong:
            return islice(self._filler(prompt), len(tokenize(answer)))
        right = tokenize(answer)
        return chain(right, self._filler(prompt)) if endless else iter(right)

    def _filler(self, prompt: str) -> Iterator[str]:
        draw = random.Random(f"{self._seed} {prompt}")
        while True:
            yield " " + draw.choice(_FILLER)
