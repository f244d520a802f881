"""Clients that hang up, by the wave: the engines stop working for them, nothing of theirs stays, and nobody suffers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.evidence.view import RunView
from harness.judge import aftermath, objectives, sli, slo
from harness.judge.aftermath import Aftermath
from harness.judge.checks.shapes import asks, none_bad
from harness.judge.sli import Floats, Sample
from harness.judge.slo import NotMeasured
from harness.model.artifacts.waves import ARTIFACT as WAVES
from harness.model.verdict import CheckResult, Status, worst

#: So soon after the last cancel. Measured by hand: 0.1 to 0.6 s for 128 streams on two replicas, looked at ten times a
#: second; what a look itself costs is added.
WITHIN_S = 0.5

# ── the engines stop working for them ──


@asks(
    "cancels-reach-engine",
    "cancels reach the engines in {phase}",
    "Do the engines stop working for clients that hung up in {phase}?",
    "metrics", "replicas", "fault:{phase}",
    timing=True,
)  # fmt: skip
def reach_engine(view: RunView, phase: str) -> CheckResult:
    """Whether the requests of every wave in ``phase`` are gone from the engines at once."""
    judged = aftermath.judge(view, phase, _kept)
    if not judged.found:
        return CheckResult("", judged.status, judged.why, f"≤ {WITHIN_S:g} s")
    slowest = max(judged.found, key=lambda one: one.work_back_s.most)
    back, limit = slowest.work_back_s, _limit(slowest)
    seconds = back.least if math.isinf(back.most) else back.most
    zombies = "zombie generation: " if judged.status is Status.FAIL else ""
    objective = f"≤ {limit:.3g} s ({WITHIN_S:g} s + 2 looks of {1000 * _look_s(slowest):.0f} ms)"
    details = {"back_s": [round(one.work_back_s.most, 3) for one in judged.found]}
    why, count = zombies + _slowest(slowest), len(judged.found)
    return CheckResult("", judged.status, why, objective, seconds, "s", limit - seconds, count, details=details)


def _kept(one: Aftermath) -> Status:
    """INCONCLUSIVE where one engine step may explain it: an engine accepts cancels only between two steps."""
    status = one.work_back_s.within(_limit(one))
    maybe_a_step = status is Status.FAIL and one.work_back_s.least <= _limit(one) + one.step_s
    return Status.INCONCLUSIVE if maybe_a_step else status


def _limit(one: Aftermath) -> float:
    return WITHIN_S + 2 * _look_s(one)


def _look_s(one: Aftermath) -> float:
    return min(one.period_s, aftermath.LOOK_MAX_S)


def _slowest(one: Aftermath) -> str:
    where, back_s = f"{one.replica} after wave {one.wave.number}", one.work_back_s.most
    if math.isinf(back_s):
        more = one.work_left + aftermath.SYNTHETIC
        return f"{where} still had {more:.0f} streams more than users had asked for when it was last looked at"
    return f"{where} was the last to have only what others had asked for, {back_s:.2f} s after the cancel"


@asks(
    "tokens-after-cancel",
    "tokens after the cancels in {phase}",
    "Do the engines make no tokens for streams that were cancelled in {phase}?",
    "metrics", "replicas", "fault:{phase}",
    timing=True, objective=f"≤ {WITHIN_S:g} s of the replica's own pace",
)  # fmt: skip
def no_more_tokens(view: RunView, phase: str) -> CheckResult:
    """Whether replicas made no more tokens after the cancels of ``phase`` than until these had to be there."""
    limits = {replica: WITHIN_S * aftermath.fastest(view, replica) for replica in view.replicas}
    judged = aftermath.judge(view, phase, lambda one: one.tokens.within(limits[one.replica]))
    if not judged.found:
        return CheckResult("", judged.status, judged.why)
    red = judged.status is Status.FAIL
    made, one = max(
        ((_shown(one, red), one) for one in judged.found), key=lambda item: item[0] - limits[item[1].replica]
    )
    limit = limits[one.replica]
    objective = f"≤ {limit:.0f} tokens ({WITHIN_S:g} s × {limit / WITHIN_S:.0f} tokens/s)"
    most = "" if red else " at most"
    why = f"{one.replica} made {made:.0f} tokens{most} after wave {one.wave.number} that no user can have got"
    return CheckResult("", judged.status, why, objective, made, "tokens", limit - made, len(judged.found))


def _shown(one: Aftermath, red: bool) -> float:
    """What is sure: that many at least where too many were made, at most where they were few."""
    return max(one.tokens.least if red else one.tokens.most, 0.0)


# ── nothing of theirs stays ──


@asks(
    "queue-and-kv-back",
    "queue and KV cache back after {phase}",
    "Are queue and KV cache free of cancelled requests {within_s:g} s after each wave of {phase}?",
    "metrics", "replicas", "fault:{phase}",
    timing=True, objective="≤ {within_s:.6g} s",
)  # fmt: skip
def queue_and_kv_back(view: RunView, phase: str, within_s: float) -> CheckResult:
    """Whether every wave of ``phase`` has left queue and KV cache of every replica ``within_s`` after its end."""
    judged = aftermath.judge(
        view, phase, lambda one: worst(back.within(within_s) for back in (one.waiting_back_s, one.kv_back_s))
    )
    if not judged.found:
        return CheckResult("", judged.status, judged.why)
    both = (
        (what, one, back)
        for one in judged.found
        for what, back in (("queue", one.waiting_back_s), ("KV cache", one.kv_back_s))
    )
    what, slowest, back = max(both, key=lambda item: item[2].most)
    where = f"the {what} of {slowest.replica} after wave {slowest.wave.number}"
    seconds, why = back.most, f"{where} was the last to be back, {back.most:.2f} s after the cancel"
    if math.isinf(back.most):
        seconds = back.least
        why = f"{where} still held more than users had asked for when it was last looked at"
    margin = within_s - seconds
    return CheckResult("", judged.status, why, measured=seconds, unit="s", margin=margin, samples=len(judged.found))


@asks(
    "prefix-cache-released",
    "no KV block held in the end",
    "Can every replica reset its prefix cache when nobody asks anything?",
    "replicas", "phase:{phase}",
    timing=False, objective="the prefix cache of every replica can be reset",
)  # fmt: skip
def cache_released(view: RunView, phase: str) -> CheckResult:
    """Whether that succeeded in ``phase``, which is without load: a replica can do it that holds no KV block."""
    found = {str(e.data.get("component")): e.data for e in view.events("prefix_cache_reset")}
    if missing := [replica for replica in view.replicas if replica not in found]:
        raise NotMeasured(f"{missing[0]} was not asked to reset its prefix cache")
    held = [replica for replica in view.replicas if found[replica].get("success") is not True]
    why = "; ".join(f"{replica}: {found[replica].get('why')}" for replica in held or view.replicas)
    return none_bad(held, len(view.replicas), "replicas", why)


#: Of the streams that ran at once before. The most that is seen in a look depends on when it is taken.
SHARE = 0.9
#: What a look shows may be as old as the engine's last step.
SEEN_LATE_S = 0.2


@asks(
    "full-concurrency",
    "full concurrency in {after}",
    "Do as many streams run side by side in {after} as in {before}?",
    "metrics", "replicas", "fault:{before}", "fault:{after}",
    timing=True, phase="after", objective=f"≥ {SHARE:.0%} of what ran in {{before}}",
)  # fmt: skip
def full_concurrency(view: RunView, before: str, after: str) -> CheckResult:
    """Whether each replica ran as many streams at once in the wave of ``after`` as in the same wave of ``before``."""
    most = {replica: (_most(view, before, replica), _most(view, after, replica)) for replica in view.replicas}
    replica, (then, now) = min(most.items(), key=lambda item: item[1][1] / item[1][0])
    share, why = now / then, f"{replica} ran up to {now:.0f} streams at once in {after}, {then:.0f} in {before}"
    status, margin = Status.PASS if share >= SHARE else Status.FAIL, 100 * (share - SHARE)
    return CheckResult("", status, why, measured=100 * share, unit="%", margin=margin, samples=len(most))


def _most(view: RunView, phase: str, replica: str) -> float:
    """The most that ran at once while others had to wait: only then every place was taken."""
    running, waiting = (
        view.metrics(replica, f"wave_{metric}").set_index("t_s")["value"] for metric in ("running", "waiting")
    )
    full = running[waiting.reindex(running.index).ge(1)]
    values = [
        float(full[(full.index >= wave.began_s) & (full.index <= wave.cancelled_s + SEEN_LATE_S)].max())
        for wave in aftermath.reached(view, phase)
        if wave.cancelled_s is not None
    ]
    most = max((value for value in values if value > 0), default=0.0)
    if not most:
        raise aftermath.Unknown(f"nobody was seen to wait for a place in {replica} during the wave of {phase}")
    return most


# ── nobody else suffers ──


@asks(
    "right-answers-after-cancels",
    "right answers after each wave",
    "Does every replica answer a question with a known answer after each wave?",
    "replicas",
    timing=False, objective="0 wrong or missing answers",
)  # fmt: skip
def canaries_right(view: RunView) -> CheckResult:
    """Whether every replica still gave the right answer to a question that has one, after each wave of a run."""
    asked = [(wave, canary) for wave in view.artifact(WAVES) for canary in wave.canaries]
    if not asked:
        raise NotMeasured("no replica was asked after a wave", 0)
    wrong = [(wave, canary) for wave, canary in asked if not canary.right]
    why = f"all {len(asked)} were right, the slowest after {max(canary.took_s for _, canary in asked):.1f} s"
    if wrong:
        wave, canary = wrong[0]
        why = f"{canary.replica} after wave {wave.number} of {wave.phase}: {canary.why}; {len(wrong)} of {len(asked)}"
    return none_bad(wrong, len(asked), "answers", why)


PERCENT = 95


@asks(
    "ttft-after-cancels",
    "TTFT unaffected by mass cancellation",
    "Do users who come once the others have hung up get their first word as soon as ever?",
    "load", "fault:{phases}",
    timing=True, per_request=True, objective="{objective}",
)  # fmt: skip
def ttft_unaffected(view: RunView, phases: Sequence[str], objective: str) -> CheckResult:
    """Whether the 95th percentile of what users waited for their first word keeps ``objective``, an expression.

    Asked of the users of ``phases`` that came while no wave was on. The time of a later wave that began while one was
    waiting is not counted: those streams were wanted then.
    """
    target = slo.limit(view, objectives.parse(objective))
    found = sli.percentile(_waits(view, phases), PERCENT, "ms")
    status, why = slo.compare(found, target, f"p{PERCENT} of the waits for a first word between the waves")
    margin = None if found.value is None else target.margin(found.value)
    shown = () if status is Status.PASS else found.examples
    return CheckResult("", status, why, target.text, found.value, found.unit, margin, found.samples, examples=shown)


def _waits(view: RunView, phases: Sequence[str]) -> Sample:
    """What each of those users waited in ms, without the time in which a later wave was on."""
    rows = view.final
    rows = rows[rows["judged_phase"].isin(list(phases)) & rows["outcome"].eq("ok") & rows["ttft_ms"].notna()]
    start: Floats = rows["start_s"].to_numpy(dtype=float)
    first: Floats = start + rows["ttft_ms"].to_numpy(dtype=float) / 1000
    longest_s = float(np.fmax.reduce(first - start, initial=0.0))
    order = np.argsort(start, kind="stable")
    begun, on, shared = start[order], np.zeros(len(start), dtype=bool), np.zeros(len(start))
    for begin, end in _on(view):
        waiting, low, high = np.searchsorted(begun, [begin - longest_s, begin, end])
        on[order[low:high]] = True
        met = order[waiting:high]
        shared[met] += np.clip(np.minimum(first[met], end) - np.maximum(start[met], begin), 0.0, None)
    waits = 1000 * (first - start - shared)
    ids = rows["request_id"].array
    return Sample(waits[~on], ids[~on], waits[~on])


def _on(view: RunView) -> list[tuple[float, float]]:
    """When waves began to be sent, and when their cancels must have reached the engines."""
    return [
        (min(sent), wave.cancelled_s + WITHIN_S)
        for wave in view.artifact(WAVES)
        if (sent := [s.sent_s for s in wave.streams if s.sent_s is not None]) and wave.cancelled_s is not None
    ]
