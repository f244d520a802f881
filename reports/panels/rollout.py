"""The rollout of another model: what was decided and why, and both versions side by side. Nothing in other drills."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge import intervals
from harness.model.artifacts import rollout as rollouts
from harness.model.artifacts.rollout import Deployment, Probe, Rollout, Side
from harness.model.verdict import Verdict
from reports.charts import Chart, Series, draw
from reports.panel import number, stretch, table
from reports.panels.timeline import end_of

ORDER, TITLE = 25, "Rollout"
#: Share of answers: wide enough for a tenth of a few requests per second to show.
WINDOW_S = 4.0
#: Of 95 % confidence, for medians (by rank).
_Z = 1.96
_READ = (
    "How to read it: a few users meet the candidate first, each gate alone can roll it back, and the others get it "
    "stage by stage once all gates promote it."
)
_NOTE = (
    "Shares and medians with their 95 % intervals. First token and tokens/s: of the pairs. Users: while the candidate "
    "was a canary."
)


def html(view: RunView, verdict: Verdict) -> Markup:
    """Decision, gates, both versions, stages, and the share of the new one; empty when nothing was rolled out."""
    rollout = view.artifact(rollouts.ARTIFACT)
    if rollout is None:
        return Markup("")
    stages = ("stage", "meant for the new version", "answers it gave users")
    return Markup("").join(
        (
            _decision(rollout),
            Markup("<p>{}</p>").format(_READ),
            table(("gate", "says", "because"), _gates(rollout)),
            Markup("<h3>Both versions</h3>"),
            table(_HEAD, _versions(view, rollout), "figures"),
            Markup("<p><small>{}</small></p>").format(_NOTE),
            Markup("<h3>Stages</h3>"),
            table(stages, _stages(view, rollout), "figures"),
            draw(_shares(view, rollout, end_of(view)), view.phases, end_of(view)),
        )
    )


def _decision(rollout: Rollout) -> Markup:
    if rollout.decision is None or rollout.decided_s is None:
        return Markup('<p class="nodata">Nothing was decided.</p>')
    gate = f"gate {rollout.decision.gate}" if rollout.decision.gate else "all gates"
    return Markup("<p><strong>{}: {}</strong> ({}), decided at {:.1f} s. {}</p>").format(
        rollout.candidate.version, rollout.ended or "not at its end", gate, rollout.decided_s, _then(rollout)
    )


def _then(rollout: Rollout) -> str:
    if rollout.broken is not None:
        return rollout.broken
    if rollout.restored_s is None or rollout.traffic_s is None or rollout.decided_s is None:
        return ""
    traffic, replica = rollout.traffic_s - rollout.decided_s, rollout.restored_s - rollout.decided_s
    return (
        f"All traffic was on {rollout.stable.version} {traffic:.1f} s later, "
        f"and {rollout.candidate_on} served it again after {replica:.0f} s."
    )


def _gates(rollout: Rollout) -> Iterator[tuple[object, ...]]:
    found = rollouts.by_gate(rollout.probes, rollout.candidate.version, rollout.questions, rollout.gates)
    if rollout.decision is not None and rollout.decision.gate == "start":
        found.insert(0, rollout.decision)
    return ((one.gate, one.verdict, one.why) for one in found)


# ── both versions ──

_HEAD = ("version", "weights (SHA-256)", "questions", "right", "in pairs", "first token", "tokens/s", "users: answers",
         "users: wrong", "users: first token")  # fmt: skip


def _versions(view: RunView, rollout: Rollout) -> Iterator[tuple[object, ...]]:
    users = _canary_users(view, rollout)
    for side, one in _sides(rollout):
        asked = [probe for probe in rollout.probes if probe.side == side]
        yield _version(one, asked, rollouts.timed(rollout.probes, side), users)


def _sides(rollout: Rollout) -> tuple[tuple[Side, Deployment], ...]:
    return ("stable", rollout.stable), ("candidate", rollout.candidate)


def _version(one: Deployment, asked: Sequence[Probe], timed: Sequence[Probe], users: Attempts) -> tuple[object, ...]:
    mine = users[users["served_version"].eq(one.version)]
    return (
        one.version,
        one.weights[:12] if one.weights else "none of ours",
        len(asked),
        share([probe.right for probe in asked]),
        len(timed),
        median([probe.ttft_ms for probe in timed if probe.ttft_ms is not None], "ms"),
        median([probe.tokens_per_s for probe in timed if probe.tokens_per_s is not None], ""),
        len(mine),
        int(mine["answer_correct"].eq(False).sum()),
        median(mine["ttft_ms"].dropna().tolist(), "ms"),
    )


def _canary_users(view: RunView, rollout: Rollout) -> Attempts:
    """Users' attempts that were answered while some of them could meet the candidate and nothing was decided."""
    stage = next((stage for stage in rollout.stages if stage.name == "canary"), None)
    begin = math.inf if stage is None else stage.applied_at_s
    end = math.inf if rollout.decided_s is None else rollout.decided_s
    return view.requests[view.requests["served_version"].notna() & view.requests["start_s"].between(begin, end)]


