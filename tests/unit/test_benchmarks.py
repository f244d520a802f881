"""What the rows of the benchmarks make of what they have measured, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import large
from benchmarks.rows import interference, samples, scale
from benchmarks.rows.interference import Stretch
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import runs


def figures(tmp_path: Path, real_s: float = 10.0) -> dict[str, Any]:
    """Of a machine that one whole core of others disturbed from 20 s to 30 s; the real one began a little earlier."""
    run = runs.healthy()
    runs.disturb(run, 20.0, 30.0)
    view = RunView(run.write(tmp_path))
    return interference.figures(view, Stretch(1.0, 19.0), {"one": Stretch(19.7, 29.9, real_s)})


def test_a_disturber_is_compared_with_what_it_used(tmp_path: Path) -> None:
    """Cores by the kernel and by the samples; the first sample that tells of it is how soon it was seen."""
    found = figures(tmp_path)
    assert (found["false_s"], found["false_why"]) == (0.0, "")
    one = found["disturbers"]["one"]
    assert one["real_cores"] == pytest.approx(10 / 10.2, abs=0.001)
    assert one["reported_cores"] == pytest.approx(10 / 10.2, rel=0.05)
    assert one["seen_after_s"] == pytest.approx(0.8)
    assert interference.broken(found) == []


def test_what_was_not_measured_truly_breaks_a_bound(tmp_path: Path) -> None:
    """Too few cores, too many; somebody seen where nobody was; a disturber that was seen late, or never."""
    for real_s in (8.0, 12.0):
        (why,) = interference.broken(figures(tmp_path / f"{real_s}", real_s))
        assert f"cores were reported, really {real_s / 10.2:.3f}, at most 0.1 off" in why
    good = figures(tmp_path / "good")
    (false,) = interference.broken({**good, "false_s": 2.0, "false_why": "others used up to 0.2 cores"})
    assert false == "false positives in 2.0 s of 18.0 quiet ones: others used up to 0.2 cores"
    for seen_s, said in ((None, "never"), (2.1, "after 2.1 s")):
        late = {"one": {**good["disturbers"]["one"], "seen_after_s": seen_s}}
        assert interference.broken({**good, "disturbers": late}) == [f"the one disturber was seen {said}, at most 2 s"]


def test_a_disturbed_quiet_stretch_is_told(tmp_path: Path) -> None:
    """For so long, with what was seen."""
    run = runs.healthy()
    runs.disturb(run, 5.0, 8.0)
    found = interference.figures(RunView(run.write(tmp_path)), Stretch(1.0, 19.0), {})
    assert found["false_s"] == 3.0
    assert "others used up to 1 cores" in found["false_why"]
    assert interference.broken(found)


def test_the_large_run_is_judged_as_the_small_one_is(tmp_path: Path) -> None:
    """It has the requests that were asked for, and all of its checks pass: else the time would be that of an exit."""
    folder = large.make(tmp_path / "run", 1_000, longer=1)
    verdict = verdicts.judge(folder, drill.load("timeout-spike"))
    assert verdict.status is Status.PASS, verdict.reason
    assert int(RunView(folder).requests["final"].sum()) == pytest.approx(1_000, rel=0.02)


def test_a_slow_or_large_judge_breaks_a_bound() -> None:
    """Seconds of CPU, memory, size of the page, and a run that was not judged to its end."""
    good = {
        "verdict": "PASS",
        "reason": "",
        "cpu_s": scale.CPU_S_MAX,
        "peak_mb": scale.PEAK_MB_MAX,
        "page_kb": scale.PAGE_KB_MAX,
    }
    assert scale.broken(good) == []
    for change in ({"cpu_s": 15.1}, {"peak_mb": 551}, {"page_kb": 2001}, {"verdict": "INCONCLUSIVE"}):
        assert len(scale.broken({**good, **change})) == 1
    assert (samples.broken({"longest_ms": 99.0}), len(samples.broken({"longest_ms": 101.0}))) == ([], 1)
