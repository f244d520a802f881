"""Requests on the page: their attempts, and the lines that gateways and replicas logged about them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.evidence import logs
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.model.verdict import CheckResult, Status, Verdict
from reports import requests
from reports.panels import errors, findings
from tests import runs

HOSTILE = "<script>alert('x')</script><img src=x>\x1b[31m"


def access(folder: RunFolder, request_id: str, t_s: float, **more: object) -> str:
    """A line of a gateway's access log."""
    t_ms = round((folder.zero_wall_s() + t_s) * 1000)
    return json.dumps({"t_ms": t_ms, "request_id": request_id, "status": 504, **more})


def write_log(folder: RunFolder, component: str, *lines: str) -> None:
    """The log of a component."""
    (folder.path / "logs").mkdir(exist_ok=True)
    (folder.path / "logs" / f"{component}.log").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run without logs."""
    return runs.healthy_run(tmp_path / "run")


def red(*examples: str) -> Verdict:
    """One check that failed, with these requests."""
    check = CheckResult("honest errors in all-replicas", Status.FAIL, "why", examples=examples, phase="all-replicas")
    return Verdict(Status.FAIL, "why", (), (check,))


def test_lines_about_a_request_are_in_the_order_of_time(folder: RunFolder) -> None:
    """Of all components together; one without a time comes last, and lines about others are not there."""
    write_log(folder, "gateway-a", access(folder, "r-1", 9.0), access(folder, "r-2", 1.0))
    write_log(folder, "gateway-b", access(folder, "r-1", 4.0))
    write_log(folder, "replica-1", "INFO Received request chatcmpl-r-1", "INFO something else")
    found = logs.about(folder, ["r-1", "r-3"], ["gateway-a", "gateway-b", "replica-1", "replica-2"])
    assert [line.component for line in found["r-1"]] == ["gateway-b", "gateway-a", "replica-1"]
    assert [line.t_s for line in found["r-1"]] == [pytest.approx(4.0, abs=0.01), pytest.approx(9.0, abs=0.01), None]
    assert found["r-3"] == []


def test_an_id_that_begins_like_another_is_told_apart(folder: RunFolder) -> None:
    """r-1 is not r-10 where both are asked for."""
    write_log(folder, "gateway-a", access(folder, "r-10", 1.0), access(folder, "r-1", 2.0))
    found = logs.about(folder, ["r-1", "r-10"], ["gateway-a"])
    assert [len(found[one]) for one in ("r-1", "r-10")] == [1, 1]


def test_lines_are_bounded_in_number_and_length(folder: RunFolder) -> None:
    """However much was logged about a request."""
    write_log(folder, "gateway-a", *(access(folder, "r-1", n, more="x" * 9000) for n in range(50)))
    lines = logs.about(folder, ["r-1"], ["gateway-a"])["r-1"]
    assert len(lines) == logs.LINES
    assert max(len(line.text) for line in lines) == logs.LINE_CHARS + 1


class Tags(HTMLParser):
    """The names of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.names.add(tag)


def test_hostile_ids_and_log_lines_are_text(tmp_path: Path) -> None:
    """They open no element, and no control character of theirs is on the page."""
    run = runs.healthy()
    one = run.requests.index[run.requests["outcome"].eq("http_5xx")][0]
    run.requests.loc[one, ["request_id", "error_message", "error_code"]] = HOSTILE
    folder = run.write(tmp_path / "run")
    write_log(folder, "gateway-a", f"{HOSTILE} and more {HOSTILE}")
    shown = str(findings.html(RunView(folder), red(HOSTILE)))
    assert "gateway-a: &lt;script&gt;" in shown
    assert not Tags(shown).names & {"script", "img"}
    assert "\x1b" not in shown.partition("<pre>")[2].partition("</pre>")[0]


def test_a_red_check_shows_its_requests_with_their_logs(folder: RunFolder) -> None:
    """Attempts with outcome; the gateway's line; who logged nothing; the other ids."""
    rows = RunView(folder).requests
    ids = list(dict.fromkeys(rows["request_id"][rows["outcome"].eq("http_5xx")]))[:5]
    write_log(folder, "gateway-a", access(folder, ids[0], 130.0))
    shown = str(findings.html(RunView(folder), red(*ids)))
    assert shown.count('<details class="request">') == requests.SHOWN
    first = shown.partition('<details class="request">')[2].partition("</details>")[0]
    assert re.search(r"<td>1</td><td>[\d.]+ s</td><td>gateway-[ab]</td>", first)
    assert "http_5xx" in first
    assert re.search(r"130\.\d\d s gateway-a: ", first)
    assert "No line names it in the log of gateway-b, replica-1, replica-2." in first
    assert all(one in shown for one in ids)
    assert 'data-from="' in shown
    assert 'href="#proof-all-replicas"' in shown


def test_a_run_without_logs_says_so(folder: RunFolder) -> None:
    """Stored runs often have none; a request that was not recorded is said to be."""
    shown = str(findings.html(RunView(folder), red("nobody-knows-it")))
    assert "The run folder has no logs." in shown
    assert "not recorded" in shown


def test_each_frequent_kind_of_error_has_a_request_with_its_logs(folder: RunFolder) -> None:
    """One request of each, with the gateway's line; a run without errors has neither table nor requests."""
    view = RunView(folder)
    rows = view.requests
    one = rows["request_id"][rows["outcome"].eq("http_5xx")].iloc[0]
    write_log(folder, "gateway-a", access(folder, one, 130.0))
    shown = str(errors.html(view, red()))
    assert 1 <= shown.count('<details class="request">') <= errors.LOOKED_AT
    assert "gateway-a: {" in shown


def test_a_run_without_errors_shows_no_request(tmp_path: Path) -> None:
    """Nothing to look at is said in a word."""
    run = runs.healthy()
    run.requests = run.requests[run.requests["outcome"].eq("ok")]
    shown = str(errors.html(RunView(run.write(tmp_path / "run")), red()))
    assert "none" in shown
    assert "<details" not in shown
