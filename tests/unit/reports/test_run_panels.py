"""Panels of a run's page that count and time: no request is missing, and times are those that checks measured."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import families
from harness.model.verdict import CheckResult, Status, Verdict
from reports.panels import phases, recovery, sources
from tests import runs

STORED = sorted(Path("tests/fixtures/runs").glob("*/*/plan.json"))
NOTHING = Verdict(Status.PASS, "all held", (), ())


def rows_of(table: str) -> list[list[str]]:
    """The cells of each row of a table, without their elements."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)
    return [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in rows if "<td>" in row
    ]


def counted(view: RunView) -> tuple[int, int, int]:
    """Requests, outcomes and attempts that the page has in all."""
    rows = rows_of(str(phases.html(view, NOTHING)))
    column = {name: place for place, name in enumerate(phases.HEAD)}
    requests = sum(int(row[column["requests"]]) for row in rows)
    outcomes = sum(int(n) for row in rows for n in re.findall(r" (\d+)(?:,|$)", row[column["outcomes"]]))
    return requests, outcomes, requests + sum(int(row[column["retries"]]) for row in rows)


@pytest.mark.parametrize("plan", STORED, ids=lambda plan: "-".join(plan.parts[-3:-1]))
def test_no_recorded_request_is_missing_from_the_page(plan: Path) -> None:
    """Of every stored run: the sum of outcomes is the number of requests, that of attempts the number of rows."""
    view = RunView(RunFolder(plan.parent))
    assert counted(view) == (len(view.final), len(view.final), len(view.requests))


def test_requests_of_no_phase_are_counted_too(tmp_path: Path) -> None:
    """A phase that never began, or whose events were lost, loses no request."""
    run = runs.healthy()
    run.drop_events("phase_started", phase="recovery-all")
    view = RunView(run.write(tmp_path / "run"))
    shown = str(phases.html(view, NOTHING))
    assert "of no phase" in shown
    assert counted(view) == (len(view.final), len(view.final), len(view.requests))
    run.requests = run.requests[run.in_phase("baseline")]
    assert "of no phase" not in str(phases.html(RunView(run.write(tmp_path / "within")), NOTHING))


def test_tokens_that_no_server_counted_are_no_zero(tmp_path: Path) -> None:
    """An external target may leave usage out."""
    run = runs.healthy()
    run.requests["output_tokens"] = None
    rows = rows_of(str(phases.html(RunView(run.write(tmp_path / "run")), NOTHING)))
    assert {row[phases.HEAD.index("tokens out")] for row in rows} == {"not measured"}


def test_times_are_those_that_the_checks_measured(tmp_path: Path) -> None:
    """Detection is that of the alerts; a column is there where a check asks for it."""
    view = RunView(runs.healthy_run(tmp_path / "run"))
    checks = (
        CheckResult("a", Status.PASS, "why", measured=2.4, unit="s", id="gateway-ejects-replica", phase="one-replica",
                    subject="replica-2"),
        CheckResult("b", Status.FAIL, "why", id="users-recover", phase="all-replicas"),
    )  # fmt: skip
    shown = str(recovery.html(view, Verdict(Status.FAIL, "", (), checks)))
    one, every = rows_of(shown)[:2]
    assert one[1:] == ["6.6 s", "2.4 s (replica-2)", "—"]
    assert every[1:] == ["6.6 s", "—", "not measured"]
    assert "readmitted" not in shown


def test_columns_of_times_are_checks_that_there_are() -> None:
    """An id that no file declares would be an empty column for ever."""
    ids = [one for ids in recovery._COLUMNS.values() for one in ids]
    assert [one for one in ids if families.of(one) == families.OTHERS] == []


def test_the_budget_is_counted_on_the_service_only(tmp_path: Path) -> None:
    """Of a healthy run little is burned and nobody paged; the same run with only errors has burned all of it."""
    run = runs.healthy()
    view = RunView(run.write(tmp_path / "well"))
    well = str(recovery.html(view, NOTHING))
    assert well.count("would not have paged") == 4
    assert "No rule pages for that" in well
    run.requests["outcome"] = "cancelled_drain"
    drained = RunView(run.write(tmp_path / "drained"))
    assert "Error budget: not measured" in str(recovery.html(drained, NOTHING))
    run.requests["outcome"] = "http_5xx"
    shown = str(recovery.html(RunView(run.write(tmp_path / "bad")), NOTHING))
    assert "That is 10,000 % of what these minutes may cost" in shown
    assert "No rule pages for that" in shown


def test_an_outage_that_is_long_enough_pages(tmp_path: Path) -> None:
    """At 99 % the fastest rule needs 8.6 minutes without a good answer: it says when it would have paged."""
    run = runs.healthy()
    run.requests["outcome"] = "http_5xx"
    stretched = run.requests["start_s"] * 10
    run.requests["start_s"], run.requests["e2e_ms"] = stretched, 1.0
    for event in run.events:
        event["t_s"] *= 10
    shown = str(recovery.html(RunView(run.write(tmp_path / "long")), NOTHING))
    assert "By itself that is enough for a page" in shown
    assert "No rule pages for that" not in shown


def test_files_stand_with_the_digests_that_they_have(tmp_path: Path) -> None:
    """As ``sha256sum`` says; what is made from them is not among them, nor what lies elsewhere."""
    folder = runs.healthy_run(tmp_path / "run")
    (folder.path / "logs").mkdir(exist_ok=True)
    (folder.path / "logs" / "gateway-a.log").write_text("a line\n")
    (folder.path / "report.html").write_text("made")
    (folder.path / "elsewhere").symlink_to("/etc/hostname")
    found = {row[0]: row[1:] for row in rows_of(str(sources.html(RunView(folder), NOTHING)))}
    assert {"plan.json", "events.jsonl", "requests.parquet", "logs/gateway-a.log"} <= found.keys()
    assert not {"report.html", "elsewhere"} & found.keys()
    for name, (size, digest) in found.items():
        data = (folder.path / name).read_bytes()
        assert (size, digest) == (f"{len(data):,}", hashlib.sha256(data).hexdigest())
