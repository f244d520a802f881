"""What an external target cannot answer is no part of its drill, and said so; what was asked in vain is no pass."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import CheckResult, Status, Verdict, worst
from harness.plan import guard
from harness.plan.guard import External
from reports import render
from tests import runs
from tests.judge import defects, stories
from tests.judge.timeout_spike import mutants
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
NOT_OURS = ("gateways eject replica-2", "no abandoned generation in all-replicas", "steady state in recovery-one")
LINE = "not asked of an external target: {} checks that need gateways, replicas, alerts or links of Drillyard's own"


def external_run(metrics: bool = False) -> runs.Run:
    """The healthy run with the phases of our own stack, as if its service had been somebody else's."""
    run = runs.healthy()
    said = External("https://h", ("h",), metrics_url="https://h/metrics" if metrics else None)
    run.plan["topology"]["target"] = dataclasses.asdict(guard.admit(said, lambda host, port: "192.0.2.1"))
    return run


def its_own_run() -> runs.Run:
    """The healthy run of the drill's scenario for external targets."""
    run = runs.healthy()
    mutants.as_external(run)
    return run


def judged(run: runs.Run, path: Path, practised: drill.Drill = DRILL) -> tuple[RunFolder, Verdict]:
    """Its verdict, written; of a run that was planned for that drill."""
    defects.planned_for(run, practised, external=run.plan["topology"].get("target") is not None)
    folder = run.write(path)
    found = verdicts.judge(folder, practised)
    verdicts.write(folder, found)
    return folder, found


def test_the_worst_wins() -> None:
    """FAIL > INCONCLUSIVE, SKIPPED > PASS; a run is never SKIPPED itself."""
    assert worst([Status.PASS, Status.SKIPPED]) is Status.INCONCLUSIVE
    assert worst([Status.SKIPPED]) is Status.INCONCLUSIVE
    assert worst([Status.SKIPPED, Status.FAIL, Status.PASS]) is Status.FAIL
    assert worst([Status.PASS]) is Status.PASS
    assert worst([]) is Status.INCONCLUSIVE


def test_all_that_could_be_asked_held(tmp_path: Path) -> None:
    """PASS, with one line about what was not asked: it is in no list of results, and known by name."""
    folder, found = judged(its_own_run(), tmp_path / "run")
    assert {check.name: check.why for check in found.checks if check.status is not Status.PASS} == {}
    assert found.status is Status.PASS, found.reason
    assert found.status.exit_code == 0
    names = {check.name for check in found.checks}
    assert {
        "conservation",
        "no hang in slow-link",
        "recovery after silent-link",
        "availability with a slow link",
    } <= names
    assert {*NOT_OURS, "no page before the first fault"} <= set(found.not_asked)
    assert not names & set(found.not_asked)
    assert len(names) + len(found.not_asked) == len(verdicts.checks(DRILL, True, RunView(folder).scenario.phases)) + 3
    assert found.reason == f"all {len(names)} checks passed; {LINE.format(len(found.not_asked))}"
    stored = verdicts.read(folder)
    assert (stored.not_asked, stored.reason) == (found.not_asked, found.reason)


def test_what_was_meant_for_it_and_could_not_be_done_is_skipped(tmp_path: Path) -> None:
    """A scenario without the phases that the drill asks external targets about leaves the run open, and says so."""
    folder, found = judged(external_run(), tmp_path / "run")
    by_name = {check.name: check for check in found.checks}
    skipped = {name for name, check in by_name.items() if check.status is Status.SKIPPED}
    assert skipped == {check.name for check in DRILL.external}
    assert by_name["no hang in slow-link"].why.startswith("it needs the phase slow-link")
    assert by_name["conservation"].status is by_name["no hang in one-replica"].status is Status.PASS
    assert found.status is Status.INCONCLUSIVE
    assert found.status.exit_code == 2
    passed = sum(check.status is Status.PASS for check in found.checks)
    assert passed + len(skipped) == len(by_name)
    assert found.reason.startswith(
        f"{passed} checks passed, {len(skipped)} were skipped (no hang in slow-link: it needs"
    )
    assert found.reason.endswith(LINE.format(len(found.not_asked)))
    stored = verdicts.read(folder)
    assert {check.name for check in stored.checks if check.status is Status.SKIPPED} == skipped


def test_a_fault_that_nothing_judges_leaves_the_run_open(tmp_path: Path) -> None:
    """A drill that can ask nothing about a fault of the scenario has not seen it through: all it asks counts then."""
    folder, found = judged(its_own_run(), tmp_path / "run", drill.load("gateway-failover"))
    assert RunView(folder).fault_phases == ("slow-link", "silent-link")  # an objective speaks of the first alone
    assert found.not_asked == ()
    assert {check.status for check in found.checks} == {Status.PASS, Status.SKIPPED}
    assert found.status is Status.INCONCLUSIVE


