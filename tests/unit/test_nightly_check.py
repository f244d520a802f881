"""The dead man's switch: it is silent while there are nights, and says what is missing when there are none."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main, nightly_check
from harness.judge import drill
from harness.model.errors import UsageError
from harness.model.night import UNJUDGED_NIGHTS, Night, unjudged
from harness.model.night import write as kept
from harness.model.notify import Command, Notify
from harness.run.nightly_check import NOTIFIES_WITHIN, check, nights

ZONE = dt.timezone(dt.timedelta(hours=2))
BY = dt.time(7)
OOM, SPIKE = "oom/process/sim", "timeout-spike/process/sim"


def at(day: int, hour: float) -> dt.datetime:
    """That hour of a day of November, in a zone that is not UTC."""
    return dt.datetime(2026, 11, day, tzinfo=ZONE) + dt.timedelta(hours=hour)


def night(day: int, ended: float | None = 4.0, **more: Any) -> Night:
    """A night that began at two."""
    statuses = {OOM: "PASS", SPIKE: "FAIL"} | more.pop("statuses", {})
    return of("nightly", day, ended and at(day, ended), statuses, **more)


def of(suite: str, day: int, ended: dt.datetime | None, statuses: dict[str, str | None], **more: Any) -> Night:
    """One of that suite; statuses by entry."""
    entries = [
        {"id": name, "drill": "d", "scenario": "d", "runtime": "process", "engine": "sim", "status": status}
        for name, status in statuses.items()
    ]
    known = {"suite": suite, "run_id": f"{suite}-2026-11-{day}", "seed": 1, "started": at(day, 2), "ended": ended}
    return Night.model_validate({**known, "commit": "", "machine": "", "entries": entries, **more})


def kinds(found: list[Night], now: dt.datetime) -> list[str]:
    """Of what people should hear."""
    return [event.kind for event in check(found, "nightly", BY, now)]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at(27, 6.9), []),  # it has ended at four
        (at(27, 23), []),
        (at(28, 6.9), []),  # tonight's is not due yet
        (at(28, 7.0), ["missing"]),
        (at(29, 6.9), ["missing"]),
    ],
)
def test_a_night_is_due_by_its_hour(now: dt.datetime, expected: list[str]) -> None:
    """Until then that of the day before is enough, in local time."""
    assert kinds([night(26), night(27)], now) == expected


def test_a_late_night_is_a_night() -> None:
    """One that ended after its hour is there when somebody asks later; one that ends in the future is not."""
    late = [night(27), night(28, ended=9.0)]
    assert kinds(late, at(28, 8)) == ["missing"]
    assert kinds(late, at(28, 10)) == []


def test_a_night_that_did_not_end_is_named() -> None:
    """With the last that did."""
    (event,) = check([night(26), night(28, ended=None)], "nightly", BY, at(28, 8))
    assert event.headline == "nightly: no finished night by 07:00 of 2026-11-28"
    assert event.details[0].startswith("the last night that ended: nightly-2026-11-26 (")
    assert event.details[1].startswith("begun since, and not ended: nightly-2026-11-28 (")
    assert event.night == "nightly-2026-11-26"


def test_where_there_never_was_one_it_says_so() -> None:
    """Also where only another suite ran."""
    other = of("weekly", 28, at(28, 4), {})
    for found in ([], [other]):
        (event,) = check(found, "nightly", BY, at(28, 8))
        assert event.details == ("none has ever ended",)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("INCONCLUSIVE", "INCONCLUSIVE", "INCONCLUSIVE"), ["not_judged"]),
        ((None, "SKIPPED", "INCONCLUSIVE"), ["not_judged"]),
        (("FAIL", None, "INCONCLUSIVE"), []),
        (("INCONCLUSIVE", None, "PASS"), []),
        (("PASS", "PASS", "PASS"), []),
    ],
)
def test_a_drill_has_to_be_judged_in_one_of_three_nights(statuses: tuple[str | None, ...], expected: list[str]) -> None:
    """PASS or FAIL; a drill that was not run says as little as an INCONCLUSIVE one."""
    found = [night(26 + number, statuses={OOM: status}) for number, status in enumerate(statuses)]
    assert kinds(found, at(28, 8)) == expected
    assert kinds(found[1:], at(28, 8)) == [], "two nights are not three"


def test_only_drills_of_the_last_night_are_expected() -> None:
    """One that the suite has no more is nobody's loss; one that is new has had no three nights."""
    sick = {"old": "INCONCLUSIVE"}
    assert kinds([night(26, statuses=sick), night(27, statuses=sick), night(28)], at(28, 8)) == []
    assert kinds([night(26), night(27, statuses=sick), night(28, statuses=sick)], at(28, 8)) == []


def test_what_was_not_judged_is_named() -> None:
    """With what each night came to."""
    found = [night(26 + number, statuses={OOM: status}) for number, status in enumerate((None, "INCONCLUSIVE", None))]
    (event,) = check(found, "nightly", BY, at(28, 8))
    assert event.headline == f"nightly: 1 of 2 not judged for {UNJUDGED_NIGHTS} nights running"
    assert event.details == (f"{OOM}: not run, INCONCLUSIVE, not run",)


