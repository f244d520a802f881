"""Alerts are judged from what was delivered; where nobody could have heard one, nothing is claimed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import alerts, drill, verdicts
from harness.model.alert_rules import BY_NAME, RULES, SCALES
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge.timeout_spike.mutants import ALL, ONE
from tests.runs import Run, alert_told
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
ASKED = ("no page before", "alerts fire", "alerts silent", "alerts clear")


def judged(run: Run, path: Path) -> dict[str, CheckResult]:
    """The checks about alerts, by name."""
    view = RunView(run.write(path))
    questions = [check for check in verdicts.asked(view, DRILL) if check.name.startswith(ASKED)]
    return {check.name: check for check in verdicts.answer(view, DRILL, questions).checks}


def deaf(component: str) -> Callable[[Run], None]:
    """That part of the chain was never there."""

    def defect(run: Run) -> None:
        run.metrics = run.metrics[run.metrics["component"].ne(component)]
        run.drop_events("alert_fired")
        run.drop_events("alert_cleared")

    return defect


def no_rules(run: Run) -> None:
    """Prometheus never told its rules."""
    run.drop_events("alert_rules")


@pytest.mark.parametrize("defect", [*map(deaf, ("prometheus", "alertmanager", "exporter")), no_rules])
def test_without_data_nothing_is_claimed(defect: Callable[[Run], None], tmp_path: Path) -> None:
    """Dead Prometheus, dead Alertmanager, unreadable sink: all checks about alerts say INCONCLUSIVE and why."""
    run = runs.healthy()
    defect(run)
    found = judged(run, tmp_path / "run")
    assert {check.status for check in found.values()} == {Status.INCONCLUSIVE}
    assert all(check.why for check in found.values())


def test_a_gap_while_the_alert_was_due_is_no_failure(tmp_path: Path) -> None:
    """The sink was not readable for six seconds after the fault; what did not arrive is not known. Before, it was."""
    run = runs.healthy()
    begin, _ = run.span(ONE)
    run.drop_events("alert_fired", labels={"server": "replica-2"})
    gap = run.metrics["component"].eq("exporter") & run.metrics["t_s"].between(begin + 3, begin + 9)
    run.metrics = run.metrics[~gap]
    found = judged(run, tmp_path / "run")
    assert found[f"alerts fire in {ONE}"].status is Status.INCONCLUSIVE
    assert "exporter" in found[f"alerts fire in {ONE}"].why
    assert found["no page before the first fault"].status is Status.PASS


def test_missing_alert_is_named(tmp_path: Path) -> None:
    """The sentence has the alert, its labels, and that Prometheus has no such rule."""
    run = runs.healthy()
    run.drop_events("alert_fired", alert="ReplicaDown")
    rules = next(event for event in run.events if event["kind"] == "alert_rules")
    rules["rules"].remove("ReplicaDown")
    why = judged(run, tmp_path / "run")[f"alerts fire in {ONE}"].why
    assert "expected alert did not fire: ReplicaDown{server=replica-2}" in why
    assert "no rule of that name" in why


def test_a_fault_that_was_too_short_proves_nothing(tmp_path: Path) -> None:
    """The fault was healed before the alert was due: it may have come a moment later."""
    run = runs.healthy()
    run.drop_events("alert_fired", alert="FailuresHigh")
    begin, _ = run.span(ALL)
    for event in run.events:
        if event["kind"] == "fault_healing" and event["phase"] == ALL:
            event["t_s"] = begin + 11
    view = RunView(run.write(tmp_path / "run"))  # no such run is valid: it would not be asked
    found = next(check for check in verdicts.checks(DRILL) if check.name == f"alerts fire in {ALL}").run(view)
    assert found.status is Status.INCONCLUSIVE
    assert "may take" in found.why


def test_an_alert_from_before_is_not_this_runs(tmp_path: Path) -> None:
    """It was firing when the run began and cleared before the baseline was over: noted, and no page of the service."""
    run = runs.healthy()
    alert = {"alert": "ReplicaDown", "severity": "page", "labels": {"component": "replica-1"}, "started_s": -20.0}
    run.events.insert(0, {"t_s": 0.1, "kind": "alert_before", **alert, "ended_s": None, "received_s": -19.0})
    found = judged(run, tmp_path / "open")["no page before the first fault"]
    assert found.status is Status.INCONCLUSIVE, "it never cleared: nobody can tell whose it is"
    run.events.append({"t_s": 9.0, "kind": "alert_cleared", **alert, "ended_s": 8.0, "received_s": 8.5})
    assert judged(run, tmp_path / "cleared")["no page before the first fault"].status is Status.PASS


def test_an_alert_that_was_on_already_cannot_notice_the_fault(tmp_path: Path) -> None:
    """The fault's alert fires since the warm-up: INCONCLUSIVE, whatever comes later."""
    run = runs.healthy()
    begin, _ = run.span("warm-up")
    run.events += alert_told("ReplicaDown", begin + 8, begin + 9, server="replica-2")[:1]
    found = judged(run, tmp_path / "run")
    assert found[f"alerts fire in {ONE}"].status is Status.INCONCLUSIVE
    assert found["no page before the first fault"].status is Status.FAIL


