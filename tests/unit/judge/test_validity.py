"""What a run could not measure turns the checks that depend on it INCONCLUSIVE, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.evidence import records_kept, samples_kept
from harness.evidence.record import of_fault
from harness.evidence.view import RunView
from harness.judge import drill, sampled, validity, verdicts
from harness.judge.checks import records
from harness.judge.drill import Check
from harness.model.errors import RunFolderError
from harness.model.verdict import CheckResult, Status
from harness.plan import guard
from harness.plan.guard import External
from tests import runs
from tests.judge import defects
from tests.judge.timeout_spike import mutants
from tests.runs import Run
from tests.unit.judge.verdicts import verdict_on, whole_verdict

DRILL = drill.load("timeout-spike")
SAFETY = {"conservation", "nothing left injected", "no silent truncation"}


def _drop_phase_end(run: Run) -> None:
    run.drop_events("phase_ended", phase="recovery-all")


def _interrupt(run: Run) -> None:
    run.events.append({"t_s": 50.0, "kind": "interrupted", "signal": "SIGINT"})


def _abort(run: Run) -> None:
    run.events.append({"t_s": 50.0, "kind": "aborted", "why": "a link does not work before the fault"})


def _stop_condition(run: Run) -> None:
    why = "error_ratio > 50 % for 10 s: error_ratio was 84 %"
    run.events.append({"t_s": 50.0, "kind": "stop_condition", "condition": "error_ratio > 50 % for 10 s", "why": why})


def _event_without_time(run: Run) -> None:
    run.events.insert(3, {"kind": "note", "text": "when?"})


def _never_steady(run: Run) -> None:
    event = next(e for e in run.events if e["kind"] == "steady_state")
    event |= {"reached": False, "why": "3 of 40 requests failed"}


def _late(run: Run) -> None:
    first = run.requests["attempt"].eq(1)
    run.requests.loc[first, "schedule_lag_ms"] += 45.0
    run.requests[["start_s", "first_byte_sent_s"]] += 0.045
    run.recount()


def _slow_generator(run: Run) -> None:
    run.summary["achieved_rate_per_s"] = 3.9


def _rate_unknown(run: Run) -> None:
    run.summary["achieved_rate_per_s"] = float("nan")


def _busy_generator(run: Run) -> None:
    run.metrics.loc[defects.samples(run, "load", "cpu_ratio", 40, 46), "value"] = 0.97


def _generator_not_sampled(run: Run) -> None:
    run.metrics = run.metrics[run.metrics["component"].ne("load")]


def _probe_crashes(run: Run) -> None:
    run.events.append({"t_s": 33.0, "kind": "probe_error", "probe": "dns", "why": "ValueError: no address"})


def _watchdog_dies(run: Run) -> None:
    run.events.append({"t_s": 133.0, "kind": "watchdog_died"})


def _unsent(run: Run) -> None:
    run.requests.loc[defects.ok(run) & run.requests["request_id"].str.endswith("3"), "outcome"] = "not_sent"
    run.recount()


def _out_of_descriptors(run: Run) -> None:
    """A single request in a long run: it is no failure of the service all the same."""
    one = run.requests.index[defects.ok(run)][40]
    run.requests.loc[one, ["outcome", "subtype"]] = ["not_sent", "no_descriptor"]
    run.recount()


def _load_died(run: Run) -> None:
    event = next(e for e in run.events if e["kind"] == "load_stopped")
    event |= {
        "status": 74,
        "why": "the load generator died (status 74): requests-0.arrows cannot be written: it is full",
    }


def _load_was_killed(run: Run) -> None:
    event = next(e for e in run.events if e["kind"] == "load_stopped")
    event |= {"status": -9}


def _rows_are_missing(run: Run) -> None:
    """The generator reported one request more than it recorded: it was killed before its last flush."""
    event = next(e for e in run.events if e["kind"] == "load_stopped")
    event |= {"status": 0, "ended": int(run.requests["final"].sum()) + 1}


def _how_many_ended_is_unknown(run: Run) -> None:
    """The generator's end is recorded, and not what it had done until then."""
    next(e for e in run.events if e["kind"] == "load_stopped").pop("ended", None)


def _samples_not_written(run: Run) -> None:
    run.files["metrics.parquet.failed"] = {"why": "No space left on device"}


def _events_not_written(run: Run) -> None:
    run.files["events.jsonl.failed"] = {"why": "File too large"}


def _gap(run: Run) -> None:
    run.metrics = run.metrics[~(run.metrics["component"].eq("gateway-b") & run.metrics["t_s"].between(60, 63))]


def _unanswered(run: Run) -> None:
    run.metrics.loc[defects.samples(run, "replica-1", "up", 20, 23), "value"] = 0.0


def _samples_are_missing(run: Run) -> None:
    """Every other sample of a series that no check reads is gone."""
    taken = samples_kept.summary(run.metrics)
    rows = run.metrics.index[defects.samples(run, "machine", "cores", 0, 1000)]
    run.metrics = run.metrics.drop(rows[::2])
    run.files[samples_kept.FILE] = taken


