"""The nightly page: every entry of every night once, text stays text, a gap is no value, and what was never tried."""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cli import main, nightly_page
from harness.judge.failure_modes import FailureMode, Use
from harness.model import night as stored
from harness.model.night import Attempt, Entry, Night
from harness.model.verdict import Status
from reports import panel
from reports.nights import coverage, flakiness, matrix, regressions, tonight, trend
from reports.pages import nightly
from reports.pages.nightly import History
from tests import nights

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
PAGE_BYTES_MAX = 2 * 1024 * 1024
STATUSES = (Status.PASS, Status.FAIL, Status.INCONCLUSIVE)


def a_night(number: int, *entries: Entry, commit: str = "a" * 40, machine: str = "m") -> Night:
    """One night, so many days after the first."""
    began = nights.FIRST + dt.timedelta(days=number)
    return Night(
        suite="nightly", run_id=f"nightly-{began:%Y-%m-%d}", seed=1, started=began, ended=began, commit=commit,
        machine=machine, entries=entries,
    )  # fmt: skip


def an_entry(name: str, *statuses: Status, not_run: str = "") -> Entry:
    """With these attempts, the last of which is the result."""
    attempts = tuple(
        Attempt(run_id=f"{name}-{i}", status=one, exit_code=one.exit_code, reason="why", duration_s=1.0)
        for i, one in enumerate(statuses)
    )
    return Entry(
        id=f"{name}/process/sim", drill=name, scenario=name, runtime="process", engine="sim", attempts=attempts,
        status=statuses[-1] if statuses else None, not_run=not_run,
    )  # fmt: skip


class Tags(HTMLParser):
    """Names and attributes of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.found.append((tag, dict(attrs)))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["oom", "swap", "kill"]), st.lists(st.sampled_from(STATUSES), max_size=3)),
        min_size=1, max_size=8,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_entry_of_every_night_stands_once_in_the_matrix(found: list[dict[str, list[Status]]]) -> None:
    """Each attempt with its letter, what was not run with its reason, and nothing else."""
    made = [a_night(i, *(an_entry(k, *v, not_run="" if v else "budget") for k, v in one.items()))
            for i, one in enumerate(found)]  # fmt: skip
    (one,) = matrix.of(made, {})
    shown = [
        (night.run_id, e.id) for row in one.rows for night, c in zip(one.nights, row.cells, strict=True) for e in c
    ]
    assert sorted(shown) == sorted((night.run_id, entry.id) for night in made for entry in night.entries)
    drawn = str(matrix.draw(one, lambda run: f"../{run}/report.html"))
    entries = [entry for night in made for entry in night.entries]
    assert len(re.findall(r'<a class="(?:early|last)"', drawn)) == sum(len(entry.attempts) for entry in entries)
    assert drawn.count('class="notrun"') == sum(entry.status is None for entry in entries)


def test_only_the_last_nights_are_shown_and_machines_stay_apart() -> None:
    """Newest on the right; the machine of the newest night comes first."""
    made = [a_night(i, an_entry("oom", Status.PASS)) for i in range(matrix.NIGHTS_MAX + 3)]
    first, second = matrix.of([*made, a_night(40, an_entry("oom", Status.FAIL), machine="other")], {"other": "EPYC"})
    assert (first.name, second.name) == ("EPYC", "m")
    assert list(second.nights) == made[3:]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Drill, scenario, machine, reason, run id: none makes an element or leaves its attribute."""
    made = nights.make(8, tmp_path, machine=HOSTILE, scenarios={HOSTILE: HOSTILE}, slower_since=4)
    page = nightly.render(History(made.nights, made.runs, made.series, [HOSTILE]), tmp_path / "n", [HOSTILE])
    tags = Tags(page).found
    assert not {"script", "img"} & {tag for tag, _ in tags}
    assert not [attributes for _, attributes in tags if "onerror" in attributes]
    assert "&lt;script&gt;" in page


def test_the_page_is_one_file_below_2_mb(tmp_path: Path) -> None:
    """A real night's size: eleven entries, sixty nights, a hundred series each; nothing is fetched."""
    made = nights.make(60, tmp_path, scenarios={f"drill-{i}": "oom" for i in range(11)}, slower_since=40)
    page = nightly.render(made.history(), tmp_path / "n")
    assert len(page.encode()) < PAGE_BYTES_MAX
    for tag, attributes in Tags(page).found:
        assert tag not in ("script", "link") or attributes.get("href") == "data:,"
        assert attributes.get("src") is None


