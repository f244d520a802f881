"""A suite: what a night drills, where, and for how long at most. Strict data from ``scenarios/suites/*.yaml``."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from harness.model.night import Entry
from harness.model.notify import Notify
from harness.model.scenario import Seconds, Strict


class Item(Strict):
    """One drill, in its own scenario or in another; where, if not as the suite.

    ``scenario`` is a file of ``scenarios/`` without .yaml, or the path of any file.
    """

    drill: str
    scenario: str = ""
    runtimes: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether ``scenario`` is a path."""
        return self.scenario.endswith((".yaml", ".yml"))


class Suite(Strict):
    """Every item is run on each of the runtimes with each of the engines, all within the budget."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    budget: Seconds
    runtimes: tuple[str, ...] = Field(default=("auto",), min_length=1)
    engines: tuple[str, ...] = Field(default=("vllm",), min_length=1)
    entries: tuple[Item, ...] = Field(min_length=1)
    notify: Notify | None = None  # those of the environment where it is not said

    def planned(self, seed: int, runtimes: Sequence[str] = (), engines: Sequence[str] = ()) -> list[Entry]:
        """All entries in the order that follows from ``seed``; ``runtimes`` and ``engines`` replace those of the file.

        Entries of one runtime and engine stay together, since a change takes the stack down.
        """
        draw = random.Random(seed)
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self._every(runtimes, engines):
            groups.setdefault((entry.runtime, entry.engine), []).append(entry)
        for group in groups.values():
            draw.shuffle(group)
        return [entry for group in groups.values() for entry in group]

    def _every(self, runtimes: Sequence[str], engines: Sequence[str]) -> Iterator[Entry]:
        for item in self.entries:
            scenario = Path(item.scenario).stem if item.is_file else item.scenario or item.drill
            for runtime in runtimes or item.runtimes or self.runtimes:
                for engine in engines or item.engines or self.engines:
                    name = f"{scenario}/{runtime}/{engine}"
                    yield Entry(
                        id=name, drill=item.drill, scenario=scenario, runtime=runtime, engine=engine,
                        file=item.scenario if item.is_file else "",
                    )  # fmt: skip
