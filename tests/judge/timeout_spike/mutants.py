"""Defects that are put into a healthy synthetic run of the timeout-spike drill."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import yaml

from harness.judge import drill
from harness.plan import guard
from harness.plan.guard import External
from tests import runs
from tests.judge.defects import Mutant, Mutants, between, fail, heal_unproven, ok, planned_for, samples
from tests.runs import Run

ONE, ALL = "one-replica", "all-replicas"
MUTANTS = Mutants()
mutant = MUTANTS.mutant


# ── conservation ──


@mutant("conservation", recount=False)
def request_vanishes(run: Run) -> None:
    """One request has no record at all."""
    run.requests = run.requests[run.requests["request_id"].ne(run.requests["request_id"].iloc[100])]


@mutant("conservation", recount=False)
def attempt_vanishes(run: Run) -> None:
    """One attempt in the middle has no record."""
    run.requests = run.requests.drop(run.requests.index[run.requests["attempt"].eq(2)][0])


@mutant("conservation")
def two_finals(run: Run) -> None:
    """An attempt that was repeated counts as final too."""
    first = run.requests.index[run.requests["attempt"].eq(2)][0]
    run.requests.loc[run.requests["request_id"].eq(run.requests.loc[first, "request_id"]), "final"] = True


@mutant("conservation")
def unheard_of_outcome(run: Run) -> None:
    """An attempt ends in a way that docs/metrics.md does not know."""
    run.requests.loc[run.requests.index[5], "outcome"] = "fine"


@mutant("conservation", recount=False)
def outcome_differs_from_the_generators(run: Run) -> None:
    """The generator counted a failure that is recorded as a success."""
    run.summary["outcomes_final"]["ok"] -= 1
    run.summary["outcomes_final"]["empty"] = 1


@mutant("conservation")
def request_moves_between_phases(run: Run) -> None:
    """A request's attempts stand in different phases."""
    first = run.requests.index[run.requests["attempt"].eq(2)][0]
    run.requests.loc[first - 1, ["phase", "straddles"]] = ["baseline", None]
    run.phases_stay = True


# ── answers ──


@mutant("right answers")
def every_answer_is_wrong(run: Run) -> None:
    """As of a model with damaged weights: quick, whole and wrong from the first to the last."""
    run.requests.loc[ok(run), ["answer_correct", "answer_chars"]] = [False, 99]


@mutant("right answers")
def one_replica_answers_wrongly(run: Run) -> None:
    """Half of all answers."""
    run.requests.loc[ok(run) & run.requests["replica"].eq("replica-2"), ["answer_correct", "answer_chars"]] = [
        False,
        99,
    ]


@mutant("right answers")
def wrong_after_the_fault(run: Run) -> None:
    """What a fault has left behind: a fifth of the answers is wrong from then on."""
    later = ok(run) & run.in_phase("recovery-one") & run.requests["request_id"].str[-1].isin(list("05"))
    run.requests.loc[later, ["answer_correct", "answer_chars"]] = [False, 99]


@mutant("served versions")
def another_version_serves(run: Run) -> None:
    """Every answer is of a version that nobody has planned."""
    run.requests.loc[ok(run), "served_version"] = "v9@00000000"


@mutant("served versions")
def other_weights_on_one_replica(run: Run) -> None:
    """The name is right, the weights are others."""
    run.requests.loc[ok(run) & run.requests["replica"].eq("replica-2"), "served_version"] = "v1@11111111"


# ── faults and steady state ──


@mutant("nothing left injected")
def fault_stays(run: Run) -> None:
    """One link is never healed."""
    run.drop_events("fault_healed", fault="all-replicas/timeout/gateway-a-to-replica-1")


@mutant("nothing left injected")
def heal_without_effect(run: Run) -> None:
    """The heal was tried, and toxiproxy still lists the toxic."""
    heal_unproven(run, left="toxic drillyard_timeout_upstream")


@mutant("steady state in baseline")
def failures_before_the_first_fault(run: Run) -> None:
    """The generator's view said steady; the records show three failures."""
    end = run.span("baseline")[1]
    fail(run, between(run, end - 4, end - 3))


@mutant("steady state in recovery-one")
def not_steady_between(run: Run) -> None:
    """The first fault left something behind."""
    event = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery-one")
    event["reached"] = False


