"""The step between a scenario and its plan: capacity is looked up or measured, and the load follows from it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.judge import drill, verdicts
from harness.judge.capacity import Capacity
from harness.model.errors import StackError
from harness.model.scenario import Share
from harness.model.topology import Topology
from harness.model.verdict import Status
from harness.plan import capacity_store, fitting, loading
from harness.plan.capacity_store import Entry
from harness.plan.options import StackOptions
from harness.run import measuring, pipeline
from harness.run.pipeline import Job, Options
from harness.run.progress import Progress
from stack import state
from stack.stacks.vllm_haproxy import STACK
from tests.unit.test_fitting import SCENARIO, machine

TOPOLOGY = Topology(STACK, instance=54, engine="sim")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is stored in the test's own folder."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path / "state")
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Capacity | Exception]:
    """What the next measurings give; a test that is asked for more fails."""
    answers: list[Capacity | Exception] = []

    def measure(order: measuring.Order) -> Capacity:
        """The next one."""
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(measuring, "measure", measure)
    return answers


def written(folder: Path, rate: str) -> Path:
    """A scenario file with that rate."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "partial": True, "load": {**SCENARIO["load"], "rate": rate}}))  # type: ignore[dict-item]
    return path


def job(folder: Path, rate: str = "40 % of capacity") -> Job:
    """A job after ``resolve``."""
    options = Options("timeout-spike", StackOptions(instance=54, engine="sim"), "command", written(folder, rate))
    runtime: Any = SimpleNamespace(topology=TOPOLOGY, name="process")
    scenario = loading.load(written(folder, rate))
    return Job(options, Progress(), drill=drill.load("timeout-spike"), scenario=scenario, runtime=runtime)


def rate(one: Job) -> float:
    """Of the fitted scenario."""
    assert one.scenario
    return one.scenario.load.per_s


def store(entry: Entry) -> None:
    """What is known of this machine."""
    capacity_store.store_of(TOPOLOGY).save(entry)


