"""A fault never outlives its run: the harness is killed in every phase and in every way, and nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.conftest import TALLY
from tests.trust.storm import LANES, STRATA, Outcome, describe, drawn, storm, tally_text

pytestmark = pytest.mark.trust

#: A multiple of the number of strata, so that the cases come in the order of the strata.
SEED = 7 * len(STRATA)


def test_the_storm_hits_every_phase() -> None:
    """As many seeds in a row as there are strata are one crash of each; most are SIGKILL alone."""
    cases = [drawn(SEED + n) for n in range(len(STRATA))]
    assert [(case.moment.what, case.blow) for case in cases] == [(one.what, one.blow) for one in STRATA]
    assert sum(case.blow == "SIGKILL" for case in cases) >= 30
    assert drawn(SEED) == drawn(SEED)
    assert drawn(SEED) != drawn(SEED + len(STRATA))


@pytest.mark.timeout(900)
def test_no_fault_outlives_its_run(record_property: Callable[[str, object], None]) -> None:
    """Killed in every phase, told to end in every way: healed in 5 s, ended, judged, and the doctor finds nothing."""
    outcomes = storm(range(SEED, SEED + len(STRATA)), LANES, _told_nothing, threading.Event())
    record_property(TALLY, tally_text(outcomes))
    assert len(outcomes) == len(STRATA)
    assert not any(outcome.problems for outcome in outcomes), "\n".join(
        describe(outcome) for outcome in outcomes if outcome.problems
    )


def _told_nothing(outcome: Outcome) -> None:
    pass
