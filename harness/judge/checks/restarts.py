"""Replicas that are ended and come back: what it costs their streams, and how soon they serve again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.evidence.attempts import Attempts, tally
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.checks.fault_window import FaultWindow, given_s, in_flight, last_heal_s, on_replica, step_s
from harness.judge.checks.shapes import asks, none_bad, within
from harness.judge.drill import ReplicaSamples
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

# ── what it costs their streams ──

#: A request that the gateway had given away just before it was drained may have its answer begun so much later.
_ON_ITS_WAY_S = 1.0


@asks(
    "drain-breaks-nothing",
    "drain breaks nothing in {phase}",
    "Do all streams on {replica} end well although it is restarted in {phase}?",
    "load", "gateways", "replicas", "fault:{phase}",
    timing=False, subject="replica", objective="0 broken streams",
)  # fmt: skip
def drain_breaks_nothing(view: RunView, replica: str, phase: str) -> CheckResult:
    """Whether no stream on ``replica`` broke in its graceful restart in ``phase``, and nothing new was sent to it."""
    stopping, drained = step_s(view, phase, "stopping"), step_s(view, phase, "drained")
    if stopping is None:
        raise NotMeasured(f"{replica} was not restarted and given back in {phase}")
    asked = stopping if drained is None else drained
    rows = on_replica(view, replica)
    running = in_flight(rows, asked)
    # Who was waiting in the gateway's queue when the replica was given back came to it after that.
    new = rows[given_s(rows).between(asked + _ON_ITS_WAY_S, FaultWindow.of(view, phase).end_s)]
    touched = rows[rows.index.isin([*running.index, *new.index])]
    broken = touched[touched["outcome"].ne("ok")]
    if broken.empty and running.empty:
        raise NotMeasured(f"no stream ran on {replica} when it was drained, so none could break", 0)
    drain_s = stopping - asked
    why = f"all {len(running)} streams on {replica} ended well, {drain_s:.1f} s after the drain was ordered"
    if len(broken):
        kinds = ", ".join(f"{n} × {kind}" for kind, n in sorted(tally(broken["outcome"]).items()))
        why = f"{len(broken)} of {len(touched)} streams on {replica} broke ({kinds})"
    elif len(new):
        why = f"{len(new)} requests were sent to {replica} after it was drained"
    details = {"running_at_drain": len(running), "sent_after_drain": len(new), "drain_s": round(drain_s, 3)}
    shown = (broken if len(broken) else new)["request_id"]
    return none_bad(broken, len(touched), "streams", why, shown, red=len(new) > 0, details=details)


#: What was on its way to the client when the replica died may still arrive so much later.
_STILL_ARRIVES_S = 1.0
#: A stream breaks while a replica is dying or being found dead, not long after.
_AFTERMATH_S = 5.0


@asks(
    "kill-breaks-visibly",
    "kill breaks visibly in {phase}",
    "Does the kill in {phase} break only streams of {replica}, visibly, and is each request answered?",
    "load", "gateways", "replicas", "fault:{phase}",
    timing=False, subject="replica", objective="0 streams lost",
)  # fmt: skip
def kill_breaks_visibly(view: RunView, replica: str, phase: str) -> CheckResult:
    """Whether the kill of ``replica`` in ``phase`` broke its streams only, visibly, and each request was answered."""
    killing, killed = step_s(view, phase, "killing"), step_s(view, phase, "killed")
    if killing is None or killed is None:
        raise NotMeasured(f"nothing was killed in {phase}")
    victims = in_flight(on_replica(view, replica), killing)
    if victims.empty:
        raise NotMeasured(f"no stream ran on {replica} when it was killed, so none could break", 0)
    problem, bad = _problem(view, replica, victims, killing, killed)
    broken = victims[victims["outcome"].ne("ok")]
    why = problem or f"{len(broken)} of {len(victims)} streams broke; each was seen to, tried again and answered"
    details = {"running_at_kill": len(victims), "broken": len(broken)}
    return none_bad(bad, len(victims), "streams", why, bad["request_id"], details=details)


def _problem(
    view: RunView, replica: str, victims: Attempts, killing: float, killed: float
) -> tuple[str | None, Attempts]:
    """The first thing that is wrong, and the attempts that show it."""
    rows = view.requests
    silent = victims[victims["outcome"].eq("ok") & victims["end_s"].gt(killed + _STILL_ARRIVES_S)]
    if len(silent):
        return f"{len(silent)} streams of {replica} ended as if all were well although it was dead", silent
    elsewhere = rows[
        rows["replica"].notna()
        & rows["replica"].ne(replica)
        & rows["end_s"].between(killing, killed + _AFTERMATH_S)
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


# ── how soon they serve again ──


@asks(
    "replica-ready-again",
    "{replica} is ready again in {phase}",
    "Is {replica} ready again while {phase} waits for it?",
    "gateways", "replicas", "fault:{phase}",
    timing=True, subject="replica",
)  # fmt: skip
def ready(view: RunView, replica: str, phase: str) -> CheckResult:
    """Whether ``replica``, ended in ``phase``, is ready before the phase has had all the time that it may have."""
    ended = step_s(view, phase, "stopping") or step_s(view, phase, "killing")
    planned = next((p for p in view.scenario.phases if p.name == phase), None)
    if ended is None or planned is None:
        raise NotMeasured(f"{replica} was not ended in {phase}")
    objective, at = f"≤ {planned.longest:.6g} s", step_s(view, phase, "ready")
    if at is None:
        why = f"{replica} was not ready when {phase} had lasted as long as it may"
        return CheckResult("", Status.FAIL, why, objective, samples=1)
    why = f"{replica} was ready {at - ended:.1f} s after it was told to end"
    return within(at - ended, planned.longest, why, 1, objective=objective)


@asks(
    "replica-first-token",
    "first token of {replica} in {phase}",
    "Does {replica}, just ready in {phase}, answer its first user in time?",
    "gateways", "replicas", "fault:{phase}",
    timing=True, subject="replica",
)  # fmt: skip
def first_token(view: RunView, replica: str, phase: str) -> CheckResult:
    """Whether the first token after that comes within the clients' limit for it."""
    limit, at, token = view.limits.first_token, step_s(view, phase, "ready"), step_s(view, phase, "first_token")
    objective = f"≤ {limit:.6g} s"
    if at is None:
        raise NotMeasured(f"{replica} was not ready in {phase}", objective=objective)
    if token is None:
        why = f"{replica} was ready and gave no token while {phase} lasted"
        return CheckResult("", Status.FAIL, why, objective, samples=1)
    why = f"its first token came {token - at:.2f} s after it was ready"
    return within(token - at, limit, why, 1, objective=objective)


