"""One thing that set-up brings, and the stamp by which it knows that it is there already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stack.tools import places
from stack.tools.progress import Step


@dataclass(frozen=True)
class Part:
    """Something to install.

    ``recipe`` returns the text of everything that determines the result (versions, lock file, options): a changed
    recipe installs again. ``works`` says quickly whether what is there can be used, whoever brought it.
    ``install`` brings it; it may be called again after having been interrupted at any point.
    """

    name: str
    title: str
    recipe: Callable[[], str]
    works: Callable[[], bool]
    install: Callable[[Step], None]

    @property
    def stamp(self) -> Path:
        """The file that holds the hash of the recipe that was installed last."""
        return places.TOOLS / "stamps" / self.name

    def is_current(self) -> bool:
        """Whether nothing has to be done: installed from this very recipe, and still working."""
        try:
            stamped = self.stamp.read_text().strip()
        except FileNotFoundError:
            return False
        return stamped == self.recipe_hash() and self.works()

    def recipe_hash(self) -> str:
        """Short hash of the recipe."""
        return hashlib.sha256(self.recipe().encode()).hexdigest()[:16]

    def bring(self, step: Step) -> None:
        """Install it and stamp it. The stamp goes first and comes last: an interrupted install is done again."""
        self.stamp.unlink(missing_ok=True)
        self.install(step)
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.stamp.with_suffix(".new")
        fresh.write_text(self.recipe_hash() + "\n")
        fresh.replace(self.stamp)
