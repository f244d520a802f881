"""Two runs, compared: which checks came out differently, what was configured differently, which values really differ.

A value that rests on requests differs where the confidence interval of the difference does not contain 0. All intervals
together hold at 95 % (Bonferroni): of a hundred values that are the same in truth, none is called different, most
times. Values that a run has only one of, such as the time to eject a replica, have no interval: they are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.evidence import index
from harness.evidence.index import IndexedRun, series_id
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import intervals, per_phase, verdicts
from harness.judge.intervals import Interval
from harness.judge.per_phase import InPhase
from harness.judge.sli import Sample
from harness.model.errors import DrillyardError
from harness.model.verdict import CheckResult, Status, Verdict

#: All intervals of a comparison together.
CONFIDENCE = 0.95
#: What a plan says of the set-up; the rest follows from these, or is of this run only (seed, anchor, command).
CONFIGURED = ("versions", "serves", "gateway_policy", "dns_policy", "defects", "niceness")
#: Objectives on indicators: their values are among those of the phases.
_OBJECTIVE = "slo-"


@dataclass(frozen=True)
class Side:
    """One of the two runs. Without a verdict ``verdict`` is None; ``problem`` says what else cannot be compared."""

    run: IndexedRun
    plan: Mapping[str, Any]
    verdict: Verdict | None
    view: RunView | None
    problem: str = ""


@dataclass(frozen=True)
class Changed:
    """A setting or a status that is another one; None where one run does not have it."""

    what: str
    first: str | None
    second: str | None
    why: str = ""  # of a status: what the second run says, or the first where only that one asked


@dataclass(frozen=True)
class Difference:
    """One indicator in one phase of both runs; ``low`` and ``high`` bound second − first."""

    sli: str
    phase: str
    unit: str
    first: float
    second: float
    samples: tuple[int, int]
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Once:
    """A value of which each run has one, so that nobody can say how much of the change is chance."""

    what: str
    unit: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs; everything that is not named is the same, or within noise."""

    first: Side
    second: Side
    apart: tuple[str, ...]  # why they are not like with like
    statuses: tuple[Changed, ...]
    configuration: tuple[Changed, ...]
    values: tuple[Difference, ...]  # those that differ, largest relative change first
    within_noise: tuple[Difference, ...]
    unmeasured: tuple[str, ...]  # measured in one of the runs only
    once: tuple[Once, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs, as far as anybody can say."""
        return not (self.apart or self.statuses or self.configuration or self.values or self.unmeasured)


def side(folder: Path) -> Side:
    """A run as it is compared. RunFolderError when it is none, or has no plan that can be read."""
    run, _ = index.read(folder)
    stored = RunFolder(folder)
    verdict, view, problem = None, None, ""
    with suppress(DrillyardError):
        verdict = verdicts.read(stored)
    try:
        view = RunView(stored)
        _ = view.final
    except Exception as error:  # damaged records: what the verdict and the plan say is compared all the same
        view, problem = None, f"the records of {run.run_id} cannot be read ({type(error).__name__}: {error})"
    return Side(run, stored.plan(), verdict, view, problem)


def compare(first: Side, second: Side) -> Comparison:
    """What differs."""
    configuration = _configuration(first, second)
    values, unmeasured = _values(first, second)
    differing = sorted((one for one in values if one.differs), key=_change, reverse=True)
    return Comparison(
        first,
        second,
        _apart(first, second, configuration),
        _statuses(first, second),
        configuration,
        tuple(differing),
        tuple(one for one in values if not one.differs),
        unmeasured,
        _once(first, second),
    )


def _change(one: Difference) -> float:
    return abs(one.second - one.first) / abs(one.first) if one.first else math.inf


def _apart(first: Side, second: Side, configuration: tuple[Changed, ...]) -> tuple[str, ...]:
    """What makes a difference no news: other machines, other scenarios, an engine that is another one."""
    a, b = first.run, second.run
    found = []
    if a.machine != b.machine:
        found.append(
            f"machine {a.machine_name or a.machine} ({a.machine}) and {b.machine_name or b.machine} ({b.machine})"
        )
    for name in ("drill", "engine", "runtime"):
        if getattr(a, name) != getattr(b, name):
            found.append(f"{name} {getattr(a, name)} and {getattr(b, name)}")
    if a.scenario_digest != b.scenario_digest:
        changes = sum(one.what.startswith("scenario.") for one in configuration)
        names = a.scenario if a.scenario == b.scenario else f"{a.scenario} and {b.scenario}"
        found.append(f"scenario {names}" + (f", which differ in {changes} places" if changes else ", on other sizes"))
    for one in (first, second):
        if one.run.defects:
            found.append(f"{one.run.run_id} had defects switched on")
        if not one.run.judged:
            found.append(f"{one.run.run_id} has no verdict")
        elif one.run.status is Status.INCONCLUSIVE:
            found.append(f"{one.run.run_id} is INCONCLUSIVE")
        if one.problem:
            found.append(one.problem)
    return tuple(found)


def _statuses(first: Side, second: Side) -> tuple[Changed, ...]:
    """The verdict itself, and each check that came out differently or was asked in one run only."""
    if first.verdict is None or second.verdict is None:
        return ()
    found = []
    if first.verdict.status is not second.verdict.status:
        statuses = (first.verdict.status.value, second.verdict.status.value)
        found.append(Changed("verdict", *statuses, second.verdict.reason))
    before, after = _checks(first.verdict), _checks(second.verdict)
    for series in dict.fromkeys([*before, *after]):
        old, new = before.get(series), after.get(series)
        if old is None or new is None or old.status is not new.status:
            was, now = (None if one is None else one.status.value for one in (old, new))
            found += [Changed(said.name, was, now, said.why) for said in (new or old,) if said]
    return tuple(found)


def _checks(verdict: Verdict) -> dict[str, CheckResult]:
    """Every result by what it asks; findings of validity, which have no ids, by their names."""
    results = [*verdict.validity, *verdict.checks]
    return {series_id(one.id or one.name, one.phase, one.subject): one for one in results}


def _configuration(first: Side, second: Side) -> tuple[Changed, ...]:
    # A plan of an earlier version holds the scenario as it was fitted only.
    scenario = "written" if first.plan.get("written") and second.plan.get("written") else "scenario"
    before, after = _configured(first, scenario), _configured(second, scenario)
    both = dict.fromkeys([*before, *after])
    return tuple(Changed(key, before.get(key), after.get(key)) for key in both if before.get(key) != after.get(key))


def _configured(one: Side, scenario: str) -> dict[str, str]:
    """The set-up as flat names and texts: ``scenario.phases.baseline.duration`` → ``30.0``."""
    plan = one.plan
    git, capacity = plan.get("git") or {}, plan.get("capacity") or {}
    topology = plan.get("topology") or {}
    used = ((capacity.get("used") or {}).get("whole") or {}).get("rate_per_s")
    flat = {
        "commit": f"{git.get('commit') or 'unknown'}{' with changes' if git.get('dirty') else ''}",
        "model": one.run.model,
        **_flat(
            "topology", {key: topology.get(key) for key in ("models", "defects", "kv_cache_bytes", "max_model_len")}
        ),
        **_flat("scenario", plan[scenario]),
    }
    if used is not None:
        flat["capacity"] = f"{used:.3g} requests/s"
    for part in CONFIGURED:
        flat |= _flat(part, plan.get(part) or {})
    return flat


def _flat(name: str, data: Any) -> dict[str, str]:
    """Every leaf with its path; parts of a list by their names where they have some."""
    if isinstance(data, Mapping):
        parts = {str(key): value for key, value in data.items()}
    elif isinstance(data, list):
        parts = {_called(one, number): one for number, one in enumerate(data, 1)}
    else:
        return {} if data is None else {name: str(data)}
    return {path: text for key, value in parts.items() for path, text in _flat(f"{name}.{key}", value).items()}


def _called(one: Any, number: int) -> str:
    named = isinstance(one, Mapping) and isinstance(one.get("name"), str)
    return one["name"] if named else str(number)


def _values(first: Side, second: Side) -> tuple[list[Difference], tuple[str, ...]]:
    """Every indicator in every phase that both runs had, and what only one of them measured."""
    if first.view is None or second.view is None:
        return [], ()
    before, after = (_measured(one.view) for one in (first, second) if one.view is not None)
    both = [key for key in before if key in after]
    alpha = (1 - CONFIDENCE) / max(1, len(both))
    phases = {phase.name for phase in first.view.phases} & {phase.name for phase in second.view.phases}
    only = [key for key in dict.fromkeys([*before, *after]) if (key in before) != (key in after) and key[1] in phases]
    unmeasured = (f"{name} in {phase}: only in the {'first' if (name, phase) in before else 'second'} run"
                  for name, phase in only)  # fmt: skip
    return [_difference(key, before[key], after[key], alpha) for key in both], tuple(unmeasured)


@dataclass(frozen=True)
class _Measured:
    """A value, with what its interval is made from: values of requests and a percent, or how many there were."""

    value: float
    unit: str
    samples: int
    percent: int | None = None
    sample: Sample | None = None
    counts: pd.Series | None = None


def _measured(view: RunView) -> dict[tuple[str, str], _Measured]:
    return {(one.sli, one.phase): _with_counts(view, one) for one in per_phase.measured(view)}


def _with_counts(view: RunView, one: InPhase) -> _Measured:
    """The attempts of each request, where the indicator is their mean."""
    found, counts = one.found, None
    if one.sample is None and found.unit != "%":
        counts = view.attempts(one.phase)["request_id"].value_counts()
    assert found.value is not None
    return _Measured(found.value, found.unit, found.samples, one.percent, one.sample, counts)


def _difference(key: tuple[str, str], first: _Measured, second: _Measured, alpha: float) -> Difference:
    low, high = _interval(first, second, alpha)
    values = (first.value, second.value)
    return Difference(*key, second.unit, *values, (first.samples, second.samples), low, high)


def _interval(first: _Measured, second: _Measured, alpha: float) -> Interval:
    if first.sample is not None and second.sample is not None and second.percent is not None:
        return intervals.of_percentiles(first.sample.values, second.sample.values, second.percent, alpha)
    if first.counts is not None and second.counts is not None:
        return intervals.of_means(first.counts.to_numpy(float), second.counts.to_numpy(float), alpha)
    good = [(one.value / 100 * one.samples, one.samples) for one in (first, second)]
    low, high = intervals.of_ratios(good[0], good[1], alpha)
    return 100 * low, 100 * high


def _once(first: Side, second: Side) -> tuple[Once, ...]:
    """Values of checks that were judged in both runs and changed; not those that the phases' indicators show."""
    if first.verdict is None or second.verdict is None:
        return ()
    before, after = _checks(first.verdict), _checks(second.verdict)
    found = []
    for series, new in after.items():
        old = before.get(series)
        if (
            old is None
            or (new.id or "").startswith(_OBJECTIVE)
            or {old.status, new.status} - {Status.PASS, Status.FAIL}
        ):
            continue
        if old.measured is None or new.measured is None or old.unit != new.unit or old.measured == new.measured:
            continue
        found.append(Once(new.name, new.unit, old.measured, new.measured))
    return tuple(found)
