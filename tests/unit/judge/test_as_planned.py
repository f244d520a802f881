"""Faults do on their targets what the plan says; workloads and operations as often as it says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import as_planned, drill, verdicts
from harness.judge.checks import recovers_within
from harness.model.verdict import Status
from tests import runs
from tests.judge import stories
from tests.judge.cancel_storm import story as wave_story
from tests.judge.model_swap import story as swap_story
from tests.judge.oom import story as oom_story
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict


def problems(run: Run, folder: Path) -> dict[str, str]:
    """What is not as planned, by finding."""
    found = as_planned.faults_as_planned(RunView(run.write(folder)))
    return {one.result.name: one.result.why for one in found if one.result.status is not Status.PASS}


@pytest.mark.parametrize("name", stories.names())
def test_as_planned(name: str, tmp_path: Path) -> None:
    """All that was planned happened."""
    assert problems(stories.healthy(name), tmp_path / "run") == {}


def _one_ask(run: Run) -> None:
    asks = [e for e in run.events if e["kind"] == "ask" and e["phase"] == "oversized"]
    run.events = [e for e in run.events if e not in asks[1:]]


def _few_contexts(run: Run) -> None:
    asks = [e for e in run.events if e["kind"] == "ask" and e["phase"] == "long"]
    run.events = [e for e in run.events if e not in asks[10:]]


def _contexts_not_counted(run: Run) -> None:
    run.drop_events("fault_step", step="sized")


def _limit_stays(run: Run) -> None:
    run.drop_events("fault_step", step="limit_lifted")


@pytest.mark.parametrize(
    ("defect", "where"),
    [(_one_ask, "oversized"), (_few_contexts, "long"), (_contexts_not_counted, "long"), (_limit_stays, "oom")],
)
def test_fewer_asks_and_steps(defect: Callable[[Run], None], where: str, tmp_path: Path) -> None:
    """One of some twenty oversized requests, a few of many long contexts, a kill without its end."""
    run = oom_story.healthy()
    defect(run)
    assert list(problems(run, tmp_path / "run")) == [f"faults as planned in {where}"]


def _one_stream(run: Run) -> None:
    run.files["waves.json"]["waves"][0]["streams"] = run.files["waves.json"]["waves"][0]["streams"][:1]


def _ended_before_the_cancel(run: Run) -> None:
    for stream in run.files["waves.json"]["waves"][0]["streams"]:
        stream["ended"] = "[DONE]"


def _no_canary(run: Run) -> None:
    run.files["waves.json"]["waves"][0]["canaries"].pop()


def _moment_missed(run: Run) -> None:
    run.files["waves.json"]["waves"][0]["reached"] = False


def _another_moment(run: Run) -> None:
    run.files["waves.json"]["waves"][0]["moment"] = "late"


@pytest.mark.parametrize("defect", [_one_stream, _ended_before_the_cancel, _no_canary, _moment_missed, _another_moment])
def test_smaller_waves(defect: Callable[[Run], None], tmp_path: Path) -> None:
    """A wave of one stream, or of none that still ran, is none; each replica is asked after it."""
    run = wave_story.healthy()
    defect(run)
    assert list(problems(run, tmp_path / "run")) == ["faults as planned in queued"]


def test_a_poor_wave_beside_enough_good_ones(tmp_path: Path) -> None:
    """It was repeated, since it decided nothing."""
    run = wave_story.healthy()
    first = run.files["waves.json"]["waves"][0]
    poor = {**first, "number": 1 + sum(one["fault"] == first["fault"] for one in run.files["waves.json"]["waves"])}
    run.files["waves.json"]["waves"].append({**poor, "streams": poor["streams"][:1]})
    assert list(problems(run, tmp_path / "run")) == []


@pytest.mark.parametrize("change", [{"questions": 1}, {"gates": {"quality": 0.1, "slower": 2.0, "pairs_min": 10}}])
def test_an_easier_rollout(change: dict[str, object], tmp_path: Path) -> None:
    """One question, or a gate that lets everything through."""
    run = swap_story.healthy()
    swap_story.ledger(run).update(change)
    assert list(problems(run, tmp_path / "run")) == ["faults as planned in swap"]


def test_another_candidate(tmp_path: Path) -> None:
    """What was rolled out is not what was to be."""
    run = swap_story.healthy()
    swap_story.ledger(run)["candidate"]["model"] = "slow"
    assert list(problems(run, tmp_path / "run")) == ["faults as planned in swap"]


def test_a_plan_that_was_edited_after_the_run_began(tmp_path: Path) -> None:
    """Half of the load, in the folder of a run that is over."""
    folder = runs.healthy_run(tmp_path / "run")
    plan = folder.plan()
    plan["alerts"] = []
    folder.write_json("plan.json", plan)
    found = whole_verdict(folder, drill.load("timeout-spike"))
    assert found.status is Status.INCONCLUSIVE
    assert "plan unchanged" in found.reason


def test_checks_that_came_later_are_asked_and_named(tmp_path: Path) -> None:
    """Today's drill asks more than the plan knew: that is said, and asked."""
    run = runs.healthy()
    del run.plan["checks"]["no-hang/one-replica"]
    found = whole_verdict(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert found.status is Status.PASS
    said = next(result.why for result in found.validity if result.name == "checks as planned")
    assert "no hang in one-replica" in said


def test_a_plan_holds_the_arguments_of_its_checks() -> None:
    """Those that were left to their defaults, too; what is not an argument does not count."""
    one, other = recovers_within.check("a"), recovers_within.check("a", seconds=11)
    again = dataclasses.replace(recovers_within.check("a", seconds=10), name="!", question="?")
    assert drill.planned([one]) == drill.planned([again]) == {"users-recover/a": {"phase": "a", "seconds": 10}}
    assert drill.planned([other]) == {"users-recover/a": {"phase": "a", "seconds": 11}}


def test_a_plan_is_the_same_when_it_is_read_again() -> None:
    """Whatever the drills give their checks is data that JSON keeps."""
    for name in drill.names():
        told = drill.planned(verdicts.checks(drill.load(name), external=True))
        assert json.loads(json.dumps(told)) == told


def test_what_is_no_data_is_no_argument() -> None:
    """A plan could not hold it, so that a change would not be seen."""
    with pytest.raises(TypeError, match="cannot be an argument"):
        drill.planned([dataclasses.replace(recovers_within.check("a"), arguments={"how": print})])
