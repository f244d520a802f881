"""The runbook of each drill goes with its page: an entry for every check that can be red, in the order of the rows."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.judge import drill, runbook, verdicts
from harness.plan import loading


def rows(name: str) -> list[str]:
    """The names of the drill's checks and objectives, as the page shows them."""
    scenario = loading.load(drill.ROOT / "scenarios" / f"{drill.load(name).scenario}.yaml")
    return [*(check.name for check in verdicts.checks(drill.load(name))), *(slo.name for slo in scenario.slos)]


def claimed(text: str, names: list[str]) -> list[list[int]]:
    """Per entry, the places of the checks that it speaks of."""
    _, entries = runbook.split(text)
    found: list[list[int]] = [[] for _ in entries]
    for place, name in enumerate(names):
        entry = runbook.about(entries, name)
        if entry is not None:
            found[entry].append(place)
    return found


@pytest.mark.parametrize("name", drill.names())
def test_every_check_has_an_entry(name: str) -> None:
    """Whatever is red, the page says what to do about it."""
    names = rows(name)
    spoken = {place for places in claimed(drill.load(name).runbook, names) for place in places}
    assert [one for place, one in enumerate(names) if place not in spoken] == []


@pytest.mark.parametrize("name", drill.names())
def test_entries_stand_in_the_order_of_the_rows(name: str) -> None:
    """«Start with the first red line and work down» works for both; no entry is about a check that is gone."""
    names = rows(name)
    places = claimed(drill.load(name).runbook, names)
    assert all(places)
    assert [(names[a[0]], names[b[0]]) for a, b in pairwise(places) if a[0] > b[0]] == []


def test_the_entries_of_what_failed_come_apart() -> None:
    """First words and their entries, then the others; a check without an entry takes none, and «…» is anything."""
    text = "First.\n- **a**: one\n  more.\n- **a longer** / **b … c**: two.\n- **d**: three.\n"
    assert runbook.chosen(text, ["a longer name"])[0] == "First.\n- **a longer** / **b … c**: two.\n"
    assert runbook.chosen(text, ["b of c", "a in x"])[1] == "- **d**: three.\n"
    assert runbook.chosen(text, ["unknown"]) == ("First.\n", text.removeprefix("First.\n"))
    assert runbook.chosen("", ["a"]) == ("", "")
