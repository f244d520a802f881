"""Is the service in its steady state? Asked before each fault and at the end, from what users saw in a phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.adapters.load import Window

REQUESTS_MIN = 20
OK_RATIO_MIN = 0.99


@dataclass(frozen=True)
class SteadyState:
    """Whether it was reached, and what was seen."""

    reached: bool
    why: str


def judge(
    windows: Sequence[Window], latest: Mapping[tuple[str, str, str], float], gateways: bool = True
) -> SteadyState:
    """Steady: enough requests ended, 99 % of them well, and every gateway sees every replica up.

    ``windows`` are those of the stretch that is judged, ``latest`` the last value of each metric series; ``gateways``
    says whether there are any to be asked: an external target has its own.
    """
    ok, failed = sum(w.ok for w in windows), sum(w.failed for w in windows)
    ended = ok + failed
    if ended < REQUESTS_MIN:
        return SteadyState(False, f"only {ended} requests ended, {REQUESTS_MIN} are needed")
    if ok / ended < OK_RATIO_MIN:
        worst = _most_common_failure(windows)
        return SteadyState(False, f"{failed} of {ended} requests failed{worst}")
    if not gateways:
        return SteadyState(True, f"{ok} of {ended} requests ended well")
    servers = {key: value for key, value in latest.items() if key[1] == "server_up"}
    if not servers:
        return SteadyState(False, "no gateway has told about its replicas yet")
    down = [
        f"{gateway} sees {labels.removeprefix('server=')} down"
        for (gateway, _, labels), up in servers.items()
        if not up
    ]
    if down:
        return SteadyState(False, "; ".join(down))
    return SteadyState(True, f"{ok} of {ended} requests ended well; all replicas up at all gateways")


def _most_common_failure(windows: Sequence[Window]) -> str:
    counts: dict[str, int] = {}
    for window in windows:
        for outcome, count in window.outcomes.items():
            if outcome not in ("ok", "cancelled_intended", "cancelled_drain"):
                counts[outcome] = counts.get(outcome, 0) + count
    if not counts:
        return ""
    return f", mostly {max(counts, key=lambda name: counts[name])}"
