"""Defects that are put into a healthy synthetic run of the gateway-failover drill."""

from __future__ import annotations

import pandas as pd

from tests.judge.defects import Mutants, between, fail, not_steady, samples, unsteady
from tests.judge.gateway_failover.story import DEAD, HUNG, NO_DNS, SPLIT, A, B
from tests.judge.timeout_spike import mutants
from tests.runs import Run

MUTANTS = Mutants()
mutant = MUTANTS.mutant


# ── what every drill asks ──

mutant("conservation", recount=False)(mutants.request_vanishes)
mutant("no silent truncation")(mutants.ok_without_finish_reason)
mutant("replica counters and client records agree")(mutants.tokens_for_nobody)
mutant("steady state in baseline")(mutants.failures_before_the_first_fault)
mutant("availability before")(mutants.failures_in_the_baseline)
mutant("TTFT before")(mutants.slow_from_the_start)
mutant("end to end through the failovers")(mutants.answers_drag)
mutant("stalls through the failovers")(mutants.streams_stall)
mutant("client retries bounded")(mutants.over_the_cap)


@mutant("nothing left injected")
def gateway_stays_paused(run: Run) -> None:
    """The gateway is never thawed."""
    run.drop_events("fault_healed", fault="hung/pause/gateway-a")


def _hangs(run: Run, phase: str) -> None:
    """One request lasted longer than any limit allows."""
    begin, _ = run.span(phase)
    run.requests.loc[run.requests.index[between(run, begin + 9, begin + 10)][0], "e2e_ms"] = 45000.0


# ── DNS ──


def dns_says(run: Run, address: str, begin: float, end: float) -> None:
    """DNS answers with ``address`` in that time."""
    m = run.metrics
    where = m["component"].eq("dns") & m["metric"].eq("answer") & m["t_s"].between(begin, end)
    run.metrics.loc[where, "labels"] = f"address={address}"


def _dns_never_moves(run: Run, phase: str) -> None:
    """Health checks are off."""
    dns_says(run, A, *run.span(phase))


def _dns_moves_late(run: Run, phase: str) -> None:
    """Nobody gave the check a time-out."""
    begin, _ = run.span(phase)
    dns_says(run, A, begin, begin + (7.5 if phase == SPLIT else 4.5))


def _dns_looks_back(run: Run, phase: str) -> None:
    """Towards the end of the fault DNS names the dead gateway once more."""
    end = run.span(phase)[1]
    dns_says(run, A, end - 3, end - 2)


def _dns_flaps(run: Run, phase: str) -> None:
    """After the heal DNS goes back, away and back again."""
    end = run.span(phase)[1]
    dns_says(run, B, end + 5, end + 6)


def _dns_stays_away(run: Run, phase: str) -> None:
    """The gateway that was healed never gets anything to do again."""
    end = run.span(phase)[1]
    dns_says(run, B, end, end + 18.2)


def _noticed(run: Run, phase: str) -> None:
    """A request fails because traffic moves back."""
    end = run.span(phase)[1]
    rows = run.requests[between(run, end + 2.2, end + 14) & run.requests["attempt"].eq(1)].iloc[3:4]
    again = rows.assign(attempt=2, start_s=rows["start_s"] + 0.5, retry_delay_ms=200.0, schedule_lag_ms=None)
    columns = ["final", "outcome", "http_status", "finish_reason", "output_tokens", "ttft_ms"]
    run.requests.loc[rows.index, columns] = [False, "connect_error", None, None, None, None]
    run.requests = pd.concat([run.requests, again], ignore_index=True)


@mutant("gateway-a is not ready in split")
def always_ready(run: Run) -> None:
    """Readiness depends on nothing."""
    run.metrics.loc[samples(run, "gateway-a", "ready", *run.span(SPLIT)), "value"] = 1.0


@mutant("gateway-a is not ready in split")
def not_ready_too_late(run: Run) -> None:
    """The gateway needs many bad checks before it believes them."""
    begin, _ = run.span(SPLIT)
    run.metrics.loc[samples(run, "gateway-a", "ready", begin, begin + 3.5), "value"] = 1.0


# ── users ──


def _users_stay(run: Run, phase: str) -> None:
    """A long TTL: users meet the dead gateway first, and are served at the second try only, until it is healed."""
    begin, end = run.span(phase)
    rows = run.requests[between(run, begin + 3, end - 1) & run.requests["attempt"].eq(1)]
    rows = rows[rows["outcome"].eq("ok")]
    again = rows.assign(attempt=2, start_s=rows["start_s"] + 0.5, retry_delay_ms=200.0, schedule_lag_ms=None)
    columns = ["final", "outcome", "http_status", "finish_reason", "output_tokens", "ttft_ms", "gateway"]
    run.requests.loc[rows.index, columns] = [False, "connect_error", None, None, None, None, A]
    run.requests = pd.concat([run.requests, again], ignore_index=True)


