"""What is new against the last good run: what changed is said, what did not is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from harness.model.verdict import CheckResult, Status, Verdict
from reports import since
from tests import indexed, runs


def verdict(**checks: CheckResult) -> Verdict:
    """Of these checks, by their ids."""
    return Verdict(Status.PASS, "", (), tuple(checks.values()))


def check(id_: str, status: Status = Status.PASS, measured: float | None = 1.0, **more: object) -> CheckResult:
    """One with a value."""
    said: Mapping[str, object] = {"unit": "s", "margin": 9.0, **more}
    return CheckResult(f"the name of {id_}", status, "why", measured=measured, id=id_, **said)  # type: ignore[arg-type]


def test_a_changed_status_is_said_the_worst_first() -> None:
    """Of two that changed, FAIL comes first; one that is as it was is not there."""
    before = verdict(a=check("a"), b=check("b"), c=check("c"))
    now = verdict(a=check("a", Status.INCONCLUSIVE), b=check("b", Status.FAIL), c=check("c"))
    assert [*since.changed(before, now)] == ["the name of b: FAIL, was PASS", "the name of a: INCONCLUSIVE, was PASS"]
    assert [*since.changed(now, now)] == []


def test_a_question_that_is_new_or_gone_is_said() -> None:
    """A new one that holds is no news."""
    before, now = verdict(a=check("a")), verdict(b=check("b"), c=check("c", Status.FAIL))
    assert [*since.changed(before, now)] == [
        "the name of c: FAIL, was not asked",
        "no longer asked: the name of a",
    ]


@pytest.mark.parametrize(
    ("then", "now", "more", "said"),
    [
        (1.0, 6.0, {}, True),
        (1.0, 5.0, {}, False),  # less than half of its margin
        (100.0, 105.0, {}, False),  # less than a tenth of itself
        (100.0, 98.0, {"unit": "%", "margin": 1.0}, True),
        (100.0, 99.5, {"unit": "%", "margin": 0.5}, False),
        (1.0, None, {}, False),
        (0.0, 0.0, {"margin": 0.0}, False),
    ],
)
def test_only_values_that_moved_by_much_are_said(
    then: float, now: float | None, more: dict[str, object], said: bool
) -> None:
    """Half of the margin and a tenth of the value, or a point of a percentage."""
    before, after = verdict(a=check("a", measured=then, **more)), verdict(a=check("a", measured=now, **more))
    assert bool([*since.moved(before, after)]) is said


def test_without_an_earlier_good_run_that_is_said() -> None:
    """And nothing is compared; one that cannot be read is no reason to have no page."""
    nowhere = RunFolder(Path("/nowhere"))
    assert "no earlier good run here" in since.line(verdict(), None, nowhere)
    assert "cannot be read" in since.line(verdict(), nowhere, nowhere)


def test_indicators_that_really_differ_are_named(tmp_path: Path) -> None:
    """How many of how many, and the worst: of a slower run some, of the same run none; without records, a sentence."""
    run = runs.healthy()
    good = run.write(tmp_path / "good")
    run.requests["ttft_ms"] = run.requests["ttft_ms"].astype(float) * 1.5
    run.recount()
    slow = run.write(tmp_path / "slow")
    assert re.fullmatch(r"None of \d\d indicators differs by more than chance\.", since.differing(good, good))
    named = since.differing(good, slow)
    assert re.match(
        r"\d+ of \d\d indicators differ by more than chance: most of all \w+ in \S+ [+−].+ \([+−]\d+ %\)", named
    )
    assert "ttft" in named
    (slow.path / "requests.parquet").write_bytes(b"damaged")
    assert "cannot be compared" in since.differing(good, slow)


def test_the_page_says_both(tmp_path: Path) -> None:
    """What is new of the checks, or that nothing is, and the indicators; what a run calls itself is text."""
    run = runs.healthy()
    run.plan["run_id"] = "<b>good</b>"
    good = run.write(tmp_path / "good")
    verdicts.write(good, verdict(a=check("a")))
    said = since.line(verdict(a=check("a")), good, good)
    assert "(<code>&lt;b&gt;good&lt;/b&gt;</code>): no result is new.<p>None of " in said
    said = since.line(verdict(a=check("a", Status.FAIL)), good, good)
    assert "<ul><li>the name of a: FAIL, was PASS</li></ul><p>None of " in said


def test_the_last_good_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest earlier PASS of this checkout's runs. Of a run elsewhere there is none, and no index is left there."""
    root = tmp_path / "runs"
    first, second, third = (indexed.write(root, f"2026110{day}-timeout-spike-{day:04x}", day) for day in (1, 2, 3))
    assert since.last_good(RunFolder(third)) is None
    assert not (root / "index.sqlite").exists()
    monkeypatch.setattr(drill, "ROOT", tmp_path)
    found = since.last_good(RunFolder(third))
    assert found is not None
    assert found.path == second
    assert since.last_good(RunFolder(first)) is None