def share(found: Sequence[bool]) -> str | None:
    """A share in per cent with Wilson's interval; None of nothing."""
    n = len(found)
    if not n:
        return None
    low, high = (round(100 * end, 1) for end in intervals.wilson(sum(found), n, 0.05))
    return f"{number(100 * sum(found) / n)} % ({number(low)}–{number(high)})"


def median(values: Sequence[float], unit: str) -> str | None:
    """A median with the values between which it lies by their ranks; None of nothing, no interval of five or fewer."""
    ordered, n = sorted(values), len(values)
    if not n:
        return None
    text = number(float(np.median(ordered)), unit)
    if n <= 5:
        return f"{text} (of {n})"
    below = max(0, math.floor((n - _Z * math.sqrt(n)) / 2))
    return f"{text} ({number(ordered[below])}–{number(ordered[n - 1 - below])})"


# ── over time ──


def _shares(view: RunView, rollout: Rollout, end_s: float) -> Chart:
    rows = view.requests[view.requests["served_version"].notna()]
    edges = np.arange(0, math.ceil(end_s) + WINDOW_S, WINDOW_S)
    total, _ = np.histogram(rows["start_s"], edges)
    new, _ = np.histogram(rows["start_s"][rows["served_version"].eq(rollout.candidate.version)], edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        answers = Series("users' answers", edges[:-1] + WINDOW_S / 2, 100.0 * new / total)
    weights = [_weight(view, rollout, gateway) for gateway in view.gateways]
    note = (
        f"answers to users in windows of {WINDOW_S:g} s; {rollout.candidate_on}'s part of the weights at each gateway"
    )
    return Chart("rollout-shares", "Share of the new version", "%", [*weights, answers], note=note)


def _weight(view: RunView, rollout: Rollout, gateway: str) -> Series:
    """The candidate's part of the weights of all replicas that are up, from the samples of one look at the gateway."""
    weights, up = (
        view.metrics(gateway, metric).pivot_table(index="t_s", columns="labels", values="value")
        for metric in ("server_weight", "server_up")
    )
    in_use = (weights * up).dropna()
    mine = f"server={rollout.candidate_on}"
    if mine not in in_use:
        return Series(gateway, np.array([]), np.array([]))
    parts = 100.0 * in_use[mine] / in_use.sum(axis=1)
    return Series(gateway, in_use.index.to_numpy(dtype=float), parts.to_numpy(dtype=float))


def _stages(view: RunView, rollout: Rollout) -> Iterator[tuple[object, ...]]:
    rows = view.requests[view.requests["served_version"].notna()]
    ends = [stage.applied_at_s for stage in rollout.stages[1:]] + [math.inf]
    for stage, end in zip(rollout.stages, ends, strict=True):
        here = rows[rows["start_s"].between(stage.applied_at_s, end, inclusive="left")]
        new = int(here["served_version"].eq(rollout.candidate.version).sum())
        percent = f" ({100 * new / len(here):.0f} %)" if len(here) else ""
        until = None if math.isinf(end) else end
        name = stretch(f"{stage.name}, from {stage.applied_at_s:.1f} s", stage.applied_at_s, until)
        yield name, f"{stage.percent} %", f"{new} of {len(here)}{percent}"
