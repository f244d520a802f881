"""What others did to the machine: found above its bounds only, and never more than a reason not to judge."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harness.evidence import interference
from harness.evidence.interference import Span
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, sli, starved, verdicts
from harness.judge.drill import ROOT
from harness.model.verdict import INTERFERENCE, TOO_SMALL, CheckResult, Status, Verdict
from tests import runs
from tests.judge import defects
from tests.judge.defects import Mutant
from tests.judge.timeout_spike.mutants import ALL, MUTANTS, ONE
from tests.runs import Run
from tests.unit.judge.verdicts import verdict_on, whole_verdict

DRILL = drill.load("timeout-spike")
EVER = (-1.0, 1e9)
#: By name, of the drill and of its scenario.
TIMING = {
    **{check.name: check.timing for check in verdicts.checks(DRILL)},
    **{slo.name: sli.find(slo.sli).timing for slo in runs.scenario().slos},
}


def judged(run: Run, path: Path) -> Verdict:
    """Its verdict."""
    run.recount()
    return whole_verdict(run.write(path / "run"), DRILL)


def named(verdict: Verdict, name: str) -> CheckResult:
    """One result of it."""
    return next(result for result in (*verdict.validity, *verdict.checks) if result.name == name)


def asked(run: Run, path: Path, name: str) -> CheckResult:
    """What one check or objective says in its verdict."""
    run.recount()
    return verdict_on(run.write(path / "run"), DRILL, name).checks[0]


def view(run: Run, path: Path) -> RunView:
    """The run as judges see it."""
    return RunView(run.write(path / "run"))


# ── how much of it was lost ──


@pytest.mark.parametrize(
    ("peaks", "lost"),
    [
        ({"others": 0.5}, 0.25),
        ({"steal": 1.0}, 0.5),
        ({"throttled": 0.3}, 0.3),
        ({"slow": 4.0}, 0.75),
        ({"standstill": 500.0}, 1.0),
        ({"others": 0.2, "slow": 2.0}, 0.5),  # the worst of them, since one may be why there was the other
        ({"others": 7.0}, 1.0),
        ({}, 0.0),
    ],
)
def test_what_others_had_of_the_machine(peaks: dict[str, float], lost: float) -> None:
    """Of two cores, while it lasted; a span that lasted for a quarter of the time counts as a quarter of it."""
    throughout, a_quarter = Span(0.0, 10.0, "", peaks), Span(7.5, 30.0, "", peaks)
    assert interference.lost_share([throughout], 0.0, 10.0, 2.0) == pytest.approx(lost)
    assert interference.lost_share([a_quarter], 0.0, 10.0, 2.0) == pytest.approx(lost / 4)
    assert interference.lost_share([], 0.0, 10.0, 2.0) == 0.0


# ── when it was disturbed ──


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, False),
        ({"others_cores": 0.09}, False),
        ({"others_cores": 0.11}, True),
        ({"others_cores": 1.0, "psi_cpu_some_ratio": 0.05}, False),  # nobody had to wait
        ({"others_cores": 1.0, "psi_cpu_some_ratio": float("nan"), "busy_cores": 1.2}, True),
        ({"others_cores": 0.9, "psi_cpu_some_ratio": float("nan"), "busy_cores": 0.95}, False),
        ({"steal_ratio": 0.04}, False),
        ({"steal_ratio": 0.06}, True),
        ({"steal_ratio": -5.0, "cores": -5.0}, False),
        ({"work_ratio": 1.9}, False),
        ({"work_ratio": 2.1}, True),
        ({"psi_cpu_some_ratio": 1.0, "late_wakeup_ms": 190.0}, False),  # our own load does that
    ],
)
def test_bounds(values: dict[str, float], found: bool, tmp_path: Path) -> None:
    """Above its bound each is a span of just that time, below none; pressure and late wake-ups alone accuse nobody."""
    run = runs.healthy()
    runs.on_machine(run, 20.0, 25.0, **values)
    spans = interference.spans(view(run, tmp_path))
    assert [(s.begin_s, s.end_s) for s in spans] == ([(20.0, 25.0)] if found else [])


def test_throttling_is_what_a_second_costs(tmp_path: Path) -> None:
    """The counter grows by 0.1 s in one half second, and by less than the bound in another."""
    run = runs.healthy()
    runs.on_machine(run, 30.0, 1e9, throttled_s_total=0.1)
    runs.on_machine(run, 40.0, 1e9, throttled_s_total=0.12)
    (span,) = interference.spans(view(run, tmp_path))
    assert (span.begin_s, span.end_s) == (30.0, 30.5)
    assert "quota" in span.why


def test_a_standstill_is_known_to_the_moment(tmp_path: Path) -> None:
    """It ended when the nap did and began as much earlier as that was late, whatever was sampled when."""
    run = runs.healthy()
    runs.on_machine(run, 33.9, 34.0, late_wakeup_ms=2900.0)
    (span,) = interference.spans(view(run, tmp_path))
    assert (span.begin_s, span.end_s) == (pytest.approx(31.1), 34.0)
    assert "host stall of up to 2900 ms" in span.why


def test_without_samples_nothing_is_known(tmp_path: Path) -> None:
    """A run of an earlier version has no span, and says that it was not watched."""
    run = runs.healthy()
    assert interference.known(view(run, tmp_path / "watched"))
    run.metrics = run.metrics[run.metrics["component"].ne("machine")]
    old = view(run, tmp_path / "old")
    assert not interference.known(old)
    assert interference.spans(old) == ()


def test_a_sample_speaks_of_no_time_that_was_not_sampled(tmp_path: Path) -> None:
    """One disturbed sample after a minute without any is no disturbed minute."""
    run = runs.healthy()
    machine = run.metrics["component"].eq("machine") & run.metrics["t_s"].gt(20) & run.metrics["t_s"].lt(80)
    run.metrics = run.metrics[~machine]
    runs.on_machine(run, 79.9, 80.0, others_cores=1.0, busy_cores=2.0)
    (span,) = interference.spans(view(run, tmp_path))
    assert (span.begin_s, span.end_s) == (80.0 - interference.SPEAKS_S, 80.0)


def test_a_nap_without_end_is_no_standstill(tmp_path: Path) -> None:
    """A value that cannot be is left out, and does not cover the whole run."""
    run = runs.healthy()
    runs.on_machine(run, 33.9, 34.0, late_wakeup_ms=float("inf"))
    assert interference.spans(view(run, tmp_path)) == ()


def test_overlap_and_the_sentence() -> None:
    """Only the common time counts, and the sentence has its numbers."""
    spans = [Span(1.0, 3.0, "", {"others": 0.5}), Span(5.0, 6.0, "", {"others": 1.25, "steal": 0.2})]
    assert interference.overlap_s(spans, 2.0, 5.5) == 1.5
    said = interference.describe(spans, 2.0, 5.5)
    assert "disturbed for 1.5 s" in said
    assert "others used up to 1.2 cores" in said
    assert interference.describe(spans, 3.5, 4.5) == ""


def test_the_machine_now() -> None:
    """A half sentence for who waits; nothing where nothing is sampled."""
    latest = {("machine", name, ""): value for name, value in runs.QUIET_MACHINE.items()}
    assert interference.machine_now(latest) == "the machine was 95 % busy, 1 % by others".replace(" %", "%")
    assert interference.machine_now({}) == ""


# ── what that does to a verdict ──


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.then is None], ids=lambda mutant: mutant.name)
def test_what_is_not_about_time_fails_on_any_machine(mutant: Mutant, tmp_path: Path) -> None:
    """Beside somebody who uses a core all the time: FAIL as ever, and what is about time is no PASS."""
    run = runs.healthy()
    mutant.defect(run)
    if mutant.recount:
        run.recount()
    runs.disturb(run, *EVER)
    verdict = verdict_on(run.write(tmp_path / "run"), DRILL, mutant.check)
    (result,) = verdict.checks
    assert verdict.status is not Status.PASS
    assert result.status is Status.FAIL or TIMING[mutant.check], result.why
    assert result.status is not Status.PASS


#: An objective of a fault phase: one of the baseline is INCONCLUSIVE on a quiet machine, too.
SLOWED, PHASE = "TTFT with one bad replica", "one-replica"


def _slow(run: Run, begin: float, end: float) -> None:
    """Users who come in that time wait for some seconds more."""
    rows = defects.between(run, begin, end)
    run.requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms", "e2e_ms", "e2e_from_schedule_ms"]] += 4000.0


def test_slow_only_while_disturbed_is_not_judged(tmp_path: Path) -> None:
    """TTFT in a fault breaks its limit only by requests that met the disturbance: the first line says so."""
    run = runs.healthy()
    begin, _ = run.span(PHASE)
    _slow(run, begin + 1, begin + 4)
    assert asked(run, tmp_path / "quiet", SLOWED).status is Status.FAIL
    runs.disturb(run, begin + 1, begin + 4)
    verdict = judged(run, tmp_path / "disturbed")
    assert named(verdict, SLOWED).status is Status.INCONCLUSIVE
    assert (verdict.status, verdict.cause) == (Status.INCONCLUSIVE, INTERFERENCE)
    assert "others used up to 1 cores" in verdict.reason


def test_slow_before_and_after_too_is_the_stacks(tmp_path: Path) -> None:
    """The undisturbed requests alone break the limit: FAIL, and no cause."""
    run = runs.healthy()
    begin, end = run.span(PHASE)
    _slow(run, begin, end)
    runs.disturb(run, begin + 1, begin + 4)
    verdict = judged(run, tmp_path)
    assert named(verdict, SLOWED).status is Status.FAIL
    assert (verdict.status, verdict.cause) == (Status.FAIL, None)


def test_too_few_undisturbed_may_show_it_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase with just enough requests for its percentile, all of them slow: a second and a half excuses nothing."""
    defects.of_any_schedule(monkeypatch)
    run = runs.healthy()
    begin, end = run.span(PHASE)
    here = run.requests.index[defects.between(run, begin, end) & run.requests["outcome"].eq("ok")]
    run.requests = run.requests.drop(here[102:])
    _slow(run, begin, end)
    runs.disturb(run, begin + 10, begin + 11.5)
    assert asked(run, tmp_path, SLOWED).status is Status.FAIL