def test_an_inconclusive_run_is_a_gap_whatever_it_measured(tmp_path: Path) -> None:
    """Also where a number stands beside it; a night in which it was not run is one, too."""
    made = nights.make(12, tmp_path)
    known = trend.Known(lambda run: None, lambda run: {})
    for one in trend.of(made.nights, made.series, known):
        for number, run in enumerate(one.runs):
            if run is None or (run.status is Status.INCONCLUSIVE and one.key.id != trend.CAPACITY):
                assert one.values[number] is None


def test_a_slower_service_is_a_regression_with_its_night(tmp_path: Path) -> None:
    """TTFT half as long again since one night: found, and dated; without the step nothing is said."""
    slower = nights.make(24, tmp_path / "a", slower_since=18)
    page = nightly.render(slower.history(), tmp_path / "n")
    assert "Since the night of 2026-10-19" in page
    worse = nightly.worse(slower.history(), slower.nights[-1])
    assert {series.partition("/")[0] for _, series in worse} >= {"ttft_p50_ms", "ttft_p95_ms"}
    assert all("since the night of 2026-10-19" in line for line in worse.values())
    quiet = nights.make(24, tmp_path / "b")
    page = nightly.render(quiet.history(), tmp_path / "n")
    assert "No series has regressed" in page
    assert "nothing regressed" in page
    assert nightly.worse(quiet.history(), quiet.nights[-1]) == {}
    assert "once it has held one level for 5 nights" in page


def test_what_changed_is_looked_for_since_the_last_night_with_a_value(tmp_path: Path) -> None:
    """Nights between that were not judged may have had the change already: their runs are of neither level."""
    made = nights.make(30, tmp_path, scenarios={"oom": "oom"}, slower_since=18)
    lost = {night.run_id for night in made.nights[18:21]}
    series = {
        key: [(run, replace(value, value=None) if run.night in lost else value) for run, value in line]
        for key, line in made.series.items()
    }
    steps = regressions.steps(trend.of(made.nights, series, trend.Known(lambda run: None, lambda run: {})))
    assert {step.since.run_id for step in steps} == {made.nights[21].run_id}
    for step in steps:
        measured = [run for run, value in series[step.trend.key] if value.value is not None]
        assert step.before == [run for run in measured if run.night < step.since.run_id][-1]
        assert any(run.night in lost for run, _ in series[step.trend.key])


def test_a_capacity_that_is_only_provisional_is_not_called_never_measured(tmp_path: Path) -> None:
    """It is in the index only where it was measured; an indicator without any value was not."""
    made = nights.make(3, tmp_path, scenarios={"oom": "oom"})
    for key, line in made.series.items():
        if key.id in ("capacity", "goodput/fault"):
            made.series[key] = [(run, replace(value, value=None)) for run, value in line]
    page = nightly.render(made.history(), tmp_path / "n")
    assert "<b>Never measured in these nights:</b> goodput/fault</p>" in page
    assert "<b>Measured, but only provisionally or in runs that were not judged:</b> capacity</p>" in page


def test_after_one_night_nothing_is_called_the_same_in_every_night(tmp_path: Path) -> None:
    """What has one value has not been the same twice: it is folded, and counted. From two on it is said."""
    for count, folded, same in ((1, True, False), (6, False, True)):
        made = nights.make(count, tmp_path, scenarios={"oom": "oom"}, seed=3)
        page = nightly.render(made.history(), tmp_path / made.nights[-1].run_id)
        assert (" series measured in one night so far</summary>" in page) == folded
        assert ("The same value in every night:" in page) == same


def test_that_nothing_regressed_is_said_only_where_it_could_be_seen(tmp_path: Path) -> None:
    """Three nights prove nothing about the fourth."""
    few = nights.make(3, tmp_path)
    page = nightly.render(few.history(), tmp_path / "n")
    assert "nothing regressed" not in page
    assert "too few nights yet to see a regression" in page


