"""What the latency objectives of the baseline mean for one request: the steady state is judged by these limits.

A p95 that keeps its limit is 95 % of the requests that keep it; so each objective on a p95 or a higher percentile of
TTFT or end-to-end time, with an absolute limit, is one for every request. Where a scenario has none, the service's
default SLOs hold (docs/metrics.md).
"""

from __future__ import annotations

import re

from harness.judge import objectives
from harness.model.alert_rules import E2E_P95_MAX_S, TTFT_P95_MAX_S
from harness.model.scenario import SLO, Cohort, RequestLimits, Scenario

#: The service's default SLOs. That of the TTFT is for short prompts.
DEFAULT = RequestLimits(ttft_ms=TTFT_P95_MAX_S * 1000, e2e_ms=E2E_P95_MAX_S * 1000)
_LATENCY = re.compile(r"(?P<what>ttft|e2e)_p(?P<percent>\d{1,2})_ms")
_PERCENT_MIN = 95


def of(scenario: Scenario) -> dict[str, RequestLimits]:
    """The limits of each cohort, by its name."""
    return {cohort.name: _of_cohort(scenario, cohort) for cohort in scenario.load.cohorts}


def _of_cohort(scenario: Scenario, cohort: Cohort) -> RequestLimits:
    baselines = {phase.name for phase in scenario.phases if phase.kind == "baseline"}
    found: dict[str, float] = {}
    for slo in scenario.slos:
        if baselines.isdisjoint(slo.phases) or slo.cohort not in (None, cohort.name):
            continue
        for name, limit_ms in _limit(slo):
            found[name] = min(limit_ms, found.get(name, limit_ms))
    ttft_ms = DEFAULT.ttft_ms if cohort.prompts != "long" else None
    return RequestLimits(ttft_ms=found.get("ttft", ttft_ms), e2e_ms=found.get("e2e", DEFAULT.e2e_ms))


def _limit(slo: SLO) -> list[tuple[str, float]]:
    """The part of a request that an objective limits, and the limit in ms; nothing where it says nothing of one."""
    match, objective = _LATENCY.fullmatch(slo.sli), objectives.parse(slo.objective)
    if match is None or int(match["percent"]) < _PERCENT_MIN or not objective.upper or objectives.names(objective):
        return []
    return [(match["what"], objectives.evaluate(objective, _no_names).value)]


def _no_names(name: str) -> float:
    raise AssertionError(f"{name} in an objective without names")
