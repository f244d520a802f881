"""Stored real runs under the mutator: what leaves PASS is listed with its reason, and is one in twenty at most."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from harness.judge import drill
from harness.model.verdict import Status
from tests.mutation import judging, survivors
from tests.mutation.judging import CRASHED, Subject, Tally

SHARE_CAUGHT_MIN = 0.95
_NIGHT_S = 3600
EACH = pytest.mark.parametrize("fixture", survivors.fixtures(), ids=survivors.name)


@cache
def subject(fixture: Path) -> Subject:
    """The fixture with its mutations, made once."""
    return judging.subject(fixture)


def complaints(fixture: Path, tally: Tally) -> list[str]:
    """What is wrong with these mutations: alive and not listed, listed and caught, or the end of the judge."""
    listed, alive = survivors.listed(fixture), set(tally.survivors)
    stale = [name for name in tally.found if name in listed and name not in alive]
    return [
        *(f"not listed: {name}" for name in tally.survivors if name not in listed),
        *(f"listed, but {tally.found[name]}: {name}" for name in stale),
        *(f"{tally.found[name]}: {name}" for name in tally.of(CRASHED)),
    ]


@pytest.mark.night
@EACH
def test_the_run_has_its_colour(fixture: Path) -> None:
    """As it is, the green run passes and the red one fails."""
    assert subject(fixture).judged(subject(fixture).data) == survivors.COLOURS[fixture.name]


@EACH
def test_every_survivor_has_a_reason(fixture: Path) -> None:
    """One line is one mutation that exists, with its reason; together they are one in twenty at most."""
    listed, names = survivors.listed(fixture), {mutation.name for mutation in subject(fixture).mutations}
    assert survivors.unjustified(listed) == []
    assert sorted(set(listed) - names) == []
    assert len(listed) <= (1 - SHARE_CAUGHT_MIN) * len(names)


@pytest.mark.night
@pytest.mark.timeout(_NIGHT_S)
@EACH
def test_all_mutations(fixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of them, and how many are caught; one that left PASS by accident is red, and so is one that does no more."""
    run = judging.subject(fixture, quick=True)
    tally = judging.tally(run, run.mutations)
    with capsys.disabled():
        print(f"\n{tally.row(survivors.name(fixture))}")
    assert complaints(fixture, tally) == []
    assert tally.share_caught >= SHARE_CAUGHT_MIN


@pytest.mark.night
def test_every_drill_has_a_green_and_a_red_run() -> None:
    """A drill whose verdicts nobody has tried to forge is none to rely on."""
    recorded = {survivors.name(fixture) for fixture in survivors.fixtures()}
    assert {f"{name}-{colour}" for name in drill.core() for colour in survivors.COLOURS} <= recorded


def test_complaints_go_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlisted survivor, a listed one that is caught, and a crash are each named; what is as listed is not."""
    monkeypatch.setattr(survivors, "listed", lambda _: {"old": "it was so", "known": "nobody reads it"})
    tally = Tally(
        {"old": Status.FAIL.value, "new": "PASS", "known": "PASS", "boom": f"{CRASHED}: KeyError", "ok": "FAIL"}
    )
    assert complaints(Path("x"), tally) == [
        "not listed: new",
        "listed, but FAIL: old",
        "crashed the judge: KeyError: boom",
    ]
