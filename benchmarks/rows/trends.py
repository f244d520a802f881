"""How soon a step in a series of nights is found, and how rarely a series without one is blamed: docs/trends.md."""

from __future__ import annotations

from typing import Any

from benchmarks import trends

SERIES, STEP, NIGHTS = 100, 20, 3
FOUND_MIN, RIGHT_MIN, FALSE_MAX = 95.0, 95.0, 1


def measure(instance: int) -> dict[str, Any]:
    """Of generated series, always the same; no stack is needed."""
    one = trends.curve(STEP, SERIES)
    return {
        "series": SERIES,
        "step": STEP,
        "found": one.found[NIGHTS],
        "right": round(one.right[NIGHTS], 1),
        "false_alarms": trends.false_alarms(SERIES),
    }


def broken(figures: dict[str, Any]) -> list[str]:
    """A step of 20 % is found within three nights and dated right on the third; without one there is no alarm."""
    found = []
    if figures["found"] < FOUND_MIN:
        found.append(f"{figures['found']:g} % found by night {NIGHTS}, at least {FOUND_MIN:g} %")
    if figures["right"] < RIGHT_MIN:
        found.append(f"{figures['right']:g} % found and dated right on night {NIGHTS}, at least {RIGHT_MIN:g} %")
    if figures["false_alarms"] > FALSE_MAX:
        found.append(f"{figures['false_alarms']} false alarms, at most {FALSE_MAX}")
    return found
