"""The page and the JUnit file: self-contained, red first, and never a number where nothing was measured."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import capacity, drill, verdicts
from harness.judge.capacity import Capacity, Point
from harness.model.stream import TOKENS_NOT_SENT
from harness.model.verdict import CheckResult, Status, Verdict
from harness.run import pipeline
from reports import junit, panel, render
from reports.panels import rollout, timeline
from tests import runs
from tests.judge import alert_mutants
from tests.judge.model_swap import story as swap_story
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
CTRF_SCHEMA = Path(__file__).parents[1] / "fixtures" / "ctrf.schema.json"
PAGE_BYTES_MAX = 2 * 1024 * 1024
HOSTILE = "<script>alert('x')</script><img src=http://evil.test/x.png>\"'&"


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of tables by the id of their section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append((tag, dict(attrs)))

    def ids(self, tag: str) -> list[str]:
        """The ids of all elements of that name, in the page's order."""
        return [str(attrs["id"]) for name, attrs in self.tags if name == tag and "id" in attrs]


def rendered(folder: RunFolder) -> str:
    """Judge and render; the page's text."""
    verdicts.write(folder, verdicts.judge(folder, DRILL))
    return render.render(folder).read_text(encoding="utf-8")


def panel_of(folder: RunFolder, name: str) -> str:
    """Judge; what one panel puts on the page, without drawing the others."""
    verdicts.write(folder, whole_verdict(folder, DRILL))
    (drawn,) = (one for one in panel.every() if one.__name__.endswith(f".{name}"))
    return str(drawn.html(RunView(folder), verdicts.read(folder)))


