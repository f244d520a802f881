"""Indicators and their percentiles."""

from __future__ import annotations

import importlib
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.attempts import end_s
from harness.evidence.view import RunView
from harness.judge import objectives, sli, slo
from harness.judge.sli import Measurement, Sample
from harness.model.verdict import Status
from tests import runs
from tests.judge.timeout_spike.mutants import as_external
from tests.runs import Run


def sample(values: list[float], censored: list[bool] | None = None) -> Sample:
    """A sample with made-up ids."""
    ids = np.array([f"r{i}" for i in range(len(values))], dtype=object)
    measured = np.array(values, dtype=float)
    return Sample(measured, ids, np.where(censored or [False] * len(values), np.inf, measured))


@given(st.lists(st.floats(0, 1e6), min_size=100, max_size=300), st.sampled_from([5, 50, 90, 95]))
def test_percentiles_are_exact(values: list[float], percent: int) -> None:
    """The nearest-rank percentile: a value that was measured, the same that numpy's inverted CDF finds."""
    found = sli.percentile(sample(values), percent, "ms")
    assert found.value in values
    below = sum(v <= found.value for v in values)
    assert below * 100 >= percent * len(values)
    assert sum(v < found.value for v in values) * 100 < percent * len(values)


@given(st.lists(st.one_of(st.integers(0, 5).map(float), st.just(math.nan)), min_size=10, max_size=60))
def test_a_percentile_names_the_slowest(values: list[float]) -> None:
    """The three largest, the largest first, and of equal ones the last: as a stable sort of all has them."""
    order = np.argsort(np.array(values), kind="stable")
    assert sli.percentile(sample(values), 50, "ms").examples == tuple(f"r{i}" for i in order[::-1][:3])


@pytest.mark.parametrize(("percent", "needed"), [(50, 10), (90, 50), (95, 100), (99, 500), (5, 100), (1, 500)])
def test_percentile_rule(percent: int, needed: int) -> None:
    """n·(1−p) < 5 is no answer, and the count is said."""
    assert sli.samples_needed(percent) == needed
    assert sli.percentile(sample([1.0] * needed), percent, "ms").value == 1.0
    few = sli.percentile(sample([1.0] * (needed - 1)), percent, "ms")
    assert few.value is None
    assert str(needed) in few.why


def test_censored_percentile_is_a_lower_bound() -> None:
    """A percentile that falls on requests which timed out is «at least»: a limit above it decides nothing."""
    values, censored = [100.0] * 90 + [12000.0] * 10, [False] * 90 + [True] * 10
    found = sli.percentile(sample(values, censored), 95, "ms")
    assert found.bounds == (12000.0, float("inf"))
    assert sli.percentile(sample(values, censored), 50, "ms").bounds is None


def test_a_percentile_is_exact_where_no_censored_value_can_move_it() -> None:
    """Two small censored values may belong above: that moves the median by two ranks at most, not to infinity."""
    values = [float(n) for n in range(100)]
    found = sli.percentile(sample(values, [n < 2 for n in range(100)]), 50, "ms")
    assert (found.value, found.bounds) == (49.0, (49.0, 51.0))
    same = sli.percentile(sample([7.0] * 100, [n < 2 for n in range(100)]), 50, "ms")
    assert (same.value, same.bounds) == (7.0, None)


@pytest.mark.parametrize(
    ("objective", "status"),
    [("<= 800 ms", Status.FAIL), ("<= 20 s", Status.INCONCLUSIVE), (">= 100 ms", Status.PASS)],
)
def test_limit_inside_the_bounds_is_inconclusive(objective: str, status: Status) -> None:
    """Bounds decide only when both are on the same side."""
    limit = objectives.evaluate(objectives.parse(objective), lambda name: 0.0)
    found = Measurement(12000.0, "ms", 100, "at least 12 s", (12000.0, float("inf")))
    assert slo.compare(found, limit, "x")[0] is status


def test_a_large_value_is_written_in_full() -> None:
    """Of a sentence for people: no power of ten; a small one as before."""
    limit = objectives.evaluate(objectives.parse("<= 800 ms"), lambda name: 0.0)
    for value, shown in ((10650.3, "10650 ms"), (123.456, "123.5 ms")):
        assert f"x was {shown}," in slo.compare(Measurement(value, "ms", 100), limit, "x")[1]
    assert "at least 12000 ms" in sli.percentile(sample([12000.0] * 100, [True] * 100), 95, "ms").why


