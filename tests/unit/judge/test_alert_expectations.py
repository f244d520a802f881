"""Each drill's alerts: its scenario has the time that they need, and each that is disappointed turns its check red."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import alert_times, alerts, drill, verdicts
from harness.judge.drill import Expected
from harness.model.alert_rules import BY_NAME, STACK_SCALE
from harness.model.scenario import Phase
from harness.model.verdict import Status
from tests import runs
from tests.judge import alert_mutants
from tests.judge.defects import Mutant
from tests.runs import Run

MUTANTS = [(name, mutant) for name in drill.names() for mutant in alert_mutants.of(name)]
ASKED = ("no page", "alerts fire", "alerts silent", "alerts clear")


def asked(run: Run, path: Path, name: str) -> dict[str, Status]:
    """What the checks about alerts say by themselves."""
    view = RunView(run.write(path))
    every = verdicts.checks(drill.load(name), phases=view.scenario.phases)
    return {check.name: check.run(view).status for check in every if check.name.startswith(ASKED)}


@pytest.mark.parametrize("name", drill.names())
def test_what_comes_as_expected_passes(name: str, tmp_path: Path) -> None:
    """All fire and clear within their bounds: every check about alerts is green."""
    found = asked(runs.only_alerts(name), tmp_path / "run", name)
    assert found
    assert {check: status for check, status in found.items() if status is not Status.PASS} == {}


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[mutant.name for _, mutant in MUTANTS])
def test_a_disappointed_expectation_is_noticed(name: str, mutant: Mutant, tmp_path: Path) -> None:
    """The check that it belongs to is red."""
    run = runs.only_alerts(name)
    mutant.defect(run)
    assert asked(run, tmp_path / "run", name)[mutant.check] is Status.FAIL


@pytest.mark.parametrize("name", drill.names())
def test_the_default_scenario_has_time_for_every_alert(name: str) -> None:
    """None of a drill's expectations goes unasked in the scenario that it ships with, and none is about no rule."""
    one = drill.load(name)
    assert [str(expected) for expected in one.alerts if expected.alert not in BY_NAME] == []
    assert list(alert_times.too_short(one.alerts, runs.scenario(one.scenario).phases, STACK_SCALE)) == []


def shortened(run: Run, phase: str, seconds: float) -> None:
    """The scenario plans that phase with so many seconds."""
    planned = next(p for p in run.plan["scenario"]["phases"] if p["name"] == phase)
    planned |= {"duration": seconds, "until": None, "at_most": None}


def test_what_a_phase_is_too_short_for_is_not_asked(tmp_path: Path) -> None:
    """Alerts of one replica need 11 s and a spare: in 12 s nobody asks for them, in 13 s they are missed."""
    found = {}
    for seconds in (12, 13):
        run = runs.only_alerts("timeout-spike")
        run.drop_events("alert_fired", labels={"server": "replica-2"})
        shortened(run, "one-replica", seconds)
        found[seconds] = asked(run, tmp_path / str(seconds), "timeout-spike")
    assert {"alerts fire in one-replica", "alerts clear after one-replica"}.isdisjoint(found[12])
    assert "alerts silent in one-replica" in found[12]
    assert found[13]["alerts fire in one-replica"] is Status.FAIL


def test_what_follows_may_be_too_short_to_see_an_alert_clear(tmp_path: Path) -> None:
    """It still has to fire; that it did not clear in that time is not held against it, and neither is a slower one."""
    run = runs.only_alerts("timeout-spike")
    run.drop_events("alert_cleared", alert="FailuresHigh")
    shortened(run, "recovery-all", 18)
    found = asked(run, tmp_path / "slower", "timeout-spike")
    assert found["alerts fire in all-replicas"] is found["alerts clear after all-replicas"] is Status.PASS
    shortened(run, "recovery-all", 16)
    found = asked(run, tmp_path / "none", "timeout-spike")
    assert found["alerts fire in all-replicas"] is Status.PASS
    assert "alerts clear after all-replicas" not in found


def test_a_recovery_that_waits_for_alerts_counts_whole() -> None:
    """It ends early when they clear, and late when they do not."""
    one = Expected("fault", "ReplicaDown", clear_delay_s=10)
    fault = Phase.model_validate({"name": "fault", "kind": "fault", "duration": "30s"})
    recovery = {"name": "recovery", "kind": "recovery", "duration": "10s"}
    waits = recovery | {"until": "alerts_cleared", "at_most": "20s"}
    for planned, complaints in ((recovery, 1), (waits, 0)):
        phases = (fault, Phase.model_validate(planned))
        assert len(list(alert_times.too_short((one,), phases, STACK_SCALE))) == complaints
    assert not list(alert_times.too_short((dataclasses.replace(one, fires=False),), (fault,), STACK_SCALE))


def test_an_alert_that_still_looks_back_before_the_run_is_no_page_of_it(tmp_path: Path) -> None:
    """The run before ended in an outage: its slow alert goes on for as long as its window, and no longer."""
    found = []
    for first_fault_s in (20, 60):
        run = runs.only_alerts("timeout-spike")
        old = {"alert": "FailuresHighSlow", "severity": "page", "labels": {}, "started_s": -9.0}
        run.events.insert(0, {"t_s": 0.1, "kind": "alert_before", **old, "ended_s": None, "received_s": -8.5})
        event = next(e for e in run.events if e["kind"] == "fault_injecting")
        event["t_s"] = first_fault_s
        found.append(asked(run, tmp_path / str(first_fault_s), "timeout-spike")["no page before the first fault"])
    assert found == [Status.PASS, Status.INCONCLUSIVE]


def test_one_that_comes_late_while_nobody_watched_is_not_known(tmp_path: Path) -> None:
    """Prometheus did not evaluate for a while: that the alert came late is not the rule's fault, as far as is known."""
    run = runs.only_alerts("timeout-spike")
    late = next(m for m in alert_mutants.of("timeout-spike") if "told_late-one-replica" in m.name)
    late.defect(run)
    begin, _ = run.span("one-replica")
    gap = run.metrics["component"].eq("prometheus") & run.metrics["t_s"].between(begin + 1, begin + 9)
    run.metrics = run.metrics[~gap]
    assert asked(run, tmp_path / "run", "timeout-spike")["alerts fire in one-replica"] is Status.INCONCLUSIVE
    assert alerts.unheard(RunView(run.write(tmp_path / "again")), begin, begin + 10)