def section(page: str, name: str) -> str:
    """The part of the page below that section's id."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, flags=re.DOTALL)
    assert found, f"the page has no section {name}"
    return found[1]


def figures(page: str) -> Iterator[tuple[str, str]]:
    """(opening tag, inside) of each chart."""
    for found in re.finditer(r"(<figure[^>]*>)(.*?)</figure>", page, flags=re.DOTALL):
        yield found[1], found[2]


@pytest.fixture(scope="module")
def healthy_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run in which all was well."""
    return rendered(runs.healthy_run(tmp_path_factory.mktemp("healthy") / "run"))


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A judged and rendered run whose gateway answered errors with its built-in page."""
    run = runs.healthy()
    bad = run.in_phase("all-replicas") & run.requests["error_type"].notna()
    run.requests.loc[bad, ["error_type", "error_code", "error_message", "error_request_id"]] = None
    folder = run.write(tmp_path_factory.mktemp("failed") / "run")
    rendered(folder)
    return folder


def test_page_is_self_contained(healthy_page: str) -> None:
    """Nothing is fetched: no link, script, picture or font lies outside of the page, which is below 2 MB."""
    assert len(healthy_page.encode()) <= PAGE_BYTES_MAX
    for tag, attributes in Elements(healthy_page).tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), f"<{tag} {name}={value!r}>"
    for style in re.findall(r"<style[^>]*>(.*?)</style>", healthy_page, flags=re.DOTALL):
        assert "@import" not in style
        assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(['\"]?([^)]*)", style))


def test_verdict_and_reason_come_first(healthy_page: str) -> None:
    """Before any section stand the verdict as a word, the reason, and the counts."""
    head, _, _ = healthy_page.partition("<main>")
    assert '<span class="badge pass">PASS</span>' in head
    assert re.search(r'<p class="reason">all \d+ checks passed</p>', head)
    assert "0 failed" in head
    assert DRILL.title in head


def test_a_valid_run_keeps_the_questions_about_itself_folded(healthy_page: str) -> None:
    """All of them are there for who opens them; the page itself says in one line that they are answered well."""
    shown = section(healthy_page, "validity")
    count = shown.count("badge pass")
    assert f"<summary>All {count} validity checks hold.</summary>" in shown
    assert count > 20
    assert shown.index("</summary>") < shown.index("badge pass")


def test_an_invalid_run_shows_first_what_made_it_so(tmp_path: Path) -> None:
    """INCONCLUSIVE: validity above the cards; one card for all that it kept from being judged; no talk of red lines."""
    run = runs.healthy()
    run.drop_events("load_stopped")
    folder = run.write(tmp_path / "run")
    page, verdict = rendered(folder), verdicts.read(folder)
    assert verdict.status is Status.INCONCLUSIVE
    assert Elements(page).ids("section")[:3] == ["validity", "findings", "checks"]
    validity, cards = (section(page, name) for name in ("validity", "findings"))
    assert validity.index("badge inconclusive") < validity.index("other validity checks hold")
    told, _, runbook = cards.partition("<summary>The runbook")
    assert "No check failed" in told
    assert "«Validity of the run»" in told
    assert "red line" not in told
    assert DRILL.runbook.splitlines()[0] in runbook
    unjudged = [check for check in verdict.checks if check.why.startswith("not judged: ")]
    assert len(unjudged) > 20
    assert f"<summary>{len(unjudged)} checks</summary>" in cards
    assert cards.count(str(panel.Markup.escape(unjudged[0].why))) == 1
    assert all(check.name in page for check in verdict.checks)


def test_every_panel_is_there_in_its_order(healthy_page: str) -> None:
    """One section per file of reports/panels, sorted by ORDER; none of them crashed, and nothing is red."""
    names = [module.__name__.rsplit(".", 1)[-1] for module in panel.every()]
    # This run has no evidence of what these are about.
    names = [name for name in names if name not in ("cancels", "findings", "kv_pressure", "rollout", "warm_up")]
    assert Elements(healthy_page).ids("section") == names
    assert len(names) >= 7
    assert "could not be drawn" not in healthy_page
    for name in names:
        assert len(section(healthy_page, name)) > 100, f"{name} is empty"


def test_a_rollout_shows_both_versions(tmp_path: Path) -> None:
    """What was decided, by which gate, and what both versions have shown; of a stopped one how soon it was gone."""
    promoted = panel_of(swap_story.healthy().write(tmp_path / "promoted"), "rollout")
    assert "<strong>v2@sim: promoted</strong> (all gates)" in promoted
    assert len(list(figures(promoted))) == 1
    assert "not measured" not in promoted
    page = panel_of(swap_story.healthy(swap_story.STOPPED).write(tmp_path / "stopped"), "rollout")
    assert "<strong>v2@sim: rolled back</strong> (gate quality)" in page
    assert "All traffic was on v1@sim 0.0 s later" in page
    assert re.search(r"<td>quality</td><td>roll back</td><td>0 of \d+ questions answered exactly right", page)
    assert re.search(r"<td>v1@sim</td>.*<td>100 % \([\d.]+–100\)</td>.*<td>v2@sim</td>.*<td>0 % \(0–", page)


def test_a_rollout_shows_why_nobody_met_the_candidate(tmp_path: Path) -> None:
    """One whose engine gave no token was asked nothing; one that broke off says at what."""
    run = swap_story.healthy(swap_story.NO_START)
    page = panel_of(run.write(tmp_path / "no-start"), "rollout")
    assert "<strong>v2@sim: rolled back</strong> (gate start)" in page
    assert "<td>start</td><td>roll back</td><td>replica-2 could not be used within 60 s of its start" in page
    run = swap_story.healthy()
    swap_story.abort(run)
    page = panel_of(run.write(tmp_path / "broken-off"), "rollout")
    assert "<strong>v2@sim: aborted</strong> (all gates)" in page
    assert "replica-1 could not be used within 120 s of its start" in page


def test_intervals_of_a_rollout_are_no_narrower_than_its_samples_allow() -> None:
    """Textbook values: Wilson's interval of 8 in 10; ranks of a median; few values have no interval, none no number."""
    assert rollout.share([True] * 8 + [False] * 2) == "80 % (49–94.3)"
    assert rollout.median(list(range(1, 101)), "ms") == "50.5 ms (41–60)"
    assert rollout.median([3.0, 1.0, 2.0], "") == "2 (of 3)"
    assert rollout.share([]) is None
    assert rollout.median([], "ms") is None


