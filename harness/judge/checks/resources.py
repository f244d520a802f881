"""Memory, KV caches and queues of the replicas: whatever is asked of them, they live, stay small and fall idle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.evidence.view import RunView
from harness.judge.checks import fault_window
from harness.judge.checks.fault_window import GAP_MAX_S, FaultWindow, step_s
from harness.judge.checks.shapes import asks, last_within, within
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

# ── they live ──


@asks(
    "no-replica-restarts",
    "no replica restarts in {phase}",
    "Do all replicas live through {phase}?",
    "replicas",
    timing=False, safety=True, objective="0 restarts",
)  # fmt: skip
def replicas_stay(view: RunView, phase: str) -> CheckResult:
    """Whether every replica ran through ``phase`` without being started again."""
    starts = dict[str, float]()
    for replica in view.replicas:
        counts = view.metrics(replica, "restarts_total", phase=phase)["value"]
        if len(counts) < 2:
            raise NotMeasured(f"the restarts of {replica} were not sampled in {phase}")
        starts[replica] = float(counts.max() - counts.min())
    died = [replica for replica, count in starts.items() if count]
    why = f"{' and '.join(died)} died and were started again" if died else f"none of {len(starts)} was started again"
    return within(sum(starts.values()), 0.0, why, len(starts), "restarts", details=starts)


@asks(
    "oom-kill-counted",
    "the kernel counted the kill in {phase}",
    "Was {replica} killed in {phase} by the kernel, by its own count?",
    "replicas", "fault:{phase}",
    timing=False, subject="replica", objective="≥ 1 kill counted",
)  # fmt: skip
def oom_counted(view: RunView, replica: str, phase: str) -> CheckResult:
    """Whether the kernel has counted the kill of ``replica`` in ``phase``; where it was emulated, nobody can tell."""
    killed = [event.data for event in view.events("fault_step", phase) if event.data.get("step") == "killed"]
    begun, at = step_s(view, phase, "killing"), step_s(view, phase, "killed")
    if not killed or begun is None or at is None:
        raise NotMeasured(f"{replica} was not killed in {phase}")
    if (emulated := killed[-1].get("emulated")) is not None:
        raise NotMeasured(f"emulated: {replica} was killed by hand, so the kernel counted nothing ({emulated})")
    count = float(killed[-1].get("oom_kills") or 0)
    why = f"the kernel counted {count:.0f} kills for the limit of {replica}, {at - begun:.1f} s after it was set"
    status = Status.PASS if count >= 1 else Status.FAIL
    return CheckResult("", status, why, measured=count, unit="kills", margin=count - 1, samples=1)


# ── they stay small ──

#: So much of what a replica has at rest may come on top; and its KV cache, whose pages count when they are first used.
SHARE = 0.10
_SAMPLES_MIN = 3
_MIB = 1024**2


@asks(
    "memory-bounded",
    "memory of the replicas is bounded",
    "Does the memory of every replica stay within bounds in {phases}?",
    "replicas", "fault:{phases}",
    timing=False, objective="bounded growth",
)  # fmt: skip
def memory_bounded(view: RunView, *phases: str) -> CheckResult:
    """Whether no replica ever had much more resident memory in ``phases`` than in the baseline."""
    grown, limits = dict[str, float](), dict[str, float]()
    cache = float(view.plan.get("topology", {}).get("kv_cache_bytes", 0))
    for replica in view.replicas:
        before = view.metrics(replica, "rss_bytes", phase=view.baseline or "")["value"]
        during = [view.metrics(replica, "rss_bytes", phase=phase)["value"] for phase in phases]
        if min(map(len, (before, *during))) < _SAMPLES_MIN:
            raise NotMeasured(
                f"the memory of {replica} was not sampled in the baseline and in each of {', '.join(phases)}"
            )
        usual = float(before.median())
        grown[replica] = max(float(values.max()) for values in during) - usual
        limits[replica] = SHARE * usual + cache
    worst = max(grown, key=lambda replica: grown[replica] - limits[replica])
    growth, limit = grown[worst] / _MIB, limits[worst] / _MIB
    objective = f"≤ {limit:.0f} MiB ({SHARE:.0%} of the baseline, and the KV cache)"
    details = {replica: value / _MIB for replica, value in grown.items()}
    why = f"{worst} grew by {growth:.0f} MiB at most"
    return within(growth, limit, why, len(view.replicas), "MiB", objective=objective, details=details)


FULL = 0.95
#: The fault that lifts what holds long contexts back.
_LIFTS = "widened"


@asks(
    "kv-cache-pressure",
    "pressure on the KV cache in {phase}",
    "Is there room in every KV cache in {phase}, unless the scenario lifts the cap on long contexts?",
    "metrics", "replicas", "fault:{phase}",
    timing=False,
)  # fmt: skip
def kv_pressure(view: RunView, phase: str) -> CheckResult:
    """Whether no replica had its KV cache full or preempted anybody in ``phase``.

    In a scenario that lifts the gateways' cap both have to be seen, else it shows nothing.
    """
    lifted = _is_lifted(view, phase)
    objective = f"≥ {FULL:.0%} and ≥ 1 preemption" if lifted else f"< {FULL:.0%} and 0 preemptions"
    used, preempted = dict[str, float](), dict[str, float]()
    for replica in view.replicas:
        most, victims_of = kv_used(view, replica, phase), grown_in(view, replica, "preemptions_total", phase)
        if most is None or victims_of is None:
            raise NotMeasured(f"the KV cache of {replica} was not sampled in {phase}", objective=objective)
        used[replica], preempted[replica] = most, victims_of
    worst, victims = max(used, key=lambda replica: used[replica]), sum(preempted.values())
    full = used[worst] >= FULL
    status = Status.FAIL if full or victims else Status.PASS
    if lifted:
        status = Status.PASS if full and victims else Status.INCONCLUSIVE
    why = f"{worst} used {used[worst]:.0%} of its KV cache at most, {victims:.0f} requests were preempted"
    margin = 100 * (used[worst] - FULL if lifted else FULL - used[worst])
    details = {"used": used, "preempted": preempted}
    return CheckResult("", status, why, objective, 100 * used[worst], "%", margin, len(view.replicas), details=details)


def kv_used(view: RunView, replica: str, phase: str) -> float | None:
    """The largest share of its KV cache that was seen in use in a phase, 0 to 1; None where that was not sampled."""
    seen = view.metrics(replica, "kv_usage_ratio", phase=phase)["value"]
    return float(seen.max()) if len(seen) >= 2 else None


def grown_in(view: RunView, component: str, counter: str, phase: str) -> float | None:
    """How much a counter has grown in a phase, from 0 where it began again; None where it was not sampled."""
    counts = view.metrics(component, counter, phase=phase)["value"].to_numpy(dtype=float)
    steps = np.diff(counts)
    return float(np.where(steps < 0, counts[1:], steps).sum()) if len(counts) >= 2 else None


def _is_lifted(view: RunView, phase: str) -> bool:
    planned = [one for one in view.planned_phases if one["name"] == phase]
    return any(fault["type"] == _LIFTS for one in planned for fault in one.get("faults", ()))


# ── they fall idle ──


@asks(
    "queues-drain",
    "queues drain after {phase}",
    "Are all queues empty within {within_s:g} s of healing {phase}?",
    "metrics", "gateways", "replicas", "fault:{phase}",
    timing=True, after_heal=True, objective="≤ {within_s:.6g} s",
)  # fmt: skip
def queues_drain(view: RunView, phase: str, within_s: float) -> CheckResult:
    """Whether every queue was seen empty within ``within_s`` of the heal of ``phase``."""
    begin, took = fault_window.healed_s(view, phase), dict[str, float | None]()
    for component, metric in _queues(view):
        samples = view.metrics(component, metric)
        samples = samples[samples["t_s"].ge(begin)]
        empty = samples["t_s"][samples["value"].eq(0)]
        if empty.empty and (samples.empty or samples["t_s"].max() < begin + within_s):
            raise NotMeasured(f"the queue of {component} was not sampled for long enough after {phase}")
        took[component] = None if empty.empty else float(empty.iloc[0]) - begin
    never = f"the queue of {{who}} was never empty after {phase}"
    return last_within(took, within_s, never, "the queue of {who} was the last to be empty, {s} after the heal")


def _queues(view: RunView) -> Iterator[tuple[str, str]]:
    """Who has a queue, and the metric that says how long it is."""
    yield from ((gateway, "queue_current") for gateway in view.gateways)
    yield from ((replica, "waiting") for replica in view.replicas)


_BUSY_MAX_S = 2.0  # a synthetic generation may be running; nobody's request may
_TOKEN_SHARE = 0.25  # of the baseline's token rate: synthetic generations are a few tokens per second


@asks(
    "no-abandoned-generation",
    "no abandoned generation in {phase}",
    "Do the replicas stop working within {within_s:g} s when no answer of theirs gets out in {phase}?",
    "metrics", "replicas", "fault:{phase}",
    timing=True, objective="idle ≤ {within_s:.6g} s after the fault",
)  # fmt: skip
def no_abandoned_generation(view: RunView, phase: str, within_s: float) -> CheckResult:
    """Whether every replica is idle from ``within_s`` after the injection in ``phase`` until its heal."""
    fault = FaultWindow.of(view, phase)
    begin, end = fault.begin_s + within_s, fault.end_s
    busy_s, who = 0.0, view.replicas[0]
    shares: dict[str, float] = {}
    for replica in view.replicas:
        running = view.metrics(replica, "running")
        running = running[running["t_s"].between(begin, end)]
        share = _token_share(view, replica, begin, end)
        if share is None or _unsampled(running, begin, end):
            why = f"{replica} was not sampled well enough between {begin:.1f} s and {end:.1f} s, or in the baseline"
            raise NotMeasured(why, len(running))
        shares[replica] = share
        busy_s, who = max((busy_s, who), (_longest_busy(running), replica))
    hungry = max(shares, key=lambda replica: shares[replica])
    status, why = Status.PASS, "every replica fell idle, and generated next to nothing"
    if busy_s > _BUSY_MAX_S:
        status, why = Status.FAIL, f"{who} had requests running for {busy_s:.1f} s without a break"
    elif shares[hungry] > _TOKEN_SHARE:
        status, why = Status.FAIL, f"{hungry} went on generating at {shares[hungry]:.0%} of its rate in the baseline"
    details, margin = {"token_rate_of_baseline": shares}, _BUSY_MAX_S - busy_s
    return CheckResult("", status, why, measured=busy_s, unit="s busy", margin=margin, details=details)


def _unsampled(running: pd.DataFrame, begin: float, end: float) -> bool:
    edges = np.concatenate([[begin], running["t_s"].to_numpy(dtype=float), [end]])
    return end <= begin or float(np.diff(edges).max()) > GAP_MAX_S


def _longest_busy(running: pd.DataFrame) -> float:
    """Longest stretch between the first and the last of consecutive samples with something running, in seconds."""
    busy = running["value"].gt(0)
    stretches = running["t_s"][busy].groupby((~busy).cumsum()[busy])
    return float((stretches.max() - stretches.min()).max()) if busy.any() else 0.0


def _token_share(view: RunView, replica: str, begin: float, end: float) -> float | None:
    """Token rate in that time as a share of the baseline's; None when either was not sampled."""
    baseline = view.phase(view.baseline) if view.baseline else None
    if baseline is None or baseline.end_s is None:
        return None
    before = _rate(view, replica, baseline.start_s, baseline.end_s)
    now = _rate(view, replica, begin, end)
    return None if not before or now is None else now / before


def _rate(view: RunView, replica: str, begin: float, end: float) -> float | None:
    samples = view.metrics(replica, "generation_tokens_total")
    samples = samples[samples["t_s"].between(begin, end)]
    if len(samples) < 2:
        return None
    seconds = float(samples["t_s"].iloc[-1] - samples["t_s"].iloc[0])
    gained = np.diff(samples["value"].to_numpy(dtype=float)).clip(min=0).sum()
    return float(gained) / seconds if seconds > 0 else None
