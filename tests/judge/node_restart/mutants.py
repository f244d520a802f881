"""Defects that are put into a recorded, healthy run of the node-restart drill."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from harness.evidence.attempts import end_s
from tests.judge.defects import Mutants, fail
from tests.judge.timeout_spike import mutants
from tests.runs import Run

MUTANTS = Mutants()
mutant = MUTANTS.mutant
_REPLICA = {"restart-1": "replica-1", "restart-2": "replica-2", "kill": "replica-1", "deaf": "replica-2"}


def in_each(check: str, *phases: str) -> Callable[[Callable[[Run, str], None]], Callable[[Run, str], None]]:
    """Register a defect of a phase for the check of that phase: ``{phase}`` and ``{replica}`` in its name."""

    def register(defect: Callable[[Run, str], None]) -> Callable[[Run, str], None]:
        for phase in phases:
            MUTANTS.of_each((phase,), check.format(phase=phase, replica=_REPLICA.get(phase)), defect)
        return defect

    return register


def step(run: Run, phase: str, name: str) -> float:
    """When the fault of ``phase`` had come so far."""
    return float(
        next(e["t_s"] for e in run.events if e["kind"] == "fault_step" and e["phase"] == phase and e["step"] == name)
    )


def ordered(run: Run, phase: str, kind: str = "fault_injecting") -> float:
    """When the fault of ``phase`` was ordered, or healed."""
    return float(next(e["t_s"] for e in run.events if e["kind"] == kind and e["phase"] == phase))


def running_at(run: Run, t_s: float, replica: str) -> pd.Series:
    """Marks the attempts whose answer was under way on ``replica`` at that time."""
    rows = run.requests
    return rows["replica"].eq(replica) & rows["start_s"].lt(t_s - 0.2) & end_s(rows).gt(t_s)


def broken(run: Run, where: pd.Series) -> None:
    """These streams broke in the middle, and nobody tried again."""
    run.requests.loc[where, "outcome"] = "broken_stream"
    run.requests.loc[where, "finish_reason"] = None


def late(run: Run, phase: str, name: str, by_s: float) -> None:
    """That step came so much later."""
    for event in run.events:
        if event["kind"] == "fault_step" and event["phase"] == phase and event["step"] == name:
            event["t_s"] += by_s


# ── restarts ──


@in_each("drain breaks nothing in {phase}", "restart-1", "restart-2")
def a_stream_is_cut_by_the_restart(run: Run, phase: str) -> None:
    """SIGTERM came while it was running."""
    where = running_at(run, step(run, phase, "drained"), _REPLICA[phase])
    broken(run, where & where.cumsum().eq(1))


@in_each("drain breaks nothing in {phase}", "restart-1", "restart-2")
def an_aborted_stream_counts_as_broken(run: Run, phase: str) -> None:
    """vLLM ended it as HTTP 200 with finish_reason abort, which the client records as what it is."""
    where = running_at(run, step(run, phase, "drained"), _REPLICA[phase])
    run.requests.loc[where, ["outcome", "finish_reason"]] = ["inband_error", "abort"]


@in_each("drain breaks nothing in {phase}", "restart-1", "restart-2")
def requests_go_to_a_drained_replica(run: Run, phase: str) -> None:
    """A gateway that sticks to its choice."""
    drained, end = step(run, phase, "drained"), ordered(run, phase, "fault_healing")
    where = run.requests["start_s"].between(drained + 1, end)
    run.requests.loc[where, ["replica", "gateway_replica"]] = _REPLICA[phase]


@in_each("drain breaks nothing in {phase}", "restart-1", "restart-2")
def requests_go_to_a_drained_replica_without_its_header(run: Run, phase: str) -> None:
    """Only the gateway's log says who answered them."""
    requests_go_to_a_drained_replica(run, phase)
    drained, end = step(run, phase, "drained"), ordered(run, phase, "fault_healing")
    run.requests.loc[run.requests["start_s"].between(drained + 1, end), "replica"] = None


