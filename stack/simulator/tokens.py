"""The simulator's tokenizer: pieces of words with the space before them. Joined, the tokens are the text again."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\s?\w{1,6}|\s?[^\w\s]|\s")


def tokenize(text: str) -> list[str]:
    """Tokens of ``text``; ``"".join`` gives the text back."""
    return _TOKEN.findall(text)


def render_chat(contents: list[str]) -> list[str]:
    """Prompt tokens of a conversation: a chat template wraps each message in 4 and opens the answer with 3."""
    wrapped = [["<", "role", ">", *tokenize(content), "</>"] for content in contents]
    return [token for message in wrapped for token in message] + ["<", "answer", ">"]
