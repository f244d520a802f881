"""What the checks of the cancel-storm drill say of waves that were seen in part, and of engines within a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from drills.cancel_storm import DRILL
from harness.evidence.view import RunView
from harness.judge import drill
from harness.model.verdict import CheckResult, Status
from tests.judge.cancel_storm import story as wave_story
from tests.judge.cancel_storm.mutants import late_cancel, memory_leaks, zombies
from tests.judge.cancel_storm.story import watch_on
from tests.judge.defects import samples
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict


def test_a_moment_that_was_not_reached_is_not_judged(tmp_path: Path) -> None:
    """Waves that missed their moment prove nothing, although everything looks fine after them."""
    run = wave_story.healthy()
    for wave in run.files["waves.json"]["waves"]:
        wave["reached"] = wave["phase"] != "prefill"
    view = RunView(run.write(tmp_path / "run"))
    found = [check.run(view).status for check in DRILL.checks if check.name.endswith("prefill")]
    assert found == [Status.INCONCLUSIVE] * 3


def test_a_slope_that_nobody_can_be_sure_of_is_not_judged(tmp_path: Path) -> None:
    """Memory that jumps about says neither that it leaks nor that it does not."""
    run = wave_story.healthy()
    for number, wave in enumerate(run.files["waves.json"]["waves"]):
        wave["rss_bytes"]["replica-1"] += 4e7 * (number % 2)
    view = RunView(run.write(tmp_path / "run"))
    found = next(check.run(view) for check in DRILL.checks if check.name.startswith("no leak"))
    assert found.status is Status.INCONCLUSIVE, found.why


def result(run: Run, check: str, folder: Path) -> CheckResult:
    """What one check says about a run."""
    view = RunView(run.write(folder / "run"))
    return next(one for one in DRILL.checks if one.name == check).run(view)


def blind(run: Run, number: int, from_s: float, to_s: float) -> None:
    """No engine was seen between these seconds after the cancel of a wave of *repeated*."""
    wave = [w for w in run.files["waves.json"]["waves"] if w["phase"] == "repeated"][number - 1]
    cancelled_s = wave["began_s"] + wave_story.CANCELLED_S
    close = run.metrics["metric"].str.startswith("wave_")
    run.metrics = run.metrics[~(close & run.metrics["t_s"].between(cancelled_s + from_s, cancelled_s + to_s))]


def test_what_was_not_seen_decides_nothing(tmp_path: Path) -> None:
    """Without a look around the limit after one of ten waves nobody knows: INCONCLUSIVE, and it says which wave."""
    run = wave_story.healthy()
    blind(run, 4, 0.05, 0.8)
    found = result(run, "cancels reach the engines in repeated", tmp_path)
    assert found.status is Status.INCONCLUSIVE
    assert "wave 4" in found.why


def test_seldom_looks_are_no_excuse(tmp_path: Path) -> None:
    """Engines that are seen twice a second only, and late, are not given a second for that."""
    run = wave_story.healthy()
    late_cancel("early", run)
    began = next(w["began_s"] for w in run.files["waves.json"]["waves"] if w["phase"] == "early")
    times = run.metrics["t_s"] - began
    seldom = run.metrics["metric"].str.startswith("wave_") & times.between(wave_story.CANCELLED_S, wave_story.WATCHED_S)
    run.metrics = run.metrics[~seldom | ((times * 100).round() % 48 == 0)]
    assert result(run, "cancels reach the engines in early", tmp_path).status is Status.FAIL


def test_a_gap_after_everything_was_back_is_harmless(tmp_path: Path) -> None:
    """What had gone does not come back: that nobody looked for a second later on changes nothing."""
    run = wave_story.healthy()
    blind(run, 4, 0.3, 1.2)
    assert result(run, "cancels reach the engines in repeated", tmp_path).status is Status.PASS


def late_look(run: Run, after_s: float, stalled_s: float) -> None:
    """The harness stood still until then after the cancel of a wave: what it asked for before came late, and old."""
    wave = [w for w in run.files["waves.json"]["waves"] if w["phase"] == "repeated"][3]
    cancelled_s = wave["began_s"] + wave_story.CANCELLED_S
    blind(run, 4, after_s - stalled_s, after_s - 0.001)
    until = cancelled_s + after_s + 0.039
    run.metrics.loc[samples(run, "replica-2", "wave_generation_tokens_total", wave["began_s"], until), "value"] -= 600
    for metric, value in (("wave_running", 20.0), ("wave_asked_s", cancelled_s + after_s - stalled_s)):
        run.metrics.loc[samples(run, "replica-2", metric, cancelled_s + after_s - 0.001, until), "value"] = value


@pytest.mark.parametrize("check", ["tokens after the cancels in repeated", "cancels reach the engines in repeated"])
def test_what_was_asked_for_before_a_cancel_tells_nothing_of_after_it(check: str, tmp_path: Path) -> None:
    """Figures that were long in coming, across the cancel and its limit, accuse nobody, and acquit nobody, either."""
    run = wave_story.healthy()
    late_look(run, 0.8, 1.0)
    found = result(run, check, tmp_path)
    assert found.status is Status.INCONCLUSIVE, found.why
    assert "wave 4" in found.why


def test_a_wave_that_was_seen_stands_in_for_one_that_was_not(tmp_path: Path) -> None:
    """The scenario asks for ten waves; when eleven were cancelled ten of them suffice."""
    run = wave_story.healthy()
    blind(run, 4, 0.05, 0.8)
    waves = run.files["waves.json"]["waves"]
    waves.append({**[w for w in waves if w["phase"] == "repeated"][-1], "number": 11})
    assert result(run, "cancels reach the engines in repeated", tmp_path).status is Status.PASS


def test_a_zombie_is_red_whatever_else_was_not_seen(tmp_path: Path) -> None:
    """One wave that nobody saw does not hide another one whose streams went on."""
    run = wave_story.healthy()
    blind(run, 4, 0.05, 0.8)
    zombies("repeated", run)
    assert result(run, "cancels reach the engines in repeated", tmp_path).status is Status.FAIL


def in_a_step(run: Run, until_s: float) -> None:
    """A replica hears so late of the wave in *prefill*; until then nothing changes in it: one step takes so long."""
    watch_on(run, "prefill")
    began = next(w["began_s"] for w in run.files["waves.json"]["waves"] if w["phase"] == "prefill")
    cancelled_s = began + wave_story.CANCELLED_S
    for metric in ("running", "waiting", "kv_usage_ratio", "generation_tokens_total"):
        stays = samples(run, "replica-1", f"wave_{metric}", cancelled_s - 0.001, cancelled_s + until_s)
        run.metrics.loc[stays, "value"] = run.metrics.loc[stays, "value"].iloc[0]


@pytest.mark.parametrize(("until_s", "status"), [(0.4, Status.PASS), (0.9, Status.INCONCLUSIVE), (2.65, Status.FAIL)])
def test_an_engine_hears_nothing_during_a_step(until_s: float, status: Status, tmp_path: Path) -> None:
    """Later than the limit, it may be due to a step that was under way; but no step lasts for as long as the last."""
    run = wave_story.healthy()
    in_a_step(run, until_s)
    found = result(run, "cancels reach the engines in prefill", tmp_path)
    assert found.status is status, found.why
    assert "wave 1" in found.why


def test_after_a_step_there_is_no_other_excuse(tmp_path: Path) -> None:
    """Streams that go on when the step has ended are zombies."""
    run = wave_story.healthy()
    in_a_step(run, 0.4)
    zombies("prefill", run)
    assert result(run, "cancels reach the engines in prefill", tmp_path).status is Status.FAIL


def test_a_blip_is_no_zombie(tmp_path: Path) -> None:
    """A single look that shows more than users had, between two that do not, is a difference between clocks."""
    run = wave_story.healthy()
    began = next(w["began_s"] for w in run.files["waves.json"]["waves"] if w["phase"] == "early")
    at = began + wave_story.CANCELLED_S + 0.9
    run.metrics.loc[samples(run, "replica-2", "wave_running", at, at + 0.05), "value"] += 5
    assert result(run, "cancels reach the engines in early", tmp_path).status is Status.PASS


def test_memory_that_grew_before_may_grow(tmp_path: Path) -> None:
    """An engine that takes as much per request in the baseline is not accused of leaking with each cancel."""
    run = wave_story.healthy()
    memory_leaks(run)
    begin, end = run.span("baseline")
    rows = samples(run, "replica-1", "rss_bytes", begin, end)
    run.metrics.loc[rows, "value"] += 4e5 * 2.5 * (run.metrics["t_s"][rows] - begin)
    assert result(run, "no leak over repeated", tmp_path).status is Status.PASS


def test_a_phase_without_a_wave_is_not_judged(tmp_path: Path) -> None:
    """Nothing was planned in it and nothing was done: that is no pass."""
    run = wave_story.healthy()
    run.plan["scenario"]["phases"] = [p for p in run.plan["scenario"]["phases"] if p["name"] != "early"]
    waves = run.files["waves.json"]
    waves["waves"] = [wave for wave in waves["waves"] if wave["phase"] != "early"]
    verdict = whole_verdict(run.write(tmp_path / "run"), drill.load("cancel-storm"))
    found = next(r for r in verdict.checks if r.name == "cancels reach the engines in early")
    assert found.status is Status.INCONCLUSIVE
    assert found.why