def test_a_few_undisturbed_that_are_slow_show_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single one among too few for the percentile is no proof."""
    defects.of_any_schedule(monkeypatch)
    run = runs.healthy()
    begin, end = run.span(PHASE)
    here = run.requests.index[defects.between(run, begin, end) & run.requests["outcome"].eq("ok")]
    run.requests = run.requests.drop(here[102:])
    _slow(run, begin + 5, begin + 9)
    _slow(run, begin + 15, begin + 15.3)
    runs.disturb(run, begin + 5, begin + 9)
    assert asked(run, tmp_path, SLOWED).status is Status.INCONCLUSIVE


def test_a_disturbance_elsewhere_is_no_excuse(tmp_path: Path) -> None:
    """It has to overlap the time that is judged."""
    run = runs.healthy()
    begin, _ = run.span(PHASE)
    _slow(run, begin + 1, begin + 4)
    runs.disturb(run, *run.span("recovery-all"))
    assert asked(run, tmp_path, SLOWED).status is Status.FAIL


@pytest.mark.parametrize(("length_s", "status"), [(0.5, Status.FAIL), (2.0, Status.INCONCLUSIVE)])
def test_the_excess_is_three_times_the_overlap_at_most(length_s: float, status: Status, tmp_path: Path) -> None:
    """A gateway that takes a replica out seconds late is not excused by half a second."""
    run = runs.healthy()
    begin, _ = run.span(ONE)
    run.metrics.loc[defects.samples(run, "gateway-b", "server_up", begin, begin + 7, "server=replica-2"), "value"] = 1.0
    runs.disturb(run, begin, begin + length_s)
    assert asked(run, tmp_path, "gateways eject replica-2").status is status


@pytest.mark.parametrize(("outcome", "status"), [("timeout_ttft", Status.INCONCLUSIVE), ("inband_error", Status.FAIL)])
def test_only_lack_of_time_is_excused(outcome: str, status: Status, tmp_path: Path) -> None:
    """Availability broken by time-outs of a disturbed time is not judged; by any other failure it is."""
    run = runs.healthy()
    begin, _ = run.span(PHASE)
    rows = defects.between(run, begin + 5, begin + 7)
    run.requests.loc[rows, ["outcome", "ttft_ms", "ttft_from_schedule_ms"]] = [outcome, None, None]
    runs.disturb(run, begin + 4, begin + 8)
    assert asked(run, tmp_path, "availability with one bad replica").status is status


@pytest.mark.parametrize(("code", "status"), [("queue_full", Status.INCONCLUSIVE), ("other", Status.FAIL)])
def test_a_full_queue_of_a_disturbed_time_is_lack_of_time(code: str, status: Status, tmp_path: Path) -> None:
    """Who is refused there comes while those before still wait for their turn; any other refusal is the stack's."""
    run = runs.healthy()
    begin, _ = run.span(PHASE)
    rows = defects.between(run, begin + 5, begin + 7)
    run.requests.loc[rows, ["outcome", "http_status", "error_code", "e2e_ms"]] = ["shed_503", 503, code, 20.0]
    runs.disturb(run, begin + 4, begin + 8)
    assert asked(run, tmp_path, "availability with one bad replica").status is status


