"""How full the KV caches were, and whom replicas and gateways admitted or refused. Nothing where nothing pressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge.checks.fault_window import on_replica
from harness.judge.checks.resources import FULL, grown_in, kv_used
from harness.model.artifacts.waves import ARTIFACT as WAVES
from harness.model.verdict import Verdict
from reports.panel import number, stretch, table

ORDER, TITLE = 26, "KV pressure"
HEAD = (
    "phase", "at", "KV cache used, most", "preempted", "waiting, most", "running, most", "users admitted",
    "workload admitted", "refused",
)  # fmt: skip
ASKED = ("workload of", "requests", "served whole", "refused by gateways", "refused by engines", "others")
_PREEMPTED, _REJECTED = "preemptions_total", "admission_rejections_total"
_SHED = ("shed_429", "shed_503")
_SERVED, _REFUSED = "whole", "refused"
_READ = Markup(
    'How to read it: a row is a replica in a phase; a cache that is nearly full (<a href="#kv-usage-ratio">over '
    "time</a>) makes requests wait, then preempts some, and what cannot wait has to be refused."
)
_NOTE = (
    "KV cache used: of its blocks, n is how many samples. Preempted, and refused by a replica because too many waited, "
    "are by its own counters, everybody's requests. Users admitted: attempts of theirs that it answered with 200; "
    "workload: streams of waves and requests of the fault. The gateways have a row where they let anybody wait, or "
    "refused a user's attempt (429, 503) or a request of the workload. «—»: there was none to ask about."
)


def html(view: RunView, verdict: Verdict) -> Markup:
    """A row per phase and replica, the baseline first; then what became of the workload's own requests."""
    if not _pressed(view):
        return Markup("")
    rows = [row for phase in _phases(view) for row in _rows(view, phase)]
    asked = list(_asked(view))
    return Markup("<p>{}</p>{}<p><small>{}</small></p>{}").format(
        _READ, table(HEAD, rows, "figures"), _NOTE, table(ASKED, asked, "figures") if asked else ""
    )


def _phases(view: RunView) -> Iterator[str]:
    """Those to compare: the baseline, and all that inject something, as far as they were begun."""
    for name in (*([view.baseline] if view.baseline else ()), *view.fault_phases):
        if view.phase(name) is not None:
            yield name


def _pressed(view: RunView) -> bool:
    """Whether the run was about it, or a replica was full, preempted or refused requests."""
    if view.artifact(WAVES) or view.events("ask"):
        return True
    full = (view.metrics(replica, "kv_usage_ratio")["value"].max() for replica in view.replicas)
    counts = (
        view.metrics(replica, counter)["value"].max()
        for replica in view.replicas
        for counter in (_PREEMPTED, _REJECTED)
    )
    return any(share >= FULL for share in full) or any(count > 0 for count in counts)


# ── per replica ──


def _rows(view: RunView, phase: str) -> Iterator[tuple[object, ...]]:
    span = view.phase(phase)
    name: object = stretch(phase, span.start_s, span.end_s) if span else phase
    for replica in view.replicas:
        users = on_replica(view, replica)
        users = users[users["judged_phase"].eq(phase)]
        yield (
            name,
            replica,
            _used(view, replica, phase),
            _count(grown_in(view, replica, _PREEMPTED, phase)),
            *(_most(view, replica, metric, phase) for metric in ("waiting", "running")),
            f"{int(users['http_status'].eq(200).sum()):,}",
            _of_workload(view, replica, phase),
            _count(grown_in(view, replica, _REJECTED, phase)),
        )
        name = ""
    if (gateways := _gateways(view, phase)) is not None:
        yield gateways


def _used(view: RunView, replica: str, phase: str) -> str | None:
    used, samples = kv_used(view, replica, phase), len(view.metrics(replica, "kv_usage_ratio", phase=phase))
    return None if used is None else f"{number(100 * used, '%')} (n = {samples:,})"


def _most(view: RunView, component: str, metric: str, phase: str) -> str | None:
    seen = view.metrics(component, metric, phase=phase)["value"]
    return None if seen.empty else f"{seen.max():.0f}"


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _of_workload(view: RunView, replica: str, phase: str) -> str:
    """Streams and requests that the replica answered with 200; «—» where the phase had none."""
    streams = [s for wave in view.artifact(WAVES) if wave.phase == phase for s in wave.streams]
    asks = [event.data for event in view.events("ask", phase)]
    if not streams and not asks:
        return "—"
    admitted = sum(s.replica == replica and s.status == 200 for s in streams)
    return f"{admitted + sum(a.get('replica') == replica and a.get('status') == 200 for a in asks):,}"


def _gateways(view: RunView, phase: str) -> tuple[object, ...] | None:
    """Who waited in their queues, and whom they refused; None where none was seen to."""
    queues = [_most(view, gateway, "queue_current", phase) for gateway in view.gateways]
    rows = view.attempts(phase)
    # A replica signs its answers: what bears no name was refused before one.
    users = int((rows["outcome"].isin(_SHED) & rows["replica"].isna()).sum())
    refused = users + sum(_by(event.data, "gateway") for event in view.events("ask", phase))
    known = [int(queue) for queue in queues if queue is not None]
    if not refused and not max(known, default=0):
        return None
    waiting = None if len(known) < len(queues) else f"{max(known, default=0)}"
    return "", "gateways", "—", "—", waiting, "—", "—", "—", f"{refused:,}"


# ── the workload's own requests ──


def _asked(view: RunView) -> Iterator[tuple[object, ...]]:
    """What became of them, by phase; every one is in one of the four columns after «requests»."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for event in view.events("ask"):
        groups.setdefault(str(event.data.get("phase")), []).append(event.data)
    for phase, asks in groups.items():
        served = sum(ask.get("outcome") == _SERVED for ask in asks)
        refused = [sum(_by(ask, layer) for ask in asks) for layer in ("gateway", "engine")]
        yield phase, len(asks), served, *refused, _others(asks, len(asks) - served - sum(refused))


def _by(ask: Mapping[str, Any], layer: str) -> bool:
    return ask.get("outcome") == _REFUSED and ask.get("layer") == layer


def _others(asks: Sequence[Mapping[str, Any]], count: int) -> str:
    """Those that were neither served whole nor refused, with how they ended."""
    kinds = Counter(
        str(ask.get("outcome"))
        for ask in asks
        if ask.get("outcome") != _SERVED and not any(_by(ask, layer) for layer in ("gateway", "engine"))
    )
    return f"{count} ({', '.join(f'{kind} {n}' for kind, n in kinds.most_common())})" if count else "0"
