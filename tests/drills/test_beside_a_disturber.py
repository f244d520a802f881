"""Defects beside somebody who takes a core of the machine: broken stays broken, and slow is never called well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.judge import drill, verdicts
from tests.disturber import HEAVY, disturbed
from tests.drills.drill_process import Ended
from tests.drills.lanes import Lane, one_lane
from tests.drills.live_defects import LIVE, SLOW_REPLICA, LiveDefect

#: All drills of this module with every repetition take less.
LIMIT_S = 3 * 3600.0
pytestmark = [pytest.mark.night, pytest.mark.timeout(600)]

RED_MIN = 8
#: A drill that met a quiet stretch of the disturber would show nothing: so often the slow replica is drilled.
SLOW_TIMES = 3


def not_timing(live: LiveDefect) -> set[str]:
    """Its red checks that are no matter of time; every objective is one, since it counts what kept its limits."""
    timing = {check.name: check.timing for check in verdicts.checks(drill.load(live.drill))}
    return {name for name in live.red if not timing.get(name, True)}


#: A rule that is broken, a record that is wrong: no neighbour explains it.
NOT_TIMING = [live for live in LIVE if not_timing(live)]


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One stack with the heavy disturber beside it, and one drill at a time."""
    with disturbed(HEAVY, LIMIT_S), one_lane(tmp_path_factory.mktemp("disturbed")) as lane:
        yield lane


def drilled(lane: Lane, live: LiveDefect, time: int = 1) -> Ended:
    """How its drill ended beside the disturber; the test is skipped where that was never judged."""
    name = f"{live.name} ({time})"
    return lane.once(name, *live.arguments, of=live.scenario, phases=live.phases, drill=live.drill)


@pytest.mark.parametrize("live", NOT_TIMING, ids=lambda live: live.name)
def test_what_is_no_matter_of_time_fails(lane: Lane, live: LiveDefect) -> None:
    """FAIL, with a check red that exists for it: interference excuses no broken rule."""
    ended = drilled(lane, live)
    assert ended.code == 1, ended
    results = ended.results()
    assert [name for name in not_timing(live) if results[name]["status"] == "FAIL"], ended


@pytest.mark.timeout(LIMIT_S)
def test_most_of_them_are_judged(lane: Lane) -> None:
    """At least eight are FAIL: that a run was not judged must stay the exception for what is no matter of time."""
    red = []
    for live in NOT_TIMING:
        try:
            red += [live.name] if drilled(lane, live).code == 1 else []
        except pytest.skip.Exception:
            continue
    assert len(red) >= RED_MIN, f"only {', '.join(red)}"


@pytest.mark.parametrize("time", range(1, SLOW_TIMES + 1))
def test_a_slow_replica_is_never_called_well(lane: Lane, time: int) -> None:
    """A replica three times slower than the others: FAIL, or not judged, and no PASS."""
    (live,) = (one for one in LIVE if one.name == SLOW_REPLICA)
    ended = drilled(lane, live, time)
    assert ended.code in (1, 2), ended
    assert ended.code == 2 or ended.results()[live.red[0]]["status"] == "FAIL", ended


def test_there_are_enough_of_them() -> None:
    """More than have to be red, of most drills, so that the rule does not rest on one kind of defect."""
    assert len(NOT_TIMING) > RED_MIN
    assert len({live.drill for live in NOT_TIMING}) >= len({live.drill for live in LIVE}) - 1