REFUSED_IN = "one-replica"  # replica-2 has a fault in it, replica-1 has none


def _refuse(run: Run, begin: float, end: float, replica: str = "replica-1") -> None:
    """Both gateways eject ``replica`` from ``begin`` to ``end``, replica-2 is out, too, and they refuse what comes."""
    for gateway in ("gateway-a", "gateway-b"):
        for one in (replica, "replica-2"):
            run.metrics.loc[defects.samples(run, gateway, "server_up", begin, end, f"server={one}"), "value"] = 0.0
    rows = defects.between(run, begin + 0.5, end - 1.0) & run.requests["final"]
    defects.fail(run, rows)
    run.requests.loc[rows, ["error_code", "headers_ms", "e2e_ms"]] = ["no_replica_free", 20.0, 20.0]


def _starved(run: Run, begin: float) -> None:
    """The machine is disturbed for as long as gateways have no replica, and for two seconds before."""
    _refuse(run, begin + 4, begin + 9)
    runs.disturb(run, begin + 2, begin + 9)


def _disturbed_later(run: Run, begin: float) -> None:
    _refuse(run, begin + 4, begin + 9)
    runs.disturb(run, begin + 4.5, begin + 9)


def _still_in_use(run: Run, begin: float) -> None:
    _starved(run, begin)
    for gateway in ("gateway-a", "gateway-b"):
        rows = defects.samples(run, gateway, "server_up", begin + 3, begin + 10, "server=replica-1")
        run.metrics.loc[rows, "value"] = 1.0