@mutant("steady state in recovery-all")
def not_steady_after(run: Run) -> None:
    """The second fault left something behind."""
    event = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery-all")
    event["reached"] = False


# ── the gateways' checks ──


@mutant("gateways eject replica-2")
def never_taken_out(run: Run) -> None:
    """No readiness checks: one gateway keeps the bad replica."""
    run.metrics.loc[samples(run, "gateway-b", "server_up", *run.span(ONE), "server=replica-2"), "value"] = 1.0


@mutant("gateways eject replica-2")
def taken_out_late(run: Run) -> None:
    """One gateway needs 7 s."""
    begin, _ = run.span(ONE)
    run.metrics.loc[samples(run, "gateway-b", "server_up", begin, begin + 7, "server=replica-2"), "value"] = 1.0


@mutant("gateways readmit replica-2 after one-replica")
def never_put_back(run: Run) -> None:
    """One gateway forgets the replica for good."""
    end = run.span(ONE)[1]
    run.metrics.loc[samples(run, "gateway-a", "server_up", end, 1e9, "server=replica-2"), "value"] = 0.0


@mutant("gateways readmit replica-2 after one-replica")
def put_back_late(run: Run) -> None:
    """One gateway needs 12 s."""
    end = run.span(ONE)[1]
    run.metrics.loc[samples(run, "gateway-a", "server_up", end, end + 12, "server=replica-2"), "value"] = 0.0


def _many_sessions(run: Run, phase: str) -> None:
    begin, end = run.span(phase)
    where = samples(run, "gateway-a", "server_sessions_total", begin, 1e9, "server=replica-1")
    run.metrics.loc[where, "value"] += 50 * (run.metrics.loc[where, "t_s"].clip(upper=end) - begin)


@mutant("upstream amplification in one-replica")
def gateway_storms_one(run: Run) -> None:
    """A gateway tries for ever while one replica is bad."""
    _many_sessions(run, ONE)


@mutant("upstream amplification in all-replicas")
def gateway_storms_all(run: Run) -> None:
    """A gateway tries for ever while all replicas are bad."""
    _many_sessions(run, ALL)


# ── what users get ──


@mutant("no silent truncation")
def ok_without_finish_reason(run: Run) -> None:
    """A stream that just ended counts as ok."""
    run.requests.loc[run.requests.index[ok(run)][3], "finish_reason"] = None


@mutant("no silent truncation")
def ok_after_abort(run: Run) -> None:
    """The engine aborted, and that counts as ok."""
    run.requests.loc[run.requests.index[ok(run)][3], "finish_reason"] = "abort"


@mutant("no silent truncation")
def answer_cut_short(run: Run) -> None:
    """A proxy swallows the last words and finishes the stream properly."""
    row = run.requests.index[ok(run)][150]
    run.requests.loc[row, ["answer_correct", "answer_chars", "content_events"]] = [False, 40, 15]


@mutant("no silent truncation")
def usage_without_content(run: Run) -> None:
    """Tokens were billed, none arrived."""
    run.requests.loc[run.requests.index[ok(run)][3], "content_events"] = 0


@mutant("no silent truncation")
def ok_without_usage(run: Run) -> None:
    """Our engines always say what an answer cost; one of them did not."""
    run.requests.loc[run.requests.index[ok(run)][3], "output_tokens"] = None


@mutant("no silent truncation")
def more_events_than_tokens(run: Run) -> None:
    """More came than was made."""
    run.requests.loc[run.requests.index[ok(run)][3], "content_events"] = runs.TOKENS + 1


@mutant("no silent truncation")
def ok_with_an_error_status(run: Run) -> None:
    """A broken answer counts as ok."""
    run.requests.loc[run.requests.index[ok(run)][3], "http_status"] = 502


@mutant("no hang in one-replica")
def total_limit_hit(run: Run) -> None:
    """One request had to be ended by its total limit."""
    run.requests.loc[run.requests.index[run.in_phase(ONE)][40], ["outcome", "e2e_ms"]] = ["timeout_total", 30000.0]


@mutant("no hang in all-replicas")
def limit_not_enforced(run: Run) -> None:
    """One request lasted longer than any limit allows."""
    run.requests.loc[run.requests.index[run.in_phase(ALL)][9], "e2e_ms"] = 45000.0


def _one_error(run: Run) -> int:
    return int(run.requests.index[run.in_phase(ALL) & run.requests["error_type"].notna()][20])