def test_alerts_are_shown_with_their_times(tmp_path: Path) -> None:
    """Fired, cleared, time to detect; what did not come; what the drill does not want; what was not asked, and why."""
    run = runs.healthy()
    begin, _ = run.span("one-replica")
    run.events += runs.alert_told("GatewayDown", begin + 5.05, begin + 7.05, component="gateway-b")
    run.drop_events("alert_fired", alert="FailuresHigh")
    whole = panel_of(run.write(tmp_path / "whole"), "alerts")
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in whole.split("<tr>")]
    found = {(row[2], row[0]): row[3:] for row in rows if row}
    assert found["one-replica", "ReplicaDown{server=replica-2}"] == ["47.9 s", "6.6 s", "80.2 s", "9.0 s", "expected"]
    one_more = found["one-replica", "GatewayDown{component=gateway-b}"]
    assert one_more == ["46.2 s", "5.0 s", "48.2 s", "before it", "UNEXPECTED"]
    assert found["all-replicas", "FailuresHigh"] == ["did not fire", "—", "—", "—", "expected"]
    assert "one-replica 6.6 s, all-replicas 6.6 s" in whole
    assert "Not asked" not in whole
    next(p for p in run.plan["scenario"]["phases"] if p["name"] == "one-replica")["duration"] = 8
    short = panel_of(run.write(tmp_path / "short"), "alerts")
    assert "ReplicaDown{server=replica-2} in one-replica: the phase is too short to tell, it may take 11 s" in short


def test_a_page_once_recovered_is_unexpected(tmp_path: Path) -> None:
    """As the check says that it makes FAIL."""
    run = runs.healthy()
    alert_mutants.page_after_all_is_over(run)
    folder = run.write(tmp_path / "run")
    shown = panel_of(folder, "alerts")
    assert "no page once recovered" in verdicts.read(folder).reason
    assert re.search(r"<td>E2eP95High</td>.*<td>UNEXPECTED</td>", shown)


def test_what_nobody_heard_was_not_measured(tmp_path: Path) -> None:
    """An alert may have fired while the sink did not answer: «none» is what was looked for."""
    run = runs.healthy()
    begin, end = run.span("one-replica")
    run.drop_events("alert_fired", alert="ReplicaDown")
    assert "one-replica none" in panel_of(run.write(tmp_path / "heard"), "alerts")
    deaf = run.metrics["metric"].eq("alerts_readable") & run.metrics["t_s"].between(begin + 2, end)
    assert deaf.any()
    run.metrics = run.metrics[~deaf]
    assert "one-replica not measured" in panel_of(run.write(tmp_path / "deaf"), "alerts")


def test_a_plan_without_its_command_has_a_page(tmp_path: Path) -> None:
    """What is missing there is missing on the page, and no more."""
    run = runs.healthy()
    del run.plan["command"]
    run.metrics = run.metrics[run.metrics["component"].ne("gateway-a")]
    assert "could not be judged" in rendered(run.write(tmp_path / "run"))


def test_an_alert_that_the_drill_does_not_speak_of_is_no_finding(tmp_path: Path) -> None:
    """It may fire, and a PASS has nothing «unexpected» on its page; so may a page before anything is judged."""
    run = runs.healthy()
    begin, _ = run.span("all-replicas")
    run.events += runs.alert_told("TtftP95High", begin + 9.0, begin + 19.0)
    folder = run.write(tmp_path / "run")
    shown = panel_of(folder, "alerts")
    assert verdicts.read(folder).status is Status.PASS
    assert re.search(r"<td>TtftP95High</td>.*<td>may fire</td>", shown)
    assert "«may fire»: the drill does not require it there" in shown
    assert "UNEXPECTED" not in shown
    assert "not declared" not in shown


def test_a_percentile_of_too_few_is_no_gap_in_measuring(healthy_page: str) -> None:
    """The warm-up is too short for a p95; nothing of it went unmeasured."""
    rows = re.findall(r"<tr>(.*?)</tr>", section(healthy_page, "phases"))
    warmup = next(row for row in rows if "<td>warm-up</td>" in row)
    assert "too few" in warmup
    assert "not measured" not in warmup


def test_replay_command_and_configuration_are_shown(healthy_page: str) -> None:
    """The page tells how to run it again, with which seed, versions and scenario."""
    shown = section(healthy_page, "configuration")
    for text in ("python -m harness run timeout-spike", "seed", "vllm", "first_byte_timeout_s", "one-replica"):
        assert text in shown


