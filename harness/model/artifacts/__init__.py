"""What only some runs record, beside the tables that all have: one module each, of one JSON file in the run folder.

A module has ``ARTIFACT``, and is found by that. Whoever writes the file imports the module, and so does whoever reads
it, with ``RunView.artifact``; the run seals every file that is named here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Artifact(Generic[T]):
    """One kind: ``read`` makes of the file's data what it says, and raises KeyError or TypeError for anything else.

    ``absent`` is what a run has that did not write the file, or of which it cannot be read.
    """

    file: str
    read: Callable[[Mapping[str, Any]], T]
    absent: T


@cache
def files() -> tuple[str, ...]:
    """The files of all kinds, sorted."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return tuple(sorted(module.ARTIFACT.file for module in modules))
