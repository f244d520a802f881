"""The timeout-spike drill on stacks of other sizes, as people run it, on the simulator: any number works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from stack import stacks
from tests.drills.drill_process import toxics
from tests.drills.lanes import Lane, one_lane

pytestmark = [pytest.mark.timeout(900), pytest.mark.night]

FOLDER = Path(__file__).parent / "stacks"


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One instance, on which one stack after the other comes up."""
    with one_lane(tmp_path_factory.mktemp("stacks")) as lane:
        yield lane


@pytest.mark.parametrize("name", ["one_by_three", "two_by_three"])
def test_the_drill_passes_on_it(lane: Lane, name: str) -> None:
    """Every check is green and judged; every component was there, every link was broken and healed."""
    file = FOLDER / f"{name}.py"
    lane.then(name, "--stack", str(file), "--seed", "1")
    ended = lane.ended[name].result()
    assert ended.code == 0, ended
    statuses = {r["name"]: r["status"] for part in ("validity", "checks") for r in ended.results(part).values()}
    assert {what: status for what, status in statuses.items() if status != "PASS"} == {}
    wanted, view = stacks.find(str(file)), RunView(ended.folder)
    assert view.topology.stack == wanted.at(view.topology.instance)
    assert set(view.requests["replica"].dropna()) == set(view.replicas) == set(wanted.of("replica"))
    broken = [link for link in wanted.links if link.target in view.replicas]
    slowed = [link for link in broken if link.target == "replica-2"]
    kinds = [event.kind for event in view.events()]
    assert kinds.count("fault_proven") == kinds.count("heal_proven") == len(broken) + len(slowed)
    assert toxics(view.topology) == {}