def test_load_follows_the_accepted_capacity(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """Nothing is measured then, even where a later measurement is a regression: that is said instead."""
    store(Entry(machine(20), machine(10)))
    one = job(tmp_path)
    pipeline.fit(one)
    assert rate(one) == pytest.approx(8.0)
    assert one.capacity["asked"] == "40 % of capacity"
    assert one.capacity["used"]["whole"]["rate_per_s"] == 20
    assert "regression of the stack" in one.capacity["regression"]
    assert any("regression" in note for note in one.notes)


def test_the_plan_keeps_the_scenario_as_it_was_written(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """Whatever it was fitted to: history tells by it which runs are comparable. So does what was measured last."""
    jobs = []
    for accepted in (20, 30):
        store(Entry(machine(accepted), machine(10)))
        jobs.append(job(tmp_path))
        pipeline.fit(jobs[-1])
    assert rate(jobs[0]) != rate(jobs[1])
    assert jobs[0].written == jobs[1].written
    assert jobs[0].written["load"]["rate"] == "40 % of capacity"
    assert jobs[0].capacity["measured"]["whole"]["rate_per_s"] == 10


def test_where_none_is_accepted_it_is_measured_and_kept(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """Once: the next run finds it."""
    measured.append(machine(20))
    for _ in range(2):
        one = job(tmp_path)
        pipeline.fit(one)
        assert rate(one) == pytest.approx(8.0)
        assert one.capacity["measured"] == one.capacity["used"] is not None
    assert capacity_store.store_of(TOPOLOGY).load().accepted == machine(20)


def test_a_provisional_capacity_is_for_this_run_only(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """It is said, and the next run measures again."""
    doubtful = dataclasses.replace(machine(20), provisional=("interference: others",))
    measured += [doubtful, machine(10)]
    one = job(tmp_path)
    pipeline.fit(one)
    assert rate(one) == pytest.approx(8.0)
    assert any("provisional, for this run only: interference: others" in note for note in one.notes)
    again = job(tmp_path)
    pipeline.fit(again)
    assert rate(again) >= 4.0
    assert capacity_store.store_of(TOPOLOGY).load().accepted == machine(10)


def test_an_absolute_rate_is_left_alone(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """Nobody measures for it; what is known is shown all the same."""
    one = job(tmp_path, "9/s")
    pipeline.fit(one)
    assert rate(one) == 9.0
    assert one.capacity["used"] is None
    store(Entry(machine(20)))
    pipeline.fit(one)
    assert rate(one) == 9.0
    assert one.capacity["used"]["whole"]["rate_per_s"] == 20


def ended(one: Job, folder: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The verdict and the events of a run that goes on from here."""
    for step in (pipeline.fit, pipeline.plan, pipeline.perform, pipeline.verdict, pipeline.page):
        step(one)
    assert one.folder
    lines = (one.folder.path / "events.jsonl").read_text().splitlines()
    return verdicts.read(one.folder), [json.loads(line) for line in lines]


def test_too_small_ends_it_before_the_first_phase(tmp_path: Path, measured: list[Capacity | Exception]) -> None:
    """INCONCLUSIVE with both numbers in the first line; no stack, no load, and the plan holds what was asked for."""
    store(Entry(machine(1.0)))
    one = job(tmp_path)
    verdict, events = ended(one, tmp_path)
    assert verdict.status is Status.INCONCLUSIVE
    assert re.match(r"machine large enough: too small: mine .* needs a capacity of .*/s, this machine has 1/s", (
        verdict.reason
    ))  # fmt: skip
    assert "too_small" in [event["kind"] for event in events]
    assert not {"phase_started", "stack_ready"} & {event["kind"] for event in events}
    assert one.plan["scenario"]["load"]["rate"] == "40 % of capacity"
    judged = [check.name for check in verdict.checks if check.status is not Status.INCONCLUSIVE]
    assert judged == ["nothing left injected"]  # which it can know


def test_too_small_for_a_single_replica_ends_it_as_well(
    tmp_path: Path, measured: list[Capacity | Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the drill's own checks need of one replica is asked for, in the run and in what a dry run says of it."""
    store(Entry(machine(14, 9)))
    scenario, checks = loading.load(drill.ROOT / "scenarios" / "oom.yaml"), drill.load("oom").checks
    assert isinstance(scenario.load.rate, Share)
    share, cores = scenario.load.rate, capacity_store.store_of(TOPOLOGY).machine.cores
    unaware, aware = (
        fitting.fit(scenario, share, machine(14, 9), TOPOLOGY.gateway_policy, cores, needs)
        for needs in (fitting.Needs((), 2), fitting.Needs.of(checks, 2))
    )
    assert unaware.scenario.phases[-1] != aware.scenario.phases[-1]
    one = job(tmp_path)
    one.drill, one.scenario = drill.load("oom"), scenario
    pipeline.fit(one)
    assert one.scenario == aware.scenario
    assert aware.notes[-1] in said(capsys, drill.ROOT / "scenarios" / "oom.yaml", "oom")


def test_a_stack_that_cannot_be_measured_is_told_in_a_report(
    tmp_path: Path, measured: list[Capacity | Exception]
) -> None:
    """As whatever else keeps a stack from coming up: INCONCLUSIVE, not a run without a trace."""
    measured.append(StackError("not ready within 300 s: replica-2"))
    verdict, _ = ended(job(tmp_path), tmp_path)
    assert verdict.status is Status.INCONCLUSIVE
    assert "capacity could not be measured: not ready within 300 s: replica-2" in verdict.reason


def said(capsys: pytest.CaptureFixture[str], path: Path, drill_name: str = "timeout-spike") -> str:
    """What a dry run says of a scenario; blanks folded."""
    where = ("--runtime", "process", "--engine", "sim", "--instance", "54")
    assert main.main(["run", drill_name, "--dry-run", *where, "--scenario", str(path)]) == 0
    return re.sub(r" +", " ", capsys.readouterr().out)


def test_a_dry_run_shows_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured: list[Capacity | Exception]
) -> None:
    """That it would be measured; the fitted load; or that the machine is too small. It measures nothing."""
    path = written(tmp_path, "40 % of capacity")
    text = said(capsys, path)
    assert "load open, poisson, 40 % of capacity" in text
    assert "none is accepted for this machine yet: it will be measured before the run, in 90 s at most" in text
    store(Entry(machine(20)))
    text = said(capsys, path)
    assert "load open, poisson, 8/s" in text
    assert "capacity 40 % of capacity, which is 20/s here: 8/s" in text
    store(Entry(machine(1.0)))
    assert "too small: mine asks for 40 % of capacity" in said(capsys, path)


def test_status_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both values, the doubts, and a regression; as data, too."""
    stack = ("--runtime", "process", "--engine", "sim", "--instance", "54")
    store(Entry(machine(20), machine(10)))
    main.main(["status", *stack])
    text = re.sub(r" +", " ", capsys.readouterr().out)
    assert "all replicas 20/s (18 to 22)" in text
    assert "regression of the stack: with all replicas it carried 20/s" in text
    main.main(["status", *stack, "--json"])
    found = json.loads(capsys.readouterr().out)["capacity"]
    assert found["accepted"]["whole"]["rate_per_s"] == 20
    assert found["regression"].startswith("regression of the stack")
