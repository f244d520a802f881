"""Prompts: what users ask. Eval prompts have one right answer; open ones have none, and long ones fill KV blocks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.load.job import Question
from harness.model.scenario import Cohort

#: A KV block of vLLM's CPU build holds 128 tokens; a word is a token or more: at least two full blocks.
LONG_WORDS = 300
#: About as much as an eval question, so that first tokens of both take as long.
OPEN_WORDS = 6

_WORDS = ("the", "and", "of", "to", "in", "is", "on", "for", "with", "as", "by", "at", "from", "that", "this", "it")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user message; ``answer`` is the only right one, None when any answer will do.

    ``endless``: the answer is to be as long as ``max_tokens`` allows.
    """

    text: str
    answer: str | None
    endless: bool = False


class Prompts:
    """Draws prompts. Open and long ones are words of the eval questions: those any tokenizer here knows."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = questions
        self._words = tuple(sorted({w for q in questions for w in q.question.split()})) or _WORDS

    def draw(self, cohort: Cohort, rng: random.Random) -> Prompt:
        """The next prompt of a user of ``cohort``."""
        if cohort.prompts == "eval":
            question = rng.choice(self._questions)
            return Prompt(question.question, question.answer)
        if cohort.prompts == "open":
            return Prompt(" ".join(rng.choices(self._words, k=OPEN_WORDS)), None, endless=True)
        return Prompt(" ".join(rng.choices(self._words, k=LONG_WORDS)), None)
