"""Every check of every drill: green on healthy runs, red on the defects that it exists for, and never on nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests.judge import stories
from tests.judge.defects import Mutant, assert_red, defective

WAYS = [(name, way) for name in stories.names() for way in stories.ways(name)]
MUTANTS = [(name, mutant) for name in stories.names() for mutant in stories.mutants(name)]
CHECKS = [(name, check) for name in stories.names() for check in verdicts.checks(drill.load(name))]


@pytest.mark.parametrize("name", drill.names())
def test_every_drill_has_its_story_and_mutants(name: str) -> None:
    """Only what is in a folder of its drill's name is found."""
    missing = [part for part in stories.PARTS if not (stories.folder(name) / part).is_file()]
    where = f"tests/judge/{stories.folder(name).name}"
    assert not missing, (
        f"the drill {name} was never seen to fail: add {' and '.join(f'{where}/{part}' for part in missing)}, "
        "a healthy run of it and the defects that its checks exist for (docs/creating-a-drill.md)"
    )


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_healthy_run_passes(name: str, way: str, tmp_path: Path) -> None:
    """A service that did everything right gets PASS from every single check and finding, each with its numbers."""
    verdict = verdicts.judge(stories.healthy(name, way).write(tmp_path / "run"), drill.load(name))
    assert {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS} == {}
    assert verdict.status is Status.PASS
    assert len({r.name for r in verdict.checks}) == len(verdict.checks), "a red check is known by its name alone"
    assert all(r.objective and (r.margin is None or r.margin >= 0) for r in verdict.checks)
    assert {r.name for r in verdict.checks if r.measured is None or r.margin is None} == stories.numberless(name, way)


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[f"{name}-{mutant.name}" for name, mutant in MUTANTS])
def test_mutant_is_noticed(name: str, mutant: Mutant, tmp_path: Path) -> None:
    """The defect turns the check that it belongs to red, and the verdict with it."""
    assert_red(defective(mutant, stories.healthy(name, mutant.of)), mutant.check, drill.load(name), tmp_path / "run")


@cache
def only_planned(name: str, root: Path) -> RunFolder:
    """A run with nothing but a plan."""
    run = stories.healthy(name)
    run.events, run.requests, run.metrics, run.files = [], run.requests.iloc[:0], run.metrics.iloc[:0], {}
    return run.write(root / f"only-planned-{name}")


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[f"{name}-{check.name}" for name, check in CHECKS])
def test_no_data_is_never_a_pass(name: str, check: drill.Check, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With nothing but a plan, every check by itself says INCONCLUSIVE and why."""
    result = check.run(RunView(only_planned(name, tmp_path_factory.getbasetemp())))
    assert result.status is Status.INCONCLUSIVE
    assert result.why