@mutant("honest errors in all-replicas")
def html_error(run: Run) -> None:
    """The gateway's built-in page."""
    run.requests.loc[_one_error(run), ["error_type", "error_code", "error_message", "error_request_id"]] = None


@mutant("honest errors in all-replicas")
def error_of_somebody_else(run: Run) -> None:
    """The request id in the error is another one's."""
    run.requests.loc[_one_error(run), "error_request_id"] = "r99999"


@mutant("honest errors in all-replicas")
def error_without_request_id(run: Run) -> None:
    """No request id in the error."""
    run.requests.loc[_one_error(run), "error_request_id"] = None


@mutant("honest errors in all-replicas")
def error_without_retry_after(run: Run) -> None:
    """Nobody says when to come back."""
    run.requests.loc[_one_error(run), "retry_after_s"] = None


@mutant("honest errors in all-replicas")
def no_error_at_all(run: Run) -> None:
    """No gateway time-out: the client had to give up by itself."""
    row = _one_error(run)
    run.requests.loc[row, ["outcome", "e2e_ms"]] = ["timeout_ttft", 12000.0]
    columns = ["http_status", "error_type", "error_code", "error_message", "error_request_id", "retry_after_s"]
    run.requests.loc[row, columns] = None


def _without_an_answer(run: Run, outcome: str) -> None:
    """Most of the failed attempts find no gateway, although both are there."""
    failed = run.in_phase(ALL) & ~ok(run) & run.requests["http_status"].ne(200)
    rows = run.requests.index[failed][::2]
    run.requests.loc[rows, "outcome"] = outcome
    columns = ["http_status", "error_type", "error_code", "error_message", "error_request_id", "retry_after_s"]
    run.requests.loc[rows, [*columns, "first_byte_sent_s", "headers_ms"]] = None


@mutant("honest errors in all-replicas")
def nobody_takes_the_connection(run: Run) -> None:
    """The gateways refuse connections."""
    _without_an_answer(run, "connect_error")


@mutant("honest errors in all-replicas")
def nobody_knows_the_name(run: Run) -> None:
    """DNS has no answer."""
    _without_an_answer(run, "dns_error")


def first_streams_break(run: Run, where: pd.Series) -> None:
    """Each of these requests was asked for once more before, and its answer broke off."""
    rows = run.requests
    dead_from, dead_to = run.span(ALL) if run.plan["drill"] == "timeout-spike" else (0.0, 0.0)
    alive = ~rows["start_s"].between(dead_from - 1, dead_to)  # half a second later it would be answered by the dead
    asked = rows["request_id"].isin(rows["request_id"][where & alive & ok(run)])
    first = rows[asked & rows["attempt"].eq(1)].copy()
    rows.loc[asked, "attempt"] += 1
    rows.loc[asked, ["start_s", "first_byte_sent_s"]] += 0.5
    rows.loc[asked, ["schedule_lag_ms"]] = None
    gone = ["output_tokens", "finish_reason", "prompt_tokens", "answer_chars", "answer_hash", "answer_correct"]
    first[gone] = None
    first = first.assign(outcome="broken_stream", subtype="fin", final=False, http_status=200, content_events=1)
    first = first.assign(e2e_ms=first["ttft_ms"].fillna(10.0).clip(upper=400.0), max_stall_ms=None, ttft_ms=None)
    first = first.assign(headers_ms=5.0, attempt=1)
    columns = rows.columns
    run.requests = pd.concat([first, rows], ignore_index=True)[columns]
    run.requests = run.requests.sort_values(["request_id", "attempt"], ignore_index=True)


@mutant("broken attempts bounded")
def every_first_stream_breaks(run: Run) -> None:
    """Each is asked for again, and then it is whole."""
    first_streams_break(run, pd.Series(True, index=run.requests.index))


@mutant("broken attempts bounded")
def first_streams_break_once_the_fault_is_known(run: Run) -> None:
    """The bad replica is out, and streams go on breaking."""
    begin, end = run.span(ONE)
    first_streams_break(run, between(run, begin + 15, end - 2))


@mutant("broken attempts bounded")
def first_streams_break_after_the_heal(run: Run) -> None:
    """Two of a hundred users notice."""
    begin, end = run.span("recovery-all")
    first_streams_break(run, between(run, begin + 10, end) & run.requests["request_id"].str.endswith("3"))


