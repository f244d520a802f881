"""harness/load/quotes.py: no part of a prompt gets into a recorded message."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.quotes import QUOTE_CHARS, without_quotes

PROMPT = "What is the secret colour of the harbour, “Zoë”?\nSay it twice."


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"error at {PROMPT!r}", "error at '[…].'"),
        (f"error at {json.dumps(PROMPT)}", 'error at "[…]."'),
        ("input: 'What is the secret col…'", "input: '[…]…'"),
        ("THE SECRET  COLOUR: unknown", "[…]: unknown"),
        ("of the harbour, or what a harbour!", "[…], or what a harbour!"),
        ("no replica answered; the queue is full", "no replica answered; the queue is full"),
        ("", ""),
    ],
)
def test_quotes_go_and_the_rest_stays(message: str, expected: str) -> None:
    """Whole or cut, escaped, re-spaced, in capitals."""
    assert without_quotes(message, [PROMPT]) == expected


def test_short_prompt_is_found_whole() -> None:
    """Of a text shorter than a quote the whole is looked for; a text without letters quotes nothing."""
    assert without_quotes("cannot do 'x7y!'", ["x7y", "", "?!"]) == "cannot do '[…]!'"


@given(prompt=st.text(min_size=1, max_size=80), before=st.text(max_size=30), after=st.text(max_size=30))
def test_no_quote_survives(prompt: str, before: str, after: str) -> None:
    """Whatever surrounds a quote and whatever it holds: no run of letters that long is left of it."""
    letters = "".join(char.lower()[:1] for char in prompt if char.isalnum() and char != "\\")
    left = without_quotes(f"{before} {prompt} {after}", [prompt])
    plain = "".join(char.lower()[:1] for char in left.replace("[…]", " ") if char.isalnum() or char == " ")
    size = min(QUOTE_CHARS, len(letters))
    if "\\" not in before + prompt:  # an escape that is none, or half of one, changes the letters themselves
        assert not size or all(letters[n : n + size] not in plain for n in range(len(letters) - size + 1))
