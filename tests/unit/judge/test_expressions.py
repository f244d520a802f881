"""Objectives as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import objectives

VALUES = {
    "gateway.first_byte_timeout_ms": 3000.0,
    "baseline.ttft_p95_ms": 320.0,
    "gateway.retries": 2.0,
    "dns.ttl_s": 1000.0,
}


@pytest.mark.parametrize(
    ("text", "unit", "shown"),
    [
        (">= 99 %", "%", "≥ 99 %"),
        ("<= 800 ms", "ms", "≤ 800 ms"),
        ("< 3 s", "ms", "< 3000 ms"),
        ("<= 1.5", "", "≤ 1.5"),
        ("> 20 tokens/s", "tokens/s", "> 20 tokens/s"),
        (
            "<= gateway.first_byte_timeout_ms + 2 * baseline.ttft_p95_ms",
            "ms",
            "≤ 3640 ms (3000 + 2 × 320)",
        ),
        ("<= 2 * (gateway.retries + 1)", "", "≤ 6 (2 × (2 + 1))"),
        ("<= max(1 s, 2 * baseline.ttft_p95_ms)", "ms", "≤ 1000 ms (max(1000, 2 × 320))"),
        ("<= gateway.first_byte_timeout_ms - (1 s - 500 ms)", "ms", "≤ 2500 ms (3000 − (1000 − 500))"),
        ("<= dns.ttl_s + 1 s", "ms", "≤ 2000 ms (1000 + 1000)"),
        ("<= gateway.first_byte_timeout_ms / 3", "ms", "≤ 1000 ms (3000 / 3)"),
    ],
)
def test_evaluates_and_shows_its_numbers(text: str, unit: str, shown: str) -> None:
    """The text of a limit carries the numbers that were filled in."""
    objective = objectives.parse(text)
    assert objective.unit == unit
    assert objectives.evaluate(objective, VALUES.__getitem__).text == shown


def test_names() -> None:
    """The names that an objective uses, each once."""
    objective = objectives.parse("<= gateway.first_byte_timeout_ms + baseline.ttft_p95_ms + baseline.ttft_p95_ms")
    assert objectives.names(objective) == ("baseline.ttft_p95_ms", "gateway.first_byte_timeout_ms")


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("99 %", 1, "must begin with"),
        ("<= foo", 4, "expected numbers"),
        ("<= baseline.ttft", 4, "ask for a percentile"),
        ("<= baseline.tfft_p95_ms", 4, "did you mean 'ttft_p95_ms'"),
        ('<= __import__("os").getcwd()', 4, "expected numbers"),
        ("<= 3 s + 5 %", 4, "ms \\+ % has no meaning"),
        ("<= 100 ms + 5", 4, "ms \\+ a bare number"),
        ("<= 3 s * 2 s", 4, "ms × ms"),
        ("<= 2 ** 3", 4, "expected numbers"),
        ("<= True", 4, "expected numbers"),
        ("<= 100 ms + baseline.x.y", 13, "expected numbers"),
        ("<= (lambda: 3)()", 4, "expected numbers"),
    ],
)
def test_refuses_with_position(text: str, column: int, problem: str) -> None:
    """Anything else is a ValueError that names the column."""
    with pytest.raises(ValueError, match=f"column {column}: .*{problem}"):
        objectives.parse(text)


def test_division_by_zero() -> None:
    """A limit that cannot be computed is an error, not infinity."""
    objective = objectives.parse("<= 1 s / gateway.retries")
    with pytest.raises(ValueError, match="divides by zero"):
        objectives.evaluate(objective, lambda name: 0.0)


@given(st.text(max_size=40))
def test_never_anything_but_valueerror(text: str) -> None:
    """Whatever people type: an objective or a ValueError."""
    for candidate in (text, f"<= {text}"):
        try:
            objectives.parse(candidate)
        except ValueError:
            continue


def test_limits_compare() -> None:
    """Margins are positive on the good side; ``<`` does not hold at the limit itself."""
    upper = objectives.evaluate(objectives.parse("<= 800 ms"), VALUES.__getitem__)
    lower = objectives.evaluate(objectives.parse(">= 99 %"), VALUES.__getitem__)
    strict = objectives.evaluate(objectives.parse("< 800 ms"), VALUES.__getitem__)
    assert (upper.met_by(800), strict.met_by(800), upper.met_by(801)) == (True, False, False)
    assert (lower.met_by(99), lower.met_by(98.9)) == (True, False)
    assert (upper.margin(700), lower.margin(98)) == (100, -1)
