"""Runs of the model-swap drill in which all went as it should: one as the simulator recorded it, one made of that."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import numpy as np

from harness.evidence.record import METRIC_COLUMNS, REQUEST_COLUMNS, RunFolder
from harness.judge import drill
from harness.model.artifacts import rollout
from harness.model.scenario import Scenario
from harness.plan import planned
from tests import runs
from tests.runs import TOPOLOGY, Run, add_alerts, add_unremarkable, recorded_today, scenario

#: A good candidate, as recorded; one that the quality gate stops after some seconds; and one that never starts.
PROMOTED, STOPPED, NO_START = "model-swap", "model-swap-bad", "model-swap-truncated"
WAYS = (PROMOTED, STOPPED, NO_START)
#: What has no number there: nothing was rolled back; a candidate that never started was no canary.
NUMBERLESS = {
    PROMOTED: {"rollback in time"},
    NO_START: {"rollout ends as it should", "candidate judged before it gets more"},
}
_RECORDED = runs.ROOT / "tests" / "fixtures" / "runs" / "model-swap"
#: The replica of the stopped one serves the stable version again so soon, in a simulator.
_RESTORED_S = 1.0


@functools.cache
def _text(file: str) -> str:
    return (_RECORDED / file).read_text()


def healthy(name: str = PROMOTED) -> Run:
    """A fresh copy of one of them."""
    folder = RunFolder(_RECORDED)
    run = Run(
        json.loads(_text("plan.json")),
        [json.loads(line) for line in _text("events.jsonl").splitlines()],
        folder.requests()[REQUEST_COLUMNS.names],
        folder.metrics()[METRIC_COLUMNS.names],
        json.loads(_text("load-summary.json")),
        {rollout.FILE: json.loads(_text(rollout.FILE))},
    )
    stable, candidate = (ledger(run)[side]["version"] for side in ("stable", "candidate"))
    run.plan |= {"serves": dict.fromkeys(TOPOLOGY.replicas, stable), "rolls_out": {ledger(run)["fault"]: candidate}}
    recorded_today(run, Scenario.stored(run.plan["scenario"]))
    add_alerts(run, drill.load("model-swap"))
    run.plan["scenario"]["slos"] = scenario("model-swap").model_dump(mode="json")["slos"]
    add_unremarkable(run)
    if name == STOPPED:
        _stop(run)
    elif name == NO_START:
        _never_start(run)
    return run


def ledger(run: Run) -> dict[str, Any]:
    """The run's rollout.json."""
    return run.files[rollout.FILE]


def _never_start(run: Run) -> None:
    """The candidate's engine gives no token: no canary, nothing asked, and its replica is back a second later."""
    _nothing_stays(run)
    data, rows = ledger(run), run.requests
    on, stable = data["candidate_on"], data["stable"]["version"]
    decided = data["stages"][0]["requested_at_s"]
    back = decided + _RESTORED_S
    why = f"{on} could not be used within 60 s of its start: SafetensorError: Error while deserializing header"
    decision = {"verdict": rollout.ROLL_BACK, "gate": "start", "why": why}
    data |= {"decision": decision, "decided_s": decided, "traffic_s": decided, "probes": []}
    data |= {"ended": "rolled back", "restored_s": back}
    data["stages"] = [_stage("rolled back", decided), _stage("restored", back)]
    first, second = data["served"][:2]
    data["served"] = [first | {"to_s": None}, second, {**second, "from_s": back, "to_s": None}]
    answered = rows["start_s"].gt(decided) & rows["served_version"].notna()
    run.requests.loc[answered, "served_version"] = stable
    run.requests.loc[answered & rows["start_s"].lt(back) & rows["replica"].eq(on), ["replica", "gateway_replica"]] = (
        first["replica"]
    )
    _weigh_back(run, decided, back)
    _practise(run, NO_START)


def abort(run: Run) -> None:
    """The candidate was promoted on its replica, and the other one did not start with it: the heal puts v1 back."""
    _nothing_stays(run)
    data, rows = ledger(run), run.requests
    stable, other = data["stable"]["version"], data["served"][0]["replica"]
    heal = next(event["t_s"] for event in run.events if event["kind"] == "fault_healing")
    _move_tokens(run, other, data["candidate_on"], data["served"][-1]["from_s"], heal)
    data["stages"], data["served"] = data["stages"][:-1], data["served"][:-1]
    why = f"{other} could not be used within 120 s of its start, and its log names no error"
    data |= {"ended": "aborted", "broken": why}
    later = rows["start_s"].gt(data["served"][0]["to_s"]) & rows["served_version"].notna()
    ends = rows["start_s"] + rows["e2e_ms"].fillna(0) / 1000
    run.requests.loc[later & ends.lt(heal), ["replica", "gateway_replica"]] = data["candidate_on"]
    run.requests.loc[later & rows["start_s"].gt(heal), "served_version"] = stable


