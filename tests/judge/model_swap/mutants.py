"""Defects that are put into recorded, healthy runs of the model-swap drill."""

from __future__ import annotations

import pandas as pd

from tests.judge.defects import Mutants, fail
from tests.judge.model_swap.story import NO_START, STOPPED, abort, ledger
from tests.judge.timeout_spike import mutants
from tests.runs import Run

MUTANTS = Mutants()
mutant = MUTANTS.mutant


def canary(run: Run) -> tuple[float, float]:
    """From when the candidate had its share until it was judged."""
    data = ledger(run)
    return next(s["applied_at_s"] for s in data["stages"] if s["name"] == "canary"), data["decided_s"]


def started(run: Run, begin: float, end: float) -> pd.Series:
    """Marks the attempts that were begun in that time and answered."""
    return run.requests["start_s"].between(begin, end) & run.requests["served_version"].notna()


def from_candidate(run: Run, where: pd.Series) -> None:
    """The candidate has answered these, from its replica."""
    data = ledger(run)
    run.requests.loc[where, ["replica", "gateway_replica"]] = data["candidate_on"]
    run.requests.loc[where, "served_version"] = data["candidate"]["version"]


def weigh(run: Run, begin: float, end: float, percent: float) -> None:
    """The gateways gave the candidate's replica that weight in that time."""
    m = run.metrics
    mine = m["metric"].eq("server_weight") & m["labels"].eq(f"server={ledger(run)['candidate_on']}")
    run.metrics.loc[mine & m["t_s"].between(begin, end), "value"] = percent


# ── the gates ──


@mutant("rollout ends as it should")
def a_good_candidate_is_sent_away(run: Run) -> None:
    """The gates are too strict, or were asked the wrong thing."""
    data = ledger(run)
    data["ended"], data["decision"] = "rolled back", {"verdict": "roll back", "gate": "ttft", "why": "slow"}


@mutant("rollout ends as it should", of=STOPPED)
def a_bad_candidate_gets_through(run: Run) -> None:
    """Nobody looked at its answers."""
    data = ledger(run)
    data["ended"], data["decision"] = "promoted", {"verdict": "promote", "gate": "", "why": "all is well"}


@mutant("rollout ends as it should", of=STOPPED)
def stopped_for_another_reason(run: Run) -> None:
    """The candidate answers wrongly, and only its latency is noticed."""
    ledger(run)["decision"]["gate"] = "ttft"


@mutant("rollout ends as it should")
def a_replica_does_not_follow(run: Run) -> None:
    """The candidate was good where it was tried, and does not start on the other replica."""
    abort(run)


@mutant("candidate judged before it gets more")
def half_of_the_traffic_too_early(run: Run) -> None:
    """The rollout did not wait for its gates."""
    begin, decided = canary(run)
    next(s for s in ledger(run)["stages"] if s["name"] == "half")["requested_at_s"] = (begin + decided) / 2


@mutant("candidate judged before it gets more")
def a_gateway_gives_it_more(run: Run) -> None:
    """One gateway was told another weight."""
    begin, decided = canary(run)
    weigh(run, begin + 2, decided - 2, 30.0)


@mutant("candidate judged before it gets more")
def promoted_on_wrong_answers(run: Run) -> None:
    """The decision does not follow from what was answered."""
    for probe in ledger(run)["probes"]:
        probe["right"] = probe["side"] == "stable"


@mutant("candidate judged before it gets more", of=STOPPED)
def stopped_although_all_is_well(run: Run) -> None:
    """Its answers pass every gate."""
    data = ledger(run)
    first = next(probe for probe in data["probes"] if probe["side"] == "candidate")
    data["probes"] = [
        {**first, "pair": n, "side": side, "question": n, "right": True, "ttft_ms": 60.0, "tokens_per_s": 100.0}
        for n in range(data["questions"])
        for side in ("candidate", "stable")
    ]


# ── the users ──


@mutant("exposure bounded")
def every_third_user_meets_it(run: Run) -> None:
    """A weight that is no share."""
    where = started(run, *canary(run))
    from_candidate(run, where & (where.cumsum() % 3).eq(0))


@mutant("exposure bounded", of=STOPPED)
def all_users_meet_the_bad_one(run: Run) -> None:
    """While it was a canary it got everything."""
    from_candidate(run, started(run, *canary(run)))


@mutant("exposure bounded")
def met_before_it_was_verified(run: Run) -> None:
    """It took requests as soon as it listened."""
    begin, _ = canary(run)
    where = started(run, begin - 20, begin - 2)
    from_candidate(run, where & where.cumsum().eq(1))


@mutant("versions agree")
def another_model_answers(run: Run) -> None:
    """Half of the answers after the promotion carry a version that nobody has rolled out."""
    last = ledger(run)["stages"][-1]["applied_at_s"]
    run.requests.loc[started(run, last - 3, last), "served_version"] = "v9@sim"


@mutant("versions agree")
def a_replica_answers_with_what_it_had(run: Run) -> None:
    """The gateway's header names the new one, the engine's answer the old."""
    all_of_it = next(s["applied_at_s"] for s in ledger(run)["stages"] if s["name"] == "all")
    run.requests.loc[started(run, all_of_it + 2, all_of_it + 6), "served_version"] = ledger(run)["stable"]["version"]