def _unknown_what_was_sampled(run: Run) -> None:
    run.files[samples_kept.FILE] = {}


def _an_event_was_lost(run: Run) -> None:
    run.files[records_kept.FILE] = {"events": len(run.events) + 2, "events_sha256": "", "documents": {}}


def _unknown_what_was_left(run: Run) -> None:
    run.files[records_kept.FILE] = {}


def _no_effect(run: Run) -> None:
    event = next(e for e in run.events if e["kind"] == "fault_proven" and e["phase"] == "one-replica")
    event |= {"kind": "fault_unproven", "why": "crossing took +3 ms compared with before"}


def _effect_never_measured(run: Run) -> None:
    run.drop_events("fault_proven", fault="all-replicas/timeout/gateway-b-to-replica-2")


def _heal_unproven(run: Run) -> None:
    run.drop_events("heal_proven", phase="one-replica")


def _heal_unknown(run: Run) -> None:
    defects.heal_unproven(run, left=None)


def _never_injected(run: Run) -> None:
    """It was ordered, and that is all."""
    run.drop_events("fault_injected", "fault_proven", phase="all-replicas")


def _half_a_baseline(run: Run) -> None:
    next(e for e in run.events if e["kind"] == "phase_ended" and e["phase"] == "baseline")["t_s"] -= 15


def _of_another_phase(run: Run) -> None:
    """A slow request of the fault phase is said to be one of the recovery."""
    run.requests.loc[run.requests.index[run.in_phase("one-replica")][3], "phase"] = "recovery-one"
    run.phases_stay = True


def _proven_before_its_injection(run: Run) -> None:
    next(e for e in run.events if e["kind"] == "fault_proven" and e["fault"] == _LINK)["t_s"] -= 3.98


def _restart(run: Run) -> None:
    run.events.append({"t_s": 33.0, "kind": "component_restarted", "component": "replica-2"})


def _restart_counted(run: Run) -> None:
    run.metrics.loc[defects.samples(run, "gateway-a", "restarts_total", 75, 1000), "value"] = 1.0


def _fewer_than_planned(run: Run) -> None:
    """One request is not there, and the generator knows nothing of it."""
    mutants.request_vanishes(run)
    run.recount()


def _faster_in_the_plan(run: Run) -> None:
    run.plan["scenario"]["load"]["rate"] = 2 * runs.RATE_PER_S


def _only_one_user(run: Run) -> None:
    run.requests["user_id"] = "user-001"


def _a_cohort_that_nobody_sent(run: Run) -> None:
    cohorts = run.plan["scenario"]["load"]["cohorts"]
    cohorts.append({**cohorts[0], "name": "writers", "prompts": "open", "share": 1.0})


def _another_seed(run: Run) -> None:
    run.plan["seed"] += 1


def _later_than_planned(run: Run) -> None:
    """One request was moved by a tenth of a second."""
    run.requests.loc[run.requests.index[77], ["intended_start_s", "start_s", "first_byte_sent_s"]] += 0.1


def _before_the_load(run: Run) -> None:
    """The load is said to have begun later than its first requests."""
    next(e for e in run.events if e["kind"] == "load_started")["t_s"] = runs.BEGAN_S - 0.1


def _another_plan_than_begun(run: Run) -> None:
    """The scenario in the folder asks for less than the run began with."""
    run.events.append({"t_s": 0.2, "kind": "planned", "digest": "0" * 64})


def _checks_not_named(run: Run) -> None:
    del run.plan["checks"]


def _check_with_another_limit(run: Run) -> None:
    run.plan["checks"]["users-recover/one-replica"]["seconds"] = 11


def _check_that_is_gone(run: Run) -> None:
    run.plan["checks"]["nobody-is-unhappy"] = {}


def _one_of_four_links(run: Run) -> None:
    for one in run.plan["faults"][3:]:
        run.drop_events("fault_injecting", "fault_injected", "fault_proven", fault=one["fault"])


_LINK = "one-replica/latency/gateway-a-to-replica-2"


def _another_link(run: Run) -> None:
    for event in (e for e in run.events if e.get("fault") == _LINK):
        event["on"] = "gateway-a-to-replica-1"


def _another_type(run: Run) -> None:
    for event in (e for e in run.events if e.get("fault") == _LINK):
        event["type"] = "bandwidth"


def _more_than_planned(run: Run) -> None:
    """A fault in a phase that has none."""
    event = next(e for e in run.events if e["kind"] == "fault_injected")
    run.events.append({**event, "t_s": run.span("recovery-all")[0] + 5, "phase": "recovery-all"})


def _targets_not_planned(run: Run) -> None:
    del run.plan["faults"]


def _target_left_out_of_the_plan(run: Run) -> None:
    """One of two links, and the run did as its plan says."""
    run.plan["faults"] = [one for one in run.plan["faults"] if one["phase"] != "all-replicas"]


