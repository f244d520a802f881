"""What is remembered of a run is what its rules find, and a rule is asked again where what it looks at has changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import validity
from harness.judge.finding import Finding, good
from tests import runs
from tests.runs import Run
from tests.unit.judge import remembered
from tests.unit.judge.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS[::12], ids=lambda m: m.name)
def test_findings_are_those_of_the_rules(mutant: Mutant, tmp_path: Path) -> None:
    """After a healthy run and a mutant were judged, a mutant's findings are what its rules say of it alone."""
    run = runs.healthy()
    mutant.defect(run)
    for number, one in enumerate((runs.healthy(), run, run)):
        view = RunView(one.write(tmp_path / str(number)))
        alone = RunView(view.folder)
        for rule in validity.RULES:
            assert remembered.of_rule(rule, view) == remembered._PLAIN(rule, alone), rule.__name__


def _attempts(run: Run) -> None:
    run.requests.loc[5, "e2e_ms"] += 1.0


def _ids(run: Run) -> None:
    run.requests.loc[5, "request_id"] = "another"


def _rows(run: Run) -> None:
    run.requests = run.requests.iloc[:-1]


def _samples(run: Run) -> None:
    run.metrics.loc[5, "value"] += 1.0


def _events(run: Run) -> None:
    run.events[-1]["t_s"] += 1.0


def _summary(run: Run) -> None:
    run.summary["workers"] = 2


def _plan(run: Run) -> None:
    run.plan["seed"] = 2


_CHANGES = (_attempts, _ids, _rows, _samples, _events, _summary, _plan)
_ALWAYS = {_events, _plan}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[object, RunFolder]:
    """A run twice, and what each change makes of it, by the change; None of the second copy."""
    root = tmp_path_factory.mktemp("runs")
    found: dict[object, RunFolder] = {"first": runs.healthy_run(root / "first"), None: runs.healthy_run(root / "same")}
    for change in _CHANGES:
        run = runs.healthy()
        change(run)
        found[change] = run.write(root / change.__name__)
    return found


@pytest.mark.parametrize(
    ("look", "at"),
    [
        (lambda view: view.requests["e2e_ms"].sum(), {_attempts, _rows}),
        (lambda view: view.requests["end_s"].sum(), {_attempts, _ids, _rows}),
        (lambda view: view.final["request_id"].iloc[0], {_ids, _rows}),
        (lambda view: len(view.requests), {_rows}),
        (lambda view: view.folder.requests(["e2e_ms"]), {_attempts, _ids, _rows}),
        (lambda view: view.metrics("load", "cpu_ratio", labels=""), {_samples}),
        (lambda view: view.samples, {_samples}),
        (lambda view: view.summary, {_summary}),
        (lambda view: view.folder.path, {*_CHANGES}),
        (lambda view: view.phases, set()),
    ],
)
def test_a_rule_is_asked_again_when_that_has_changed(
    look: Callable[[RunView], object], at: set[object], folders: dict[object, RunFolder]
) -> None:
    """It is asked again of a run that differs in what it looks at, and only then."""
    asked = itertools.count()

    def rule(view: RunView) -> Iterator[Finding]:
        look(view)
        yield good("asked", str(next(asked)))

    first = remembered.of_rule(rule, RunView(folders["first"]))
    again = {one for one in (None, *_CHANGES) if remembered.of_rule(rule, RunView(folders[one])) != first}
    assert again == at | _ALWAYS