def test_what_another_suite_drilled_is_not_this_ones_to_tell(tmp_path: Path) -> None:
    """Neither its exit code nor its notifications rest on it."""
    slower = nights.make(24, tmp_path, slower_since=18)
    other = slower.nights[-1].model_copy(update={"suite": "weekly", "run_id": "weekly-1", "entries": ()})
    history = replace(slower.history(), nights=[*slower.nights, other])
    assert nightly.worse(history, slower.nights[-1])
    assert nightly.worse(history, other) == {}


def test_no_night_is_said() -> None:
    """And what was never drilled is shown all the same."""
    page = nightly.render(History(), Path("n"))
    assert "No night that can be read was found" in page
    assert "Never drilled" in page


def test_the_page_of_a_night_is_about_that_night() -> None:
    """Not about another machine's, nor one that a clock which went back has dated later; without it, the newest."""
    tonight_, later = a_night(1, an_entry("oom", Status.FAIL)), a_night(9, an_entry("oom", Status.PASS))
    other = a_night(5, an_entry("oom", Status.PASS), machine="other")
    page = nightly.render(History([tonight_, later, other]), Path(tonight_.run_id))
    assert f"<title>FAIL · {tonight_.run_id}" in page
    assert "On other, night of" in page
    assert f"<title>PASS · {later.run_id}" in nightly.render(History([tonight_, later, other]), Path("elsewhere"))


def test_a_report_in_a_folder_whose_name_is_no_utf_8_is_linked(tmp_path: Path) -> None:
    """Byte by byte, on both pages that link to reports; one that is not there is no address."""
    run = tmp_path / os.fsdecode(b"r\xff n")
    run.mkdir()
    assert panel.report_address(run, tmp_path / "night") == ""
    (run / "report.html").touch()
    assert panel.report_address(run, tmp_path / "night") == "../r%FF%20n/report.html"


