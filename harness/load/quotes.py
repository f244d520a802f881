"""Leaves out of a message what it quotes of a prompt or an answer, however it writes it: cut, escaped, re-spaced."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: So many letters and digits in a row that both texts share are a quote; of a shorter text, the whole of it.
QUOTE_CHARS = 10
MARK = "[…]"

#: One written character: \u4f60, \x41, another escape, or itself.
_WRITTEN = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\.|(.)", re.DOTALL)


def without_quotes(message: str, private: Sequence[str]) -> str:
    """``message`` with each run of letters and digits that it shares with a ``private`` text replaced by […]."""
    written = [(match.start(), match.end(), _letter(match)) for match in _WRITTEN.finditer(message)]
    letters = [(start, end, letter) for start, end, letter in written if letter]
    said = "".join(letter for *_, letter in letters)
    quoted = [False] * len(letters)
    for text in private:
        hidden = "".join(letter for letter in map(_plain, text) if letter)
        length = min(QUOTE_CHARS, len(hidden))
        pieces = {hidden[n : n + length] for n in range(len(hidden) - length + 1)} - {""}
        for n in range(len(said) - length + 1):
            if said[n : n + length] in pieces:
                quoted[n : n + length] = [True] * length
    return _masked(message, [(start, end) for start, end, _ in letters], quoted)


def _masked(message: str, places: Sequence[tuple[int, int]], quoted: Sequence[bool]) -> str:
    kept, copied_to, masking = [], 0, False
    for (start, end), is_quote in zip(places, quoted, strict=True):
        if is_quote and not masking:
            kept += [message[copied_to:start], MARK]
        if is_quote:
            copied_to = end
        masking = is_quote
    return "".join((*kept, message[copied_to:]))


def _letter(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return _plain(chr(int(code, 16)) if code else match[3] or "")


def _plain(char: str) -> str:
    """One comparable character, or nothing for what is neither letter nor digit."""
    return char.lower()[:1] if char.isalnum() else ""