def test_failed_run_names_its_failures_first(failed: RunFolder) -> None:
    """FAIL: the reason names the check, red rows stand above all others, and the runbook is on the page."""
    page = (failed.path / "report.html").read_text()
    verdict = verdicts.read(failed)
    assert verdict.status is Status.FAIL
    assert "honest errors in all-replicas" in page.partition("<main>")[0]
    cards = section(page, "findings")
    shown = re.findall(r"badge (fail|inconclusive)", cards)
    rank = {"fail": 0, "inconclusive": 1}
    assert shown == sorted(shown, key=lambda status: rank[status])
    assert shown[0] == "fail"
    assert shown.count("fail") == sum(check.status is Status.FAIL for check in verdict.checks)
    before, _, others = cards.partition("<summary>The runbook&#39;s other entries")
    assert DRILL.runbook.splitlines()[0] in before
    card = next(one for one in before.split("<article")[1:] if "</span> honest errors in all-replicas" in one)
    assert "<strong>honest errors</strong>" in card
    assert "<strong>failures hidden</strong>" not in before
    assert "<strong>failures hidden</strong>" in others
    assert "<code>make status</code>" in others


def test_passed_run_shows_no_runbook(healthy_page: str) -> None:
    """What to do is only said when there is something to do."""
    assert 'id="findings"' not in healthy_page
    assert "The runbook" not in healthy_page


def test_failed_checks_give_request_ids(failed: RunFolder) -> None:
    """A red check leads to requests that can be looked up in the gateways' logs."""
    bad = next(c for c in verdicts.read(failed).checks if c.status is Status.FAIL and c.examples)
    assert bad.examples[0] in section((failed.path / "report.html").read_text(), "findings")


def test_interrupted_run_has_a_page(tmp_path: Path) -> None:
    """INCONCLUSIVE: a run that was cut off in its baseline renders, says so first, and shows no finished phase."""
    run = runs.healthy()
    begin, _ = run.span("baseline")
    run.events = [e for e in run.events if e["t_s"] <= begin]
    run.events.append({"t_s": begin + 3, "kind": "interrupted", "signal": "SIGINT"})
    run.requests = run.requests[run.requests["intended_start_s"] < begin + 3]
    run.recount()
    page = rendered(run.write(tmp_path / "run"))
    head = page.partition("<main>")[0]
    assert "badge inconclusive" in head
    assert "interrupted (SIGINT)" in head
    assert "unfinished" in section(page, "phases")
    assert "could not be drawn" not in page


@pytest.mark.parametrize("missing", ["metrics.parquet", "requests.parquet", "events.jsonl", "load-summary.json"])
def test_missing_file_is_not_measured(missing: str, tmp_path: Path) -> None:
    """A file that is not there gives a whole page that says so: no crash, and no pass."""
    folder = runs.healthy_run(tmp_path / "run")
    (folder.path / missing).unlink()
    page = rendered(folder)
    assert "badge inconclusive" in page.partition("<main>")[0]
    assert "could not be drawn" not in page


def test_missing_requests_are_no_zeros(tmp_path: Path) -> None:
    """Without requests no rate, latency or share is drawn, and no availability is shown."""
    run = runs.healthy()
    run.requests = run.requests.iloc[:0]
    page = rendered(run.write(tmp_path / "run"))
    inside = {re.search(r'id="([^"]*)"', tag)[1]: body for tag, body in figures(page)}  # type: ignore[index]
    for name in ("outcomes", "ttft", "share"):
        assert "not measured" in inside[name]
        assert "<svg" not in inside[name]
    assert section(page, "phases").count("not measured") >= 6
    assert not re.search(r"<td>0 %</td>|<td>0 ms</td>", section(page, "phases"))


def test_hostile_text_is_shown_not_run(tmp_path: Path) -> None:
    """Whatever a server answers or a check says is text: it opens no element and no script."""
    run = runs.healthy()
    bad = run.requests["error_type"].notna()
    run.requests.loc[bad, ["error_message", "error_code", "subtype"]] = HOSTILE
    run.requests.loc[bad, "request_id"] = HOSTILE
    run.plan |= {
        "title": HOSTILE,
        "hypothesis": HOSTILE,
        "command": HOSTILE,
        "runtime_why": HOSTILE,
        "runbook": HOSTILE,
    }
    for event in run.events:
        event["why"] = event["before"] = event["during"] = HOSTILE
    page = rendered(run.write(tmp_path / "run"))
    elements = Elements(page).tags
    assert not [attrs for tag, attrs in elements if tag == "img"]
    assert "alert('x')" not in page
    assert "&lt;script&gt;alert(" in section(page, "errors")
    assert sum(tag == "script" for tag, _ in elements) == 1 + page.count("<script type=")