@in_each("{replica} is ready again in {phase}", "restart-1", "restart-2", "kill")
def it_never_comes_back(run: Run, phase: str) -> None:
    """Nobody started it again."""
    run.drop_events("fault_step", phase=phase, step="ready")


@in_each("first token of {replica} in {phase}", "restart-1", "restart-2", "kill")
def it_is_ready_long_before_it_answers(run: Run, phase: str) -> None:
    """Its first user waits for the compilation."""
    late(run, phase, "first_token", 20.0)


@in_each("first token of {replica} in {phase}", "restart-1", "restart-2", "kill")
def it_is_ready_and_never_answers(run: Run, phase: str) -> None:
    """Ready is not working."""
    run.drop_events("fault_step", phase=phase, step="first_token")


@mutant("warm-up after rejoining")
def cold_for_long(run: Run) -> None:
    """A replica that has rejoined stays slower than it was."""
    rows = run.requests
    healed = ordered(run, "restart-2", "fault_healed")
    where = rows["replica"].eq("replica-2") & rows["start_s"].between(healed, ordered(run, "kill"))
    run.requests.loc[where, ["ttft_ms", "ttft_from_schedule_ms"]] *= 4


@mutant("availability over the rolling restart")
def one_replica_is_not_enough(run: Run) -> None:
    """Requests fail while the other one starts."""
    drained = step(run, "restart-1", "drained")
    fail(run, run.requests["intended_start_s"].between(drained, drained + 1.5))


# ── the kill ──


@mutant("kill breaks visibly in kill")
def half_an_answer_looks_whole(run: Run) -> None:
    """The gateway closed the dead replica's streams as if they had ended."""
    where = running_at(run, step(run, "kill", "killing"), "replica-1")
    run.requests.loc[where, ["outcome", "finish_reason", "final"]] = ["ok", "stop", True]
    run.requests.loc[where, "e2e_ms"] = 1000 * (step(run, "kill", "killed") + 3 - run.requests["start_s"][where])


@mutant("kill breaks visibly in kill")
def streams_of_the_other_replica_break(run: Run) -> None:
    """What had nothing to do with it was cut as well."""
    rows, killed = run.requests, step(run, "kill", "killed")
    broken(run, rows["replica"].eq("replica-2") & end_s(rows).between(killed, killed + 0.5))


@mutant("kill breaks visibly in kill")
def nobody_asks_again(run: Run) -> None:
    """The clients give up after their stream has broken."""
    rows = run.requests
    hit = rows["outcome"].eq("broken_stream") & end_s(rows).between(ordered(run, "kill"), ordered(run, "deaf"))
    ids = rows["request_id"][hit]
    run.requests = rows[~rows["request_id"].isin(ids) | hit].copy()
    run.requests.loc[run.requests["request_id"].isin(ids), "final"] = True


@mutant("availability with a killed replica")
def the_kill_reaches_users(run: Run) -> None:
    """Requests are still given to the dead replica, and not tried elsewhere."""
    killed = step(run, "kill", "killed")
    fail(run, run.requests["intended_start_s"].between(killed, killed + 1))


@in_each("gateways eject {replica}", "kill", "deaf")
def it_stays_in_rotation(run: Run, phase: str) -> None:
    """The gateways notice nothing."""
    m = run.metrics
    seen = m["metric"].eq("server_up") & m["labels"].eq(f"server={_REPLICA[phase]}")
    run.metrics.loc[seen & m["t_s"].between(*run.span(phase)), "value"] = 1.0


# ── the deaf replica ──


@mutant("impact window bounded in deaf")
def users_go_on_meeting_it(run: Run) -> None:
    """Attempts time out until the fault is healed."""
    where = run.requests["start_s"].between(ordered(run, "deaf") + 9.5, ordered(run, "deaf", "fault_healing"))
    run.requests.loc[where, "outcome"] = "timeout_ttft"


