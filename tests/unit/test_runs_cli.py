"""``harness runs``: what was run, and what lies among the runs without being one."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main, runs
from harness.model.errors import UsageError
from harness.run import pipeline
from tests.indexed import verdict, write

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs of a checkout in which a few drills were run."""
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HISTORY", raising=False)
    found = tmp_path / "runs"
    write(found, "20261101-one", 0)
    red = verdict("FAIL", reason="recovery: took [bold]41 s[/bold]\x1b]52;c;x\x07")
    write(found, "20261102-two", 1, drill="oom", scenario={"name": "oom-wide"}, judged=red)
    write(found, "20261103-three", 2, judged={}, defects={"sim.slow": "slow"})
    (found / "empty").mkdir()
    return found


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Ids of what is listed with these options."""
    assert main.main(["runs", "--json", *words]) == 0
    return [run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]]


def test_the_table_shows_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Newest last, with why where it is no PASS; text of others is text; what cannot be read is named."""
    assert main.main(["runs"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["run", "verdict", "took", "commit"]
    assert lines[1].split() == ["20261101-one", "PASS", "140", "s", "aaaaaaaa"]
    assert lines[2].split() == ["20261102-two", "FAIL", "140", "s", "aaaaaaaa"]
    assert lines[3].startswith("    oom-wide; recovery: took [bold]41 s[/bold]")
    assert "no verdict" in lines[4]
    assert lines[5].startswith("    with defects; no verdict: the run goes on")
    assert lines[6] == "all: on sim process, machine 0123abcd (AMD EPYC, 2 cores, 24 GiB)"
    assert "\x1b" not in out
    assert "not in the table: 1 entries" in out
    assert "runs/empty: there is no plan.json" in out


def test_what_is_not_the_same_has_its_column(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of two machines, or of two engines, are told apart in their lines."""
    write(checkout, "20261104-four", 3, engine="vllm", machine={"key": "ffff", "name": "another"})
    assert main.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "verdict", "took", "commit", "on", "machine"]
    assert lines[6].endswith("vllm process  ffff (another)")
    assert not [line for line in lines if line.startswith("all:")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["20261101-one", "20261102-two", "20261103-three"]),
        (("--drill", "oom"), ["20261102-two"]),
        (("--verdict", "pass"), ["20261101-one"]),
        (("--verdict", "INCONCLUSIVE"), []),
        (("--verdict", "none"), ["20261103-three"]),
        (("--since", "2026-11-02"), ["20261102-two", "20261103-three"]),
        (("--since", "999999d"), ["20261101-one", "20261102-two", "20261103-three"]),
        (("--commit", "aaaa", "--machine", "epyc", "--drill", "oom-wide"), ["20261102-two"]),
        (("--commit", "b"), []),
        (("--night", "nightly-2026-11-01"), []),
    ],
)
def test_filters(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: list[str]) -> None:
    """All that is typed has to match."""
    assert listed(capsys, *words) == expected


def test_json_says_what_the_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    """No verdict is null and not INCONCLUSIVE; what is no run is there with its reason."""
    assert main.main(["runs", "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [run["status"] for run in data["runs"]] == ["PASS", "FAIL", None]
    assert [Path(one["path"]).name for one in data["unread"]] == ["empty"]


def test_other_machines_count_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --history or HISTORY; a folder that is not there is wrong usage, and not an empty history."""
    write(tmp_path / "other", "20261101-there", 0.5, machine={"key": "ffff", "name": "another"})
    assert "20261101-there" not in listed(capsys)
    assert "20261101-there" in listed(capsys, "--history", str(tmp_path / "other"))
    monkeypatch.setenv("HISTORY", str(tmp_path / "other"))
    assert listed(capsys, "--machine", "another") == ["20261101-there"]
    assert main.main(["runs", "--history", str(tmp_path / "nowhere")]) == 64
    assert "expected one that holds run folders" in capsys.readouterr().err


def test_without_runs_it_says_so(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was run is another answer than nothing matches."""
    assert main.main(["runs", "--drill", "none"]) == 0
    assert "no run matches" in capsys.readouterr().out
    monkeypatch.setattr(pipeline, "ROOT", checkout / "empty")
    assert main.main(["runs"]) == 0
    assert "there are no runs yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - dt.timedelta(days=7)),
        ("12h", NOW - dt.timedelta(hours=12)),
        ("2026-11-20", dt.datetime(2026, 11, 20, tzinfo=dt.UTC)),
        ("2026-11-20T10:00+02:00", dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)),
    ],
)
def test_since_is_a_date_or_a_time_ago(text: str, expected: dt.datetime) -> None:
    """Dates are in UTC, as the table's are."""
    assert runs.since(text, NOW) == expected


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--since", "7w"), ("--verdict", "green")])
def test_what_is_none_of_it_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    """One line with what was expected, exit 64."""
    assert main.main(["runs", *words]) == UsageError.exit_code
    assert "expected" in capsys.readouterr().err
