"""From a suite's YAML file to what a night will run, or to one line with file:line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.judge import drill
from harness.model.errors import ScenarioError, UsageError, did_you_mean
from harness.model.night import Entry
from harness.model.suite import Item, Suite
from harness.plan import loading
from harness.plan.options import ENGINES
from stack.runtimes import base

SUITES = drill.SCENARIOS / "suites"
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


def file_of(entry: Entry) -> Path:
    """The file of its scenario: a shipped one, or the one that was named, from the checkout on."""
    return drill.ROOT / entry.file if entry.file else drill.scenario_file(entry.scenario)


def length_s(entry: Entry) -> float:
    """How long its phases take at least, seconds; 0 where its file cannot be read any more."""
    try:
        return sum(phase.duration for phase in loading.load(file_of(entry)).phases)
    except UsageError:
        return 0.0


def _problems(suite: Suite) -> Iterator[tuple[Sequence[Any], str]]:
    yield from _unknown(suite.runtimes, RUNTIMES, ("runtimes",))
    yield from _unknown(suite.engines, ENGINES, ("engines",))
    for number, item in enumerate(suite.entries):
        yield from _item_problems(suite, item, ("entries", number))
    seen: set[str] = set()
    for number, item in enumerate(suite.entries):
        for entry in _of_item(suite, item):
            if entry.id in seen:
                yield ("entries", number), f"{entry.id} stands twice: a night runs each once"
            seen.add(entry.id)


def _of_item(suite: Suite, item: Item) -> list[Entry]:
    return suite.model_copy(update={"entries": (item,)}).planned(0)


def _item_problems(suite: Suite, item: Item, place: tuple[Any, ...]) -> Iterator[tuple[Sequence[Any], str]]:
    yield from _unknown((item.drill,), drill.names(), (*place, "drill"))
    yield from _unknown(item.runtimes, RUNTIMES, (*place, "runtimes"))
    yield from _unknown(item.engines, ENGINES, (*place, "engines"))
    try:
        loading.load(file_of(_of_item(suite, item)[0]))
    except UsageError as error:
        yield (*place, "scenario" if item.scenario else "drill"), str(error)


def _unknown(names: Sequence[str], known: Sequence[str], place: tuple[Any, ...]) -> Iterator[tuple[Sequence[Any], str]]:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"expected one of {', '.join(known)}"
            yield place, f"found {name!r}: {hint}"