def _while_checks_failed(run: Run, begin: float) -> None:
    """Disturbed was the time in which the checks failed, and no longer."""
    _refuse(run, begin + 4, begin + 9)
    runs.disturb(run, begin + 2, begin + 3.5)


def _other_in_use(run: Run, begin: float) -> None:
    _starved(run, begin)
    for gateway in ("gateway-a", "gateway-b"):
        rows = defects.samples(run, gateway, "server_up", begin, begin + 10, "server=replica-2")
        run.metrics.loc[rows, "value"] = 1.0


def _restarted(run: Run, begin: float) -> None:
    _starved(run, begin)
    run.metrics.loc[defects.samples(run, "replica-1", "restarts_total", begin + 5, 1e9), "value"] = 1.0


def _never_back(run: Run, begin: float) -> None:
    _starved(run, begin)
    for gateway in ("gateway-a", "gateway-b"):
        late = defects.samples(run, gateway, "server_up", begin + 4, 1e9, "server=replica-1")
        run.metrics.loc[late, "value"] = 0.0


def _faulty(on: str, run: Run, begin: float) -> None:
    _starved(run, begin)
    another = {"fault": "another", "on": on, "phase": REFUSED_IN, "type": "latency"}
    run.events += [{"t_s": begin, "kind": "fault_injecting", **another}]
    run.events += [{"t_s": begin + 20, "kind": "fault_healed", **another}]


@pytest.mark.parametrize(
    ("what", "lacked_time"),
    [
        (_starved, True),
        (_while_checks_failed, True),
        (_other_in_use, False),
        (_disturbed_later, False),
        (_still_in_use, False),
        (_restarted, False),
        (_never_back, False),
        (partial(_faulty, "replica-2"), True),
        (partial(_faulty, "replica-1"), False),
        (partial(_faulty, "gateway-b-to-replica-1"), True),  # at the other gateway it has none
        (partial(_faulty, "gateway-a-to-replica-1"), False),  # all users are there
        (partial(_faulty, "gateways"), False),
    ],
)
def test_a_refusal_without_a_replica_is_lack_of_time_where_only_that_explains_it(
    what: Callable[[Run, float], None], lacked_time: bool, tmp_path: Path
) -> None:
    """A replica that has no fault, ejected by a disturbed machine and back without a restart; nothing else excuses."""
    run = runs.healthy()
    what(run, run.span(REFUSED_IN)[0])
    seen = view(run, tmp_path)
    assert starved.refusals(seen.requests, seen, interference.spans(seen)).any() == lacked_time