def _present(run: Run) -> pd.Series:
    return run.metrics["labels"].eq(of_fault(_LINK))


def _gone_early(run: Run) -> None:
    """Somebody made the proxy anew three seconds into the fault."""
    since = run.span("one-replica")[0] + 3
    run.metrics.loc[_present(run) & run.metrics["t_s"].gt(since), "value"] = 0.0


def _presence_not_asked(run: Run) -> None:
    run.metrics = run.metrics[~_present(run)]


def _presence_asked_for_a_while(run: Run) -> None:
    run.metrics = run.metrics[~(_present(run) & run.metrics["t_s"].gt(run.span("one-replica")[0] + 10))]


def _not_proven_again(run: Run) -> None:
    run.drop_events("fault_proven_again", fault=_LINK)


def _lost(run: Run) -> None:
    event = next(e for e in run.events if e["kind"] == "fault_proven_again")
    event |= {"kind": "fault_lost", "why": "crossing took +3 ms compared with before"}


def _in_flight_at_the_end(run: Run) -> None:
    """One request never ended, and is in no record."""
    run.requests = run.requests[run.requests["request_id"].ne(run.requests["request_id"].iloc[100])]
    run.recount()
    run.summary |= {"scheduled_requests": run.summary["scheduled_requests"] + 1, "in_flight_at_end": 1}


def _an_answer_through_silence(run: Run) -> None:
    """The links were dead, and what could not be refused at once was answered."""
    begin, end = run.span("all-replicas")
    rows = run.requests["outcome"].ne("ok") & run.requests["start_s"].between(begin + 1, end - 5)
    one = run.requests.index[rows & run.requests["attempt"].eq(1)][0]
    run.requests = run.requests.drop(
        run.requests.index[run.requests["request_id"].eq(run.requests["request_id"][one])][1:]
    )
    run.requests.loc[one, "final"] = True
    for column, value in (runs.answered(0, 0.0, 0.0)).items():
        run.requests.loc[one, column] = value
    run.recount()


def _an_unknown_event(run: Run) -> None:
    run.events.append({"t_s": 50.0, "kind": "all_was_well"})


def _too_small(run: Run) -> None:
    run.events.insert(0, {"t_s": 0.1, "kind": "too_small", "why": "too small: it needs 12/s, this machine has 4/s"})


def _without(run: Run, component: str, metric: str, labels: str | None = None) -> None:
    mine = run.metrics["component"].eq(component) & run.metrics["metric"].eq(metric)
    run.metrics = run.metrics[~(mine & (labels is None or run.metrics["labels"].eq(labels)))]


def _restarts_never_sampled(run: Run) -> None:
    _without(run, "gateway-b", "restarts_total")


def _readiness_never_sampled(run: Run) -> None:
    _without(run, "gateway-a", "ready")


def _dns_never_sampled(run: Run) -> None:
    _without(run, "dns", "answered")


def _dns_answers_nothing(run: Run) -> None:
    _without(run, "dns", "answer")


def _one_replica_of_a_gateway_never_sampled(run: Run) -> None:
    _without(run, "gateway-a", "server_up", "server=replica-1")


def _one_sample(run: Run) -> None:
    mine = defects.samples(run, "replica-1", "running", 0, 1e9)
    run.metrics = run.metrics.drop(run.metrics.index[mine][1:])


def _one_moment(run: Run) -> None:
    run.metrics.loc[run.metrics["component"].eq("dns"), "t_s"] = 50.0


def _not_sampled_in_one_phase(run: Run) -> None:
    begin, end = run.span("recovery-one")
    mine = defects.samples(run, "replica-2", "restarts_total", begin, end)
    run.metrics = run.metrics[~mine]


def _no_number(run: Run) -> None:
    run.metrics.loc[run.metrics.index[defects.samples(run, "replica-1", "running", 40, 50)][3], "value"] = float("nan")


def _endless(run: Run) -> None:
    run.metrics.loc[run.metrics.index[defects.samples(run, "machine", "cores", 40, 50)][3], "value"] = float("inf")


def _less_than_nothing(run: Run) -> None:
    run.metrics.loc[run.metrics.index[defects.samples(run, "replica-1", "waiting", 40, 50)][3], "value"] = -1.0


def _load_end_unknown(run: Run) -> None:
    run.drop_events("load_stopped")


def _load_broke(run: Run) -> None:
    next(e for e in run.events if e["kind"] == "load_stopped")["status"] = 70


def _load_status_unknown(run: Run) -> None:
    next(e for e in run.events if e["kind"] == "load_stopped").pop("status")


def _generator_no_number(run: Run) -> None:
    run.metrics.loc[defects.samples(run, "load", "cpu_ratio", 0, 1e9), "value"] = float("nan")


def _generator_sampled_once(run: Run) -> None:
    mine = defects.samples(run, "load", "cpu_ratio", 0, 1e9)
    run.metrics = run.metrics.drop(run.metrics.index[mine][1:])


