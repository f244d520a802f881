"""Two runs compared: what is the same is not named, what really differs is."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.judge import compare, verdicts
from harness.judge.compare import Comparison, Side
from harness.judge.drill import load
from harness.model.verdict import Status
from tests.runs import Run, healthy

Edit = Callable[[Run], None]


def stored(path: Path, *edits: Edit) -> Path:
    """A run with its verdict, after these edits."""
    if not edits:
        path.mkdir()
        for name, data in _well().items():
            (path / name).write_bytes(data)
        return path
    return _judged(path, edits)


@functools.cache
def _well() -> dict[str, bytes]:
    """The files of a run without edits: judged once."""
    with tempfile.TemporaryDirectory() as folder:
        return {one.name: one.read_bytes() for one in _judged(Path(folder) / "run", ()).iterdir()}


def _judged(path: Path, edits: Sequence[Edit]) -> Path:
    run = healthy()
    for edit in edits:
        edit(run)
    run.recount()
    folder = run.write(path)
    verdicts.write(folder, verdicts.judge(folder, load(run.plan["drill"])))
    return path


def sides(tmp_path: Path, *edits: Edit) -> tuple[Side, Side]:
    """A healthy run, and one with these edits."""
    return compare.side(stored(tmp_path / "first")), compare.side(stored(tmp_path / "second", *edits))


def jittered(run: Run) -> None:
    """Each request as fast as in truth, and a little faster or slower than in the other run."""
    scale_ttft(run, 1.0)


def slower(run: Run) -> None:
    """Every token comes half as late again: a simulator with another factor."""
    scale_ttft(run, 1.5)


def scale_ttft(run: Run, factor: float) -> None:
    """Times to the first token, by a factor and some noise."""
    noise = [0.9 + 0.2 * ((7919 * n) % 101) / 101 for n in range(len(run.requests))]
    run.requests["ttft_ms"] = run.requests["ttft_ms"].astype(float) * factor * noise


def failing(run: Run) -> None:
    """A third of the requests of the baseline got an error."""
    wanted = run.in_phase("baseline") & (run.requests.index % 3 == 0)
    run.requests.loc[wanted, ["outcome", "subtype", "http_status"]] = ["http_5xx", "gateway", 500]


def retried(run: Run) -> None:
    """Nothing was tried again."""
    run.requests = run.requests[run.requests["final"].eq(True)].assign(attempt=1)


def named(found: Comparison) -> set[str]:
    """Indicators that differ, with their phases."""
    return {f"{one.sli}/{one.phase}" for one in found.values}


def test_a_run_is_the_same_as_itself(tmp_path: Path) -> None:
    """Nothing differs, and everything measured was compared."""
    one = compare.side(stored(tmp_path / "run"))
    found = compare.compare(one, one)
    assert found.same
    assert (found.values, found.statuses, found.configuration, found.apart, found.once) == ((), (), (), (), ())
    assert len(found.within_noise) > 40


def test_noise_is_no_difference(tmp_path: Path) -> None:
    """Each request has another time, and the runs are the same: only their intervals tell."""
    first, second = (
        compare.side(stored(tmp_path / name, edit)) for name, edit in (("a", jittered), ("b", other_noise))
    )
    found = compare.compare(first, second)
    assert not found.values
    assert sum(one.first != one.second for one in found.within_noise) > 5


def other_noise(run: Run) -> None:
    """As ``jittered``, with the same distribution in another order."""
    noise = [0.9 + 0.2 * ((7907 * n + 13) % 101) / 101 for n in range(len(run.requests))]
    run.requests["ttft_ms"] = run.requests["ttft_ms"].astype(float) * noise


def test_a_slower_run_is_found(tmp_path: Path) -> None:
    """By how much, with bounds that leave 0 out; what is not slower is not named."""
    found = compare.compare(*sides(tmp_path, slower))
    assert {"ttft_p50_ms/baseline", "ttft_p95_ms/baseline"} <= named(found)
    assert not [one for one in named(found) if one.startswith(("availability", "retry"))]
    one = next(one for one in found.values if (one.sli, one.phase) == ("ttft_p50_ms", "baseline"))
    assert 0 < one.low <= one.second - one.first <= one.high
    assert one.second / one.first == pytest.approx(1.5, rel=0.1)
    back = compare.compare(found.second, found.first)
    assert named(back) == named(found)
    assert all(one.high < 0 for one in back.values if one.sli == "ttft_p50_ms")


def test_failures_are_found(tmp_path: Path) -> None:
    """As a ratio, as a check that came out differently, and as the verdict."""
    found = compare.compare(*sides(tmp_path, failing))
    assert "availability/baseline" in named(found)
    changed = {one.what: (one.first, one.second) for one in found.statuses}
    assert changed["verdict"][0] == "PASS" != changed["verdict"][1]
    assert all(first != second for first, second in changed.values())
    assert len(changed) > 1
    assert all(one.why for one in found.statuses)


def test_retries_are_found(tmp_path: Path) -> None:
    """A mean per request, where there were any."""
    first, second = sides(tmp_path, retried)
    tried = {one.phase for one in first.verdict.slis if one.sli == "retry_amplification" and one.value > 1.3}  # type: ignore[union-attr]
    assert tried
    assert {f"retry_amplification/{phase}" for phase in tried} <= named(compare.compare(first, second))


def test_settings_are_found(tmp_path: Path) -> None:
    """Each with both values and its path; a phase by its name. The seed of a run is none."""

    def other(run: Run) -> None:
        run.plan["versions"] = {**run.plan.get("versions", {}), "vllm": "0.99"}
        run.plan["gateway_policy"]["retries"] = 5
        run.plan["seed"] = 4711
        for phase in run.plan["scenario"]["phases"]:
            if phase["name"] == "baseline":
                phase["until"] = "alerts_cleared"

    found = compare.compare(*sides(tmp_path, other))
    changed = {one.what: (one.first, one.second) for one in found.configuration}
    assert changed["gateway_policy.retries"] == ("2", "5")
    assert changed["versions.vllm"][1] == "0.99"
    assert changed["scenario.phases.baseline.until"] == (None, "alerts_cleared")
    assert set(changed) == {"gateway_policy.retries", "versions.vllm", "scenario.phases.baseline.until"}
    assert [text for text in found.apart if text.startswith("scenario")]


def test_the_scenario_as_it_was_written_counts(tmp_path: Path) -> None:
    """What it was fitted to is no difference; a plan of an earlier version has nothing else to compare."""

    def fitted(rate: float) -> Edit:
        def edit(run: Run) -> None:
            run.plan["written"] = {"name": "timeout-spike", "load": {"rate": "40 % of capacity"}}
            run.plan["gateway_policy"]["retries"] = rate

        return edit

    first, second = (compare.side(stored(tmp_path / f"{rate}", fitted(rate))) for rate in (2, 3))
    found = compare.compare(first, second)
    assert [one.what for one in found.configuration] == ["gateway_policy.retries"]
    assert not [text for text in found.apart if text.startswith("scenario")]


def test_other_machines_are_said_first(tmp_path: Path) -> None:
    """So are another engine, and defects that were switched on in one of them."""

    def elsewhere(run: Run) -> None:
        run.plan["machine"] = {"key": "ffff", "name": "Intel Xeon, 8 cores, 64 GiB"}
        run.plan["engine"] = "vllm"
        run.plan["defects"] = {"no_abort": "nothing is aborted"}

    found = compare.compare(*sides(tmp_path, elsewhere))
    text = "; ".join(found.apart)
    assert "Intel Xeon, 8 cores, 64 GiB (ffff)" in text
    assert f"engine {found.first.run.engine} and vllm" in text
    assert f"{found.second.run.run_id} had defects switched on" in text
    assert not found.same


def test_what_only_one_run_measured_is_no_zero(tmp_path: Path) -> None:
    """Too few requests for a percentile in one of them: it is named, and no value is made up."""

    def few(run: Run) -> None:
        run.requests = run.requests[~run.in_phase("baseline") | (run.in_phase("baseline").cumsum() <= 30)]

    found = compare.compare(*sides(tmp_path, few))
    assert "ttft_p95_ms in baseline: only in the first run" in found.unmeasured
    assert "ttft_p95_ms/baseline" not in named(found)
    assert not found.same


@pytest.mark.parametrize("damaged", ["requests.parquet", "verdict.json"])
def test_damaged_records_are_said(tmp_path: Path, damaged: str) -> None:
    """What can be read is compared; what cannot is named first and never taken for the same."""
    stored(tmp_path / "first")
    (stored(tmp_path / "second") / damaged).write_bytes(b"damaged")
    found = compare.compare(compare.side(tmp_path / "first"), compare.side(tmp_path / "second"))
    assert found.second.run.run_id in "; ".join(found.apart)
    assert not found.same


def test_values_that_a_run_has_once_are_apart(tmp_path: Path) -> None:
    """Nobody can say whether 2.8 s and 3.1 s to eject a replica differ; an INCONCLUSIVE number is none."""
    one = stored(tmp_path / "first")
    two = stored(tmp_path / "second")
    data = json.loads((two / "verdict.json").read_text())
    timed = [check for check in data["checks"] if check["unit"] == "s" and check["measured"]]
    timed[0]["measured"] += 0.3
    timed[1] |= {"measured": 9.9, "status": Status.INCONCLUSIVE.value}
    (two / "verdict.json").write_text(json.dumps(data))
    found = compare.compare(compare.side(one), compare.side(two))
    assert [once.what for once in found.once] == [timed[0]["name"]]
    assert [(status.what, status.second) for status in found.statuses] == [(timed[1]["name"], "INCONCLUSIVE")]
