"""What an external target cannot be asked is skipped, said so, and never passes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import drill, guard, judge
from harness.guard import External
from harness.record import RunFolder
from harness.verdict import Status, Verdict, worst
from reports import render
from tests import runs

DRILL = drill.load("timeout-spike")


def external_run(metrics: bool = False) -> runs.Run:
    """The healthy run, as if its service had been somebody else's."""
    run = runs.healthy()
    said = External("https://h", ("h",), metrics_url="https://h/metrics" if metrics else None)
    run.plan["topology"]["target"] = dataclasses.asdict(guard.admit(said, lambda host, port: "192.0.2.1"))
    return run


def judged(run: runs.Run, path: Path) -> tuple[RunFolder, Verdict]:
    """Its verdict, written."""
    folder = run.write(path)
    found = judge.judge(folder, DRILL)
    judge.write(folder, found)
    return folder, found


def test_the_worst_wins() -> None:
    """FAIL > INCONCLUSIVE, SKIPPED > PASS; a run is never SKIPPED itself."""
    assert worst([Status.PASS, Status.SKIPPED]) is Status.INCONCLUSIVE
    assert worst([Status.SKIPPED]) is Status.INCONCLUSIVE
    assert worst([Status.SKIPPED, Status.FAIL, Status.PASS]) is Status.FAIL
    assert worst([Status.PASS]) is Status.PASS
    assert worst([]) is Status.INCONCLUSIVE


def test_what_needs_our_own_stack_is_skipped(tmp_path: Path) -> None:
    """Checks of gateways and replicas are skipped with what they need, the clients' own are judged, the run is open."""
    folder, found = judged(external_run(), tmp_path / "run")
    by_name = {check.name: check for check in found.checks}
    skipped = {name for name, check in by_name.items() if check.status is Status.SKIPPED}
    assert "it needs the state of the gateways" in by_name["gateways take replica-2 out"].why
    assert "it needs the state of the replicas" in by_name["no abandoned generation in all-replicas"].why
    assert "it needs the phase slow-link" in by_name["no hang in slow-link"].why
    assert by_name["conservation"].status is by_name["no hang in one-replica"].status is Status.PASS
    assert found.status is Status.INCONCLUSIVE
    assert found.status.exit_code == 2
    passed = sum(check.status is Status.PASS for check in found.checks)
    assert passed + len(skipped) == len(by_name)
    assert found.reason.startswith(f"{passed} checks passed, {len(skipped)} were skipped because ")
    stored = judge.read(folder)
    assert {check.name for check in stored.checks if check.status is Status.SKIPPED} == skipped


def test_skipped_does_not_hide_a_failure(tmp_path: Path) -> None:
    """A check that FAILs decides the run, skipped ones or not."""
    run = external_run()
    run.requests.loc[run.requests["phase"].eq("baseline"), "outcome"] = "http_5xx"
    _, found = judged(run, tmp_path / "run")
    assert found.status is Status.FAIL
    assert any(check.status is Status.SKIPPED for check in found.checks)


@pytest.mark.parametrize("metrics", [False, True])
def test_metrics_that_were_promised_must_be_there(metrics: bool, tmp_path: Path) -> None:
    """Without METRICS_URL nobody waits for the engine's page; with it, its absence makes the run invalid."""
    _, found = judged(external_run(metrics), tmp_path / "run")
    named = {f.name: f.status for f in found.validity if f.name.startswith("metrics of ")}
    assert named == ({"metrics of target": Status.INCONCLUSIVE} if metrics else {})


def test_report_and_junit_show_what_was_skipped(tmp_path: Path) -> None:
    """The page counts and names skipped checks; JUnit has them as <skipped>, apart from errors."""
    folder, found = judged(external_run(), tmp_path / "run")
    page = render.render(folder).read_text()
    count = sum(check.status is Status.SKIPPED for check in found.checks)
    assert f"{count} skipped" in page
    assert page.count('<span class="badge skipped">SKIPPED</span>') == count
    suite = ElementTree.fromstring((folder.path / "junit.xml").read_text())
    assert suite.get("skipped") == str(count) == str(len(suite.findall("testcase/skipped")))
    assert suite.get("errors") == "0"