def _freed_by_the_heal(run: Run, phase: str) -> None:
    """Nobody moves; who came late enough is patient, and answered at the first try as soon as the gateway is back."""
    begin, end = run.span(phase)
    late = run.requests["start_s"].between(begin + 5, end - 1)
    run.requests.loc[late, "gateway"] = A
    run.requests.loc[late, "ttft_ms"] = (end + 0.1 - run.requests.loc[late, "start_s"]) * 1000


def _gives_up(run: Run, phase: str) -> None:
    """A user whose attempt died at the gateway does not try again."""
    begin, _ = run.span(phase)
    died = run.requests[run.requests["gateway"].eq(A) & run.requests["outcome"].ne("ok") & ~run.requests["final"]]
    lost = died[died["attempt"].eq(1) & died["intended_start_s"].between(begin - 1, begin + 8)].iloc[0]
    later = run.requests["request_id"].eq(lost["request_id"]) & run.requests["attempt"].gt(1)
    run.requests = run.requests[~later]
    run.requests.loc[run.requests["request_id"].eq(lost["request_id"]), "final"] = True
    run.requests.loc[run.requests["request_id"].eq(lost["request_id"]), ["error_type", "error_request_id"]] = None


def _falsely_ok(run: Run, phase: str) -> None:
    """A stream that its gateway cannot have finished counts as ok."""
    begin, _ = run.span(phase)
    run.requests.loc[run.requests.index[between(run, begin + 9, begin + 10)][0], "gateway"] = A


def _users_fail(run: Run, phase: str) -> None:
    """Two seconds of refusals."""
    begin, _ = run.span(phase)
    fail(run, between(run, begin + 7, begin + 9))


ALL = (DEAD, HUNG, SPLIT)
MUTANTS.of_each(ALL, "DNS fails over from gateway-a in {}", _dns_never_moves)
MUTANTS.of_each(ALL, "DNS fails over from gateway-a in {}", _dns_moves_late)
MUTANTS.of_each(ALL, "DNS fails over from gateway-a in {}", _dns_looks_back)
MUTANTS.of_each(ALL, "users fail over in {}", _users_stay)
MUTANTS.of_each(ALL, "users fail over in {}", _freed_by_the_heal)
MUTANTS.of_each(ALL, "broken visibly and retried through gateway-a in {}", _gives_up)
MUTANTS.of_each(ALL, "broken visibly and retried through gateway-a in {}", _falsely_ok)
MUTANTS.of_each(ALL, "failback to gateway-a after {}", _dns_flaps)
MUTANTS.of_each(ALL, "failback to gateway-a after {}", _dns_stays_away)
MUTANTS.of_each(ALL, "failback to gateway-a after {}", _noticed)
MUTANTS.of_each((*ALL, NO_DNS), "no hang in {}", _hangs)
MUTANTS.of_each((*ALL, NO_DNS), "recovery after {}", unsteady)
MUTANTS.of_each(tuple(f"recovery-{name}" for name in (*ALL, "dns")), "steady state in {}", not_steady)
for _phase, _name in (
    (DEAD, "with a dead gateway"), (HUNG, "with a hung gateway"), (SPLIT, "with split health"), (NO_DNS, "without DNS"),
):  # fmt: skip
    MUTANTS.of_each((_phase,), f"availability {_name}", _users_fail)


@mutant("TTFT with a dead gateway (median)")
def everybody_waits(run: Run) -> None:
    """While the gateway is dead every first token comes two seconds later."""
    run.requests.loc[run.in_phase(DEAD), ["ttft_ms", "ttft_from_schedule_ms"]] += 2000.0


@mutant("only ready gateways serve")
def serves_although_not_ready(run: Run) -> None:
    """A gateway answers users and tells DNS that it is not ready."""
    run.metrics.loc[samples(run, "gateway-b", "ready", *run.span("baseline")), "value"] = 0.0
    begin, _ = run.span("baseline")
    run.requests.loc[run.requests.index[between(run, begin + 5, begin + 6)][0], "gateway"] = B


@mutant("only ready gateways serve")
def users_are_sent_to_the_dead(run: Run) -> None:
    """One user still goes to the dead gateway ten seconds later."""
    begin, _ = run.span(DEAD)
    row = run.requests.index[between(run, begin + 10, begin + 11)][0]
    run.requests.loc[row, ["gateway", "outcome", "http_status", "headers_ms"]] = [A, "connect_error", None, None]


@mutant("clients use stale DNS in dns-dead")
def no_life_belt(run: Run) -> None:
    """Clients fail as soon as DNS is silent."""
    begin, _ = run.span(NO_DNS)
    fail(run, between(run, begin + 2, begin + 3))
    run.requests.loc[between(run, begin + 2, begin + 3), "outcome"] = "dns_error"
