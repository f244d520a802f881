"""From a suite's YAML file to what a night will run, or to one line with file:line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.judge import drill
from harness.model.errors import ScenarioError, UsageError
from harness.model.suite import Item, Suite
from harness.plan import loading
from harness.plan.options import ENGINES
from stack.runtimes import base

SUITES = drill.ROOT / "scenarios" / "suites"
DEFAULT = "nightly"
#: An external target is drilled by its owner's decision each time, never by a timer of ours.
RUNTIMES = tuple(name for name in base.NAMES if name != "external")


def find(name: str) -> Path:
    """The file of the suite called ``name``, or the file that was named."""
    return Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"


def load(path: Path) -> Suite:
    """The suite in ``path``, all of whose scenarios can be run. ScenarioError for anything wrong with it."""
    suite, line = loading.strict(path, Suite)
    for location, problem in _problems(suite):
        raise ScenarioError(path, line(location), problem)
    return suite


def scenario_file(name: str) -> Path:
    """The shipped scenario of that name."""
    return drill.ROOT / "scenarios" / f"{name}.yaml"


def _problems(suite: Suite) -> Iterator[tuple[Sequence[Any], str]]:
    yield from _unknown(suite.runtimes, RUNTIMES, ("runtimes",))
    yield from _unknown(suite.engines, ENGINES, ("engines",))
    for number, item in enumerate(suite.entries):
        yield from _item_problems(item, ("entries", number))
    seen: set[str] = set()
    for number, item in enumerate(suite.entries):
        for entry in suite.model_copy(update={"entries": (item,)}).planned(0):
            if entry.id in seen:
                yield ("entries", number), f"{entry.id} stands twice: a night runs each once"
            seen.add(entry.id)


def _item_problems(item: Item, place: tuple[Any, ...]) -> Iterator[tuple[Sequence[Any], str]]:
    yield from _unknown((item.drill,), drill.names(), (*place, "drill"))
    yield from _unknown(item.runtimes, RUNTIMES, (*place, "runtimes"))
    yield from _unknown(item.engines, ENGINES, (*place, "engines"))
    try:
        loading.load(scenario_file(item.scenario or item.drill))
    except UsageError as error:
        yield (*place, "scenario" if item.scenario else "drill"), str(error)


def _unknown(names: Sequence[str], known: Sequence[str], place: tuple[Any, ...]) -> Iterator[tuple[Sequence[Any], str]]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            yield place, f"found {name!r}: {hint}"
