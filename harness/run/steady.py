"""Is the service in its steady state? Asked before each fault and at the end, from what users saw (docs/metrics.md).

Steady: of at least 40 requests that ended in the stretch, 95 % were good and within the SLO limits of one request; no
page is firing; every replica is up at every gateway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.adapters.load import CANCELLED, Window
from harness.judge.alerts import CHAIN
from harness.model import sparse
from harness.model.alert_rules import RULES, STACK_SCALE
from harness.model.scenario import RequestLimits

REQUESTS_MIN = 40
WITHIN_MIN = 0.95
#: The stretch lasts so long, and longer, at most so long, where fewer than ``REQUESTS_MIN`` have ended in it.
STRETCH_S, STRETCH_MAX_S = 10.0, 60.0
#: A page that is true clears within this time of its cause's end; until then it is no reason to give up.
PAGES_CLEAR_S = max(r.clears_within_s(STACK_SCALE) for r in RULES if r.severity == "page" and r.of == "service")
_NAMES = {"ttft": "TTFT", "e2e": "end-to-end"}


@dataclass(frozen=True)
class Stack:
    """What is known of the stack besides the load: none of it where the service is not ours."""

    gateways: Sequence[str] = ()
    replicas: Sequence[str] = ()
    latest: Mapping[tuple[str, str, str], float] | None = None  # the last value of each metric series
    pages: Sequence[str] = ()  # that are firing, of the service


@dataclass(frozen=True)
class SteadyState:
    """Whether it was reached, what was seen or is missing, and since when that was looked at."""

    reached: bool
    why: str
    since_s: float | None  # the stretch's begin; None without any window


def patience_s(rate_per_s: float, pages: bool) -> float:
    """How long to wait beyond a phase: the whole stretch may be renewed twice, and a page may clear."""
    stretch_s = min(max(STRETCH_S, REQUESTS_MIN / rate_per_s), STRETCH_MAX_S)
    return max(2 * stretch_s, PAGES_CLEAR_S if pages else 0.0)


def stretch(windows: Sequence[Window], now_s: float, not_before_s: float) -> list[Window]:
    """The windows to judge: the last ``STRETCH_S``, and as many more as ``REQUESTS_MIN`` requests need, bounded."""
    chosen: list[Window] = []
    ended = 0
    for window in reversed(windows):
        age_s = now_s - window.t_s
        if window.t_s <= not_before_s or age_s > STRETCH_MAX_S or (age_s > STRETCH_S and ended >= REQUESTS_MIN):
            break
        chosen.append(window)
        ended += window.ended
    return chosen[::-1]


def judge(
    windows: Sequence[Window], limits: Mapping[str, RequestLimits], stack: Stack, machine: str = ""
) -> SteadyState:
    """Judge the stretch ``windows``. ``limits`` are those of each cohort; ``machine`` says how busy the machine was."""
    since_s = windows[0].t_s if windows else None
    missing = [*_requests_missing(windows, limits), *(f"{page} is firing" for page in stack.pages), *_not_ready(stack)]
    if missing:
        in_flight = [f"{windows[-1].in_flight} in flight"] if windows else []
        return SteadyState(False, "; ".join(filter(None, (*missing, *in_flight, machine))), since_s)
    ended, within = sum(w.ended for w in windows), sum(w.within for w in windows)
    ready = "; no page; all replicas up at all gateways" if stack.gateways else ""
    return SteadyState(True, f"{within} of {ended} requests were good and within the SLO limits{ready}", since_s)


def _requests_missing(windows: Sequence[Window], limits: Mapping[str, RequestLimits]) -> Iterator[str]:
    ended, within = sum(w.ended for w in windows), sum(w.within for w in windows)
    if ended < REQUESTS_MIN:
        yield f"only {ended} requests ended, {REQUESTS_MIN} are needed"
    if within >= WITHIN_MIN * ended:
        return
    yield from _late(windows, limits)
    if failed := ended - sum(w.ok for w in windows):
        yield f"{failed} of {ended} requests failed{_most_common_failure(windows)}"


def _late(windows: Sequence[Window], limits: Mapping[str, RequestLimits]) -> Iterator[str]:
    """What is too slow: «TTFT p95 1.5 s, limit 0.8 s»; a number of requests where the p95 alone keeps the limit."""
    good = sum(w.ok for w in windows)
    for name in _NAMES:
        late = sum(w.late.get(name, 0) for w in windows)
        allowed_ms = sorted({limit for of in limits.values() if (limit := getattr(of, f"{name}_ms")) is not None})
        if not late or not allowed_ms:
            continue
        limit = "–".join(f"{ms / 1000:.3g}" for ms in dict.fromkeys((allowed_ms[0], allowed_ms[-1])))
        p95_ms = sparse.quantile_ms(sparse.merged(getattr(w, f"{name}_ms") for w in windows), WITHIN_MIN)
        if p95_ms is not None and p95_ms > allowed_ms[0]:
            yield f"{_NAMES[name]} p95 {p95_ms / 1000:.2g} s, limit {limit} s"
        else:
            yield f"{late} of {good} good requests with a {_NAMES[name]} above {limit} s"


def _not_ready(stack: Stack) -> Iterator[str]:
    """Gateways that do not answer, and replicas that one of them does not use, or has said nothing of."""
    latest = stack.latest or {}
    for component, metric in CHAIN:
        if stack.gateways and latest.get((component, metric, "")) == 0:
            yield f"{component} does not answer ({metric.replace('_', ' ')}): whether a page is firing is unknown"
    for gateway in stack.gateways:
        if not latest.get((gateway, "up", "")):
            yield f"{gateway} does not answer"
            continue
        up = {replica: latest.get((gateway, "server_up", f"server={replica}")) for replica in stack.replicas}
        yield from (f"{gateway} has not reported {replica}" for replica, value in up.items() if value is None)
        yield from (f"{gateway} sees {replica} down" for replica, value in up.items() if value == 0)


def _most_common_failure(windows: Sequence[Window]) -> str:
    counts: dict[str, int] = {}
    for window in windows:
        for outcome, count in window.outcomes.items():
            if outcome not in ("ok", *CANCELLED):
                counts[outcome] = counts.get(outcome, 0) + count
    if not counts:
        return ""
    return f", mostly {max(counts, key=lambda name: counts[name])}"
