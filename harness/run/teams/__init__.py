"""Scripted teams: programs that play a game through the players' interface, as an AI agent would.

Each file that has a ``SUMMARY`` and ``play(seat)`` is a team, named as its file. It knows what its seat at the desk
(``seat.py``) tells, and nothing else: no run folder, no game file, no draw.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from harness.model.errors import UsageError, did_you_mean


def teams() -> dict[str, ModuleType]:
    """The teams by name."""
    found = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return {one.__name__.rpartition(".")[2]: one for one in found if hasattr(one, "SUMMARY")}


def find(name: str) -> ModuleType:
    """The team of that name. UsageError for none."""
    known = teams()
    if name not in known:
        raise UsageError(f"there is no team {name!r}; {did_you_mean(name, known) or 'expected ' + ', '.join(known)}")
    return known[name]