@mutant("failures hidden in one-replica")
def only_clients_retry(run: Run) -> None:
    """The gateways pass four time-outs on; the clients' own retries make them good."""
    begin, _ = run.span(ONE)
    rows = run.requests[between(run, begin + 1, begin + 2)]
    failed = rows.assign(
        final=False, outcome="http_5xx", http_status=504, e2e_ms=3000.0, finish_reason=None, output_tokens=None
    )
    failed = failed.assign(ttft_ms=None, ttft_from_schedule_ms=None, headers_ms=3000.0, retry_after_s=1.0)
    again = rows.assign(attempt=2, start_s=rows["start_s"] + 4.2, retry_delay_ms=1200.0, schedule_lag_ms=None)
    run.requests = pd.concat([run.requests.drop(rows.index), failed, again], ignore_index=True)


# ── retries ──


@mutant("client retries bounded")
def fourth_attempt(run: Run) -> None:
    """One request is tried once more than allowed."""
    last = run.requests[run.requests["attempt"].eq(3)].iloc[:1].assign(attempt=4)
    run.requests.loc[last.index, "final"] = False
    run.requests = pd.concat([run.requests, last.assign(final=True)], ignore_index=True)


@mutant("client retries bounded")
def no_jitter(run: Run) -> None:
    """Everybody comes back after exactly one second."""
    run.requests.loc[run.requests["attempt"].gt(1), "retry_delay_ms"] = 1000.0


@mutant("client retries bounded")
def too_soon(run: Run) -> None:
    """One client does not wait as long as Retry-After said."""
    run.requests.loc[run.requests.index[run.requests["attempt"].eq(2)][0], "retry_delay_ms"] = 400.0


@mutant("client retries bounded")
def over_the_cap(run: Run) -> None:
    """One client waits for longer than cap + Retry-After."""
    run.requests.loc[run.requests.index[run.requests["attempt"].eq(2)][0], "retry_delay_ms"] = 9000.0


# ── replicas ──


@mutant("no abandoned generation in all-replicas")
def zombie_runs(run: Run) -> None:
    """One replica goes on working for a client that has gone."""
    run.metrics.loc[samples(run, "replica-2", "running", *run.span(ALL)), "value"] = 1.0


@mutant("no abandoned generation in all-replicas")
def zombie_generates(run: Run) -> None:
    """One replica says that it is idle, but its tokens go on growing."""
    begin, end = run.span(ALL)
    where = samples(run, "replica-1", "generation_tokens_total", begin, 1e9)
    run.metrics.loc[where, "value"] += 60 * (run.metrics.loc[where, "t_s"].clip(upper=end) - begin)


@mutant("replica counters and client records agree")
def tokens_for_nobody(run: Run) -> None:
    """One replica makes far more tokens than anybody asked for."""
    begin, end = run.span("baseline")
    where = samples(run, "replica-1", "generation_tokens_total", begin, 1e9)
    run.metrics.loc[where, "value"] += 800 * (run.metrics.loc[where, "t_s"].clip(upper=end) - begin)


@mutant("replica counters and client records agree")
def tokens_from_nowhere(run: Run) -> None:
    """A client got three tokens that no replica counted."""
    run.requests.loc[run.requests.index[ok(run)][7], "output_tokens"] += 3


# ── recovery ──


@mutant("recovery after one-replica")
def slow_recovery_one(run: Run) -> None:
    """Every third request fails until 13 s after the heal."""
    healed = run.span(ONE)[1]
    fail(run, between(run, healed, healed + 13) & run.requests["request_id"].str[-1].isin(list("147")))


@mutant("recovery after all-replicas")
def no_recovery_all(run: Run) -> None:
    """Every third request fails until the end."""
    fail(run, between(run, run.span(ALL)[1], 1e9) & run.requests["request_id"].str[-1].isin(list("147")))


# ── objectives ──


@mutant("availability before")
def failures_in_the_baseline(run: Run) -> None:
    """2 s of failures."""
    begin, _ = run.span("baseline")
    fail(run, between(run, begin + 5, begin + 7))


@mutant("TTFT before")
def slow_from_the_start(run: Run) -> None:
    """First tokens after more than a second."""
    run.requests[["ttft_ms", "ttft_from_schedule_ms"]] += 900.0


