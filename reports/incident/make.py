"""An incident report of a case: its sections, one file each in ``sections/``."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from harness.model.incident import Report, Section
from reports.incident import sections, times
from reports.incident.case import Case


def report(case: Case) -> Report:
    """The whole of it."""
    found = times.of(case)
    made = tuple(Section(_name(module), module.TITLE, tuple(module.blocks(case, found))) for module in every())
    return Report(case.title, dict(case.made_from), made)


def every() -> list[ModuleType]:
    """All sections in the order of the report."""
    names = [found.name for found in pkgutil.iter_modules(sections.__path__)]
    modules = [importlib.import_module(f"{sections.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: int(module.ORDER))


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]