def _one(run: Run) -> pd.Index:
    return run.requests.index[defects.ok(run)][40:41]


def _lag_of_one_only(run: Run) -> None:
    run.requests.loc[run.requests.index[1:], "schedule_lag_ms"] = None


def _lag_negative(run: Run) -> None:
    run.requests["schedule_lag_ms"] *= -1


def _lag_untrue(run: Run) -> None:
    run.requests["schedule_lag_ms"] *= 0


def _all_at_once(run: Run) -> None:
    run.requests["start_s"] = run.requests["start_s"].iloc[0]


def _took_no_time(run: Run) -> None:
    run.requests.loc[_one(run), "e2e_ms"] = 0.0


def _took_for_ever(run: Run) -> None:
    run.requests.loc[_one(run), ["e2e_ms", "e2e_from_schedule_ms"]] = float("inf")


def _went_back_in_time(run: Run) -> None:
    run.requests.loc[_one(run), "ttft_ms"] = -5.0


def _ended_before_its_first_token(run: Run) -> None:
    run.requests.loc[_one(run), ["e2e_ms", "e2e_from_schedule_ms"]] /= 5


def _answered_without_a_begin(run: Run) -> None:
    run.requests.loc[_one(run), "headers_ms"] = None


def _no_log(run: Run) -> None:
    run.requests.loc[_one(run), "gateway_replica"] = None


def _another_replica(run: Run) -> None:
    run.requests.loc[_one(run), "gateway_replica"] = "replica-9"


FINDINGS: list[tuple[Callable[[Run], None], str, str]] = [
    (_restarts_never_sampled, "series sampled", "*"),
    (_readiness_never_sampled, "series sampled", "metrics"),
    (_dns_never_sampled, "series sampled", "metrics"),
    (_dns_answers_nothing, "series sampled", "metrics"),
    (_one_replica_of_a_gateway_never_sampled, "series sampled", "metrics"),
    (_one_sample, "series sampled", "metrics"),
    (_one_moment, "series sampled", "*"),
    (_not_sampled_in_one_phase, "series sampled", "*"),
    (_no_number, "samples plausible", "*"),
    (_endless, "samples plausible", "*"),
    (_less_than_nothing, "samples plausible", "*"),
    (_load_end_unknown, "load generator's end", "*"),
    (_load_broke, "load generator's end", "*"),
    (_load_status_unknown, "load generator's end", "*"),
    (_generator_no_number, "load generator not saturated", "*"),
    (_generator_sampled_once, "load generator not saturated", "load"),
    (_lag_of_one_only, "attempts plausible", "*"),
    (_lag_negative, "attempts plausible", "*"),
    (_lag_untrue, "attempts plausible", "*"),
    (_all_at_once, "attempts plausible", "*"),
    (_took_no_time, "attempts plausible", "*"),
    (_took_for_ever, "attempts plausible", "*"),
    (_went_back_in_time, "attempts plausible", "*"),
    (_ended_before_its_first_token, "attempts plausible", "*"),
    (_answered_without_a_begin, "attempts plausible", "*"),
    (_no_log, "replica from the gateways' logs", "gateways"),
    (_another_replica, "replica from the gateways' logs", "gateways"),
    (_samples_not_written, "records written", "*"),
    (_events_not_written, "records written", "*"),
    (_load_died, "load generator's end", "*"),
    (_in_flight_at_the_end, "load generator's end", "*"),
    (_an_answer_through_silence, "no answers over silenced links", "*"),
    (_an_unknown_event, "events plausible", "*"),
    (_load_was_killed, "load generator's end", "*"),
    (_rows_are_missing, "load generator's end", "*"),
    (_too_small, "machine large enough", "*"),
    (_drop_phase_end, "run complete", "*"),
    (_interrupt, "run complete", "*"),
    (_abort, "run complete", "*"),
    (_how_many_ended_is_unknown, "load generator's end", "*"),
    (_stop_condition, "run complete", "*"),
    (_event_without_time, "events readable", "*"),
    (_never_steady, "steady state before the first fault", "*"),
    (_late, "load generator on schedule", "load"),
    (_slow_generator, "load generator at rate", "load"),
    (_rate_unknown, "load generator at rate", "load"),
    (_busy_generator, "load generator not saturated", "load"),
    (_generator_not_sampled, "load generator not saturated", "load"),
    (_unsent, "requests sent", "load"),
    (_out_of_descriptors, "requests sent", "load"),
    (_probe_crashes, "probes", "metrics"),
    (_watchdog_dies, "watchdog", ""),
    (_gap, "metrics of gateway-b", "metrics"),
    (_unanswered, "metrics of replica-1", "metrics"),
    (_samples_are_missing, "samples complete", "metrics"),
    (_unknown_what_was_sampled, "samples complete", "metrics"),
    (_an_event_was_lost, "records unchanged since the run", "*"),
    (_unknown_what_was_left, "records unchanged since the run", "*"),
    (_no_effect, "fault in one-replica", "fault:one-replica"),
    (_effect_never_measured, "fault in all-replicas", "fault:all-replicas"),
    (_heal_unproven, "fault in one-replica", "fault:one-replica"),
    (_heal_unknown, "fault in one-replica", "fault:one-replica"),
    (_never_injected, "fault in all-replicas", "fault:all-replicas"),
    (_restart, "no unexpected restarts", "*"),
    (_restart_counted, "no unexpected restarts", "*"),
    (_fewer_than_planned, "arrivals as planned", "load"),
    (_faster_in_the_plan, "arrivals as planned", "load"),
    (_only_one_user, "arrivals as planned", "load"),
    (_a_cohort_that_nobody_sent, "arrivals as planned", "load"),
    (_another_seed, "arrivals as planned", "load"),
    (_later_than_planned, "arrivals as planned", "load"),
    (_before_the_load, "arrivals as planned", "load"),
    (_another_plan_than_begun, "plan unchanged", "*"),
    (_checks_not_named, "checks as planned", "*"),
    (_check_with_another_limit, "checks as planned", "*"),
    (_check_that_is_gone, "checks as planned", "*"),
    (_one_of_four_links, "faults as planned in all-replicas", "fault:all-replicas"),
    (_another_link, "faults as planned in one-replica", "fault:one-replica"),
    (_another_type, "faults as planned in one-replica", "fault:one-replica"),
    (_more_than_planned, "faults as planned in recovery-all", "*"),
    (_targets_not_planned, "faults as planned in one-replica", "*"),
    (_target_left_out_of_the_plan, "faults as planned in all-replicas", "fault:all-replicas"),
    (_gone_early, "fault lasts in one-replica", "fault:one-replica"),
    (_presence_not_asked, "fault lasts in one-replica", "fault:one-replica"),
    (_presence_asked_for_a_while, "fault lasts in one-replica", "fault:one-replica"),
    (_not_proven_again, "fault lasts in one-replica", "fault:one-replica"),
    (_lost, "fault lasts in one-replica", "fault:one-replica"),
    (_half_a_baseline, "phases as planned", "*"),
    (_of_another_phase, "requests assigned to phases", "*"),
    (_proven_before_its_injection, "proofs in order in one-replica", "fault:one-replica"),
]