# ── how quick they are then ──

#: A difference that is smaller is noise, and nobody notices it.
SLACK_MS = 100.0
#: So many times what was usual is slow.
FACTOR = 1.5
#: The first answers after rejoining, which show what an empty prefix cache costs.
COLD = 10


def _answers_needed(restarted: Mapping[str, str], within_s: float, factor: float) -> ReplicaSamples:
    return ReplicaSamples(sli.find("ttft_p95_ms").samples_needed, tuple(restarted), within_s)


@asks(
    "warm-up-after-rejoin",
    "warm-up after rejoining",
    "Are restarted replicas as quick as before {within_s:g} s after they have rejoined?",
    "load", "gateways", "replicas", "fault:{restarted}",
    timing=True, per_request=True, objective="≤ {factor:g} × the baseline's TTFT p95", replica_samples=_answers_needed,
)  # fmt: skip
def warms_up(view: RunView, restarted: Mapping[str, str], within_s: float, factor: float = FACTOR) -> CheckResult:
    """Whether TTFT p95 of the rejoined replicas is ``factor`` times the baseline's at most, ``within_s`` after it.

    When it is not, like is compared with like before the restart is blamed: nobody knows whose fault it is when the
    other replicas are as slow at the same time, or when it was a burst of long prompts.

    ``restarted`` is phase -> replica. Rejoined is when the phase was healed; all of them are looked at together, up to
    the next fault, since one alone seldom has samples enough for a p95.
    """
    baseline = view.attempts(view.baseline) if view.baseline else view.requests.head(0)
    cold, warm, others = [], [], []
    for phase, replica in restarted.items():
        healed = last_heal_s(view, phase)
        if healed is None:
            raise NotMeasured(f"{replica} did not rejoin after {phase}")
        rows, since = answers_since(view, healed, replica), healed + within_s
        cold.append(rows.head(COLD))
        warm.append(rows[rows["start_s"].ge(since)])
        peers = (answers_since(view, healed, other) for other in view.replicas if other != replica)
        others += [peer[peer["start_s"].ge(since)] for peer in peers]
    before, after = _p95(baseline, view), _p95(Attempts.concat(warm), view)
    if before.value is None or after.value is None:
        raise NotMeasured(f"TTFT p95 was not measured: {before.why or after.why}", after.samples)
    limit, tax = slow_ms(before.value, factor), _tax_ms(Attempts.concat(cold), baseline)
    status, why = Status.PASS, f"TTFT p95 was {after.value:.0f} ms after {before.value:.0f} ms in the baseline"
    if after.value > limit:
        status, alike = _blamed(view, baseline, Attempts.concat(warm), Attempts.concat(others), factor)
        why += f"; {alike}"
    objective = f"≤ {limit:.6g} ms ({factor:g} × {before.value:.6g}, or {SLACK_MS:g} ms more)"
    details = {"baseline_ms": before.value, "cold_answers": sum(map(len, cold)), "cold_cache_tax": tax}
    return CheckResult(
        "", status, f"{why}; the first answers took {tax}", objective, after.value, "ms", limit - after.value,
        after.samples, examples=after.examples, details=details,
    )  # fmt: skip


