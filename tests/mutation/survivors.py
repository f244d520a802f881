"""The files of survivors: mutations that leave PASS, one per line, each with the reason why that is right.

``survivors/<drill>-<colour>.txt`` holds lines «mutation<TAB>reason», sorted. There are no wildcards: a line is one
mutation of one column, series, kind of event or field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "survivors"
RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
COLOURS = {"green": "PASS", "red": "FAIL"}
#: In place of a reason until somebody has written one; the tests refuse it.
MISSING = "?"


def fixtures() -> list[Path]:
    """The recorded runs, one folder per drill and colour."""
    return sorted(path for path in RUNS.glob("*/*") if path.name in COLOURS and path.is_dir())


def name(fixture: Path) -> str:
    """«<drill>-<colour>»."""
    return f"{fixture.parent.name}-{fixture.name}"


def listed(fixture: Path) -> dict[str, str]:
    """Mutation -> reason. ValueError for a line that is none, and for a mutation that stands there twice."""
    path, found = FOLDER / f"{name(fixture)}.txt", dict[str, str]()
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        mutation, tab, reason = line.partition("\t")
        if not tab or not mutation or mutation in found:
            raise ValueError(f"{path.name}:{number}: found {line!r}, expected one «mutation<TAB>reason» per mutation")
        found[mutation] = reason
    return found


def unjustified(entries: Mapping[str, str]) -> list[str]:
    """The mutations without a reason, and those that try to stand for several."""
    return [mutation for mutation, why in entries.items() if not why.strip(f" {MISSING}") or "*" in mutation]


def write(fixture: Path, survivors: Iterable[str]) -> None:
    """List ``survivors`` with the reasons that are known: this file's, else those of the other files."""
    reasons = {m: why for other in fixtures() for m, why in listed(other).items()} | listed(fixture)
    FOLDER.mkdir(exist_ok=True)
    lines = [f"{mutation}\t{reasons.get(mutation, MISSING)}\n" for mutation in sorted(survivors)]
    (FOLDER / f"{name(fixture)}.txt").write_text("".join(lines))