@pytest.mark.parametrize(("what", "status"), [(_starved, Status.INCONCLUSIVE), (_disturbed_later, Status.FAIL)])
def test_refusals_of_gateways_whose_checks_a_slow_machine_failed_are_not_judged(
    what: Callable[[Run, float], None], status: Status, tmp_path: Path
) -> None:
    """Availability, broken by them alone."""
    run = runs.healthy()
    what(run, run.span(REFUSED_IN)[0])
    assert asked(run, tmp_path, "availability with one bad replica").status is status


def test_a_hang_is_not_explained_by_a_moment(tmp_path: Path) -> None:
    """A request that waited half a minute, 0.7 s of them beside somebody else: the stack hangs."""
    run = runs.healthy()
    begin, _ = run.span(PHASE)
    row = run.requests.index[defects.between(run, begin + 2, begin + 12)][0]
    run.requests.loc[row, ["outcome", "ttft_ms", "ttft_from_schedule_ms"]] = ["timeout_total", None, None]
    run.requests.loc[row, ["e2e_ms", "e2e_from_schedule_ms"]] = 30_000.0
    at = float(run.requests.loc[row, "start_s"])
    runs.disturb(run, at + 1.0, at + 1.7)
    assert asked(run, tmp_path, f"no hang in {PHASE}").status is Status.FAIL


def test_requests_that_were_never_sent_are_not_explained_by_a_moment(tmp_path: Path) -> None:
    """Every tenth request was not sent all through the run; half a second was disturbed."""
    run = runs.healthy()
    run.requests.loc[run.requests.index[::10], "outcome"] = "not_sent"
    run.recount()
    runs.disturb(run, 30.0, 30.5)
    assert judged(run, tmp_path).cause is None


def test_a_slow_replica_beside_a_heavy_disturber_is_never_a_pass(tmp_path: Path) -> None:
    """Three times slower, and somebody uses a core for 20 s of every 40."""
    run = runs.healthy()
    mine = run.requests["replica"].eq("replica-2")
    times = ["ttft_ms", "ttft_from_schedule_ms", "e2e_ms", "e2e_from_schedule_ms", "max_stall_ms"]
    run.requests[times] *= 4.0
    run.requests.loc[mine, times] *= 3.0
    for begin in range(0, 200, 40):
        runs.disturb(run, begin, begin + 20)
    assert judged(run, tmp_path).status is not Status.PASS


def test_a_healthy_run_beside_a_disturber_passes(tmp_path: Path) -> None:
    """Interference is no verdict of its own."""
    run = runs.healthy()
    runs.disturb(run, *EVER)
    verdict = judged(run, tmp_path)
    assert (verdict.status, verdict.cause) == (Status.PASS, None), verdict.reason


# ── the root cause ──


def _gap(run: Run) -> tuple[float, float]:
    run.metrics = run.metrics[~(run.metrics["component"].eq("gateway-b") & run.metrics["t_s"].between(60, 63))]
    return 60.0, 63.0


def _late(run: Run) -> tuple[float, float]:
    rows = defects.between(run, 20, 26) & run.requests["attempt"].eq(1)
    run.requests.loc[rows, "schedule_lag_ms"] += 200.0
    run.requests.loc[rows, "start_s"] += 0.2
    run.recount()
    return 20.0, 26.0


def _busy(run: Run) -> tuple[float, float]:
    run.metrics.loc[defects.samples(run, "load", "cpu_ratio", 40, 46), "value"] = 0.97
    return 40.0, 46.0


def _behind(run: Run) -> tuple[float, float]:
    run.summary["achieved_rate_per_s"] = 4.9
    return 20.0, 26.0


def _unsteady(run: Run) -> tuple[float, float]:
    event = next(e for e in run.events if e["kind"] == "steady_state")
    event |= {"reached": False, "why": "3 of 40 requests failed"}
    run.events = [e for e in run.events if e["t_s"] <= event["t_s"]]
    run.events.append({"t_s": event["t_s"] + 0.1, "kind": "aborted", "why": "no steady state after baseline"})
    run.events.append(runs.load_stopped(event["t_s"] + 1.2))
    run.requests = run.requests[run.requests["intended_start_s"] < event["t_s"]].reset_index(drop=True)
    run.metrics = run.metrics[run.metrics["t_s"] < event["t_s"] + 2]
    run.recount()
    return run.span("baseline")


