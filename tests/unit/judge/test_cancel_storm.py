"""The checks of the cancel-storm drill: green on a healthy run, red on their defects, never green without data."""

from __future__ import annotations

from pathlib import Path

import pytest

from drills.cancel_storm import DRILL
from harness import drill, judge
from harness.verdict import Status
from harness.view import RunView
from tests import wave_runs
from tests.unit.judge.wave_mutants import WAVE_MUTANTS, WaveMutant


def test_healthy_run_passes(tmp_path: Path) -> None:
    """Engines that hear of every cancel at once get PASS from every single check and finding."""
    verdict = judge.judge(wave_runs.healthy().write(tmp_path / "run"), DRILL)
    assert {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS} == {}


@pytest.mark.parametrize(
    "mutant", WAVE_MUTANTS, ids=lambda m: f"{getattr(m.defect, 'func', m.defect).__name__}-{m.check}"
)
def test_mutant_is_noticed(mutant: WaveMutant, tmp_path: Path) -> None:
    """The defect turns the check that it belongs to red."""
    run = wave_runs.healthy()
    mutant.defect(run)
    run.recount()
    view = RunView(run.write(tmp_path / "run"))
    red = next(check for check in (*judge.checks(DRILL), *judge._slo_checks(view)) if check.name == mutant.check)
    found = red.run(view)
    assert found.status is Status.FAIL, f"{found.name}: {found.status}: {found.why}"


@pytest.mark.parametrize("check", DRILL.checks, ids=lambda check: check.name)
def test_no_data_is_never_a_pass(check: drill.Check, tmp_path: Path) -> None:
    """With nothing but a plan, every check by itself says INCONCLUSIVE and why."""
    run = wave_runs.healthy()
    run.events, run.requests, run.metrics, run.files = [], run.requests.iloc[:0], run.metrics.iloc[:0], {}
    found = check.run(RunView(run.write(tmp_path / "run")))
    assert found.status is Status.INCONCLUSIVE
    assert found.why


def test_a_moment_that_was_not_reached_is_not_judged(tmp_path: Path) -> None:
    """Waves that missed their moment prove nothing, although everything looks fine after them."""
    run = wave_runs.healthy()
    for wave in run.files["waves.json"]["waves"]:
        wave["reached"] = wave["phase"] != "prefill"
    view = RunView(run.write(tmp_path / "run"))
    found = [check.run(view).status for check in DRILL.checks if check.name.endswith("prefill")]
    assert found == [Status.INCONCLUSIVE] * 3


def test_a_slope_that_nobody_can_be_sure_of_is_not_judged(tmp_path: Path) -> None:
    """Memory that jumps about says neither that it leaks nor that it does not."""
    run = wave_runs.healthy()
    for number, wave in enumerate(run.files["waves.json"]["waves"]):
        wave["rss_bytes"]["replica-1"] += 4e7 * (number % 2)
    view = RunView(run.write(tmp_path / "run"))
    found = next(check.run(view) for check in DRILL.checks if check.name.startswith("no leak"))
    assert found.status is Status.INCONCLUSIVE, found.why
