"""The drills' healthy runs and mutants, found by the names of the drills.

``story.py`` of a drill's folder has ``healthy``. Where a drill can go well in several ways, the argument of ``healthy``
says in which, and ``WAYS`` are those arguments. ``mutants.py`` has ``MUTANTS``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from harness.judge import drill
from tests.judge.defects import Mutants
from tests.runs import Run

PARTS = ("story.py", "mutants.py")


def folder(name: str) -> Path:
    """Where the story and the mutants of that drill stand."""
    return Path(__file__).parent / name.replace("-", "_")


def names() -> list[str]:
    """The drills that have both, sorted."""
    return [name for name in drill.names() if all((folder(name) / part).is_file() for part in PARTS)]


def ways(name: str) -> tuple[str, ...]:
    """The ways in which that drill can go well; one of no name where there is only one."""
    return getattr(_part(name, "story"), "WAYS", ("",))


def numberless(name: str, way: str) -> set[str]:
    """Checks that pass without a number when all goes well in that way, as they find nothing to measure."""
    return getattr(_part(name, "story"), "NUMBERLESS", {}).get(way, set())


def healthy(name: str, way: str = "") -> Run:
    """A fresh copy of a run of that drill in which everything went as it should."""
    made = _part(name, "story").healthy
    return made(way) if way else made()


def mutants(name: str) -> Mutants:
    """What has been seen to turn a check of that drill red."""
    return _part(name, "mutants").MUTANTS


def _part(name: str, part: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{folder(name).name}.{part}")
