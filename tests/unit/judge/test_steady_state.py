"""Before the first fault nothing is the stack's failure but a false page; after a heal it is (docs/metrics.md)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.judge.checks.alerts import NO_PAGE
from harness.model.verdict import CheckResult, Status, Verdict
from tests import runs
from tests.judge import defects
from tests.judge.timeout_spike.mutants import ALL
from tests.runs import Run, alert_told
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
SHIPPED = [(name, path) for name in drill.names() for path in drill.ROOT.glob(f"scenarios/{name}*.yaml")]


def judged(run: Run, path: Path) -> tuple[Verdict, dict[str, CheckResult]]:
    """The verdict, and its checks by name."""
    run.recount()
    verdict = whole_verdict(run.write(path), DRILL)
    return verdict, {check.name: check for check in verdict.checks}


def ended_early(run: Run, phase: str, why: str) -> None:
    """The run as conduct leaves it when ``phase`` does not come to a steady state: nothing is injected after it."""
    asked = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == phase)
    run.events = run.events[: run.events.index(asked) + 1]
    begun = [e["phase"] for e in run.events if e["kind"] == "phase_started"]
    met = run.requests["straddles"].dropna()  # nobody has met a fault that was never injected
    ended_s = min([asked["t_s"], *run.requests["intended_start_s"][met.index[~met.isin(begun)]]])
    for event in run.events:
        event["t_s"] = min(event["t_s"], ended_s)
    asked |= {"reached": False, "why": why}
    run.events.append({"t_s": ended_s + 0.1, "kind": "aborted", "why": f"not in steady state after {phase}: {why}"})
    run.events.append(runs.load_stopped(ended_s + 0.2))
    run.requests = run.requests[run.requests["intended_start_s"] < ended_s].reset_index(drop=True)
    run.metrics = run.metrics[run.metrics["t_s"] < ended_s + 1]


@pytest.mark.parametrize(("failing_s", "status"), [(0.0, Status.PASS), (20.0, Status.FAIL)])
def test_what_was_reached_is_kept_until_the_next_phase(failing_s: float, status: Status, tmp_path: Path) -> None:
    """The steady state was reported, and before the next fault is there everybody fails."""
    run = runs.healthy()
    begin, end = run.span("recovery-one")
    next(p for p in run.plan["scenario"]["phases"] if p["name"] == "recovery-one")["duration"] = 11.0
    for event in (e for e in run.events if e.get("phase") == "recovery-one" and e["t_s"] > begin):
        event["t_s"] = begin + (12.0 if event["kind"] == "steady_state" else 11.9)
    if failing_s:
        defects.fail(run, run.requests["intended_start_s"].between(begin + 13, end))
    _, checks = judged(run, tmp_path / "run")
    assert checks["steady state in recovery-one"].status is status, checks["steady state in recovery-one"].why


@pytest.mark.parametrize(("name", "path"), SHIPPED, ids=[path.stem for _, path in SHIPPED])
def test_each_recovery_before_a_fault_must_end_steady(name: str, path: Path) -> None:
    """Without that check a service that a fault leaves slow for good only ends the run early, which is INCONCLUSIVE."""
    phases = yaml.safe_load(path.read_text())["phases"]
    pairs = pairwise([*phases, {"kind": "fault"}])
    awaited = [one["name"] for one, after in pairs if one["kind"] == "recovery" and after["kind"] in ("fault", "quiet")]
    asked = {check.name for check in verdicts.checks(drill.load(name), external=path.stem.endswith(".external"))}
    assert [phase for phase in awaited if f"steady state in {phase}" not in asked] == []


def slow(run: Run) -> None:
    """Every first token takes more than a second: the machine is slow."""
    run.requests[["ttft_ms", "ttft_from_schedule_ms", "e2e_ms", "e2e_from_schedule_ms"]] += 1300.0


def page_in_the_baseline(run: Run, name: str, after_s: float = 15.0, **labels: str) -> None:
    """A page that fires so long after the beginning of the baseline."""
    begin, _ = run.span("baseline")
    run.events += alert_told(name, begin + after_s, begin + after_s + 5, **labels)
    run.events.sort(key=lambda event: event["t_s"])


def test_a_run_without_steady_state_is_inconclusive_and_says_what_is_missing(tmp_path: Path) -> None:
    """Slow from the start, true pages, nothing injected: no check is FAIL, and the first line has the numbers."""
    run = runs.healthy()
    slow(run)
    page_in_the_baseline(run, "TtftP95High")
    why = "TTFT p95 1.5 s, limit 0.8 s; 36 in flight; the machine was 97 % busy, 41 % by others"
    ended_early(run, "baseline", why)
    verdict, found = judged(run, tmp_path / "run")
    assert verdict.status is Status.INCONCLUSIVE
    assert why in verdict.reason
    assert {check.status for check in found.values()} <= {Status.INCONCLUSIVE, Status.PASS}
    assert found["steady state in baseline"].status is found["TTFT before"].status is Status.INCONCLUSIVE


def test_a_slow_baseline_is_never_fail(tmp_path: Path) -> None:
    """The gate had let the run go on: objectives and checks of the baseline still say INCONCLUSIVE, not FAIL."""
    run = runs.healthy()
    slow(run)
    page_in_the_baseline(run, "TtftP95High")
    _, found = judged(run, tmp_path / "run")
    for name in ("TTFT before", "steady state in baseline", NO_PAGE):
        assert found[name].status is Status.INCONCLUSIVE, found[name].why
        assert "not in steady state" in found[name].why
    assert "limit 0.8 s" in found[NO_PAGE].why


@pytest.mark.parametrize("early", [False, True])
def test_a_page_that_cries_wolf_is_fail(early: bool, tmp_path: Path) -> None:
    """First tokens came after 0.2 s, and somebody was woken for them; also where that kept the run from its fault."""
    run = runs.healthy()
    page_in_the_baseline(run, "TtftP95High")
    if early:
        ended_early(run, "baseline", "TtftP95High is firing; 2 in flight")
    verdict, found = judged(run, tmp_path / "run")
    assert verdict.status is found[NO_PAGE].status is Status.FAIL
    assert "unexpected page during steady state: TtftP95High" in found[NO_PAGE].why
    assert "p95 was 0.2" in found[NO_PAGE].why


def test_a_page_that_was_true_once_and_stays_cries_wolf(tmp_path: Path) -> None:
    """The warm-up was slow; the page goes on through a baseline in which nothing is."""
    run = runs.healthy()
    begin, end = run.span("warm-up")
    run.requests.loc[defects.between(run, begin, end), "ttft_ms"] += 2000.0
    run.events += alert_told("TtftP95High", end - 1, end + 900)[:1]
    _, found = judged(run, tmp_path / "run")
    assert found[NO_PAGE].status is Status.FAIL, found[NO_PAGE].why


def test_one_failure_of_fifty_is_no_page_and_no_failure_of_the_drill(tmp_path: Path) -> None:
    """Even if a rule had fired for it, with five requests a second: it is one request from being false, not more."""
    run = runs.healthy()
    begin, _ = run.span("baseline")
    defects.fail(run, defects.between(run, begin + 10, begin + 10.9))
    page_in_the_baseline(run, "FailuresHigh")
    _, found = judged(run, tmp_path / "run")
    assert found[NO_PAGE].status is Status.INCONCLUSIVE, found[NO_PAGE].why


def test_a_replica_that_stays_down_after_the_heal_is_fail(tmp_path: Path) -> None:
    """The run ended there, before the next fault: what ended it is the failure."""
    run = runs.healthy()
    ended_early(run, "recovery-one", "gateway-a sees replica-2 down; 3 in flight")
    verdict, found = judged(run, tmp_path / "run")
    assert verdict.status is Status.FAIL
    assert found["steady state in recovery-one"].status is Status.FAIL
    assert "gateway-a sees replica-2 down" in verdict.reason
    assert found["recovery after all-replicas"].status is Status.INCONCLUSIVE


def test_a_generator_behind_its_schedule_decides_nothing_after_a_heal(tmp_path: Path) -> None:
    """What the load could not measure is no failure of the stack."""
    run = runs.healthy()
    ended_early(run, "recovery-one", "only 12 requests ended, 40 are needed")
    run.requests["schedule_lag_ms"] += 500.0
    verdict, found = judged(run, tmp_path / "run")
    assert found["steady state in recovery-one"].status is Status.INCONCLUSIVE
    assert verdict.status is Status.INCONCLUSIVE


def test_a_run_that_injects_nothing_is_held_to_its_objectives(tmp_path: Path) -> None:
    """There is no first fault to wait for: whether the promises are kept is the question."""
    run = runs.healthy()
    slow(run)
    ended_early(run, "baseline", "TTFT p95 1.5 s, limit 0.8 s")
    run.drop_events("aborted")
    run.plan["scenario"]["phases"] = run.plan["scenario"]["phases"][:2]
    begin, end = run.span("baseline")
    run.plan["scenario"]["phases"][1]["duration"] = end - begin
    _, found = judged(run, tmp_path / "run")
    assert found["TTFT before"].status is Status.FAIL, found["TTFT before"].why


def test_users_who_are_refused_at_first_have_waited(tmp_path: Path) -> None:
    """Before the first fault: every request is answered at once, three seconds after it was meant to be."""
    run = runs.healthy()
    begin, end = run.span("baseline")
    where = run.requests["intended_start_s"].between(begin, end)
    for column in ("ttft", "e2e"):
        run.requests.loc[where, f"{column}_from_schedule_ms"] = run.requests.loc[where, f"{column}_ms"] + 3000.0
    (check,) = (check for check in DRILL.checks if check.name == "steady state in baseline")
    assert check.run(RunView(run.write(tmp_path / "run"))).status is Status.FAIL


def test_reported_as_steady_though_users_waited(tmp_path: Path) -> None:
    """After a heal the records contradict the gate."""
    run = runs.healthy()
    end = run.span("recovery-one")[1]
    run.requests.loc[defects.between(run, end - 8, end - 4), "ttft_ms"] = 3000.0
    _, found = judged(run, tmp_path / "run")
    assert found["steady state in recovery-one"].status is Status.FAIL
    assert "the records show" in found["steady state in recovery-one"].why


def test_what_the_next_fault_met_contradicts_nothing(tmp_path: Path) -> None:
    """Requests that were in flight when it came are that fault's."""
    run = runs.healthy()
    asked = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery-one")
    met = run.requests["straddles"].eq(ALL)
    before = defects.between(run, asked["t_s"] - 4, asked["t_s"])
    defects.fail(run, before | met)
    run.requests.loc[before, "e2e_ms"] = 6000.0
    run.recount()
    _, found = judged(run, tmp_path / "run")
    assert found["steady state in recovery-one"].status is Status.PASS, found["steady state in recovery-one"].why