@mutant("versions agree")
def the_canary_has_no_users(run: Run) -> None:
    """Its weight is there, and nobody is sent to it."""
    data, where = ledger(run), started(run, *canary(run))
    run.requests.loc[where, "replica"] = "replica-1"
    run.requests.loc[where, "served_version"] = data["stable"]["version"]


@mutant("versions agree")
def another_model_answers_before_the_heal(run: Run) -> None:
    """A rollout that broke off, and an answer of nobody's version before that."""
    abort(run)
    half = next(s["applied_at_s"] for s in ledger(run)["stages"] if s["name"] == "half")
    run.requests.loc[started(run, half, half + 2), "served_version"] = "v9@sim"


@mutant("exposure bounded", of=NO_START)
def met_although_it_never_started(run: Run) -> None:
    """Some user has an answer of a candidate that gave no token."""
    decided = ledger(run)["decided_s"]
    where = started(run, decided - 3, decided - 1)
    from_candidate(run, where & where.cumsum().eq(1))


@mutant("rollback in time", of=STOPPED)
def one_gateway_goes_on_using_it(run: Run) -> None:
    """It keeps its weight for ten seconds more."""
    decided = ledger(run)["decided_s"]
    for served in ledger(run)["served"]:
        served["from_s"] += 30 if served["from_s"] > decided else 0
    weigh(run, decided, decided + 10, 10.0)


@mutant("rollback in time", of=STOPPED)
def users_are_sent_to_it_still(run: Run) -> None:
    """The weight is 0 by the gateways' word, but somebody sticks to it."""
    decided = ledger(run)["decided_s"]
    for served in ledger(run)["served"]:
        served["from_s"] += 30 if served["from_s"] > decided else 0
    where = started(run, decided + 6, decided + 12)
    from_candidate(run, where & where.cumsum().eq(1))


@mutant("zero failed requests")
def one_request_is_lost(run: Run) -> None:
    """A replica was ended under it."""
    begin, decided = canary(run)
    where = started(run, begin, decided) & run.requests["final"]
    fail(run, where & where.cumsum().eq(1))


@mutant("one version in the end")
def a_replica_keeps_the_old_one(run: Run) -> None:
    """It was promoted, and one replica was forgotten."""
    where = started(run, *run.span("after")) & run.requests["replica"].eq("replica-1")
    run.requests.loc[where, "served_version"] = ledger(run)["stable"]["version"]


@mutant("one version in the end", of=STOPPED)
def the_candidate_stays(run: Run) -> None:
    """It was rolled back, and one replica still serves it."""
    begin, end = run.span("after")
    from_candidate(run, started(run, begin, end) & run.requests["replica"].eq("replica-2"))


@mutant("one version in the end")
def a_replica_stays_out(run: Run) -> None:
    """It serves the right version, to nobody."""
    begin, end = run.span("after")
    run.requests.loc[started(run, begin, end), "replica"] = "replica-1"


@mutant("nothing left injected")
def the_promoted_version_is_forgotten(run: Run) -> None:
    """The users have gone, and nobody puts the old version back."""
    stays = next(e["fault"] for e in run.events if e["kind"] == "fault_stays")
    run.drop_events("fault_healed", fault=stays)


# ── what every drill asks ──


@mutant("no hang in swap")
def a_request_hangs(run: Run) -> None:
    """One ran into its total limit."""
    where = run.requests.index[run.requests["phase"].eq("swap") & run.requests["straddles"].isna()][0]
    run.requests.loc[where, ["outcome", "e2e_ms"]] = ["timeout_total", 30_000.0]


@mutant("steady state in after")
def not_steady(run: Run) -> None:
    """Something was left behind."""
    event = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "after")
    event["reached"] = False


@mutant("steady state in baseline")
def failures_before_the_rollout(run: Run) -> None:
    """The generator's view said steady; the records show failures."""
    end = run.span("baseline")[1]
    fail(run, run.requests["intended_start_s"].between(end - 3, end - 2))


@mutant("nothing left injected")
def the_candidate_is_not_taken_back(run: Run) -> None:
    """The old version was never put back."""
    run.drop_events("fault_healed")


@mutant("no silent truncation")
def aborted_and_called_whole(run: Run) -> None:
    """A stream that ended with finish_reason abort counts as ok."""
    run.requests.loc[run.requests.index[run.requests["outcome"].eq("ok")][7], "finish_reason"] = "abort"


@mutant("conservation", recount=False)
def a_request_vanishes(run: Run) -> None:
    """One request has no record at all."""
    run.requests = run.requests[run.requests["request_id"].ne(run.requests["request_id"].iloc[100])]


@mutant("replica counters and client records agree")
def tokens_for_nobody(run: Run) -> None:
    """A replica's counter, new since its last start, has run ahead of what anybody got."""
    m = run.metrics
    counter = m["component"].eq("replica-1") & m["metric"].eq("generation_tokens_total")
    run.metrics.loc[counter & m["t_s"].gt(run.span("after")[0] + 5), "value"] += 5000


@mutant("availability before")
def failures_in_the_baseline(run: Run) -> None:
    """It was never good."""
    begin, _ = run.span("baseline")
    fail(run, run.requests["intended_start_s"].between(begin, begin + 1))


@mutant("TTFT before")
def slow_from_the_start(run: Run) -> None:
    """Everybody waits for three seconds."""
    run.requests[["ttft_ms", "ttft_from_schedule_ms"]] += 3000


mutant("end to end during the rollout")(mutants.answers_drag)
mutant("stalls during the rollout")(mutants.streams_stall)
