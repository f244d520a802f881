"""Stop conditions: what must not go on, watched while a run goes on (``abort_when`` in a scenario).

Only what the load generator tells as it happens can be watched. An indicator is looked at twice a second, over the last
two seconds; a condition is met when it held at every look of its time at which there was anything to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.adapters.load import Window
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.judge import objectives
from harness.model.scenario import StopCondition

LOOK_BACK_S = 2.0
#: Put into a scenario that has none when the target is not ours: nobody breaks somebody else's service unwatched.
EXTERNAL_DEFAULT = StopCondition(sli="error_ratio", objective="> 50 %", **{"for": "10s"})
#: Outcomes that are neither a success nor a failure of the service.

#: The lowest and the highest value that an indicator can have had; None when there was nothing to see.
Range = tuple[float, float] | None


def _error_ratio(windows: Sequence[Window]) -> Range:
    ok = sum(window.ok for window in windows)
    neutral = sum(window.outcomes.get(outcome, 0) for window in windows for outcome in NOT_OF_THE_SERVICE)
    failed = sum(window.failed for window in windows) - neutral
    if ok + failed == 0:
        return None
    ratio = 100.0 * failed / (ok + failed)
    return ratio, ratio


def _availability(windows: Sequence[Window]) -> Range:
    errors = _error_ratio(windows)
    return None if errors is None else (100.0 - errors[1], 100.0 - errors[0])


def _ttft_p95_ms(windows: Sequence[Window]) -> Range:
    """Each window tells its own percentile: that of all of them lies between the smallest and the largest."""
    found = [window.ttft_p95_ms for window in windows if window.ttft_p95_ms is not None]
    return (min(found), max(found)) if found else None


#: What can be watched: its unit, and what the windows say of it.
LIVE: Mapping[str, tuple[str, Callable[[Sequence[Window]], Range]]] = {
    "availability": ("%", _availability),
    "error_ratio": ("%", _error_ratio),
    "ttft_p95_ms": ("ms", _ttft_p95_ms),
}


def problem(condition: StopCondition) -> str | None:
    """Why nobody could watch this condition; None when it can be watched."""
    if condition.sli not in LIVE:
        return f"{condition.sli!r} is not known while a run goes on. What can be watched: {', '.join(LIVE)}"
    try:
        objective = objectives.parse(condition.objective)
    except ValueError as error:
        return f"objective {condition.objective!r}: {error}"
    unit = LIVE[condition.sli][0]
    if objective.unit != unit:
        return f"{condition.sli} is measured in {unit}, {condition.objective!r} in {objective.unit or 'bare numbers'}"
    if used := objectives.names(objective):
        return f"objective {condition.objective!r} names {used[0]!r}, but only numbers are known while a run goes on"
    if condition.hold == 0:
        return "it would be met at once: expected how long it must hold, such as for: 10s"
    return None


@dataclass
class Watch:
    """One condition in a run; ``look`` is called again and again, with the time and the latest windows."""

    condition: StopCondition
    _since_s: float | None = None

    def look(self, now_s: float, windows: Sequence[Window]) -> str | None:
        """The sentence why the run must end, once the condition has held for its time."""
        unit, indicator = LIVE[self.condition.sli]
        found = indicator([window for window in windows if window.t_s > now_s - LOOK_BACK_S])
        if found is None:
            return None
        limit = objectives.evaluate(objectives.parse(self.condition.objective), _no_names)
        if not all(limit.met_by(value) for value in found):
            self._since_s = None
            return None
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < self.condition.hold:
            return None
        return f"{self.condition}: {self.condition.sli} was {found[0]:.4g} {unit}"


def _no_names(name: str) -> float:
    raise AssertionError(f"{name} in the objective of a stop condition")