def test_a_true_alert_in_a_fault_phase_is_left_to_the_objectives(tmp_path: Path) -> None:
    """cancel-storm says that users who hang up are no failures; real failures are for its availability to judge."""
    storm = drill.load("cancel-storm")
    name, statuses = "alerts silent in prefill", []
    for path, failures in (("false", 0), ("one short", 4), ("true", 9)):
        run = runs.only_alerts("cancel-storm")
        begin, _ = run.span("prefill")
        run.events += alert_told("FailuresHigh", begin + 5, begin + 9)
        ids = run.requests["request_id"][run.requests["intended_start_s"].gt(begin - 2)]
        defects.fail(run, run.requests["request_id"].isin(ids[:failures]))
        asked = next(check for check in verdicts.checks(storm) if check.name == name)
        statuses.append(asked.run(RunView(run.write(tmp_path / path))).status)
    assert statuses == [Status.FAIL, Status.INCONCLUSIVE, Status.PASS]


def test_a_gateway_that_must_stay_up_and_does_not_is_fail(tmp_path: Path) -> None:
    """No objective would notice: the drill says that what the rule watches must hold."""
    run = runs.healthy()
    begin, _ = run.span(ALL)
    run.events += alert_told("GatewayDown", begin + 8, begin + 12, component="gateway-b")
    m = run.metrics
    down = m["component"].eq("gateway-b") & m["metric"].eq("up") & m["t_s"].between(begin + 5, begin + 9)
    run.metrics.loc[down, "value"] = 0.0
    _, found = judged(run, tmp_path / "run")
    assert found[f"alerts silent in {ALL}"].status is Status.FAIL
    assert "a true one" in found[f"alerts silent in {ALL}"].why
