"""Mutants: defects, one function each, in a healthy run; and what those of several drills are made of."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from harness.judge import drill, validity, verdicts
from harness.judge.arrivals_as_planned import arrivals_as_planned
from harness.judge.drill import Drill
from harness.model.scenario import Scenario
from harness.model.verdict import Status
from tests.runs import Run
from tests.unit.judge.verdicts import verdict_on

Defect = Callable[[Run], None]


@dataclass(frozen=True)
class Mutant:
    """``check`` must be red once ``defect`` is in the run. ``recount``: the generator saw the same.

    ``of`` is which healthy run of its drill it is put into, the plain one unless said; ``then`` is done to the whole
    run with its defect. Red is FAIL; INCONCLUSIVE for what comes before the first fault, where a slow machine looks
    like a slow service.
    """

    name: str
    check: str
    defect: Defect
    recount: bool = True
    of: str = ""
    then: Defect | None = None


class Mutants(list[Mutant]):
    """Those of a drill, in the order in which its defects stand."""

    def mutant(self, check: str, recount: bool = True, of: str = "") -> Callable[[Defect], Defect]:
        """Register a defect for ``check``."""

        def register(defect: Defect) -> Defect:
            self.append(Mutant(defect.__name__, check, defect, recount, of))
            return defect

        return register

    def of_each(self, phases: tuple[str, ...], check: str, defect: Callable[[Run, str], None]) -> None:
        """Register ``defect`` of a phase for the check of that phase; ``{}`` in ``check`` is the phase."""
        for phase in phases:
            defect_in = functools.partial(_in_phase, defect, phase)
            self.append(Mutant(f"{defect.__name__}-{phase}", check.format(phase), defect_in))


def _in_phase(defect: Callable[[Run, str], None], phase: str, run: Run) -> None:
    defect(run, phase)


def defective(mutant: Mutant, run: Run) -> Run:
    """``run``, a fresh healthy one, with the defect in it."""
    mutant.defect(run)
    if mutant.recount:
        run.recount()
    if mutant.then is not None:
        mutant.then(run)
    return run


def red(check: str) -> Status:
    """What that check says at its worst."""
    before = check == "steady state in baseline" or re.search(r"\bbefore(?: \(median\))?$", check)
    return Status.INCONCLUSIVE if before else Status.FAIL


def assert_red(run: Run, check: str, drill: Drill, folder: Path) -> None:
    """``run``, which has a defect, is red when it is asked ``check``, which says why."""
    verdict = verdict_on(run.write(folder), drill, check)
    (found,) = verdict.checks
    assert found.status is red(check), f"{found.name}: {found.status}: {found.why}"
    assert verdict.status in (Status.FAIL, red(check)), verdict.reason
    assert found.why, f"{found.name} does not say why"


def of_any_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs with fewer requests than their schedule has: the question whether they are those of it is not asked."""
    rules = tuple(rule for rule in validity.RULES if rule is not arrivals_as_planned)
    monkeypatch.setattr(validity, "RULES", rules)


def fail(run: Run, where: pd.Series) -> None:
    """The requests with these final attempts failed with an honest 503."""
    rows = where & run.requests["final"]
    run.requests.loc[rows, "outcome"] = "shed_503"
    run.requests.loc[rows, "http_status"] = 503
    run.requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms", "finish_reason", "output_tokens"]] = None
    run.requests.loc[rows, ["error_type", "error_code", "error_message"]] = "said"
    run.requests.loc[rows, "error_request_id"] = run.requests.loc[rows, "request_id"]
    run.requests.loc[rows, "retry_after_s"] = 1.0


def between(run: Run, begin: float, end: float) -> pd.Series:
    """Marks the attempts of requests that were meant to start in that time."""
    return run.requests["intended_start_s"].between(begin, end)


def heal_unproven(run: Run, **told: str | None) -> None:
    """The first heal was found not to have worked; ``told`` is what its event says besides."""
    proof = next(e for e in run.events if e["kind"] == "heal_proven")
    proof |= {"kind": "heal_unproven", **told}


def not_steady(run: Run, phase: str) -> None:
    """The fault left something behind."""
    event = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == phase)
    event["reached"] = False


def unsteady(run: Run, phase: str) -> None:
    """Every third request fails until the next fault."""
    end = run.span(phase)[1]
    fail(run, between(run, end, end + 15) & run.requests["request_id"].str[-1].isin(list("147")))


def ok(run: Run) -> pd.Series:
    """Marks the attempts that ended well."""
    return run.requests["outcome"].eq("ok")


def samples(run: Run, component: str, metric: str, begin: float, end: float, labels: str = "") -> pd.Series:
    """Marks samples of one series in that time."""
    m = run.metrics
    return m["component"].eq(component) & m["metric"].eq(metric) & m["labels"].eq(labels) & m["t_s"].between(begin, end)


def planned_for(run: Run, practised: Drill, external: bool = False) -> None:
    """The run was planned to be asked what that drill asks today."""
    phases = Scenario.stored(run.plan["scenario"]).phases
    run.plan["checks"] = drill.planned(verdicts.checks(practised, external, phases)[len(verdicts.INVARIANTS) :])
