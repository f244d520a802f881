"""``harness compare``: which runs are meant, what the terminal says, and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli import compare as cli
from harness.cli import main
from harness.evidence.index import Index
from harness.judge import compare, verdicts
from harness.judge.drill import load
from harness.model.errors import UsageError
from harness.run import pipeline
from reports.pages import compare as page
from tests.indexed import write
from tests.runs import Run, healthy


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's runs: a healthy one, and one in which every token comes half as late again."""
    folder = tmp_path_factory.mktemp("checkout") / "runs"
    stored(folder / "quick", healthy())
    slow = healthy()
    slow.requests["ttft_ms"] = slow.requests["ttft_ms"].astype(float) * 1.5
    slow.recount()
    slow.plan["gateway_policy"]["retries"] = "<b>5</b>"
    stored(folder / "slow", slow)
    return folder


def stored(path: Path, run: Run) -> None:
    """A judged run, whose id is its folder's name only where that is read."""
    folder = run.write(path)
    verdicts.write(folder, verdicts.judge(folder, load("timeout-spike")))
    folder.write_json("plan.json", {**run.plan, "run_id": path.name})
    (path / "report.html").write_text("")


@pytest.fixture(autouse=True)
def _checkout(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROOT", runs.parent)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("HISTORY", raising=False)


def test_the_same_run_twice(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing differs, on the terminal and on the page."""
    assert main.main(["compare", "quick", "quick"]) == 0
    out = capsys.readouterr().out
    assert "nothing differs" in out
    assert re.search(r"within noise: \d\d values", out)
    text = (runs / "compare-quick-quick.html").read_text()
    assert "<h1>Nothing differs</h1>" in text
    assert 'id="values"' not in text


def test_a_slower_run_is_listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With both values, the change, its interval and the counts; the page says the same and links to both reports."""
    assert main.main(["compare", "quick", "slow"]) == 0
    out = capsys.readouterr().out
    assert "nothing differs" not in out
    assert "intervals are about which requests were made" in out
    found = re.search(
        r"ttft_p50_ms in baseline: (.+) ms → (.+) ms\n +(\+.+ ms \(\+50 %\)), interval (\+.+) to (\+.+) ms", out
    )
    assert found
    text = (runs / "compare-quick-slow.html").read_text()
    for shown in found.groups():
        assert shown.strip() in text
    assert 'href="quick/report.html"' in text
    assert 'href="slow/report.html"' in text
    assert "gateway_policy.retries" in text
    assert "&lt;b&gt;5&lt;/b&gt;" in text
    assert "<b>5</b>" not in text
    assert "<script" not in text


def test_every_number_of_the_page_is_one_of_the_comparison(runs: Path) -> None:
    """Each difference has its row, whether it is folded or not."""
    found = compare.compare(compare.side(runs / "quick"), compare.side(runs / "slow"))
    text = page.html(found, runs)
    shown = text[text.index('id="values"') : text.index('id="rest"')]
    for one in found.values:
        assert page.between(one) in shown
        assert page.change(one.first, one.second, one.unit) in shown
    assert f"{len(found.within_noise)} values are within noise" in text


def test_long_lists_are_folded_and_short_ones_are_not(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows are shown, all are on the page, and both ends of each interval have their unit."""
    found = compare.compare(compare.side(runs / "quick"), compare.side(runs / "slow"))
    assert len(found.values) > 3
    for most, folded in ((3, True), (len(found.values), False)):
        monkeypatch.setattr(page, "SHOWN_MAX", most)
        text = page.html(found, runs)
        shown = text[text.index('id="values"') : text.index('id="configuration"')]
        assert (f"<summary>and {len(found.values) - most} more, which changed less</summary>" in shown) == folded
        assert shown.count("<tr><td>") == len(found.values)
        said = "\n".join(str(getattr(line, "renderable", line)) for line in cli.lines(found))
        assert (f"and {len(found.values) - most} more, see the page" in said) == folded
        assert said.count(", interval ") == most
    slow = next(one for one in found.values if one.unit == "ms")
    assert page.between(slow).count(" ms") == 2


def test_the_page_goes_where_it_shall(runs: Path, tmp_path: Path) -> None:
    """And links to the reports from there; a place that cannot be written is one line."""
    out = tmp_path / "deep" / "mine.html"
    out.parent.mkdir()
    assert main.main(["compare", "quick", "slow", "--out", str(out)]) == 0
    link = re.search(r'href="([^"]*quick/report.html)"', out.read_text())
    assert link
    assert (out.parent / link[1]).resolve() == runs / "quick" / "report.html"
    assert main.main(["compare", "quick", "slow", "--out", str(tmp_path / "nowhere" / "mine.html")]) not in (0, 70)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-a", "2026-a"),
        ("2026-ab", "2026-abc"),
        ("latest", "2027"),
        ("latest~1", "2026-abc"),
        ("latest~2", "2026-a"),
    ],
)
def test_runs_are_named(tmp_path: Path, text: str, expected: str) -> None:
    """By id, by its begin, or by how new they are."""
    for day, name in enumerate(("2026-a", "2026-abc", "2027")):
        write(tmp_path, name, day)
    with Index.open(tmp_path) as index:
        assert cli.resolve(index, text).name == expected


def test_a_folder_names_a_run(tmp_path: Path) -> None:
    """Also one that lies elsewhere, or is a link."""
    folder = write(tmp_path / "elsewhere", "one")
    (tmp_path / "link").symlink_to(folder)
    with Index.open(tmp_path / "runs") as index:
        assert cli.resolve(index, str(folder)) == folder
        assert cli.resolve(index, str(tmp_path / "link")) == folder


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026", "found 2026-a, 2026-b, expected"),
        ("none", "no such run"),
        ("latest~7", "found 2 runs"),
        (".", "no such run"),
    ],
)
def test_what_names_no_single_run_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """With what was found."""
    for day, name in enumerate(("2026-a", "2026-b")):
        write(tmp_path, name, day)
    with Index.open(tmp_path) as index, pytest.raises(UsageError, match=re.escape(why)):
        cli.resolve(index, text)


def test_a_run_without_records_is_compared_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is said first; a hostile reason is text."""
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    odd: dict[str, Any] = {"schema": 1, "status": "FAIL", "reason": "<i>\x1b[31m</i>", "checks": [], "validity": []}
    for day, name in enumerate(("a", "b")):
        write(tmp_path / "runs", name, day, judged=odd if name == "b" else None)
    assert main.main(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert out.index("not like with like: the records of a cannot be read") < out.index("verdict: PASS → FAIL")
    assert "\x1b" not in out
    assert "<i>" not in (tmp_path / "runs" / "compare-a-b.html").read_text()
    assert json.loads((tmp_path / "runs" / "b" / "verdict.json").read_text()) == odd