def slow_ms(usual_ms: float, factor: float = FACTOR) -> float:
    """From where on a TTFT is slow for a replica that has been restarted, where ``usual_ms`` is usual."""
    return max(factor * usual_ms, usual_ms + SLACK_MS)


def warm_from(answers: Attempts, usual_ms: float) -> int | None:
    """From which of a replica's answers on, by their place, it is warm: of ``COLD`` in a row the middle is not slow.

    ``usual_ms`` is the middle of the baseline. None where there were no such.
    """
    middles = answers["ttft_ms"].astype(float).rolling(COLD).median().to_numpy()
    warm = np.flatnonzero(middles <= slow_ms(usual_ms))
    return int(warm[0]) - COLD + 1 if len(warm) else None


def _p95(rows: Attempts, view: RunView) -> sli.Measurement:
    return sli.find("ttft_p95_ms").measure(rows, view)


def _blamed(view: RunView, baseline: Attempts, warm: Attempts, others: Attempts, factor: float) -> tuple[Status, str]:
    """What a slow p95 is worth, FAIL where like is slower than like, too, or INCONCLUSIVE; and what was compared."""
    who = str(baseline["cohort"].mode().iloc[0])
    like = [_p95(rows[rows["cohort"].eq(who)], view).value for rows in (baseline, warm, others)]
    if like[0] is None or like[1] is None:  # too few of the largest cohort: of everybody there are enough
        who, like = "everybody", [_p95(rows, view).value for rows in (baseline, warm, others)]
    before, after, peers = like
    assert before is not None and after is not None  # the caller has measured them
    usual = before if peers is None else max(before, peers)
    why = f"{who}: {after:.0f} ms after {before:.0f} ms"
    why += "" if peers is None else f", and {peers:.0f} ms on the others at the same time"
    if after > slow_ms(usual, factor):
        return Status.FAIL, why
    return Status.INCONCLUSIVE, f"{why}: whether the restart is to blame is not known"


def answers_since(view: RunView, since_s: float, replica: str) -> Attempts:
    """Answers of the replica that were begun since then, in order, and ended before the next fault."""
    following = [s.fault_start_s for s in view.phases if s.fault_start_s is not None and s.fault_start_s > since_s]
    rows = on_replica(view, replica)
    rows = rows[rows["start_s"].ge(since_s) & rows["outcome"].eq("ok")]
    return rows[rows["end_s"].lt(min(following, default=float("inf")))].sort_values("start_s", kind="stable")


def _tax_ms(cold: Attempts, baseline: Attempts) -> str:
    """How much longer the first answers took than those of the baseline, in the middle."""
    usual = baseline["ttft_ms"][baseline["outcome"].eq("ok")]
    if cold["ttft_ms"].notna().sum() == 0 or usual.notna().sum() == 0:
        return "an unknown time"
    extra = float(cold["ttft_ms"].median()) - float(usual.median())
    return f"{extra:+.0f} ms compared with the baseline (cold prefix cache)"