@mutant("impact window bounded in deaf")
def only_the_heal_frees_them(run: Run) -> None:
    """Late in the fault attempts meet it; they are answered as soon as it hears again."""
    healing = ordered(run, "deaf", "fault_healing")
    where = run.requests["start_s"].between(healing - 4, healing - 1)
    run.requests.loc[where, ["replica", "gateway_replica"]] = "replica-2"
    run.requests.loc[where, "ttft_ms"] = (healing + 0.1 - run.requests.loc[where, "start_s"]) * 1000


@mutant("gateways readmit replica-2 after deaf")
def it_is_left_out(run: Run) -> None:
    """It hears again, and no gateway uses it."""
    m = run.metrics
    seen = m["metric"].eq("server_up") & m["labels"].eq("server=replica-2")
    run.metrics.loc[seen & m["t_s"].gt(ordered(run, "deaf") + 8), "value"] = 0.0


# ── what all phases are asked ──


@in_each("no hang in {phase}", "restart-1", "restart-2", "kill", "deaf")
def a_request_hangs(run: Run, phase: str) -> None:
    """One ran into its total limit."""
    where = run.requests.index[run.requests["start_s"].gt(ordered(run, phase))][0]
    run.requests.loc[where, ["outcome", "e2e_ms"]] = ["timeout_total", 30_000.0]
    run.requests.loc[where, ["phase", "straddles"]] = [phase, None]


@in_each("recovery after {phase}", "kill", "deaf")
def users_are_not_served_again(run: Run, phase: str) -> None:
    """Failures go on after the heal."""
    healed = ordered(run, phase, "fault_healed")
    fail(
        run,
        run.requests["intended_start_s"].between(healed + 0.1, healed + 12)
        & run.requests.index.to_series().mod(4).eq(0),
    )


@in_each("steady state in {phase}", "rejoined-1", "rejoined-2", "rejoined-after-kill", "hearing-again")
def not_steady(run: Run, phase: str) -> None:
    """Something was left behind."""
    event = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == phase)
    event["reached"] = False


@mutant("steady state in baseline")
def failures_before_the_first_fault(run: Run) -> None:
    """The generator's view said steady; the records show failures."""
    end = run.span("baseline")[1]
    fail(run, run.requests["intended_start_s"].between(end - 3, end - 2))


@mutant("nothing left injected")
def the_drain_stays(run: Run) -> None:
    """The replica was never given back."""
    run.drop_events("fault_healed", phase="restart-2")


@mutant("no silent truncation")
def aborted_and_called_whole(run: Run) -> None:
    """A stream that ended with finish_reason abort counts as ok."""
    run.requests.loc[run.requests.index[run.requests["outcome"].eq("ok")][7], "finish_reason"] = "abort"


@mutant("conservation", recount=False)
def a_request_vanishes(run: Run) -> None:
    """One request has no record at all."""
    run.requests = run.requests[run.requests["request_id"].ne(run.requests["request_id"].iloc[100])]


@mutant("replica counters and client records agree")
def tokens_for_nobody_after_the_restart(run: Run) -> None:
    """The replica's counter, new since its last start, has run ahead of what anybody got."""
    m = run.metrics
    counter = m["component"].eq("replica-1") & m["metric"].eq("generation_tokens_total")
    run.metrics.loc[counter & m["t_s"].gt(ordered(run, "deaf")), "value"] += 5000


@mutant("availability before")
def failures_in_the_baseline(run: Run) -> None:
    """It was never good."""
    begin, _ = run.span("baseline")
    fail(run, run.requests["intended_start_s"].between(begin, begin + 1))


@mutant("TTFT before")
def slow_from_the_start(run: Run) -> None:
    """Everybody waits for three seconds."""
    run.requests[["ttft_ms", "ttft_from_schedule_ms"]] += 3000


mutant("end to end with a replica away")(mutants.answers_drag)
mutant("stalls with a replica away")(mutants.streams_stall)