@pytest.mark.parametrize(("defect", "finding", "invalidates"), FINDINGS, ids=lambda x: getattr(x, "__name__", None))
def test_finding_invalidates_what_depends_on_it(
    defect: Callable[[Run], None], finding: str, invalidates: str, tmp_path: Path
) -> None:
    """The finding is named, everything that needs what it invalidates is INCONCLUSIVE, the run is never PASS."""
    run = runs.healthy()
    defect(run)
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    found = {r.name: r for r in verdict.validity}
    assert found[finding].status is Status.INCONCLUSIVE
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith(found[finding].why if finding == validity.COMPLETE else f"{finding}: ")
    got = {r.name: r.status for r in verdict.checks}
    for check in verdicts.checks(DRILL):
        dependent = invalidates in check.needs or (invalidates == "*" and check.name not in SAFETY)
        assert not dependent or got[check.name] is Status.INCONCLUSIVE, check.name
        if not dependent and check.name not in SAFETY:
            assert got[check.name] is Status.PASS, check.name


def test_a_restart_is_the_cause_of_what_it_does_to_counters(tmp_path: Path) -> None:
    """They fall to zero, and samples are missing: the restart that nobody ordered comes first."""
    run = runs.healthy()
    _restart(run)
    run.metrics.loc[defects.samples(run, "replica-2", "generation_tokens_total", 33, 34), "value"] = 0.0
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    red = [r.name for r in verdict.validity if r.status is not Status.PASS]
    assert red[:2] == ["no unexpected restarts", "samples plausible"]


def test_a_short_burst_of_work_is_no_bottleneck(tmp_path: Path) -> None:
    """Two seconds on a whole core happen; what counts is that it lasts."""
    run = runs.healthy()
    run.metrics.loc[defects.samples(run, "load", "cpu_ratio", 40, 42), "value"] = 1.0
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.PASS, verdict.reason


def test_every_rule_has_a_defect(tmp_path: Path) -> None:
    """No question about the run itself lands without the run that is refused for it, each with its own sentence."""
    verdict = verdict_on(runs.healthy_run(tmp_path / "run"), DRILL)
    asked = {result.name.split(" of ")[0].split(" in ")[0] for result in verdict.validity}
    assert asked == {finding.split(" of ")[0].split(" in ")[0] for _, finding, _ in FINDINGS}


def test_bypassed_proxy_says_no_effect(tmp_path: Path) -> None:
    """The first line says it in these words."""
    run = runs.healthy()
    _no_effect(run)
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    assert "the fault had no effect" in verdict.reason