def test_crashed_panel_is_shown_and_the_rest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel that cannot be drawn shows its traceback; every other panel is on the page."""

    def crash(*_: object) -> None:
        raise ValueError("no <such> column")

    monkeypatch.setattr(timeline, "html", crash)
    page = rendered(runs.healthy_run(tmp_path / "run"))
    shown = section(page, "timeline")
    assert "could not be drawn" in shown
    assert "ValueError: no &lt;such&gt; column" in shown
    assert page.count("could not be drawn") == 1
    assert "held</span>" in section(page, "checks")


def test_errors_are_grouped_with_ids(healthy_page: str) -> None:
    """Failed attempts stand with count, status, code and request ids, most frequent first."""
    shown, _, _ = section(healthy_page, "errors").partition("<h3>")
    rows = re.findall(r"<tr><td>(\d+)</td>(.*?)</tr>", shown)
    assert rows
    counts = [int(count) for count, _ in rows]
    assert counts == sorted(counts, reverse=True)
    assert "upstream_timeout" in shown
    assert "<td>504</td>" in shown
    assert re.search(r"[0-9a-f]{8}-\d{7}", shown)


def test_errors_say_why_an_answer_was_empty(tmp_path: Path) -> None:
    """Tokens that the server counted and did not send are told apart from an answer without any."""
    run = runs.healthy()
    hidden, silent = run.requests.index[:5], run.requests.index[5:10]
    run.requests.loc[[*hidden, *silent], ["outcome", "subtype", "ttft_ms", "content_events"]] = ["empty", None, None, 0]
    run.requests.loc[hidden, "subtype"] = TOKENS_NOT_SENT
    run.requests.loc[hidden, "output_tokens"] = [12, 48, 30, 1, 2]
    shown, _, _ = section(rendered(run.write(tmp_path / "run")), "errors").partition("<h3>")
    assert shown.count("usage counts up to 48 tokens, but none was sent") == 1
    assert shown.count("<td>empty</td>") == 1


def test_evidence_says_what_is_missing(tmp_path: Path) -> None:
    """A fault whose effect was never measured is NOT PROVEN, and one that was never healed says «never»."""
    run = runs.healthy()
    one = "all-replicas/timeout/gateway-a-to-replica-1"
    run.drop_events("fault_proven", "fault_healed", "heal_proven", fault=one)
    shown = panel_of(run.write(tmp_path / "run"), "evidence")
    row = next(r for r in re.findall(r"<tr>(.*?)</tr>", shown) if "never" in r)
    assert row.count("NOT PROVEN") == 2
    assert "gateway-a-to-replica-1" in row


def test_ids_are_unique_on_the_page(healthy_page: str) -> None:
    """Several pictures on one page share no element id: a clip path or marker of one never cuts another."""
    markup = re.sub(r"<script.*?</script>", "", healthy_page, flags=re.DOTALL)
    ids = re.findall(r'\sid="([^"]+)"', markup)
    assert sorted({one for one in ids if ids.count(one) > 1}) == []
    used = {a or b for a, b in re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', markup)}
    assert used <= set(ids), "something is referred to that is not there"


def suite(folder: RunFolder) -> ElementTree.Element:
    """The parsed junit.xml."""
    return ElementTree.fromstring((folder.path / "junit.xml").read_text())


def suite_of(folder: RunFolder) -> ElementTree.Element:
    """The same of a folder that is only judged, without its page."""
    verdicts.write(folder, verdicts.judge(folder, DRILL))
    return ElementTree.fromstring(junit.render(RunView(folder), verdicts.read(folder)))


def test_junit_agrees_with_the_verdict(failed: RunFolder) -> None:
    """Counts, names and texts of junit.xml are those of verdict.json: FAIL is a failure, INCONCLUSIVE an error."""
    verdict, found = verdicts.read(failed), suite(failed)
    every = (*verdict.validity, *verdict.checks)
    for attribute, status in (("failures", Status.FAIL), ("errors", Status.INCONCLUSIVE)):
        assert int(found.attrib[attribute]) == sum(r.status is status for r in every)
    assert int(found.attrib["tests"]) == len(every) == len(found.findall("testcase"))
    assert int(found.attrib["failures"]) > 0
    assert [case.attrib["name"] for case in found] == [r.name for r in every]
    red = {c.attrib["name"]: e.attrib["message"] for c in found for e in c.findall("failure")}
    assert red == {r.name: r.why for r in every if r.status is Status.FAIL}


def test_ctrf_agrees_with_the_verdict(failed: RunFolder) -> None:
    """ctrf.json keeps the format's schema; every result is a test in it, and one that was not judged has not passed."""
    document = json.loads((failed.path / "ctrf.json").read_text())
    jsonschema.validate(document, json.loads(CTRF_SCHEMA.read_text()))
    verdict, found = verdicts.read(failed), document["results"]
    every = (*verdict.validity, *verdict.checks)
    assert [(test["name"], test["rawStatus"], test["message"]) for test in found["tests"]] == [
        (one.name, one.status.value, one.why) for one in every
    ]
    words = {Status.PASS: "passed", Status.FAIL: "failed", Status.INCONCLUSIVE: "other", Status.SKIPPED: "skipped"}
    for status, word in words.items():
        assert found["summary"][word] == sum(one.status is status for one in every)
    assert found["summary"]["failed"] > 0
    assert found["summary"]["start"] < found["summary"]["stop"]