def test_our_own_stacks_are_asked_everything(tmp_path: Path) -> None:
    """Whatever a run of ours lacks is missing; it is never left out."""
    for spoil in (lambda run: None, lambda run: run.drop_events("fault_injected", phase="one-replica")):
        run = runs.healthy()
        spoil(run)
        _, found = judged(run, tmp_path / str(len(run.events)))
        assert found.not_asked == ()
        assert Status.SKIPPED not in {check.status for check in found.checks}
        assert {check.name for check in found.checks} >= {check.name for check in verdicts.checks(DRILL)}
    run = its_own_run()
    run.plan["topology"]["target"] = None
    _, found = judged(run, tmp_path / "without-a-target")
    assert found.not_asked == ()
    assert found.status is not Status.PASS


def test_not_asked_does_not_hide_a_failure(tmp_path: Path) -> None:
    """A check that FAILs decides the run, and the line about the others is there all the same."""
    run = its_own_run()
    defects.fail(run, run.requests["judged_phase" if "judged_phase" in run.requests else "phase"].eq("slow-link"))
    run.recount()
    _, found = judged(run, tmp_path / "run")
    assert found.status is Status.FAIL
    assert found.reason.endswith(LINE.format(len(found.not_asked)))


@pytest.mark.parametrize("metrics", [False, True])
def test_metrics_that_were_promised_must_be_there(metrics: bool, tmp_path: Path) -> None:
    """Without METRICS_URL nobody waits for the engine's page; with it, its absence makes the run invalid."""
    _, found = judged(external_run(metrics), tmp_path / "run")
    named = {f.name: f.status for f in found.validity if f.name.startswith("metrics of ")}
    assert named == ({"metrics of target": Status.INCONCLUSIVE} if metrics else {})


def test_report_and_junit_show_what_was_skipped(tmp_path: Path) -> None:
    """The page counts and names skipped checks, a row per reason; JUnit has them as <skipped>, apart from errors."""
    folder, found = judged(external_run(), tmp_path / "run")
    page = html.unescape(render.render(folder).read_text())
    skipped = [check for check in found.checks if check.status is Status.SKIPPED]
    count = len(skipped)
    assert f"{count} skipped" in page
    assert page.count('<span class="badge skipped">SKIPPED</span>') == len({check.why for check in skipped}) < count
    assert [check.name for check in skipped if check.name not in page] == []
    suite = ElementTree.fromstring((folder.path / "junit.xml").read_text())
    assert suite.get("skipped") == str(count) == str(len(suite.findall("testcase/skipped")))
    assert suite.get("errors") == "0"


def test_report_and_junit_say_what_was_not_asked(tmp_path: Path) -> None:
    """The same line on the page as in the reason, with the names; in JUnit a property, and no case of its own."""
    folder, found = judged(its_own_run(), tmp_path / "run")
    page = html.unescape(render.render(folder).read_text())
    assert page.count(LINE.format(len(found.not_asked))) == 2
    assert f"{len(found.not_asked)} not asked" in page
    assert f"{LINE.format(len(found.not_asked))}: {', '.join(found.not_asked)}" in page
    suite = ElementTree.fromstring((folder.path / "junit.xml").read_text())
    (told,) = (one.get("value") for one in suite.iter("property") if one.get("name") == "not_asked")
    assert told == ", ".join(found.not_asked)
    assert suite.get("skipped") == suite.get("errors") == suite.get("failures") == "0"
    assert not {case.get("name") for case in suite.iter("testcase")} & set(found.not_asked)


def stopped(after_heal_s: float, back: bool) -> runs.Run:
    """A run of an external target that was stopped so long after its last heal; ``back``: users were served again."""
    run = runs.healthy()
    if not back:
        mutants.no_recovery_all(run)
    mutants.as_external(run)
    healed_s = max(e["t_s"] for e in run.events if e["kind"] == "fault_healed")
    at_s = healed_s + after_heal_s
    run.events = [e for e in run.events if e["t_s"] <= at_s and e["kind"] != "load_stopped"]
    run.events.append({"t_s": at_s, "kind": "stop_condition", "condition": "x", "why": "error_ratio was 100 %"})
    run.events.append(runs.load_stopped(at_s + 0.1))
    run.requests = run.requests[run.requests["intended_start_s"] < at_s].reset_index(drop=True)
    limit_s = run.plan["scenario"]["load"]["limits"]["first_token"]
    young = run.requests["final"] & run.requests["intended_start_s"].gt(at_s - limit_s)
    if not back:
        run.requests.loc[young, ["outcome", "ttft_ms"]] = ["cancelled_drain", None]
        run.requests.loc[young, "e2e_ms"] = 1000 * (at_s - run.requests["start_s"][young]).clip(lower=0.05)
    run.recount()
    return run