def test_what_this_checkout_has_of_a_night_counts(tmp_path: Path) -> None:
    """A copy from before its end does not, and one of the same name from a machine of that kind is another night."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    own = a_night(1, an_entry("oom", Status.FAIL))
    copy = own.model_copy(update={"ended": None, "entries": (an_entry("oom", Status.PASS),)})
    for runs, one in ((mine, own), (theirs, copy)):
        (runs / one.run_id).mkdir(parents=True)
        stored.write(runs / one.run_id, one)
    assert nightly_page.history(mine, [theirs]).nights == [own]
    another = copy.model_copy(update={"started": own.started - dt.timedelta(minutes=5)})
    stored.write(theirs / copy.run_id, another)
    assert nightly_page.history(mine, [theirs]).nights == [own, another]


def test_a_night_in_one_sentence() -> None:
    """Each entry is counted once, with names and reasons; the worst gives the word."""
    entries = (an_entry("oom", Status.FAIL), an_entry("swap", Status.INCONCLUSIVE), an_entry("kill", not_run="budget"))
    said = tonight.sentence(a_night(0, *entries, an_entry("dns", Status.PASS)), [], [], [])
    assert said == (
        "1 of 4 failed (oom/process/sim); 1 passed; 1 could not be judged (swap/process/sim); "
        "1 not run (kill/process/sim: budget); too few nights yet to see a regression."
    )
    assert tonight.status(a_night(0, *entries), regressed=True) == "FAIL"
    assert tonight.status(a_night(0, entries[1]), regressed=True) == "REGRESSION"
    assert tonight.status(a_night(0, entries[1]), regressed=False) == "INCONCLUSIVE"
    assert tonight.status(a_night(0, an_entry("dns", Status.PASS)), regressed=False) == "PASS"


def test_flakiness_is_retries_and_flips_without_a_commit() -> None:
    """A flip after a commit may have its reason; nights that were not judged neither flip nor hide a flip."""
    p, f, i = STATUSES
    found = [(p,), (f,), (i, p), (), (i, i), (f,)]
    made = [a_night(n, an_entry("oom", *statuses)) for n, statuses in enumerate(found)]
    (one,) = flakiness.of(matrix.of(made, {})[0])
    assert (one.ran, one.retried, one.flipped, one.flaky) == (5, 2, 3, 4)
    other = [a_night(0, an_entry("oom", p)), a_night(1, an_entry("oom", f), commit="b" * 40)]
    assert flakiness.of(matrix.of(other, {})[0])[0].flaky == 0


@pytest.mark.parametrize(("judged", "expected"), [(0, [4]), (2, []), (1, [3])])
def test_three_nights_without_a_verdict_are_said(judged: int, expected: list[int]) -> None:
    """Running, up to the newest one; PASS and FAIL end it."""
    statuses = [[Status.PASS] if judged and i == judged - 1 else [Status.INCONCLUSIVE] for i in range(4)]
    made = [a_night(i, an_entry("oom", *one)) for i, one in enumerate(statuses)]
    assert [one.nights for one in regressions.unjudged(matrix.of(made, {})[0])] == expected


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        (["", "too_small"], [1]),
        (["", "not_steady"], [1]),
        (["", "not_steady", "interference"], [2]),  # it lasts
        (["", "interference"], []),
        (["", "interference", "too_small"], []),  # the night before was not valid
        (["too_small"], []),  # the first night ever
        (["", "none"], []),
        (["", "too_small", ""], []),  # judged again
    ],
)
def test_no_longer_judged_on_an_undisturbed_machine_is_a_regression(causes: list[str], expected: list[int]) -> None:
    """Right after a night in which it was judged, here "": said on the page, in its sentence, and as what is worse."""
    found = [an_entry("oom", Status.INCONCLUSIVE if cause else Status.PASS) for cause in causes]
    made = [
        a_night(i, one.model_copy(update={"attempts": (one.attempts[0].model_copy(update={"cause": cause}),)}))
        for i, (one, cause) in enumerate(zip(found, [{"none": ""}.get(one, one) for one in causes], strict=True))
    ]
    (rows,) = matrix.of(made, {})
    assert [one.nights for one in regressions.unjudged(rows)] == expected
    worse = nightly.worse(History(made), made[-1])
    assert list(worse) == [("oom/process/sim", "")] * len(expected)
    page = nightly.render(History(made), Path(made[-1].run_id))
    assert ("No longer judged since the night of" in page) == bool(expected)
    assert ("no longer judged, although nothing disturbed the machine" in page) == bool(expected)


def test_a_second_attempt_beside_interference_is_no_regression() -> None:
    """Nothing may have disturbed any attempt of that night."""
    entry = an_entry("oom", Status.INCONCLUSIVE, Status.INCONCLUSIVE)
    for causes, undisturbed in ((("interference", "too_small"), ""), (("not_steady", "too_small"), "too_small")):
        attempts = tuple(a.model_copy(update={"cause": c}) for a, c in zip(entry.attempts, causes, strict=True))
        assert entry.model_copy(update={"attempts": attempts}).undisturbed == undisturbed


def test_coverage_rests_on_proofs(tmp_path: Path) -> None:
    """What was planned and not proven was never drilled; old is old; what no scenario does is said."""
    made = nights.make(1, tmp_path, scenarios={"oom": "oom"}, seed=3)
    run = made.runs[-1]
    assert run.status is Status.PASS
    modes = [FailureMode(name, "fault", "It breaks") for name in ("kill", "oom", "reset")]
    uses = [Use("oom", "oom", ("replica-2",)), Use("oom", "kill", ("replica-1",))]
    late = run.started + dt.timedelta(days=15)
    found = {one.mode.type: one for one in coverage.of(modes, uses, made.runs, late, lambda _: frozenset({"oom"}))}
    assert {name: one.state for name, one in found.items()} == {"kill": "never", "oom": "stale", "reset": "never"}
    assert (found["oom"].age_nights, found["reset"].by) == (15, ())
    soon = coverage.of(modes, uses, made.runs, run.started, lambda _: frozenset({"oom"}))
    assert soon[-1].state == "fresh"


def test_the_command_makes_the_page_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the newest night in the folder; a folder without a night is refused in a sentence."""
    assert main.main(["nightly-page", str(tmp_path)]) == 64
    assert "found no night" in capsys.readouterr().err
    folder = tmp_path / "nightly-2026-10-01"
    folder.mkdir()
    stored.write(folder, a_night(0, an_entry("oom", Status.PASS)))
    assert main.main(["nightly-page", str(tmp_path)]) == 0
    assert "the only drill passed" in (folder / nightly.PAGE).read_text()