@mutant("end to end before")
def a_slow_tail(run: Run) -> None:
    """One request in eight takes nine seconds longer."""
    tail = pd.Series(range(len(run.requests)), index=run.requests.index) % 8 == 0
    run.requests.loc[tail, ["e2e_ms", "e2e_from_schedule_ms"]] += 9000.0


@mutant("end to end before (median)")
def slow_answers(run: Run) -> None:
    """Every answer takes six seconds longer."""
    run.requests[["e2e_ms", "e2e_from_schedule_ms"]] += 6000.0


@mutant("availability with one bad replica")
def no_gateway_retries(run: Run) -> None:
    """What meets the bad replica fails."""
    begin, _ = run.span(ONE)
    fail(run, between(run, begin + 1, begin + 4))


@mutant("TTFT with one bad replica")
def waits_twice(run: Run) -> None:
    """Every retry goes to the bad replica again."""
    run.requests.loc[run.in_phase(ONE), ["ttft_ms", "ttft_from_schedule_ms"]] += 3000.0


def _in_fault_phases(run: Run) -> pd.Series:
    """Marks the requests that were served although a fault was there."""
    faulty = [phase["name"] for phase in run.plan["scenario"]["phases"] if phase["faults"]]
    return run.requests["phase"].isin(faulty) & ok(run)


@mutant("end to end with one bad replica")
def answers_drag(run: Run) -> None:
    """Every answer while a fault is there takes 29.9 s; nobody gives up."""
    run.requests.loc[_in_fault_phases(run), "e2e_ms"] = 29900.0


@mutant("stalls with one bad replica")
def streams_stall(run: Run) -> None:
    """Every stream is silent for 11.5 s in the middle; nobody gives up."""
    run.requests.loc[_in_fault_phases(run), "max_stall_ms"] = 11500.0
    run.requests.loc[_in_fault_phases(run), "e2e_ms"] += 11500.0


# ── what only an external target is asked: the same defects, in a run whose phases are called as there ──

_CALLED = {
    "one-replica": "slow-link",
    "recovery-one": "recovery-slow",
    "all-replicas": "silent-link",
    "recovery-all": "recovery-silent",
}
EXTERNAL: dict[str, Callable[[Run], None]] = {
    "no hang in slow-link": total_limit_hit,
    "no hang in silent-link": limit_not_enforced,
    "recovery after slow-link": slow_recovery_one,
    "recovery after silent-link": no_recovery_all,
    "steady state in recovery-slow": not_steady_between,
    "steady state in recovery-silent": not_steady_after,
    "availability with a slow link": no_gateway_retries,
    "end to end with a slow link": answers_drag,
    "stalls with a slow link": streams_stall,
}


def as_external(run: Run) -> None:
    """Make it the run of a target that Drillyard had not started."""
    run.plan["scenario"], run.events = (_renamed(part) for part in (run.plan["scenario"], run.events))
    theirs = yaml.safe_load((drill.ROOT / "scenarios" / "timeout-spike.external.yaml").read_text())["slos"]
    run.plan["scenario"]["slos"] = [slo for slo in theirs if slo["phases"] == ["slow-link"]]
    run.plan["faults"] = _renamed(run.plan["faults"])
    labels = run.metrics["labels"]
    run.metrics["labels"] = labels.map({one: _renamed(one) for one in labels.unique()})
    planned_for(run, drill.load(run.plan["drill"]), external=True)
    said = External("https://h", ("h",))
    run.plan["topology"]["target"] = dataclasses.asdict(guard.admit(said, lambda host, port: "192.0.2.1"))
    run.requests = run.requests.replace({"phase": _CALLED, "straddles": _CALLED})
    # No gateway waits there: what is late is so by the link's latency.
    late = run.requests["phase"].eq("slow-link") & run.requests["e2e_ms"].between(3000, 4000)
    run.requests.loc[late, ["ttft_ms", "e2e_ms", "headers_ms", "ttft_from_schedule_ms", "e2e_from_schedule_ms"]] -= (
        2200.0
    )


def _renamed(part: Any) -> Any:
    text = json.dumps(part)
    for ours, theirs in _CALLED.items():
        text = text.replace(ours, theirs)
    return json.loads(text)


MUTANTS += [
    Mutant(f"{defect.__name__}-of-an-external-target", check, defect, then=as_external)
    for check, defect in EXTERNAL.items()
]
