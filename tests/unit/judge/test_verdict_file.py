"""verdict.json: a pure function of the run folder, in a format that is promised, for old runs as well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import runs
from tests.judge.timeout_spike import mutants
from tests.unit.judge.verdicts import complaints

#: A run as version 0.1.0 stored it, with the verdict that it got then.
OLD = Path(__file__).resolve().parents[2] / "fixtures" / "runs" / "v1"


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below ``path``: its bytes, and when it was written."""
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_judging_reads_and_writes_nothing(tmp_path: Path) -> None:
    """Not one byte of the run folder changes but by writing the verdict, and that changes verdict.json only."""
    folder = runs.healthy_run(tmp_path / "run")
    before = contents(tmp_path)
    verdict = verdicts.judge(folder, drill.load("timeout-spike"))
    assert contents(tmp_path) == before
    verdicts.write(folder, verdict)
    after = contents(tmp_path)
    assert after.pop("run/verdict.json")
    assert after == before


def test_other_processes_judge_the_same_bytes(tmp_path: Path) -> None:
    """Whatever Python's hash seed is, and wherever the folder lies."""
    run = runs.healthy()
    mutants.html_error(run)
    mutants.slow_recovery_one(run)
    run.recount()
    written = []
    for seed in ("1", "2"):
        folder = run.write(tmp_path / seed)
        program = (
            "import sys; from pathlib import Path;"
            "from harness.judge import drill, verdicts; from harness.evidence.record import RunFolder;"
            "folder = RunFolder(Path(sys.argv[1]));"
            "verdicts.write(folder, verdicts.judge(folder, drill.load('timeout-spike')))"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, folder.path], cwd=drill.ROOT, env=environment, check=True)
        written.append((folder.path / "verdict.json").read_bytes())
    assert written[0] == written[1]
    assert json.loads(written[0])["status"] == "FAIL"


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The verdict of a healthy run, as verdict.json holds it."""
    folder = runs.healthy_run(tmp_path_factory.mktemp("healthy") / "run")
    return verdicts.as_data(verdicts.judge(folder, drill.load("timeout-spike")))


@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_a_result_is_in_the_schema(status: Status, passed: dict[str, Any]) -> None:
    """A check can end in no way that the schema does not know."""
    first, *others = passed["checks"]
    assert complaints({**passed, "checks": [{**first, "status": status.value}, *others]}) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"schema": 2},
        {"status": "GREEN"},
        {"status": "FAIL"},  # with the exit code of PASS
        {"reason": ""},
        {"checks": [{"name": "x", "status": "PASS"}]},
        {"surprise": 1},
    ],
)
def test_the_schema_refuses_what_is_no_verdict(broken: dict[str, Any], passed: dict[str, Any]) -> None:
    """A schema that accepts everything would promise nothing."""
    assert complaints(passed) == []
    assert complaints({**passed, **broken}) != []


def test_an_old_run_is_held_to_what_a_run_has_to_record_today(tmp_path: Path) -> None:
    """It lacks samples that rules rest on since then: INCONCLUSIVE, with the reason, and no check says more than then.

    Validity rules and invariants are today's, whatever the run's age.
    """
    shutil.copytree(OLD, tmp_path / "run")
    then = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert complaints(then) == []
    folder = RunFolder(tmp_path / "run")
    now = verdicts.as_data(verdicts.judge(folder, drill.load(folder.plan()["drill"])))
    assert then["status"] == "FAIL"
    assert now["status"] == "INCONCLUSIVE"
    missing = {result["name"] for result in now["validity"] if result["status"] != "PASS"}
    assert missing == {
        "load generator's end",
        "series sampled",
        "samples complete",
        "records unchanged since the run",
        "attempts plausible",
    }
    found = {result["name"]: result for result in now["checks"]}
    for result in then["checks"]:
        assert found[result["name"]]["status"] in (result["status"], "INCONCLUSIVE"), result["name"]
    assert sum(file.stat().st_size for file in OLD.iterdir()) < 300_000


@pytest.mark.parametrize("name", ["plan.json", "verdict.json"])
def test_a_newer_schema_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of a later version is refused with what was found, what can be read, and what to do."""
    shutil.copytree(OLD, tmp_path / "run")
    path = tmp_path / "run" / name
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "schema": known["schema"] + 1}))
    assert main.main(["judge" if name == "plan.json" else "report", str(tmp_path / "run")]) == 64
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    found = f"{name}: found schema {known['schema'] + 1}, this version reads {known['schema']}"
    assert f"{found}; it was written by a newer Drillyard" in said
