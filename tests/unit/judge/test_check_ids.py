"""Ids of checks: history and trends hang on them, so none may change by accident, or mean two things."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from harness.evidence.record import RunFolder
from harness.judge import drill, slo, validity, verdicts
from harness.model.scenario import SLO
from harness.model.verdict import CheckResult
from tests import runs
from tests.unit.judge.verdicts import whole_verdict

#: Every id that a verdict may hold, sorted. An id that is gone from it breaks everybody's history of that check.
IDS = Path(__file__).with_name("check_ids.txt")
SCENARIOS = sorted((drill.ROOT / "scenarios").glob("*.yaml"))


def _known() -> list[str]:
    found = {check.id for name in drill.names() for check in verdicts.checks(drill.load(name), external=True)}
    found |= {rule.__name__.strip("_").replace("_", "-") for rule in validity.RULES} | {"checks-as-planned"}
    found |= {slo.id_of(one) for path in SCENARIOS for one in _objectives(path)}
    return sorted(found)


def _objectives(path: Path) -> list[SLO]:
    return [SLO.model_validate(one) for one in yaml.safe_load(path.read_text()).get("slos", [])]


def _identities(results: Sequence[CheckResult]) -> list[tuple[str, str | None, str | None]]:
    return [(one.id, one.phase, one.subject) for one in results]


def test_every_id_is_in_the_list() -> None:
    """Change the list only together with a line in the changelog; a check with another sentence keeps its id."""
    assert _known() == IDS.read_text().splitlines()


def test_ids_are_kebab_case() -> None:
    """Lower-case words with hyphens, for use in labels and file names."""
    assert [one for one in _known() if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one)] == []


@pytest.mark.parametrize("name", drill.names())
def test_id_phase_and_subject_name_one_check_of_a_drill(name: str) -> None:
    """No two checks of a drill share them."""
    checks = verdicts.checks(drill.load(name), external=True)
    assert len({(one.id, one.phase, one.subject) for one in checks}) == len(checks)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_id_phase_and_subject_name_one_objective_of_a_scenario(path: Path) -> None:
    """No two objectives share them."""
    slos = _objectives(path)
    assert len({(slo.id_of(one), one.phases, one.cohort) for one in slos}) == len(slos)


def test_every_result_has_its_identity(tmp_path: Path) -> None:
    """Those of validity, of checks and of objectives, in the verdict and when it is read again; each its own."""
    folder = runs.healthy_run(tmp_path / "run")
    found = whole_verdict(folder, drill.load("timeout-spike"))
    verdicts.write(folder, found)
    for results in (found.validity, found.checks):
        assert all(one.id for one in results)
        assert len(set(_identities(results))) == len(results)
    read = verdicts.read(RunFolder(folder.path))
    assert _identities(read.checks) == _identities(found.checks)


def test_what_was_not_judged_keeps_its_identity(tmp_path: Path) -> None:
    """A check that a finding has invalidated is the same question as one that was judged."""
    run = runs.healthy()
    healthy = whole_verdict(run.write(tmp_path / "healthy"), drill.load("timeout-spike"))
    run.plan["checks"] = None
    broken = whole_verdict(run.write(tmp_path / "broken"), drill.load("timeout-spike"))
    assert _identities(broken.checks) == _identities(healthy.checks)