def _unproven(run: Run) -> tuple[float, float]:
    event = next(e for e in run.events if e["kind"] == "fault_proven" and e["phase"] == ALL)
    event |= {"kind": "fault_unproven", "why": "the moment never came"}
    return run.span(ALL)


@pytest.mark.parametrize("defect", [_gap, _late, _busy, _behind, _unsteady, _unproven], ids=lambda d: d.__name__)
def test_whatever_tripped_first(defect: Callable[[Run], tuple[float, float]], tmp_path: Path) -> None:
    """What a disturbed machine kept from being measured is INCONCLUSIVE because of it, and the first line names it."""
    run = runs.healthy()
    begin, end = defect(run)
    alone = whole_verdict(run.write(tmp_path / "alone"), DRILL)
    assert (alone.status, alone.cause) == (Status.INCONCLUSIVE, None)
    runs.disturb(run, begin, end)
    verdict = whole_verdict(run.write(tmp_path / "disturbed"), DRILL)
    assert (verdict.status, verdict.cause) == (Status.INCONCLUSIVE, INTERFERENCE), verdict.reason
    assert "the machine was disturbed for" in verdict.reason


def _answered_wrongly(run: Run, phase: str) -> None:
    """A third of the requests of that phase ends in a failure that no lack of time explains."""
    rows = run.requests.index[run.in_phase(phase) & run.requests["outcome"].eq("ok")][::3]
    run.requests.loc[rows, ["outcome", "http_status", "ttft_ms"]] = ["http_5xx", 500, None]


def test_no_neighbour_answers_wrongly_before_the_first_fault(tmp_path: Path) -> None:
    """Steady state not reached because of answers with status 500: INCONCLUSIVE, and not because of interference."""
    run = runs.healthy()
    _unsteady(run)
    _answered_wrongly(run, "baseline")
    runs.disturb(run, *EVER)
    verdict = judged(run, tmp_path)
    assert (verdict.status, verdict.cause) == (Status.INCONCLUSIVE, None), verdict.reason