def test_junit_of_an_inconclusive_run_is_not_green(tmp_path: Path) -> None:
    """A run that proves nothing has errors in CI."""
    run = runs.healthy()
    run.drop_events("steady_state")
    found = suite_of(run.write(tmp_path / "run"))
    assert int(found.attrib["errors"]) > 0
    assert found.findall("testcase/error")


def test_junit_survives_text_that_xml_cannot_hold(tmp_path: Path) -> None:
    """Control characters of a broken answer do not make the file unreadable."""
    folder = runs.healthy_run(tmp_path / "run")
    verdict = verdicts.judge(folder, DRILL)
    odd = CheckResult("odd", Status.FAIL, "it said \x00\x1b[31m <&>", examples=("r\x07",))
    verdicts.write(folder, dataclasses.replace(verdict, checks=(odd,)))
    render.render(folder)
    assert suite(folder).find("testcase/failure") is not None


@pytest.mark.parametrize("change", [lambda v: v, lambda v: dataclasses.replace(v, checks=())])
def test_rendering_twice_gives_the_same_bytes(change: Callable[[Verdict], Verdict], tmp_path: Path) -> None:
    """The page is a function of the run folder."""
    folder = runs.healthy_run(tmp_path / "run")
    verdicts.write(folder, change(verdicts.judge(folder, DRILL)))
    first = render.render(folder).read_bytes()
    assert render.render(folder).read_bytes() == first


def test_numbers_as_people_write_them() -> None:
    """Three digits, thousands with commas, None is «not measured»."""
    assert panel.number(0.98765, "%") == "0.988 %"
    assert panel.number(12345.6, "ms") == "12,346 ms"
    assert "not measured" in panel.cell(None)


def test_capacity_is_shown_with_what_the_load_made_of_it(tmp_path: Path) -> None:
    """The share, the fitted rate, both capacities; a regression and a machine that is too small in their own words."""
    run = runs.healthy()
    point = Point(8, 20.0, 400.0, 18.0, 22.0, "engine queue: 3 requests waited")
    used = Capacity(point, None, 70.0, 100.0, None, "2026-11-01T12:00:00+00:00", provisional=("interference: others",))
    run.plan["capacity"] = {
        "asked": "25 % of capacity",
        "fitted": {"notes": ["25 % of capacity, which is 20/s here: 5/s"]},
        "used": capacity.as_data(used),
        "machine": "Some CPU",
        "regression": "regression of the stack: 30 % less",
    }
    run.events.append({"t_s": 0.1, "kind": "too_small", "why": "too small: it needs 30/s"})
    shown = panel_of(run.write(tmp_path / "run"), "capacity")
    for text in ("25 % of capacity, which is", "20/s (18 to 22)", "engine queue: 3", "no: interference: others"):
        assert text in shown, text
    assert "at least" not in shown
    used = dataclasses.replace(used, whole=dataclasses.replace(point, why=capacity.NO_MORE_USERS))
    run.plan["capacity"]["used"] = capacity.as_data(used)
    assert "at least 20/s (18 to 22)" in panel_of(run.write(tmp_path / "open"), "capacity")
    assert "regression of the stack: 30 % less" in shown
    assert "too small: it needs 30/s" in shown


