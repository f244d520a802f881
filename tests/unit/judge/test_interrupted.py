"""A run that somebody interrupted says so in one sentence, and blames nobody for what the interrupt prevented."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import alerts, drill, verdicts
from harness.model.verdict import Status, Verdict
from reports import render
from tests import runs
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
PHASE = "one-replica"


def interrupted(*, healed: bool = True, early: bool = False) -> tuple[Run, float]:
    """The healthy run, ended by Ctrl-C a while after its first faults were injected (or before); and when."""
    run = runs.healthy()
    injected = [event["t_s"] for event in run.events if event["kind"] == "fault_injected" and event["phase"] == PHASE]
    at_s = min(injected) - 2.0 if early else max(injected) + 8.0
    faults = [e["fault"] for e in run.events if e["kind"] == "fault_injecting" and e["t_s"] < at_s]
    run.events = [e for e in run.events if e["t_s"] < at_s]
    run.events.append({"t_s": at_s, "kind": "interrupted", "signal": "SIGINT"})
    for fault in faults if healed else ():
        by = {"on_exit": True, "by": "the harness"}
        run.events.append({"t_s": at_s + 0.4, "kind": "fault_healed", "fault": fault, "phase": PHASE, **by})
    run.events.append(runs.load_stopped(at_s + 3.0))
    run.requests = run.requests[run.requests["intended_start_s"] < at_s].copy()
    run.metrics = run.metrics[run.metrics["t_s"] < at_s].copy()
    run.recount()
    return run, at_s


def judged(run: Run, path: Path) -> Verdict:
    """Its verdict."""
    return whole_verdict(run.write(path), DRILL)


def test_the_reason_is_one_sentence_about_the_interrupt(tmp_path: Path) -> None:
    """Signal, phase, time; what was rolled back, by whom, how fast. Not «run complete: …»."""
    run, at_s = interrupted()
    verdict = judged(run, tmp_path / "run")
    assert verdict.status is Status.INCONCLUSIVE
    said = f"the run was interrupted (SIGINT) in phase {PHASE} after {at_s:.1f} s; 2 faults were rolled back by the"
    assert verdict.reason.startswith(f"{said} harness within 0.4 s")


def test_all_who_rolled_back_are_named(tmp_path: Path) -> None:
    """A harness that was killed on its way out: the same words whenever it is judged."""
    run, _ = interrupted()
    next(event for event in run.events if event.get("by"))["by"] = "the watchdog"
    assert "rolled back by the harness and the watchdog within" in judged(run, tmp_path / "run").reason


def test_nothing_injected_is_said(tmp_path: Path) -> None:
    """Ctrl-C before the first fault."""
    run, _ = interrupted(early=True)
    assert judged(run, tmp_path / "run").reason.endswith("; no fault was in place")


def test_what_was_not_rolled_back_is_named_and_fails(tmp_path: Path) -> None:
    """The sentence claims no heal that is not recorded."""
    run, _ = interrupted(healed=False)
    verdict = judged(run, tmp_path / "run")
    assert verdict.status is Status.FAIL
    complete = next(one for one in verdict.validity if one.name == "run complete")
    assert "no rollback of one-replica/" in complete.why


def test_the_machine_is_not_blamed_for_what_the_interrupt_prevented(tmp_path: Path) -> None:
    """Others were busy all the while: still it was the interrupt that kept the proof from coming, and it is said so."""
    run, at_s = interrupted()
    run.events = [event for event in run.events if event["kind"] not in ("fault_proven", "fault_proven_again")]
    runs.disturb(run, 0.0, at_s)
    verdict = judged(run, tmp_path / "run")
    assert verdict.cause is None
    whys = [one.why for one in (*verdict.validity, *verdict.checks)]
    assert [why for why in whys if "by others" in why or "disturbed" in why] == []
    fault = next(one for one in verdict.validity if one.name == f"fault in {PHASE}")
    assert "the run ended before the effect of" in fault.why


@pytest.mark.parametrize("told", [True, False])
def test_an_alert_of_an_unfinished_phase_is_its_own(told: bool, tmp_path: Path) -> None:
    """It is expected there, and told once; where it had no time to come nobody says that it is missing."""
    run, at_s = interrupted()
    expected = next(one for one in DRILL.alerts if one.phase == PHASE and one.fires)
    run.events = [event for event in run.events if event["kind"] not in ("alert_fired", "alert_cleared")]
    if told:
        fired, _ = runs.alert_told(expected.alert, at_s - 1.0, at_s + 60.0, "page", **expected.labels)
        run.events.append(fired)
    folder = run.write(tmp_path / "run")
    found = [alert.name for alert in alerts.of_fault(RunView(folder), PHASE)]
    assert found == ([expected.alert] if told else [])
    verdicts.write(folder, verdicts.judge(folder, DRILL))
    page = render.render(folder).read_text()
    assert "UNEXPECTED" not in page
    assert "did not fire" not in page
    assert "the run ended before" in page  # of the phases that did not come