def _move_tokens(run: Run, source: str, target: str, begin: float, end: float) -> None:
    """What the one replica has made in that time is on the other one's counter."""
    m = run.metrics
    counts = m["metric"].eq("generation_tokens_total")
    made = m[counts & m["component"].eq(source) & m["t_s"].between(begin, end)]
    for replica, sign in ((source, -1), (target, 1)):
        rows = counts & m["component"].eq(replica) & m["t_s"].ge(begin)
        moved = np.interp(m.loc[rows, "t_s"], made["t_s"], made["value"] - made["value"].iloc[0])
        run.metrics.loc[rows, "value"] += sign * moved


def _nothing_stays(run: Run) -> None:
    """Nothing was promoted."""
    for fault in [event["fault"] for event in run.events if event["kind"] == "fault_stays"]:
        for kind in ("fault_stays", "fault_healed", "heal_proven"):
            run.drop_events(kind, fault=fault)


def _weigh_back(run: Run, decided: float, back: float) -> None:
    """The gateways give the candidate's replica nothing until it is back, and everybody the same from then on."""
    weights = run.metrics["metric"].eq("server_weight") & run.metrics["t_s"].gt(decided)
    run.metrics.loc[weights, "value"] = 100.0
    mine = weights & run.metrics["labels"].eq(f"server={ledger(run)['candidate_on']}") & run.metrics["t_s"].lt(back)
    run.metrics.loc[mine, "value"] = 0.0


def _stop(run: Run) -> None:
    """The candidate answers wrongly, is stopped while it is a canary, and its replica is back a second later."""
    _nothing_stays(run)
    data, rows = ledger(run), run.requests
    on, stable, candidate = data["candidate_on"], data["stable"]["version"], data["candidate"]["version"]
    canary = data["stages"][0]
    # A moment after which nobody was sent to it for a second.
    times = rows["start_s"][rows["replica"].eq(on)].to_numpy()
    moments = np.arange(canary["applied_at_s"] + 3, canary["applied_at_s"] + 12, 0.05)
    decided = next(float(t) for t in moments if not ((times > t - 0.1) & (times < t + _RESTORED_S + 0.1)).any())
    back = decided + _RESTORED_S
    _judge(data, decided)
    data |= {"decided_s": decided, "traffic_s": decided, "ended": "rolled back", "restored_s": back}
    data["stages"] = [canary, _stage("rolled back", decided), _stage("restored", back)]
    others = [one for one in data["served"] if one["replica"] != on][:1]
    first, new = [one for one in data["served"] if one["replica"] == on][:2]
    served = {"replica": on, "version": stable, "from_s": back, "to_s": None}
    data["served"] = [others[0] | {"to_s": None}, first, new | {"to_s": decided}, served]
    later = rows["start_s"].gt(decided) & rows["served_version"].notna()
    run.requests.loc[later, "served_version"] = stable
    wrong = rows["served_version"].eq(candidate)
    run.requests.loc[wrong, "answer_correct"] = False
    run.requests.loc[wrong, "answer_chars"] -= 3  # another answer, not a part of the right one
    _weigh_back(run, decided, back)
    _practise(run, STOPPED)


def _judge(data: dict[str, Any], decided: float) -> None:
    """What was answered until then, all of it wrong, and what follows from that."""
    data["probes"] = [
        probe | {"right": probe["side"] == "stable"} for probe in data["probes"] if probe["t_s"] < decided
    ]
    gates = rollout.Gates(**data["gates"])
    probes = [rollout.Probe(**probe) for probe in data["probes"]]
    decision = rollout.decide(probes, data["candidate"]["version"], data["questions"], gates)
    data["decision"] = dataclasses.asdict(decision)


def _practise(run: Run, name: str) -> None:
    """Another scenario, under the load that was recorded."""
    load = run.plan["scenario"]["load"]
    practised = scenario(name)
    run.plan["scenario"] = {**practised.model_dump(mode="json"), "load": load}
    run.plan["faults"] = planned.faults(practised, TOPOLOGY)
    counts = run.plan["faults"][0]["counts"]["rollout"]
    ledger(run)["gates"] |= {gate: counts[gate] for gate in ("quality", "slower")}
    ledger(run)["candidate"]["model"] = practised.phases[2].faults[0].options["candidate"]


def _stage(name: str, began_s: float) -> dict[str, Any]:
    return {"name": name, "percent": 0, "requested_at_s": began_s, "applied_at_s": began_s}
