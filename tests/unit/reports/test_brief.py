"""report.md: what a pull request needs, and nothing in it that a server could have made a link or a mention of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.evidence.view import RunView
from harness.judge import verdicts
from harness.model.verdict import CheckResult, Status, Verdict
from reports import brief, render
from tests import runs

HOSTILE = "<img src=x> [click](http://evil.test) `code` | @everyone **bold**\n# Title www.evil.test"


def verdict(*checks: CheckResult) -> Verdict:
    """A FAIL of these checks."""
    return Verdict(Status.FAIL, "it failed", (), checks)


def test_it_says_verdict_checks_and_three_figures(tmp_path: Path) -> None:
    """The red before the undecided; what held is not listed; each figure with its samples."""
    view = RunView(runs.healthy_run(tmp_path / "run"))
    found = brief.render(
        view,
        verdict(
            CheckResult("open", Status.INCONCLUSIVE, "too few"),
            CheckResult("red", Status.FAIL, "too slow"),
            CheckResult("held", Status.PASS, "fine"),
            CheckResult("r1", Status.PASS, "fine", measured=2.0, unit="s", id="users-recover", samples=50),
            CheckResult("r2", Status.PASS, "fine", measured=4.5, unit="s", id="users-recover", samples=60),
        ),
    )
    assert found.startswith("## FAIL: ")
    assert found.index("- **FAIL** red: too slow") < found.index("- **INCONCLUSIVE** open: too few")
    assert "held" not in found
    assert "| slowest recovery of users | 4.5 s | 60 |" in found
    assert "| availability | " in found
    assert "| TTFT p95 from schedule | " in found
    assert "[report.html](report.html)" in found


def test_what_was_not_measured_is_no_number(tmp_path: Path) -> None:
    """Without requests there is no availability."""
    run = runs.healthy()
    run.requests = run.requests.iloc[:0]
    assert "| availability | not measured | 0 |" in brief.render(RunView(run.write(tmp_path / "run")), verdict())


def test_many_red_checks_are_counted(tmp_path: Path) -> None:
    """A chat is no place for fifty of them, nor for a page about one."""
    view = RunView(runs.healthy_run(tmp_path / "run"))
    found = brief.render(view, verdict(*(CheckResult(f"c{n}", Status.FAIL, "w" * 5000) for n in range(14))))
    assert found.count("**FAIL**") == brief.CHECKS
    assert "- and 4 more" in found
    assert len(found) < 5000


def test_hostile_text_is_text(tmp_path: Path) -> None:
    """No element, link, mention, code, heading or table cell of theirs."""
    view = RunView(runs.healthy_run(tmp_path / "run"))
    bad = dataclasses.replace(verdict(CheckResult(HOSTILE, Status.FAIL, HOSTILE)), reason=HOSTILE)
    found = brief.render(view, bad)
    for mark in ("<img", "http://", "@everyone", "](http", "\n# Title", "www.evil"):
        assert mark not in found
    assert "\\`code\\` \\|" in found
    assert "\\*\\*bold\\*\\*" in found


def test_every_document_of_a_run_is_written(tmp_path: Path) -> None:
    """Beside the page: Markdown, JUnit and CTRF, of one verdict."""
    folder = runs.healthy_run(tmp_path / "run")
    verdicts.write(folder, verdict(CheckResult("red", Status.FAIL, "too slow")))
    assert render.render(folder) == folder.path / "report.html"
    for name in ("report.html", "report.md", "junit.xml", "ctrf.json"):
        assert "red" in (folder.path / name).read_text(), name