def test_values_are_not_compared_in_an_invalid_run(tmp_path: Path) -> None:
    """A slow generator is never blamed on the service: red values behind it stay INCONCLUSIVE."""
    run = runs.healthy()
    _late(run)
    mutants.slow_from_the_start(run)
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL, "TTFT before")
    assert verdict.checks[0].status is Status.INCONCLUSIVE
    assert verdict.status is Status.INCONCLUSIVE


def test_safety_fails_even_in_an_invalid_run(tmp_path: Path) -> None:
    """Interrupted, and a request is missing: FAIL."""
    run = runs.healthy()
    _interrupt(run)
    mutants.request_vanishes(run)
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.FAIL
    assert verdict.reason.startswith("conservation: ")


def test_independent_fail_outranks_inconclusive(tmp_path: Path) -> None:
    """A gap in the metrics does not excuse failures that users saw."""
    run = runs.healthy()
    _gap(run)
    mutants.no_gateway_retries(run)
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.FAIL
    assert "availability with one bad replica" in {r.name for r in verdict.checks if r.status is Status.FAIL}


def _on_component(run: Run, *expected_disruptions: str) -> float:
    """Makes the first fault one of replica-2 itself; returns when its heal is proven."""
    for event in run.events:
        if str(event.get("fault", "")).startswith("one-replica/"):
            event |= {"on": "replica-2", "expected_disruptions": list(expected_disruptions)}
    return max(float(e["t_s"]) for e in run.events if e["kind"] == "heal_proven" and e["phase"] == "one-replica")


@pytest.mark.parametrize(
    ("expected_disruptions", "after_s", "status"),
    [
        (("gaps", "restarts"), -20.0, Status.PASS),
        (("gaps", "restarts"), -0.1, Status.PASS),  # an engine that is ready only after the phase's heal
        (("gaps", "restarts"), 3.0, Status.INCONCLUSIVE),
        (("gaps",), -20.0, Status.INCONCLUSIVE),  # nobody orders a restart by freezing or draining
    ],
)
def test_ordered_restart_is_fine(
    tmp_path: Path, expected_disruptions: tuple[str, ...], after_s: float, status: Status
) -> None:
    """A component that a fault killed may restart until its heal is proven, and no other."""
    run = runs.healthy()
    healed_s = _on_component(run, *expected_disruptions)
    run.events.append({"t_s": healed_s + after_s, "kind": "component_restarted", "component": "replica-2"})
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.validity if r.name == "no unexpected restarts").status is status


@pytest.mark.parametrize(("expected_disruptions", "status"), [(("gaps",), Status.PASS), ((), Status.INCONCLUSIVE)])
def test_ordered_gap_is_fine(tmp_path: Path, expected_disruptions: tuple[str, ...], status: Status) -> None:
    """A frozen component cannot be sampled; one whose link is slow, or that is drained, can."""
    run = runs.healthy()
    healed_s = _on_component(run, *expected_disruptions)
    silent = run.metrics["component"].eq("replica-2") & run.metrics["t_s"].between(healed_s - 10, healed_s)
    run.metrics = run.metrics[~silent]
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.validity if r.name == "metrics of replica-2").status is status


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        ((1, 2, 3, 8, 9), 1.0),  # silent for as long as is expected
        ((1, 2, 3, 7, 8, 9), 1.0),  # back before its time
        ((1, 2, 3), 2.5),  # and never came back
        ((1, 8, 9), 2.5),  # gone before its time
        ((), 3.5),
    ],
)
def test_an_expected_gap_excuses_itself_alone(times: tuple[float, ...], gap: float) -> None:
    """From 3.5 s to 7.5 s nothing is expected, in a run of ten seconds; before and after that it is."""
    found, _ = sampled.largest_gap(np.array(times, dtype=float), 0.0, 10.0, [(3.5, 7.5)])
    assert found == pytest.approx(gap)


def test_a_run_without_load_and_its_samples_says_so(tmp_path: Path) -> None:
    """The stack never came up: that the generator was not sampled is a sentence, and no crash of a rule."""
    run = runs.healthy()
    run.drop_events("load_started", "load_stopped")
    _generator_not_sampled(run)
    view = RunView(run.write(tmp_path / "run"))
    (found,) = validity.load_not_saturated(view)
    assert found.result.why == "the load generator's use of the processor was not sampled"
    assert found.invalidates == {"load"}


def test_what_the_generator_could_not_send_is_not_blamed_on_the_service(tmp_path: Path) -> None:
    """Half of the requests had no descriptor: no objective fails, and the first line names what ran out."""
    run = runs.healthy()
    rows = run.requests.index[defects.ok(run)][::2]
    run.requests.loc[rows, ["outcome", "subtype"]] = ["not_sent", "no_descriptor"]
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.INCONCLUSIVE, verdict.reason
    assert verdict.reason.startswith("requests sent: ")
    assert "no file descriptor was left" in verdict.reason
    assert verdict.cause is None, "no neighbour of this machine explains it"


