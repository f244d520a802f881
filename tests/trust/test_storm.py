"""A fault never outlives its run: the harness is killed in every phase and in every way, and nothing is left."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import pytest

from tests.conftest import TALLY
from tests.trust.storm import LANES, SAMPLES, STRATA, Outcome, describe, drawn, sample, storm, tally_text

#: A multiple of the number of strata, so that the cases come in the order of the strata.
SEED = 7 * len(STRATA)
TODAY = sample(dt.datetime.now(dt.UTC).toordinal(), SEED)


@pytest.mark.trust
def test_the_storm_hits_every_phase() -> None:
    """As many seeds in a row as there are strata are one crash of each; most are SIGKILL alone."""
    cases = [drawn(SEED + n) for n in range(len(STRATA))]
    assert [(case.moment.what, case.blow) for case in cases] == [(one.what, one.blow) for one in STRATA]
    assert sum(case.blow == "SIGKILL" for case in cases) >= 30
    assert drawn(SEED) == drawn(SEED)
    assert drawn(SEED) != drawn(SEED + len(STRATA))


@pytest.mark.trust
def test_the_samples_of_some_days_are_the_whole_storm() -> None:
    """Each day's sample is a part of every stretch of a drill; as many days as there are samples leave nothing out."""
    days = [sample(day, SEED) for day in range(730000, 730000 + SAMPLES)]
    assert sorted(seed for day in days for seed in day) == list(range(SEED, SEED + len(STRATA)))
    assert all({drawn(seed).blow == "SIGKILL" for seed in day} == {True, False} for day in days)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(TODAY, id="today", marks=pytest.mark.trust),
        pytest.param(range(SEED, SEED + len(STRATA)), id="all", marks=pytest.mark.night),
    ],
)
def test_no_fault_outlives_its_run(seeds: list[int], record_property: Callable[[str, object], None]) -> None:
    """Killed in every phase, told to end in every way: healed in 5 s, ended, judged, and the doctor finds nothing."""
    outcomes = storm(seeds, LANES, _told_nothing, threading.Event())
    record_property(TALLY, tally_text(outcomes))
    assert len(outcomes) == len(seeds)
    assert not any(outcome.problems for outcome in outcomes), "\n".join(
        describe(outcome) for outcome in outcomes if outcome.problems
    )


def _told_nothing(outcome: Outcome) -> None:
    pass