def test_capacity_that_nobody_measured_is_no_number(tmp_path: Path) -> None:
    """A run of an earlier version, and one whose load is absolute on a machine that was never measured."""
    run = runs.healthy()
    for known in (None, {"asked": None, "fitted": None, "used": None, "regression": None}):
        run.plan["capacity"] = known
        shown = panel_of(run.write(tmp_path / "run"), "capacity")
        assert "Capacity was not measured on this machine" in shown


def test_the_machine_is_shown_with_what_disturbed_it(tmp_path: Path) -> None:
    """Curves, the sentence with numbers, the folded list of times; and nothing of the sort on a quiet machine."""
    run = runs.healthy()
    quiet = panel_of(run.write(tmp_path / "quiet"), "machine")
    assert "No interference on the machine" in quiet
    assert "<details>" not in quiet
    runs.disturb(run, 20.0, 26.0)
    disturbed = panel_of(run.write(tmp_path / "disturbed"), "machine")
    assert "The machine was disturbed for 6.0 s of 141 s: others used up to 1 cores; every check passed" in disturbed
    assert {"machine-cores", "machine-late"} <= set(Elements(disturbed).ids("figure"))
    assert disturbed.count("<tr>") == 2
    assert "<details><summary>One disturbed stretch, 6.0 s in all; the longest from 20.0 s for 6.0 s: " in disturbed
    runs.disturb(run, 40.0, 50.0)
    twice = panel_of(run.write(tmp_path / "twice"), "machine")
    assert "2 disturbed stretches, 16.0 s in all; the longest from 40.0 s for 10.0 s: others used" in twice


def test_what_the_machine_does_not_show_is_said(tmp_path: Path) -> None:
    """Nothing is known of a run that was not watched, and what could not be read stands there with its reason."""
    run = runs.healthy()
    run.events.insert(0, {"t_s": 0.4, "kind": "machine_unread", "unread": {"psi": "this kernel has none"}})
    assert "pressure (PSI): this kernel has none" in panel_of(run.write(tmp_path / "unread"), "machine")
    run.metrics = run.metrics[run.metrics["component"].ne("machine")]
    assert "was not watched" in panel_of(run.write(tmp_path / "old"), "machine")


def test_a_disturbed_run_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First of all on the page and in the terminal, and only where interference is the cause."""
    run = runs.healthy()
    run.metrics = run.metrics[~(run.metrics["component"].eq("gateway-b") & run.metrics["t_s"].between(60, 63))]
    advice = "Other work on this machine disturbed the run; no defect of the stack was found."
    for name, shown in (("quiet", False), ("disturbed", True)):
        folder = run.write(tmp_path / name)
        page = rendered(folder)
        assert (advice in page.partition("</header>")[0]) is shown
        pipeline.print_last_lines(folder, verdicts.read(folder))
        assert (advice in capsys.readouterr().out) is shown
        runs.disturb(run, 60.0, 63.0)


def test_junit_names_the_cause(tmp_path: Path) -> None:
    """A property of the suite where there is one, none elsewhere."""
    run = runs.healthy()
    run.metrics = run.metrics[~(run.metrics["component"].eq("gateway-b") & run.metrics["t_s"].between(60, 63))]
    found = {}
    for name in ("quiet", "disturbed"):
        suite = suite_of(run.write(tmp_path / name))
        found[name] = [p.attrib for p in suite.findall("./properties/property")]
        runs.disturb(run, 60.0, 63.0)
    assert found == {"quiet": [], "disturbed": [{"name": "cause", "value": "interference"}]}


def test_judge_and_page_look_at_one_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What both need of the records is read once."""
    folder, opened, init = runs.healthy().write(tmp_path / "run"), [], RunView.__init__

    def counted(self: RunView, folder: RunFolder) -> None:
        opened.append(folder)
        init(self, folder)

    monkeypatch.setattr(RunView, "__init__", counted)
    found = render.judged(folder, drill.load("timeout-spike"))
    assert (len(opened), found.status) == (1, verdicts.read(folder).status)
    assert (folder.path / "report.html").exists()