def test_what_could_not_be_written_is_the_first_line(tmp_path: Path) -> None:
    """The write that failed, then the generator's end, before all that follows from them; a cause of its own."""
    run = runs.healthy()
    for defect in (_late, _abort, _load_died, _events_not_written):
        defect(run)
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith("records written: events.jsonl could not be written: File too large")
    assert [r.name for r in verdict.validity if r.status is not Status.PASS][1] == "load generator's end"
    assert verdict.cause is None


@pytest.mark.parametrize("ended", [0, -1])
def test_a_generator_that_ended_as_it_should_is_fine(ended: int, tmp_path: Path) -> None:
    """All reported requests are recorded, and so is the last half second."""
    run = runs.healthy()
    event = next(e for e in run.events if e["kind"] == "load_stopped")
    event |= {"status": 0, "ended": int(run.requests["final"].sum()) + ended}
    run.files["verdict.json.failed"] = {"why": "No space left on device"}  # an earlier judging: this one can
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.PASS, verdict.reason


@pytest.mark.parametrize(("lost", "status"), [(20, Status.INCONCLUSIVE), (19, Status.FAIL)])
def test_rows_that_could_not_be_written_have_not_vanished(lost: int, status: Status, tmp_path: Path) -> None:
    """The generator counted them; one more that is missing has."""
    run = runs.healthy()
    gone = run.requests[run.requests["final"]]["request_id"].tail(20)
    attempts = run.requests["request_id"].isin(gone)
    scheduled = run.summary["scheduled_requests"]
    run.requests = run.requests[~attempts]
    run.recount()
    told = {"unwritten_attempts": int(attempts.sum()), "unwritten_requests": lost, "write_error": "the disk is full"}
    run.summary |= {"scheduled_requests": scheduled, **told}
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL, "conservation")
    assert verdict.checks[0].status is status


def test_events_that_were_not_written_leave_the_heal_open(tmp_path: Path) -> None:
    """A fault whose heal nobody could write down was perhaps healed: no proof that it was left, nor that it was not."""
    run = runs.healthy()
    for kind in ("fault_healed", "heal_proven"):
        run.drop_events(kind, phase="all-replicas")
    assert _left(run, tmp_path / "told") is Status.FAIL
    _events_not_written(run)
    assert _left(run, tmp_path / "not told") is Status.INCONCLUSIVE


def _left(run: Run, path: Path) -> Status:
    return verdict_on(run.write(path), DRILL, "nothing left injected").checks[0].status


def _of_target(run: Run, *metrics: str) -> None:
    """As if the service were somebody else's, and its page had shown these."""
    said = External("https://h", ("h",), metrics_url="https://h/metrics")
    run.plan["topology"]["target"] = dataclasses.asdict(guard.admit(said, lambda host, port: "192.0.2.1"))
    end_s = int(run.events[-1]["t_s"]) + 1
    rows = [(float(t_s), "target", metric, "", 1.0) for t_s in range(end_s) for metric in metrics]
    run.metrics = pd.concat([run.metrics, pd.DataFrame(rows, columns=run.metrics.columns)], ignore_index=True)


@pytest.mark.parametrize(
    ("metrics", "told", "status", "why"),
    [
        (("up", "running"), False, Status.PASS, "the largest gap was 1.00 s"),
        (
            ("up",),
            False,
            Status.INCONCLUSIVE,
            "no series of target was read; what was received instead is not recorded",
        ),
        (("up",), True, Status.INCONCLUSIVE, "no series of target was read; received instead: status 200 with"),
        ((), True, Status.INCONCLUSIVE, "received instead: status 200 with text/html"),
    ],
)
def test_a_page_without_a_series_was_not_sampled(
    metrics: tuple[str, ...], told: bool, status: Status, why: str, tmp_path: Path
) -> None:
    """A metrics URL that answers with a login page shows nothing, however often it is asked: it says what came."""
    run = runs.healthy()
    _of_target(run, *metrics)
    if told:
        what = "status 200 with text/html, 812 bytes that begin «<html>»"
        run.events.insert(5, {"t_s": 1.0, "kind": "metrics_unread", "component": "target", "what": what})
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    (found,) = (result for result in verdict.validity if result.name == "metrics of target")
    assert found.status is status
    assert why in found.why


def test_what_came_instead_is_said_of_a_gap(tmp_path: Path) -> None:
    """A page that was moved in the middle of the run."""
    run = runs.healthy()
    _of_target(run, "up", "running")
    silent = run.metrics["component"].eq("target") & run.metrics["t_s"].between(40, 50)
    run.metrics.loc[silent & run.metrics["metric"].eq("up"), "value"] = 0.0
    for t_s, what in ((40.2, "status 404 with text/html, 9 bytes"), (99.0, "something later")):
        run.events.append({"t_s": t_s, "kind": "metrics_unread", "component": "target", "what": what})
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL)
    (found,) = (result for result in verdict.validity if result.name == "metrics of target")
    assert found.status is Status.INCONCLUSIVE
    assert found.why.endswith("; received instead: status 404 with text/html, 9 bytes")


