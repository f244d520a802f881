"""Defects that are switched on for a real drill, and the healthy stack under the very scenarios that show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.drill_process import Ended
from tests.drills.lanes import Lane, one_lane
from tests.drills.live_defects import (
    ALL,
    DEFECTS,
    FAILOVER,
    FAILURES,
    LATE_CANCELS,
    LIVE,
    LONG,
    NODE_RESTART,
    ONE,
    OUTAGE,
    OVERSIZED,
    RESTARTS,
    ROLLOUT,
    SHIPPED,
    STORM,
    SWAP,
    TOO_MUCH,
    WAVES,
    LiveDefect,
)

pytestmark = [pytest.mark.night, pytest.mark.timeout(400)]

#: Per scenario, the phases that any defect run takes from it.
HEALTHY = {
    DEFECTS: tuple(dict.fromkeys((*ONE, *ALL))),
    OUTAGE: tuple(dict.fromkeys((*ONE, *ALL))),
    FAILOVER: FAILURES,
    NODE_RESTART: RESTARTS,
    SWAP: ROLLOUT,
    WAVES: STORM,
    TOO_MUCH: tuple(dict.fromkeys((*OVERSIZED, *LONG, "oom", "rejoined"))),
}
DRILLS = {live.scenario: live.drill for live in LIVE}


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One stack, and one drill at a time: two at once disturb each other's verdicts on a small machine."""
    with one_lane(tmp_path_factory.mktemp("live")) as lane:
        yield lane


def healthy(lane: Lane, scenario: Path) -> Ended:
    """How a short scenario ends with nothing switched on: once for all defects that are shown by it."""
    return lane.once(scenario.stem, "--seed", "1", of=scenario, phases=HEALTHY[scenario], drill=DRILLS[scenario])


def without(lane: Lane, live: LiveDefect) -> Ended:
    """How the same drill ends without the defect."""
    if live.scenario != SHIPPED:
        return healthy(lane, live.scenario)
    name = f"healthy {live.name}"
    return lane.once(name, *live.healthy_arguments, of=live.scenario, phases=live.phases, drill=live.drill)


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live.name)
def test_defect_is_noticed(lane: Lane, live: LiveDefect) -> None:
    """The checks that exist for it are red."""
    ended = lane.once(live.name, *live.arguments, of=live.scenario, phases=live.phases, drill=live.drill)
    results = ended.results()
    assert {name: results[name]["why"] for name in live.red if results[name]["status"] != "FAIL"} == {}, ended
    assert ended.code == 1


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live.name)
def test_without_the_defect_they_are_green(lane: Lane, live: LiveDefect) -> None:
    """The same checks pass on the healthy stack in the same phases of the same scenario: they are not always red."""
    ended = without(lane, live)
    results = ended.results()
    assert {name: results[name]["why"] for name in live.red if results[name]["status"] != "PASS"} == {}, ended


@pytest.mark.parametrize("scenario", [FAILOVER, NODE_RESTART, SWAP, WAVES], ids=lambda path: path.stem)
def test_healthy_drill_passes(lane: Lane, scenario: Path) -> None:
    """With nothing switched on, every check of the drill is judged and green."""
    ended = healthy(lane, scenario)
    statuses = {r["name"]: r["status"] for part in ("validity", "checks") for r in ended.results(part).values()}
    assert {name: status for name, status in statuses.items() if status != "PASS"} == {}, ended
    assert ended.code == 0


def test_late_cancels_are_zombie_generation(lane: Lane) -> None:
    """Links that keep connections open for clients that have gone: what engines do for nobody is called by name."""
    ended = lane.once(LATE_CANCELS.stem, of=LATE_CANCELS, drill="cancel-storm")
    red = ended.results()["cancels reach the engines in early"]
    assert red["status"] == "FAIL", ended
    assert "zombie generation" in red["why"]
    assert ended.code == 1
