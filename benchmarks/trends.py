"""``python -m benchmarks.trends [--series N]``: how soon a step over the nights is found, as a table.

Each series is normal noise with a standard deviation of 5 % around one level, and the same after a step. Every one of
its nights is judged as a nightly run would judge it: from the values up to that night. The seeds are fixed. The table
stands in docs/trends.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from harness.judge import trends

LEVEL, SPREAD = 100.0, 5.0
#: Nights before a step, and in an unchanged series.
BEFORE, UNCHANGED = 40, 60
STEPS = (10, 20, 50)
WITHIN = (1, 2, 3, 5, 10)
#: An alarm that is dated so many nights too early is still one about this step.
_NEAR = 3


@dataclass(frozen=True)
class Curve:
    """What was found of one step, by its first, second … bad night, in % of the series.

    ``found`` once there has been an alarm, ``right`` where there is one in that night and it names the exact night.
    """

    step: int
    found: dict[int, float]
    right: dict[int, float]


def series(step: int, seed: int, nights: int) -> list[float]:
    """The values of one series; ``step`` is in % of its level, after night ``BEFORE``."""
    values = LEVEL + np.random.default_rng([step, seed]).normal(0.0, SPREAD, nights)
    values[BEFORE:] += step / 100 * LEVEL
    return [float(value) for value in values]


def curve(step: int, count: int) -> Curve:
    """Of so many series, whose seeds begin at 0."""
    nights = range(1, max(WITHIN) + 1)
    found = np.zeros((count, len(nights)), dtype=bool)
    right = np.zeros_like(found)
    for seed in range(count):
        values = series(step, seed, BEFORE + len(nights))
        for night in nights:
            alarm = trends.regression(values[: BEFORE + night], "higher")
            found[seed, night - 1] = alarm is not None and alarm.since >= BEFORE - _NEAR
            right[seed, night - 1] = alarm is not None and alarm.since == BEFORE
    ever = np.logical_or.accumulate(found, axis=1)
    return Curve(
        step,
        {night: 100 * float(ever[:, night - 1].mean()) for night in WITHIN},
        {night: 100 * float(right[:, night - 1].mean()) for night in WITHIN},
    )


def false_alarms(count: int) -> int:
    """The nights with an alarm in so many series that never change."""
    return sum(
        trends.regression(values[:night], "higher") is not None
        for values in (series(0, seed, UNCHANGED) for seed in range(count))
        for night in range(1, UNCHANGED + 1)
    )


def table(count: int) -> str:
    """The operating curve of so many series of each sort, as Markdown."""
    titles = ["step", *(f"by night {night}" for night in WITHIN), "found and dated right on night 3", "on night 10"]
    rows = [titles, ["---"] * len(titles)]
    for step in STEPS:
        one = curve(step, count)
        shares = (*one.found.values(), one.right[3], one.right[10])
        rows.append([f"{step} %", *(f"{share:.1f} %" for share in shares)])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{lines}\n\nFalse alarms: {false_alarms(count)} in {count:,} unchanged series of {UNCHANGED} nights.\n"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trends", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=1000, help="of each sort; default %(default)s")
    print(table(parser.parse_args().series), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