def test_too_few_samples_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety requests hold no p95: the objective says so, the others are judged."""
    defects.of_any_schedule(monkeypatch)
    run = runs.healthy()
    begin, _ = run.span("baseline")
    run.requests = run.requests[~defects.between(run, begin, begin + 12)]
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    by_name = {r.name: r for r in verdict.checks}
    assert by_name["TTFT before"].status is Status.INCONCLUSIVE
    assert "too few" in by_name["TTFT before"].why
    assert by_name["TTFT with one bad replica"].status is Status.INCONCLUSIVE
    assert by_name["availability before"].status is Status.PASS
    assert verdict.status is Status.INCONCLUSIVE


def test_crashed_check_is_inconclusive(tmp_path: Path) -> None:
    """A check that raises is no FAIL and no PASS, and says what it died of."""

    def crash(view: RunView) -> CheckResult:
        raise ZeroDivisionError("a division")

    crashing = drill.Drill("x", "x", "x", "timeout-spike", (Check("crash", "crash", "?", crash),), "x", "x")
    run = runs.healthy()
    defects.planned_for(run, crashing)
    verdict = verdicts.judge(run.write(tmp_path / "run"), crashing)
    (crashed,) = (result for result in verdict.checks if result.name == "crash")
    assert crashed.status is Status.INCONCLUSIVE
    assert "ZeroDivisionError: a division" in crashed.why
    assert verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("name", ["requests.parquet", "metrics.parquet", "events.jsonl", "load-summary.json"])
@pytest.mark.parametrize("broken", [False, True], ids=["missing", "broken"])
def test_missing_or_broken_file(name: str, broken: bool, tmp_path: Path) -> None:
    """Whatever is missing from the folder: INCONCLUSIVE with a reason, never PASS, never a crash."""
    folder = runs.healthy_run(tmp_path / "run")
    if broken:
        (folder.path / name).write_bytes(b"PAR1 torn")
    else:
        (folder.path / name).unlink()
    verdict = verdicts.judge(folder, DRILL)
    assert verdict.status is Status.INCONCLUSIVE, verdict.reason
    assert verdict.reason


def test_a_broken_file_explains_nothing(tmp_path: Path) -> None:
    """Whether the machine was the cause cannot be told then: INCONCLUSIVE for the file, and no crash."""
    run = runs.healthy()
    for event in run.events:
        if event["kind"] == "steady_state":
            event["reached"] = False
    runs.disturb(run, *run.span("baseline"))
    folder = run.write(tmp_path / "run")
    (folder.path / "requests.parquet").write_bytes(b"PAR1 torn")
    verdict = verdicts.judge(folder, DRILL)
    assert (verdict.status, verdict.cause) == (Status.INCONCLUSIVE, None)


def test_the_request_that_is_named_is_the_wrong_one(tmp_path: Path) -> None:
    """Of requests without exactly one final attempt."""
    run = runs.healthy()
    last = run.requests["request_id"].max()
    run.requests.loc[run.requests["request_id"].eq(last), "final"] = False
    found = records.conserved().run(RunView(run.write(tmp_path / "run")))
    assert f"not exactly one final attempt, such as {last}" in str(found)


def test_a_time_beyond_all_bounds_is_soon_known_for_wrong(tmp_path: Path) -> None:
    """The schedule is not drawn until then."""
    run = runs.healthy()
    run.requests.loc[run.requests.index[5], "intended_start_s"] = 1e12
    assert verdicts.judge(run.write(tmp_path / "run"), DRILL).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(("schema", "by"), [(99, "by a newer Drillyard"), (1, "by an older Drillyard")])
def test_a_plan_of_another_schema_is_an_error(schema: int, by: str, tmp_path: Path) -> None:
    """Without a plan of a known version nothing can be judged; the sentence says which version can."""
    folder = runs.healthy_run(tmp_path / "run")
    folder.write_json("plan.json", {"schema": schema})
    with pytest.raises(RunFolderError, match=f"found schema {schema}, .*{by}"):
        verdicts.judge(folder, DRILL)


def test_judging_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """verdict.json depends on the folder only, and reads back as what was written."""
    run = runs.healthy()
    mutants.slow_recovery_one(run)
    run.recount()
    folder = run.write(tmp_path / "run")
    written = []
    for _ in range(2):
        verdicts.write(folder, verdicts.judge(folder, DRILL))
        written.append((folder.path / "verdict.json").read_bytes())
    assert written[0] == written[1]
    again = verdicts.read(folder)
    verdicts.write(folder, again)
    assert (folder.path / "verdict.json").read_bytes() == written[0]
    assert again.status is Status.FAIL
    assert b"NaN" not in written[0]
    assert b"Infinity" not in written[0]
