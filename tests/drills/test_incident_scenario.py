"""``incident.yaml`` of a red run, really run: it fails on the stack as it was, and passes on one that is mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.evidence import interference
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from reports.incident import scenario
from reports.incident.of_run import RunCase
from reports.incident.scenario import Again
from tests.drills.lanes import Lane, one_lane
from tests.drills.outcome import CHECKOUT

pytestmark = [pytest.mark.night, pytest.mark.timeout(900)]

RED = CHECKOUT / "tests" / "fixtures" / "runs" / "gateway-failover" / "red"
#: As much as was recorded, of which the file has a share of capacity: nothing is measured first.
RATE = ("--set", "load.rate=16.577/s")


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One stack, and one drill at a time."""
    with one_lane(tmp_path_factory.mktemp("incident")) as lane:
        yield lane


@pytest.fixture(scope="module")
def again() -> Again:
    """What the report of the red run has."""
    found = RunCase(RunFolder(RED)).again()
    assert isinstance(found, Again)
    return found


def test_it_fails_on_the_stack_as_it_was(lane: Lane, again: Again, tmp_path: Path) -> None:
    """FAIL, by checks that were red when it happened; what a disturbed machine leaves open of them is no PASS."""
    was_red = {red.name for red in RunCase(RunFolder(RED)).reds()}
    scenario.write(again, tmp_path)
    defects = [word for one in again.defects for word in ("--defect", one)]
    ended = lane.once("as it was", *RATE, *defects, of=tmp_path / scenario.NAME, drill=again.drill)
    statuses = {name: result["status"] for name, result in ended.results().items()}
    assert ended.code == 1, ended
    assert {name for name, status in statuses.items() if status == "FAIL"} & was_red, statuses
    named = ("only ready gateways serve", "availability with a dead gateway")
    assert was_red >= {*named}
    disturbed = bool(interference.spans(RunView(ended.folder)))
    allowed = {"FAIL", "INCONCLUSIVE"} if disturbed else {"FAIL"}
    assert {name: statuses[name] for name in named if statuses[name] not in allowed} == {}


def test_it_passes_on_the_mended_stack(lane: Lane, again: Again, tmp_path: Path) -> None:
    """Without the defect, nothing else changed."""
    scenario.write(again, tmp_path)
    ended = lane.once("mended", *RATE, of=tmp_path / scenario.NAME, drill=again.drill)
    assert ended.code == 0, ended
