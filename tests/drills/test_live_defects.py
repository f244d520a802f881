"""Defects that are switched on for a real drill, and the healthy stack under the very scenarios that show them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.drills.drill_process import Ended
from tests.drills.lanes import two_lanes
from tests.drills.live_defects import (
    ALL,
    DEFECTS,
    FAILOVER,
    FAILURES,
    LATE_CANCELS,
    LIVE,
    NODE_RESTART,
    ONE,
    OUTAGE,
    RESTARTS,
    ROLLOUT,
    SHIPPED,
    STORM,
    SWAP,
    WAVES,
    LiveDefect,
)

pytestmark = [pytest.mark.night, pytest.mark.timeout(400)]  # the first test waits for a whole lane

#: Per scenario, the phases that any defect run takes from it.
HEALTHY = {
    DEFECTS: tuple(dict.fromkeys((*ONE, *ALL))),
    OUTAGE: tuple(dict.fromkeys((*ONE, *ALL))),
    FAILOVER: FAILURES,
    NODE_RESTART: RESTARTS,
    SWAP: ROLLOUT,
    WAVES: STORM,
}
DRILLS = {live.scenario: live.drill for live in LIVE}


@pytest.fixture(scope="module")
def drills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """How each drill ends: defects in one lane, healthy runs in the other."""
    with two_lanes(tmp_path_factory.mktemp("live")) as (broken, healthy):
        for live in LIVE:
            broken.then(live.name, *live.arguments, of=live.scenario, phases=live.phases, drill=live.drill)
        broken.then(LATE_CANCELS.stem, of=LATE_CANCELS, drill="cancel-storm")
        for path, phases in HEALTHY.items():
            healthy.then(path.stem, "--seed", "1", of=path, phases=phases, drill=DRILLS[path])
        for live in (live for live in LIVE if live.scenario == SHIPPED):
            healthy.then(f"healthy {live.name}", *live.healthy_arguments, of=live.scenario, phases=live.phases)
        yield broken.ended | healthy.ended


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live.name)
def test_defect_is_noticed(drills: dict[str, Future[Ended]], live: LiveDefect) -> None:
    """The checks that exist for it are red."""
    ended = drills[live.name].result()
    results = ended.results()
    assert {name: results[name]["why"] for name in live.red if results[name]["status"] != "FAIL"} == {}, ended
    assert ended.code == 1


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live.name)
def test_without_the_defect_they_are_green(drills: dict[str, Future[Ended]], live: LiveDefect) -> None:
    """The same checks pass on the healthy stack in the same phases of the same scenario: they are not always red."""
    ended = drills[f"healthy {live.name}" if live.scenario == SHIPPED else live.scenario.stem].result()
    results = ended.results()
    assert {name: results[name]["why"] for name in live.red if results[name]["status"] != "PASS"} == {}, ended


@pytest.mark.parametrize("scenario", [FAILOVER, NODE_RESTART], ids=lambda path: path.stem)
def test_healthy_drill_passes(drills: dict[str, Future[Ended]], scenario: Path) -> None:
    """With nothing switched on, every check of the drill is judged and green."""
    ended = drills[scenario.stem].result()
    statuses = {r["name"]: r["status"] for part in ("validity", "checks") for r in ended.results(part).values()}
    assert {name: status for name, status in statuses.items() if status != "PASS"} == {}, ended
    assert ended.code == 0


def test_late_cancels_are_zombie_generation(drills: dict[str, Future[Ended]]) -> None:
    """Links that keep connections open for clients that have gone: what engines do for nobody is called by name."""
    ended = drills[LATE_CANCELS.stem].result()
    red = ended.results()["cancels reach the engines in early"]
    assert red["status"] == "FAIL", ended
    assert "zombie generation" in red["why"]
    assert ended.code == 1
