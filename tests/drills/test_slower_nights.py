"""Nights on a simulator that serves a slower model from some night on: the page has to say which one, and what of it.

A model is a mark on a series and no part of its key, as a release of vLLM is. So the slower one goes on with the series
of the one before.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.judge.trends import BEFORE_MIN, SIDE_MIN
from harness.model import night as nights
from harness.model.night import Night
from harness.model.verdict import JUDGED
from harness.run.suite import RUNS
from reports.markdown import text
from reports.nights.matrix import day
from reports.pages.nightly import PAGE
from tests.drills.drill_process import SHORT
from tests.drills.night_process import ENDS_WITHIN_S, Nights
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology

#: As many judged nights before as could show a regression, then as many as one is dated by; a night that others have
#: disturbed is not judged and delays it. A night takes 80 s.
BEFORE, SLOWER = BEFORE_MIN + SIDE_MIN, SIDE_MIN
UNJUDGED_MAX = 8
NIGHTS_MAX = BEFORE + SLOWER + UNJUDGED_MAX
pytestmark = [pytest.mark.night, pytest.mark.timeout(NIGHTS_MAX * 400)]
SUITE = """
name: becomes-slower
budget: 60m
runtimes: [process]
engines: [sim]
entries:
  - {{drill: timeout-spike, scenario: {scenario}}}
"""
#: Tokens per second of the users' streams: what a slower model changes most directly.
SERIES = "tps_p50/baseline"


@dataclass(frozen=True)
class Told:
    """What the nights came to: ``slower`` are the judged ones with the slower model, ``before`` is the page of the last
    night without it, ``page`` and ``summary`` are of the last one of all, which ended with ``code``."""

    entry: str
    slower: list[Night]
    before: str
    page: str
    summary: str
    code: int


def judged(kept: Nights, count: int, *arguments: str) -> tuple[list[Night], int]:
    """So many judged nights, and the exit code of the last one. Skips the test where too many could not be judged."""
    found, code = list[Night](), 0
    while len(found) < count:
        if len(kept.new()) == NIGHTS_MAX:
            pytest.skip(f"the machine was too disturbed: {len(found)} of {count} nights judged")
        code = kept.begin(*arguments, "--seed", str(len(kept.new()))).wait(ENDS_WITHIN_S)
        night = nights.read(kept.new()[-1])
        assert night.ended is not None, kept.said
        found += [night] if night.entries[0].status in JUDGED else []
    return found, code


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """All of these nights. Their scenario has a name of this test, so that no other night is of its series."""
    folder = tmp_path_factory.mktemp("nights")
    name = f"becomes-slower-{uuid.uuid4().hex[:8]}"
    scenario = folder / f"{name}.yaml"
    scenario.write_text(SHORT.read_text().replace("name: short", f"name: {name}"))
    (folder / "suite.yaml").write_text(SUITE.format(scenario=scenario))
    with free_topology() as topology:
        kept = Nights(folder, topology, frozenset(nights.folders(RUNS)))
        try:
            judged(kept, BEFORE)
            before = _copied(kept.new()[-1], folder / "before")
            slower, code = judged(kept, SLOWER, "--model", "slower")
            after = _copied(kept.new()[-1], folder / "after")
            yield Told(f"{name}/process/sim", slower, (before / PAGE).read_text(), (after / PAGE).read_text(),
                       (after / "summary.md").read_text(), code)  # fmt: skip
        finally:
            down = [sys.executable, "-m", "harness", "down", "--force", "--instance", str(topology.instance)]
            subprocess.run(down, cwd=CHECKOUT, check=True, timeout=120)
            kept.forget()


def cards(page: str) -> list[str]:
    """What got worse, one card per night."""
    return [part.partition("</article>")[0] for part in page.split("<article")[1:]]


def _copied(night: Path, to: Path) -> Path:
    """What is looked at afterwards outlives the night's folder."""
    return Path(shutil.copytree(night, to))


def test_without_a_slower_model_nothing_has_regressed(told: Told) -> None:
    """In enough nights to have seen it."""
    assert "too few nights" not in told.before
    assert [card for card in cards(told.before) if told.entry in card] == []


def test_the_page_names_the_first_slower_night(told: Told) -> None:
    """With the series, fewer tokens per second by a third, and the model that changed with it."""
    first = day(told.slower[0])
    (card,) = [card for card in cards(told.page) if told.entry in card and f"<td>{SERIES}</td>" in card]
    assert f"Since the night of {first}: " in card
    row = next(row for row in card.split("<tr>") if f"<td>{SERIES}</td>" in row)
    size = re.search(r"tokens/s</b><br>([+−])(\d+)%", row)
    assert size is not None, row
    assert size[1] == "−"
    assert int(size[2]) == pytest.approx(33, abs=10)
    assert "v1@sim → slower@sim" in card


def test_its_summary_and_exit_code_say_so_too(told: Told) -> None:
    """For who reads no page."""
    (line,) = [line for line in told.summary.splitlines() if text(f"{told.entry}: {SERIES}: ") in line]
    assert line.endswith(text(f"since the night of {day(told.slower[0])}"))
    assert told.code == told.slower[-1].exit_code(regressed=True)
