"""What the checks of the oom drill say of pressure, of a slow machine, and without a part of the records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests.judge.oom import story as oom_story
from tests.judge.oom.mutants import stays_slow
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("oom")
PRESSURE = "pressure on the KV cache in long"


def test_pressure_passes_where_the_cap_is_lifted(tmp_path: Path) -> None:
    """In the other scenario the KV cache has to be full and somebody preempted."""
    (found,) = [
        r for r in whole_verdict(oom_story.widened().write(tmp_path / "run"), DRILL).checks if r.name == PRESSURE
    ]
    assert found.status is Status.PASS, found.why
    assert found.objective == "≥ 95% and ≥ 1 preemption"


@pytest.mark.parametrize(("metric", "value"), [("kv_usage_ratio", 0.9), ("preemptions_total", 0.0)])
def test_without_pressure_the_other_scenario_shows_nothing(metric: str, value: float, tmp_path: Path) -> None:
    """Half of it, a cache that is nearly full or nobody preempted, is INCONCLUSIVE."""
    run = oom_story.widened()
    run.metrics.loc[run.metrics["metric"].eq(metric), "value"] = value
    (found,) = [r for r in whole_verdict(run.write(tmp_path / "run"), DRILL).checks if r.name == PRESSURE]
    assert found.status is Status.INCONCLUSIVE, found.why


@pytest.mark.parametrize(("slow", "status"), [(False, Status.INCONCLUSIVE), (True, Status.FAIL)])
def test_a_machine_that_becomes_slow_does_not_tell(slow: bool, status: Status, tmp_path: Path) -> None:
    """When the other replica takes as long all of a sudden nobody knows; one that takes longer still is slow."""
    run = oom_story.healthy()
    later = run.requests["start_s"].ge(run.span(oom_story.OOM)[1])
    run.requests.loc[later, ["ttft_ms", "ttft_from_schedule_ms"]] += 200.0
    if slow:
        stays_slow(run)
    view = RunView(run.write(tmp_path / "run"))
    (found,) = [check.run(view) for check in verdicts.checks(DRILL) if check.name == "warm-up after rejoining"]
    assert found.status is status, found.why
    assert found.measured is not None
    assert found.measured > 1.5 * found.details["baseline_ms"]


def test_a_burst_of_long_prompts_does_not_tell(tmp_path: Path) -> None:
    """Everybody's p95 is too high, that of the cohort which asks most is as it was: nobody knows."""
    run = oom_story.healthy()
    (_, baseline_ends), (_, oom_ends) = run.span("baseline"), run.span(oom_story.OOM)
    rows = run.requests[run.requests.index.to_series().mod(15).eq(0)].assign(cohort="writers")
    before = rows[rows["start_s"].lt(baseline_ends)]
    burst = rows[rows["start_s"].ge(oom_ends) & rows["replica"].eq(oom_story.KILLED)].assign(ttft_ms=2000.0)
    run.requests = pd.concat([run.requests, before, burst], ignore_index=True)
    view = RunView(run.write(tmp_path / "run"))
    (found,) = [check.run(view) for check in verdicts.checks(DRILL) if check.name == "warm-up after rejoining"]
    assert found.status is Status.INCONCLUSIVE, found.why


@pytest.mark.parametrize("missing", ["everything", "events", "requests", "metrics"])
def test_missing_part_is_never_a_pass(missing: str, tmp_path: Path) -> None:
    """Without events, requests or samples each check that rests on them says INCONCLUSIVE by itself, and why."""
    run = oom_story.healthy()
    for part in ("events", "requests", "metrics") if missing == "everything" else (missing,):
        setattr(run, part, [] if part == "events" else getattr(run, part).iloc[:0])
    view = RunView(run.write(tmp_path / "run"))
    found = {check.name: check.run(view) for check in verdicts.checks(DRILL) if missing in _rests_on(check)}
    assert len(found) > (0 if missing == "metrics" else 5)
    assert {name: r.why for name, r in found.items() if r.status is not Status.INCONCLUSIVE or not r.why} == {}


def _rests_on(check: drill.Check) -> set[str]:
    """What a check of this drill cannot do without."""
    parts = {"everything"}
    if any(need.startswith("fault:") for need in check.needs) and not check.name.startswith("no hang"):
        parts.add("events")
    if "load" in check.needs and "alerts" not in check.needs:
        parts.add("requests")
    if "metrics" in check.needs:
        parts.add("metrics")
    return parts