@pytest.mark.parametrize(("since_s", "status"), [(8.0, Status.FAIL), (29.5, Status.INCONCLUSIVE)])
def test_no_neighbour_cries_wolf(since_s: float, status: Status, tmp_path: Path) -> None:
    """A page without a reason, on so long in the recovery: steady state not reached because of it is a FAIL."""
    run = runs.healthy()
    begin, end = run.span("recovery-all")
    if status is Status.INCONCLUSIVE:  # a true page: it may take its time to clear
        _slow(run, begin + 10, end)
        run.requests.loc[run.requests["start_s"].gt(begin + 10), "e2e_ms"] += 8000.0
    run.events += runs.alert_told("E2eP95High", begin + since_s, end + 50)
    run.events.sort(key=lambda event: event["t_s"])
    for event in (e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery-all"):
        event |= {"reached": False, "why": "E2eP95High is firing"}
    runs.disturb(run, *EVER)
    assert asked(run, tmp_path, "steady state in recovery-all").status is status


@pytest.mark.parametrize(("wrong", "status"), [(False, Status.INCONCLUSIVE), (True, Status.FAIL)])
def test_no_neighbour_answers_wrongly_after_a_heal(wrong: bool, status: Status, tmp_path: Path) -> None:
    """Steady state not reached after it, beside somebody who uses a core: excused unless answers were wrong."""
    run = runs.healthy()
    for event in (e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery-all"):
        event |= {"reached": False, "why": "14 of 40 requests failed"}
    if wrong:
        _answered_wrongly(run, "recovery-all")
    runs.disturb(run, *EVER)
    assert asked(run, tmp_path, "steady state in recovery-all").status is status


def test_a_true_page_of_a_disturbed_baseline(tmp_path: Path) -> None:
    """Half of the baseline was disturbed, and its requests were late enough for a page: not judged because of it."""
    run = runs.healthy()
    _slow(run, 20.0, 32.0)
    run.events += runs.alert_told("TtftP95High", 28.0, 38.0)
    run.events.sort(key=lambda event: event["t_s"])
    alone = asked(run, tmp_path / "alone", "no page before the first fault")
    assert (alone.status, alone.phase) == (Status.INCONCLUSIVE, "baseline")
    runs.disturb(run, 18.0, 34.0)
    verdict = judged(run, tmp_path / "disturbed")
    assert (verdict.status, verdict.cause) == (Status.INCONCLUSIVE, INTERFERENCE), verdict.reason


def test_a_short_disturbance_explains_no_long_gap(tmp_path: Path) -> None:
    """It is named all the same, and is not the cause."""
    run = runs.healthy()
    _gap(run)
    runs.disturb(run, 60.0, 60.5)
    verdict = judged(run, tmp_path)
    assert verdict.cause is None
    assert "the machine was disturbed for 0.5 s" in verdict.reason


def test_another_reason_beside_it_is_no_interference(tmp_path: Path) -> None:
    """A crashed probe would make the run INCONCLUSIVE on any machine."""
    run = runs.healthy()
    _gap(run)
    runs.disturb(run, 55.0, 65.0)
    run.events.append({"t_s": 33.0, "kind": "probe_error", "probe": "dns", "why": "ValueError: no address"})
    assert judged(run, tmp_path).cause is None


@pytest.mark.parametrize("event", [{"kind": "probe_error", "probe": "dns", "why": "x"}, {"kind": "watchdog_died"}])
def test_a_crash_beside_an_early_end_is_no_interference(event: dict[str, str], tmp_path: Path) -> None:
    """Steady state not reached on a disturbed machine explains what is missing after it, and no crash before."""
    run = runs.healthy()
    runs.disturb(run, *_unsteady(run))
    assert judged(run, tmp_path / "early").cause == INTERFERENCE
    run.events.insert(-2, {"t_s": 33.0, **event})
    assert judged(run, tmp_path / "crashed").cause is None


def test_too_small_is_the_cause_that_was_recorded(tmp_path: Path) -> None:
    """A run that says so before its first phase, whatever else it lacks."""
    run = runs.healthy()
    _unsteady(run)
    run.events.insert(0, {"t_s": 0.2, "kind": "too_small", "why": "capacity 1.2/s, 4/s are needed"})
    assert judged(run, tmp_path).cause == TOO_SMALL


def test_a_machine_measured_while_disturbed_is_not_called_small(tmp_path: Path) -> None:
    """The numbers behind the sentence were measured beside somebody else: that is the cause."""
    run = runs.healthy()
    run.events.append({"t_s": 0.1, "kind": "too_small", "why": "too small: it needs 30/s"})
    run.plan["capacity"] = {"used": {"provisional": ["interference: others used up to 1.3 cores"]}}
    assert judged(run, tmp_path).cause == INTERFERENCE


def test_the_cause_is_stored_and_read_again(tmp_path: Path) -> None:
    """In verdict.json, and null in a verdict of an earlier version."""
    run = runs.healthy()
    runs.disturb(run, *_gap(run))
    folder: RunFolder = run.write(tmp_path / "run")
    verdicts.write(folder, verdicts.judge(folder, DRILL))
    assert verdicts.read(folder).cause == INTERFERENCE
    stored = folder.read_json("verdict.json")
    del stored["cause"]
    folder.write_json("verdict.json", stored)
    assert verdicts.read(folder).cause is None


# ── everybody has thought about it ──


@pytest.mark.parametrize(
    "path", sorted((ROOT / "harness" / "judge" / "checks").glob("*.py")), ids=lambda path: path.stem
)
def test_every_check_says_whether_it_is_about_time(path: Path) -> None:
    """In so many words: each check that is declared or made in harness/judge/checks is given ``timing``."""
    text = path.read_text()
    made = text.count(" Check(") + text.count("[Check(") + text.count("@asks(")
    assert text.count("timing=") == made


@pytest.mark.parametrize("name", sli.names())
def test_every_indicator_says_whether_it_is_about_time(name: str) -> None:
    """``TIMING`` of its module."""
    assert isinstance(importlib.import_module(f"harness.judge.slis.{name}").TIMING, bool)


@pytest.mark.parametrize("name", drill.names())
def test_safety_is_never_about_time(name: str) -> None:
    """What may fail in an invalid run may fail on a disturbed machine."""
    assert not [
        check.name for check in verdicts.checks(drill.load(name), external=True) if check.safety and check.timing
    ]