def measured(run: Run, name: str, tmp_path: Path, phase: str = "baseline") -> Measurement:
    """One indicator over one phase of a run."""
    return slo.measure(RunView(run.write(tmp_path / "run")), name, [phase])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("availability", 100, 100),
        ("error_ratio", 0, 0),
        ("goodput", 100, 100),
        ("retry_amplification", 1, 1),
        ("ttft_p95_ms", 200, 270),
        ("ttft_p95_ms_all", 200, 270),
        ("ttft_from_schedule_p50_ms", 200, 270),
        ("e2e_p95_ms", 700, 770),
        ("e2e_from_schedule_p95_ms", 700, 770),
        ("execution_p95_ms", 700, 770),
        ("tpot_p50_ms", 16.6, 16.7),
        ("tps_p50", 61, 63),
        ("max_stall_p95_ms", 30, 30),
    ],
)
def test_indicator_values(name: str, low: float, high: float, tmp_path: Path) -> None:
    """Each indicator gives the number that the synthetic run was made with."""
    found = measured(runs.healthy(), name, tmp_path)
    assert found.value is not None
    assert low - 1e-6 <= found.value <= high + 1e-6
    assert found.samples > 100


def test_every_indicator_is_tested() -> None:
    """A new file in harness/judge/slis/ comes with its number in the table above."""
    marks = test_indicator_values.pytestmark  # type: ignore[attr-defined]
    tested = {row[0].split("_p95")[0].split("_p50")[0] for row in marks[0].args[1]}
    assert tested | {"queue"} == set(sli.names())


def test_ok_only_and_all_attempts_differ(tmp_path: Path) -> None:
    """Time-outs are censored at the client's limit in the all-attempts percentile and absent from the other."""
    run = runs.healthy()
    rows = run.requests.index[run.in_phase("baseline")][:10]
    run.requests.loc[rows, "outcome"] = "timeout_ttft"
    run.requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms"]] = None
    good, everything = (measured(run, name, tmp_path) for name in ("ttft_p95_ms", "ttft_p95_ms_all"))
    assert good.value is not None
    assert good.value < 300
    assert everything.value == 12000.0
    assert everything.bounds == (12000.0, float("inf"))
    assert everything.samples == good.samples + 10


LIMITS_MS = {"timeout_ttft": 12000.0, "timeout_stall": 12000.0, "timeout_total": 30000.0, "connect_error": 2000.0}
LATENCIES = ("ttft", "ttft_from_schedule", "e2e", "e2e_from_schedule", "max_stall")
PERCENTILES = (*(f"{name}_p{p}_ms_all" for name in (*LATENCIES, "tpot", "execution") for p in (50, 90)), "tps_p50_all")


def time_out(rows: pd.DataFrame, chosen: Any, outcome: str, streamed: bool) -> None:
    """Those attempts run into a time limit: ``streamed`` after their first tokens, else without any."""
    waited = LIMITS_MS[outcome] + (200.0 if streamed else 0.0)
    rows.loc[chosen, ["outcome", "subtype"]] = [outcome, "no_answer" if outcome == "connect_error" else None]
    rows.loc[chosen, ["output_tokens", "finish_reason", "answer_correct"]] = None
    rows.loc[chosen, "e2e_ms"] = waited
    rows.loc[chosen, "e2e_from_schedule_ms"] = waited + sli.lag_ms(rows[chosen])
    rows["end_s"] = end_s(rows)
    if not streamed:
        rows.loc[chosen, ["ttft_ms", "ttft_from_schedule_ms", "max_stall_ms", "content_events"]] = None


ENDS = [
    ("timeout_ttft", False), ("timeout_stall", True), ("timeout_total", True), ("timeout_total", False),
    ("connect_error", False),
]  # fmt: skip


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """A healthy run."""
    return RunView(runs.healthy_run(tmp_path_factory.mktemp("calm") / "run"))


@pytest.mark.parametrize(("outcome", "streamed"), ENDS)
def test_a_time_out_counts_as_at_least_its_limit(calm: RunView, outcome: str, streamed: bool) -> None:
    """In every latency that the attempt had not settled before: no less than the limit, and perhaps much more."""
    rows = calm.attempts("baseline").frame()
    chosen = rows.index.isin(rows.index[:20])
    time_out(rows, chosen, outcome, streamed)
    ids = set(rows["request_id"][chosen])
    for name in LATENCIES:
        module = importlib.import_module(f"harness.judge.slis.{name}")
        good, found = (module.values(rows, calm, everything) for everything in (False, True))
        assert not ids & set(good.ids)
        own = np.isin(found.ids.astype(str), list(ids))
        assert own.sum() == 20, name
        if streamed and name.startswith("ttft"):
            assert (found.values[own] == found.upper[own]).all(), "the token came"
            continue
        assert np.isinf(found.upper[own]).all(), name
        settled = streamed and outcome == "timeout_total" and name == "max_stall"  # tokens may have come to the end
        assert (found.values[own] >= (30.0 if settled else LIMITS_MS[outcome])).all(), name