def test_a_stop_condition_is_told_with_what_failed(tmp_path: Path) -> None:
    """The commonest failure of the last half minute, and that the target itself did not answer before the heal."""
    run = stopped(25.0, False)
    at_s = run.events[-1]["t_s"]
    late = run.requests["start_s"].gt(at_s - 30) & run.requests["outcome"].ne("ok")
    assert late.sum() > 10
    run.requests.loc[late, ["outcome", "http_status", "error_code"]] = ["http_4xx", 401, "invalid_api_key"]
    run.events.append({"t_s": at_s - 25, "kind": "fault_lost", "why": "client-to-target: its far side does not answer"})
    told = RunView(run.write(tmp_path / "run")).interrupted
    assert told is not None
    assert (
        f"error_ratio was 100 %; most attempts that failed: {late.sum()} × http_4xx 401 invalid_api_key; before" in told
    )
    assert told.endswith("client-to-target: its far side does not answer")


@pytest.mark.parametrize(
    ("after_heal_s", "back", "status", "recovery"),
    [
        (25.0, False, Status.FAIL, Status.FAIL),
        (12.0, False, Status.INCONCLUSIVE, Status.INCONCLUSIVE),  # who asked last might still have been served in time
        (25.0, True, Status.INCONCLUSIVE, Status.INCONCLUSIVE),
    ],
)
def test_a_service_that_does_not_come_back_is_fail_though_it_was_left_alone(
    after_heal_s: float, back: bool, status: Status, recovery: Status, tmp_path: Path
) -> None:
    """The stop condition is a consequence: down for longer than recovery may take is known enough."""
    _, found = judged(stopped(after_heal_s, back), tmp_path / "run")
    (check,) = (check for check in found.checks if check.name == "recovery after silent-link")
    assert check.status is recovery, check.why
    assert found.status is status, found.reason
    assert "run complete" in {f.name for f in found.validity if f.status is Status.INCONCLUSIVE}


def test_a_run_of_which_nothing_is_judged_is_no_pass(tmp_path: Path) -> None:
    """Of phases without faults somebody has to speak, too: here all users are refused after the baseline, and nobody
    asks.
    """
    run = its_own_run()
    renamed = {"slow-link": "calm", "silent-link": "calmer"}
    run.plan["scenario"]["slos"] = []
    for phase in run.plan["scenario"]["phases"]:
        phase.update(faults=[], name=renamed.get(phase["name"], phase["name"]))
    run.events[:] = [
        {**event, "phase": renamed.get(event.get("phase", ""), event.get("phase"))}
        for event in run.events
        if not event["kind"].startswith(("fault_", "heal_"))
    ]
    run.requests = run.requests.replace({"phase": renamed}).assign(straddles=None)
    defects.fail(run, run.requests["final"] & ~run.requests["phase"].isin(["warm-up", "baseline"]))
    run.requests.loc[run.requests["outcome"].eq("http_5xx"), ["outcome", "http_status"]] = ["shed_503", 503]
    run.recount()
    _, found = judged(run, tmp_path / "run", drill.load("oom"))
    assert found.status is Status.INCONCLUSIVE, found.reason
    assert found.not_asked == ()


@pytest.mark.parametrize("name", drill.names())
def test_no_check_passes_in_a_phase_that_never_began(name: str, tmp_path: Path) -> None:
    """The run ended before its first fault: whoever asks about a fault has nothing to look at."""
    run = stories.healthy(name)
    end_s = next(event["t_s"] for event in run.events if event["kind"] == "fault_injecting")
    faults = [phase["name"] for phase in run.plan["scenario"]["phases"] if phase["kind"] == "fault"]
    run.events = [event for event in run.events if event["t_s"] < end_s and event.get("phase") not in faults]
    run.requests = run.requests[run.requests["intended_start_s"] < end_s]
    run.metrics = run.metrics[run.metrics["t_s"] < end_s]
    run.files = {}
    found = whole_verdict(run.write(tmp_path / "run"), drill.load(name))
    assert found.status is not Status.PASS
    asked = [check.name for check in found.checks if any(check.name.endswith(f" {phase}") for phase in faults)]
    assert asked
    assert [check.name for check in found.checks if check.name in asked and check.status is Status.PASS] == []


def test_a_result_without_a_reason_is_refused() -> None:
    """A check that cannot say why has looked at nothing."""
    with pytest.raises(ValueError, match="without a reason"):
        CheckResult("a check", Status.PASS, "")