def test_nights_without_a_drill_do_not_count() -> None:
    """As on the page: what was not judged on Monday, Wednesday and Friday was not judged for three nights running."""
    sick = {"weekly": "INCONCLUSIVE"}
    found = [night(24, statuses=sick), night(25), night(26, statuses=sick), night(27), night(28, statuses=sick)]
    assert kinds(found, at(28, 8)) == ["not_judged"]
    assert [one.run_id for one in unjudged(found)["weekly"]] == [found[i].run_id for i in (4, 2, 0)]
    assert kinds([*found[:2], night(26, statuses={"weekly": "PASS"}), *found[3:]], at(28, 8)) == []


@pytest.mark.parametrize(("told", "expected"), [(False, ["missing"]), (True, []), (None, [])])
def test_a_night_that_told_nobody_is_told(told: bool | None, expected: list[str]) -> None:
    """It was killed between its end and its notification. An earlier version did not note it."""
    found = [night(27, told=True), night(28, told=told)]
    assert kinds(found, at(28, 8)) == expected
    assert kinds(found, at(28, 4) + NOTIFIES_WITHIN) == [], "it may be making its page"
    assert kinds([night(27, told=False), night(28, told=True)], at(28, 8)) == [], "the next one has told its own"


def test_what_it_should_have_told_is_named() -> None:
    """What did not pass, and what to do."""
    (event,) = check([night(28, told=False)], "nightly", BY, at(28, 8))
    assert "nightly-2026-11-28 has ended" in event.headline
    assert "--resume" in event.headline
    assert event.details == (f"{SPIKE}: FAIL",)


def write(runs: Path, one: Night) -> None:
    """As a night keeps it."""
    (runs / one.run_id).mkdir()
    kept(runs / one.run_id, one)


def test_nights_are_read_as_they_were_kept(tmp_path: Path) -> None:
    """By their start, whatever else lies in the folder."""
    wanted = [night(26), night(27, ended=None), night(28)]
    for one in reversed(wanted):
        write(tmp_path, one)
    (tmp_path / "20261128-120000-oom-0001").mkdir()
    assert nights(tmp_path) == wanted
    assert nights(tmp_path / "nowhere") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"suite": "nightly", "ended": 7}', "[" * 100_000])
def test_a_night_that_cannot_be_read_has_not_ended(tmp_path: Path, text: str) -> None:
    """It is no result, and nothing is raised."""
    (tmp_path / "nightly-2026-11-28").mkdir()
    (tmp_path / "nightly-2026-11-28" / "suite.json").write_text(text)
    (found,) = nights(tmp_path)
    assert (found.run_id, found.ended) == ("nightly-2026-11-28", None)
    assert kinds([found], at(28, 8)) == ["missing"]


def test_a_pipe_in_the_place_of_a_night_is_not_waited_for(tmp_path: Path) -> None:
    """The dead man's switch would be silent for ever."""
    (tmp_path / "nightly-2026-11-28").mkdir()
    os.mkfifo(tmp_path / "nightly-2026-11-28" / "suite.json")
    (found,) = nights(tmp_path)
    assert kinds([found], at(28, 8)) == ["missing"]


def test_it_tells_people_and_ends_with_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One who cannot be told is said on stderr; the exit code is that of what was found."""
    tell = Command(
        argv=(sys.executable, "-c", f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())")
    )
    config = Notify(commands=(tell, Command(argv=("/no/such/program",))), timeout="60s")
    assert nightly_check.check("nightly", "07:00", tmp_path / "runs", config) == nightly_check.NOT_WELL
    shown = capsys.readouterr()
    assert json.loads((tmp_path / "got").read_text())["kind"] == "missing"
    assert "no finished night by 07:00" in shown.out
    assert shown.err.startswith("notification failed: the command /no/such/program was not told of «missing»")


def test_where_all_is_well_nobody_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence, and 0."""
    now = dt.datetime.now().astimezone()
    write(tmp_path, of("nightly", 1, now, {OOM: "PASS"}, started=now - dt.timedelta(hours=1)))
    deaf = Notify(commands=(Command(argv=("/no/such/program",)),))
    assert nightly_check.check("nightly", "07:00", tmp_path, deaf) == 0
    shown = capsys.readouterr()
    assert "a night has ended since 07:00 of the day before" in shown.out
    assert shown.err == ""


def test_it_tells_those_whom_the_suite_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the night does; and asks for nights by the name in the file. A file that is wrong silences nobody."""
    file = tmp_path / "mine.yaml"
    told = f"notify:\n  commands: [{{argv: [touch, {tmp_path / 'got'}]}}]\n"
    file.write_text(f"name: weekly\nbudget: 20m\nentries: [{{drill: oom}}]\n{told}")
    assert nightly_check.check(str(file), "07:00", tmp_path) == nightly_check.NOT_WELL
    assert (tmp_path / "got").exists()
    assert "weekly: no finished night" in capsys.readouterr().out
    file.write_text("name: weekly\n")
    assert nightly_check.check(str(file), "07:00", tmp_path, Notify()) == nightly_check.NOT_WELL
    assert "receivers are those of the environment" in capsys.readouterr().err


def test_the_program_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With suite and hour; an hour that is none is refused."""
    monkeypatch.setattr(drill, "ROOT", tmp_path)
    for name in ("NOTIFY_WEBHOOK", "SLACK_WEBHOOK", "NOTIFY_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    assert main.main(["nightly-check", "--suite", "weekly", "--by", "08:30"]) == nightly_check.NOT_WELL
    assert main.main(["nightly-check", "--by", "late"]) == UsageError.exit_code
