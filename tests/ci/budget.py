"""``python3 tests/ci/budget.py FILE``: what each stage of `.ci/run` took, against its budget.

A stage over its budget is reported and is no failure by itself: a slow machine is not broken. The hard limits, which
end a stage, stand in `.ci/run`. Nothing but the standard library: it also has to say what a set-up took that failed.

FILE has a line per stage: its group, seconds, and title, with tabs between them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Minutes.
BUDGET_MIN = {"set-up": 10, "tests": 8, "drills": 30, "Docker": 10, "trust": 5}
WHOLE_MIN = 65


@dataclass(frozen=True)
class Stage:
    """One stage that has ended."""

    group: str
    took_s: float
    title: str


def stages(text: str) -> list[Stage]:
    """The stages of such a file. ValueError for a line that is none, or a group without a budget."""
    found = []
    for line in text.splitlines():
        group, took, title = line.split("\t", 2)
        if group not in BUDGET_MIN:
            raise ValueError(f"no budget for {group!r}, expected one of {', '.join(BUDGET_MIN)}")
        found.append(Stage(group, float(took), title))
    return found


def table(ended: Sequence[Stage], whole_s: float) -> str:
    """A line per group with its stages, one for the whole; each says by how much it is over."""
    lines = ["budget  minutes  took"]
    for group, minutes in BUDGET_MIN.items():
        own = [stage for stage in ended if stage.group == group]
        took = _took(sum(stage.took_s for stage in own), minutes) if own else "did not run"
        lines.append(f"{group:<7} {minutes:>7}  {took}")
        lines += [f"{'':<15}  {_minutes(stage.took_s)} {stage.title}" for stage in own]
    return "\n".join([*lines, f"{'whole':<7} {WHOLE_MIN:>7}  {_took(whole_s, WHOLE_MIN)}"])


def _took(took_s: float, minutes: float) -> str:
    over_s = took_s - 60 * minutes
    return _minutes(took_s) + (f", OVER BUDGET by {_minutes(over_s)}" if over_s > 0 else "")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def main() -> int:
    """Print the table of the file named first; the second argument is what everything took, seconds."""
    path, whole_s = sys.argv[1:3]
    print(table(stages(Path(path).read_text(encoding="utf-8")), float(whole_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
