"""A killed replica costs its own streams and no other; each is seen to break, and asked for again."""

from __future__ import annotations

from harness.evidence.attempts import Attempts, example_ids
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks.streams import in_flight, on_replica, step_s
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

#: What was on its way to the client when the replica died may still arrive so much later.
_STILL_ARRIVES_S = 1.0
#: A stream breaks while a replica is dying or being found dead, not long after.
_AFTERMATH_S = 5.0


def check(replica: str, phase: str) -> Check:
    """Whether the kill of ``replica`` in ``phase`` broke its streams only, visibly, and each request was answered."""
    question = f"Does the kill in {phase} break only streams of {replica}, visibly, and is each request answered?"
    needs = frozenset({"load", "gateways", "replicas", f"fault:{phase}"})
    return Check(
        "kill-breaks-visibly",
        _name(phase),
        question,
        lambda view: _run(view, replica, phase),
        needs,
        timing=False,
        phase=phase,
        subject=replica,
    )


def _name(phase: str) -> str:
    return f"kill breaks visibly in {phase}"


def _run(view: RunView, replica: str, phase: str) -> CheckResult:
    name, objective = _name(phase), "0 streams lost"
    killing, killed = step_s(view, phase, "killing"), step_s(view, phase, "killed")
    if killing is None or killed is None:
        return CheckResult(name, Status.INCONCLUSIVE, f"nothing was killed in {phase}", objective, phase=phase)
    victims = in_flight(on_replica(view, replica), killing)
    if victims.empty:
        why = f"no stream ran on {replica} when it was killed, so none could break"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=0, phase=phase)
    problem, bad = _problem(view, replica, victims, killing, killed)
    status = Status.PASS if problem is None else Status.FAIL
    broken = victims[victims["outcome"].ne("ok")]
    why = problem or f"{len(broken)} of {len(victims)} streams broke; each was seen to, tried again and answered"
    return CheckResult(
        name, status, why, objective, float(len(bad)), "streams", 0.0 - float(len(bad)), len(victims), phase,
        example_ids(bad["request_id"]), {"running_at_kill": len(victims), "broken": len(broken)},
    )  # fmt: skip


def _problem(
    view: RunView, replica: str, victims: Attempts, killing: float, killed: float
) -> tuple[str | None, Attempts]:
    """The first thing that is wrong, and the attempts that show it."""
    rows = view.requests
    silent = victims[victims["outcome"].eq("ok") & victims["end_s"].gt(killed + _STILL_ARRIVES_S)]
    if len(silent):
        return f"{len(silent)} streams of {replica} ended as if all were well although it was dead", silent
    ends = rows["end_s"]
    elsewhere = rows[
        rows["replica"].notna()
        & rows["replica"].ne(replica)
        & ends.between(killing, killed + _AFTERMATH_S)
        & rows["http_status"].eq(200)
        & ~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])
    ]
    if len(elsewhere):
        return f"{len(elsewhere)} streams of other replicas broke as well", elsewhere
    broken = victims[victims["outcome"].ne("ok")]
    final = rows[rows["final"].eq(True)][["request_id", "outcome"]].set_index("request_id")["outcome"]
    lost = broken[broken["request_id"].map(final).ne("ok").to_numpy(dtype=bool)]
    if len(lost):
        return f"{len(lost)} of {len(broken)} broken requests were never answered", lost
    return None, victims.head(0)