@pytest.mark.parametrize(("outcome", "streamed"), ENDS)
@pytest.mark.parametrize("name", PERCENTILES)
def test_time_outs_never_improve_a_percentile(calm: RunView, name: str, outcome: str, streamed: bool) -> None:
    """However many attempts time out instead of ending well, what the percentile may be gets no better."""
    rng = random.Random(f"{name}{outcome}{streamed}")
    rows = calm.attempts("baseline").frame()
    rows["end_s"] = end_s(rows)
    faster = name.startswith("tps")
    worst = bounds(sli.find(name).measure(rows, calm))[0 if faster else 1]
    left = list(rows.index)
    rng.shuffle(left)
    while left:
        hit = [left.pop() for _ in range(min(len(left), 25))]
        time_out(rows, rows.index.isin(hit), outcome, streamed)
        low, high = bounds(sli.find(name).measure(rows, calm))
        assert low <= high
        assert (low <= worst) if faster else (high >= worst), f"{len(left)} left: {low}, {high}, was {worst}"
        worst = low if faster else high


def bounds(found: Measurement) -> tuple[float, float]:
    """From where to where the value may be."""
    assert found.value is not None
    return found.bounds or (found.value, found.value)


def test_streams_that_fell_silent_break_the_stall_objective(tmp_path: Path) -> None:
    """A third of the streams stood still until the client gave up: what they had seen before is not their stall."""
    run = runs.healthy()
    rows = run.requests.index[run.in_phase("baseline")]
    assert judged_stall(run, tmp_path / "calm") is Status.PASS
    time_out(run.requests, run.requests.index.isin(rows[: len(rows) // 3]), "timeout_stall", streamed=True)
    assert judged_stall(run, tmp_path / "silent") is Status.FAIL


def in_one_event(run: Run, after_ms: float = 5.0) -> None:
    """Every answer comes whole in one event, so long before its stream ends."""
    rows = run.requests["outcome"].eq("ok")
    run.requests.loc[rows, ["content_events", "max_stall_ms"]] = [1, None]
    run.requests.loc[rows, "ttft_ms"] = run.requests.loc[rows, "e2e_ms"] - after_ms


@pytest.mark.parametrize(("after_ms", "status"), [(5.0, Status.PASS), (700.0, Status.FAIL)])
def test_a_stream_with_one_event_stalls_after_it(after_ms: float, status: Status, tmp_path: Path) -> None:
    """A service that does not really stream can keep the objective, and can break it."""
    run = runs.healthy()
    in_one_event(run, after_ms)
    as_external(run)
    assert judged_stall(run, tmp_path / "run") is status


@pytest.mark.parametrize(("tokens", "status"), [(runs.TOKENS, Status.INCONCLUSIVE), (2, Status.PASS)])
def test_our_own_engines_stream_token_by_token(tokens: int, status: Status, tmp_path: Path) -> None:
    """Of a long answer in one event nobody knows how long it was held back; one token, and its end, are one event."""
    run = runs.healthy()
    in_one_event(run)
    run.requests.loc[run.requests["outcome"].eq("ok"), "output_tokens"] = tokens
    assert judged_stall(run, tmp_path / "run") is status


def test_a_stream_with_one_event_that_falls_silent_breaks_the_stall_objective(tmp_path: Path) -> None:
    """Its client gave up: how long it would have gone on is not known, and that it was whole least of all."""
    run = runs.healthy()
    in_one_event(run)
    rows = run.requests.index[run.in_phase("baseline")]
    time_out(run.requests, run.requests.index.isin(rows[: len(rows) // 3]), "timeout_stall", streamed=True)
    assert judged_stall(run, tmp_path / "run") is Status.FAIL


def judged_stall(run: Run, path: Path) -> Status:
    """Status of «three in four attempts never stall for longer than half a second»."""
    found = slo.measure(RunView(run.write(path)), "max_stall_p75_ms_all", ["baseline"])
    limit = objectives.evaluate(objectives.parse("<= 500 ms"), lambda name: 0.0)
    return slo.compare(found, limit, "stall")[0]


def test_own_cancels_are_nobodys_failure(tmp_path: Path) -> None:
    """``cancelled_intended`` counts neither for nor against availability."""
    run = runs.healthy()
    run.requests.loc[run.requests.index[run.in_phase("baseline")][:10], "outcome"] = "cancelled_intended"
    found = measured(run, "availability", tmp_path)
    assert found.value == 100.0
    assert found.samples == 150 - 10 - 3  # of 150 requests: ten cancelled, three straddle the fault


def test_queue_needs_the_engines_part(tmp_path: Path) -> None:
    """Without the engine's histogram the queue time is not known: None, never the gateway's part alone."""
    found = measured(runs.healthy(), "queue_p50_ms", tmp_path)
    assert found.value is None
    assert "not sampled" in found.why


def test_queue_is_a_pair_of_bounds(tmp_path: Path) -> None:
    """With the histogram: the bounds of its bucket, and the objective inside them is INCONCLUSIVE."""
    run = runs.healthy()
    series = [
        (t_s, replica, "request_queue_time_seconds_bucket", f"le={edge}", count * t_s)
        for t_s in (5.0, 100.0)
        for replica in ("replica-1", "replica-2")
        for edge, count in (("0.3", 0.0), ("0.5", 1.0), ("1.0", 1.0), ("+Inf", 1.0))
    ]
    run.metrics = pd.concat([run.metrics, pd.DataFrame(series, columns=run.metrics.columns)])
    view = RunView(run.write(tmp_path / "run"))
    # Over all phases, so that the two samples of the histogram lie inside.
    found = slo.measure(view, "queue_p50_ms", [p.name for p in view.phases])
    assert found.bounds == (300.0, 500.0)


@pytest.mark.parametrize("name", ["ttft", "ttft_p95", "tps_p50_ms", "availability_p95_ms", "nonsense", "ttft_p950_ms"])
def test_unknown_names_are_refused(name: str) -> None:
    """Typos and wrong units are ValueErrors that say what is known."""
    with pytest.raises(ValueError, match=r"Known:|ask for a percentile"):
        sli.find(name)


@pytest.mark.parametrize("outcome", ["cancelled_intended", "cancelled_drain"])
def test_who_hangs_up_unanswered_has_waited(calm: RunView, outcome: str) -> None:
    """A client that left before the first token waited for at least as long as it stayed; after it, it has a TTFT."""
    rows = calm.attempts("baseline").frame()
    chosen = rows.index[:20]
    rows.loc[chosen, ["outcome", "e2e_ms"]] = [outcome, 9000.0]
    left = rows.copy()
    left.loc[chosen, ["ttft_ms", "max_stall_ms"]] = None
    for name in ("ttft_p95_ms_all", "max_stall_p95_ms_all"):
        found = sli.find(name).measure(left, calm)
        assert found.bounds == (9000.0, float("inf"))
        assert sli.find(name).measure(rows, calm).bounds is None


def test_a_body_that_never_ends_has_no_end(calm: RunView) -> None:
    """The status came, and then nothing until the client gave up."""
    rows = calm.attempts("baseline").frame()
    rows.loc[rows.index[:20], ["outcome", "subtype", "e2e_ms", "ttft_ms"]] = ["http_5xx", "no_body", 9000.0, None]
    assert sli.find("e2e_p95_ms_all").measure(rows, calm).bounds == (9000.0, float("inf"))


@pytest.mark.parametrize("name", ["ttft_p50_ms_all", "ttft_from_schedule_p50_ms_all", "max_stall_p50_ms_all"])
def test_an_answer_in_one_piece_has_no_first_token(name: str, tmp_path: Path) -> None:
    """A cohort without streams has no value there, so its time-outs have none either; its end to end counts."""
    run = runs.healthy()
    run.plan["scenario"]["load"]["cohorts"].append({"name": "whole", "stream": False})
    rows = run.requests.index[run.in_phase("baseline")][:60]
    run.requests.loc[rows, ["outcome", "cohort"]] = ["timeout_total", "whole"]
    run.requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms", "max_stall_ms", "content_events"]] = None
    view = RunView(run.write(tmp_path / "run"))
    assert slo.measure(view, name, ["baseline"]).bounds is None
    assert slo.measure(view, "e2e_p90_ms_all", ["baseline"]).bounds is not None