def test_a_ticket_wakes_nobody(tmp_path: Path) -> None:
    """Only pages are forbidden in the steady state."""
    run = runs.healthy()
    begin, _ = run.span("baseline")
    run.events += alert_told("DailyTokenSpend", begin + 5, begin + 6, "ticket")
    assert judged(run, tmp_path / "run")["no page before the first fault"].status is Status.PASS


def test_trouble_of_the_machine_is_no_page_of_the_service(tmp_path: Path) -> None:
    """A neighbour was killed for memory: whoever owns the machine is told, and the drill goes on."""
    run = runs.healthy()
    begin, _ = run.span("baseline")
    run.events += alert_told("OutOfMemoryKill", begin + 5, begin + 35, component="exporter")
    assert judged(run, tmp_path / "run")["no page before the first fault"].status is Status.PASS


def test_a_machine_that_is_too_busy_makes_pages_that_nobody_judges(tmp_path: Path) -> None:
    """The generator was behind its schedule: a page in that time says nothing of the service."""
    run = runs.healthy()
    begin, _ = run.span("baseline")
    run.events += alert_told("TtftP95High", begin + 5, begin + 6)
    run.requests["schedule_lag_ms"] += 200.0
    found = judged(run, tmp_path / "run")["no page before the first fault"]
    assert found.status is Status.INCONCLUSIVE
    assert "load generator" in found.why


def test_time_to_detect_is_that_of_the_first_alert(tmp_path: Path) -> None:
    """From the injection to the first delivery of one that is expected; in the check's details, too."""
    run = runs.healthy()
    begin, _ = run.span(ALL)
    run.events += alert_told("TpsDrop", begin + 1, begin + 9, "ticket")
    folder = run.write(tmp_path / "run")
    assert alerts.time_to_detect_s(RunView(folder), ALL) == pytest.approx(6.6)
    found = {check.name: check for check in whole_verdict(folder, DRILL).checks}[f"alerts fire in {ALL}"]
    assert found.details["time_to_detect_s"] == pytest.approx(6.6)
    assert set(found.details) == {"ReplicaDown{server=replica-1}", "ReplicaDown{server=replica-2}", "FailuresHigh",
                                  "time_to_detect_s"}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_bounds_come_from_the_rules_own_scale(scale: str) -> None:
    """A longer window or hold is a longer bound; what only looks at the newest sample looks back at nothing; what one
    bad request in a hundred sets off does not wait for a window full of them.
    """
    for rule in RULES:
        looks_back = rule.window.seconds(scale) if "$window" in rule.expression else 0  # type: ignore[arg-type]
        fires, clears = rule.fires_within_s(scale), rule.clears_within_s(scale)  # type: ignore[arg-type]
        assert fires - clears == pytest.approx(rule.hold.seconds(scale) - (1 - rule.share) * looks_back)  # type: ignore[arg-type]
        assert looks_back < clears < looks_back + 30
    assert BY_NAME["ReplicaDown"].fires_within_s("drill") == 2 + 1 + 1 + 1 + 2


def test_a_plan_without_its_alerts_is_no_pass(tmp_path: Path) -> None:
    """What nobody listened for is not known, whatever the plan says of it."""
    run = runs.healthy()
    del run.plan["alerts"]
    run.events = [e for e in run.events if not e["kind"].startswith("alert")]
    verdict = whole_verdict(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert verdict.status is Status.INCONCLUSIVE
    found = {c.name: c.status for c in verdict.checks if c.name.startswith(("alerts", "no page"))}
    assert len(found) >= 3
    assert set(found.values()) == {Status.INCONCLUSIVE}
