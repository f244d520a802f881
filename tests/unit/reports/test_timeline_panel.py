"""The timeline of a run: every chart shows what was recorded, says what was not, and marks what happened when."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.evidence.record import METRIC_COLUMNS, RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Verdict
from reports import moments
from reports.charts import Chart, Series, draw
from reports.moments import Bar
from reports.panels import timeline
from tests import runs
from tests.runs import Run
from tests.unit.reports.test_charts import HOSTILE, bands, numbers

DRILL = drill.load("timeout-spike")
CHARTS = (
    "outcomes", "rates", "ttft", "tps", "stalls", "running", "waiting", "kv-usage-ratio", "prefix-cache", "prefill",
    "decode", "gateway-queue", "share", "memory", "cpu",
)  # fmt: skip


def seen(run: Run, folder: Path) -> tuple[RunView, Verdict]:
    """The run as judged."""
    written = run.write(folder)
    return RunView(written), verdicts.judge(written, DRILL)


def figures(html: str) -> dict[str, str]:
    """Each chart by its id."""
    return {
        found[1]: found[0] for found in re.finditer(r'<figure class="chart" id="([^"]*)".*?</figure>', html, re.DOTALL)
    }


def shown(run: Run, folder: Path) -> dict[str, str]:
    """The charts of a run."""
    return figures(str(timeline.html(*seen(run, folder))))


def series(chart: Chart) -> dict[str, Series]:
    """Its curves by their names."""
    return {one.name: one for one in chart.series}


def charts_of(run: Run, folder: Path) -> dict[str, Chart]:
    """The charts before they are drawn."""
    view, verdict = seen(run, folder)
    return {c.id: c for c in timeline._charts(view, moments.bars(view, verdict), timeline.end_of(view))}


def sampled(component: str, metric: str, values: Iterator[tuple[float, float]]) -> pd.DataFrame:
    """Samples as a probe takes them."""
    return pd.DataFrame([(t, component, metric, "", v) for t, v in values], columns=METRIC_COLUMNS.names)


def with_samples(run: Run, *more: pd.DataFrame) -> Run:
    """The run with these as well."""
    run.metrics = pd.concat([run.metrics, *more], ignore_index=True)
    return run


def test_all_charts_in_order_on_one_axis(tmp_path: Path) -> None:
    """Each is there, whether it was measured or not, and the same moment stands at the same place in all of them."""
    found = shown(runs.healthy(), tmp_path / "run")
    assert tuple(found) == CHARTS
    spans = {tuple(numbers(figure)["span"]) for figure in found.values() if "data-series" in figure}
    begin, _ = runs.healthy().span("warm-up")
    assert len(spans) == 1
    assert begin - 1.5 < min(spans)[0] <= begin


def test_runs_that_did_not_sample_the_engines_work_say_so(tmp_path: Path) -> None:
    """Runs of before, and engines that do not export it."""
    found = shown(runs.healthy(), tmp_path / "run")
    for name in ("prefix-cache", "prefill", "decode"):
        assert "not measured" in found[name]
        assert "<svg" not in found[name]


def test_missing_metrics_are_no_zeros(tmp_path: Path) -> None:
    """Without metrics the charts of samples say «not measured» and draw nothing; those of requests are drawn."""
    run = runs.healthy()
    run.metrics = run.metrics.iloc[:0]
    for name, figure in shown(run, tmp_path / "run").items():
        of_requests = name in ("outcomes", "rates", "ttft", "tps", "stalls", "share")
        assert ("<svg" in figure) == of_requests, name
        assert ("not measured" in figure) != of_requests


def test_no_requests_are_no_zeros(tmp_path: Path) -> None:
    """Nobody asked, so nobody was offered anything at a rate of 0."""
    run = runs.healthy()
    run.requests = run.requests.iloc[:0]
    found = shown(run, tmp_path / "run")
    for name in ("outcomes", "rates", "ttft", "tps", "stalls", "share"):
        assert "not measured" in found[name]
        assert "<svg" not in found[name]


def test_fault_bands_stand_where_faults_were(tmp_path: Path) -> None:
    """Each chart shades both fault phases from injection to heal, and nothing else; healthy stretches stay white."""
    run = runs.healthy()
    expected = [list(run.span(phase)) for phase in ("one-replica", "all-replicas")]
    for figure in shown(run, tmp_path / "run").values():
        if "data-series" in figure:
            assert np.allclose(numbers(figure)["faults"], expected, atol=0.11)
            assert len(bands(figure, "fault")) == 2


def test_no_fault_no_band(tmp_path: Path) -> None:
    """A run in which nothing was injected has no shaded stretch."""
    run = runs.healthy()
    run.drop_events("fault_injecting", "fault_injected", "fault_healed")
    assert all(bands(figure, "fault") == [] for figure in shown(run, tmp_path / "run").values())


def test_a_replica_that_is_down_has_no_line(tmp_path: Path) -> None:
    """No samples for 20 s are a hole, marked, and the chart says that the replica did not answer meanwhile."""
    run = runs.healthy()
    begin, end = run.span("recovery-one")[0] + 2, run.span("recovery-one")[1] - 2
    there = run.metrics["component"].eq("replica-1") & run.metrics["t_s"].between(begin, end)
    run.metrics.loc[there & run.metrics["metric"].eq("up"), "value"] = 0.0
    run.metrics = run.metrics[~(there & run.metrics["metric"].isin(["running", "waiting", "kv_usage_ratio"]))]
    found = shown(run, tmp_path / "run")
    for name in ("running", "waiting", "kv-usage-ratio"):
        [[since, until]] = numbers(found[name])["gaps"]
        assert since == pytest.approx(begin, abs=0.3)
        assert until == pytest.approx(end, abs=0.3)
        assert re.search(r"data incomplete:</b> replica-1 [\d.–]+ s \(replica-1 was down: no answer\)", found[name])
    assert "incomplete" not in found["ttft"]


def test_hits_and_times_are_those_of_the_counters(tmp_path: Path) -> None:
    """Half of the tokens hit; a prefill took 60 ms and a decode 300; where nothing finished there is no value."""
    times = np.arange(0, 140, 0.2)
    finished = np.minimum(np.floor(times), 100)
    growth = {"prefix_cache_queries_total": 128, "prefix_cache_hits_total": 64}
    for part, mean_s in (("prefill", 0.06), ("decode", 0.3)):
        growth |= {f"request_{part}_time_seconds_sum": mean_s, f"request_{part}_time_seconds_count": 1}
    more = [sampled("replica-1", metric, zip(times, each * finished)) for metric, each in growth.items()]  # noqa: B905
    found = charts_of(with_samples(runs.healthy(), *more), tmp_path / "run")
    for name, value in (("prefix-cache", 50), ("prefill", 60), ("decode", 300)):
        one = series(found[name])["replica-1"]
        early, late = (one.x > 5) & (one.x < 95), one.x > 106
        assert np.allclose(one.y[early], value)
        assert np.isnan(one.y[late]).all()


def test_requests_of_one_token_have_no_decode_time(tmp_path: Path) -> None:
    """An ejected replica finishes the probes' requests alone: a hole, and no 0 ms; no prefix-cache hit is 0 %."""
    times = np.arange(0, 140, 0.2)
    finished = np.floor(times)
    growth = {
        "request_decode_time_seconds_count": finished,
        "request_decode_time_seconds_sum": 0.3 * np.minimum(finished, 60),
        "prefix_cache_queries_total": finished,
        "prefix_cache_hits_total": 0 * finished,
    }
    more = [sampled("replica-1", metric, zip(times, values)) for metric, values in growth.items()]  # noqa: B905
    found = charts_of(with_samples(runs.healthy(), *more), tmp_path / "run")
    decode, hits = (series(found[name])["replica-1"] for name in ("decode", "prefix-cache"))
    assert np.allclose(decode.y[(decode.x > 5) & (decode.x < 55)], 300)
    assert np.isnan(decode.y[decode.x > 66]).all()
    assert np.allclose(hits.y[(hits.x > 5) & (hits.x < 130)], 0)


def test_a_counter_that_began_again_has_no_rate_there(tmp_path: Path) -> None:
    """CPU time of a process that was started again: two processors throughout, and never a negative number."""
    times = np.arange(0.0, 120.0)
    used = np.where(times < 60, 2 * times, 2 * (times - 60))
    rows = sampled("replica-2", "cpu_s", zip(times, used))  # noqa: B905
    run = runs.healthy()
    run.metrics = run.metrics[run.metrics["metric"].ne("cpu_s")]
    one = series(charts_of(with_samples(run, rows), tmp_path / "run")["cpu"])["replica-2"]
    assert np.isnan(one.y[one.x == 60]).all()
    assert np.allclose(one.y[one.x != 60], 2.0)


def test_percentiles_are_nearest_ranks_of_their_window() -> None:
    """Of a thousand values per window all are answers; where they are few they are dots, and called so."""
    times = pd.Series(np.repeat(np.arange(60.0), 1000))
    values = pd.Series(np.tile(np.arange(1.0, 1001.0), 60))
    found, note = timeline._percentiles(times, values, (50, 95, 99, 100), 60.0)
    assert [one.name for one in found] == ["p50", "p95", "p99", "largest"]
    assert [set(one.y) for one in found] == [{500.0}, {950.0}, {990.0}, {1000.0}]
    assert not any(one.marks for one in found)
    assert "1,000 streams in a typical one" in note
    few, note = timeline._percentiles(times[::100], values[::100], (50, 95), 60.0)
    assert [one.name for one in few] == ["p50", "p95, few samples"]
    assert [one.marks for one in few] == [False, True]
    assert "fewer than that percentile needs" in note


def test_rates_are_those_of_the_records(tmp_path: Path) -> None:
    """Offered and achieved add up to the requests, retries to the attempts; outcomes to the requests that ended."""
    run = runs.healthy()
    found = charts_of(run, tmp_path / "run")
    rates, first = series(found["rates"]), run.requests["attempt"].eq(1)
    assert rates["offered"].y.sum() == rates["achieved"].y.sum() == first.sum()
    assert rates["with retries"].y.sum() == len(run.requests) > first.sum()


RUNS = Path(__file__).resolve().parents[2] / "fixtures" / "runs"


@pytest.mark.parametrize(
    "folder",
    sorted(plan.parent for plan in RUNS.rglob("plan.json")),
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_no_request_is_missing_from_the_page(folder: Path) -> None:
    """The numbers beside the chart of outcomes add up to the requests that were recorded, of each outcome."""
    view = RunView(RunFolder(folder))
    end_s = timeline.end_of(view)
    data = numbers(str(draw(timeline._outcomes(view, end_s), view.phases, end_s)))
    shown = {one["name"]: sum(one["y"]) for one in data["series"]}
    assert shown == view.final["outcome"].value_counts()[lambda counts: counts > 0].to_dict()


def test_a_request_that_was_never_sent_is_shown_when_it_should_have_begun(tmp_path: Path) -> None:
    """It has no end; nor has it vanished."""
    run = runs.healthy()
    lost = run.requests.index[run.requests["attempt"].eq(1) & run.requests["final"]][:7]
    run.requests.loc[lost, ["outcome", "start_s", "e2e_ms"]] = ["not_sent", None, None]
    shown = series(charts_of(run, tmp_path / "run")["outcomes"])
    assert shown["not_sent"].y.sum() == 7


# ── moments ──


def test_moments_of_a_run(tmp_path: Path) -> None:
    """Phases, faults, ejections and recoveries, at the times that were recorded."""
    run = runs.healthy()
    run.events += runs.alert_told("ReplicaDown", 60.0, 80.0, server="replica-2")
    found = moments.bars(*seen(run, tmp_path / "run"))
    rows = {row: [bar for bar in found if bar.row == row] for row in moments.ROWS}
    assert [bar.name for bar in rows["phase"]] == [phase.name for phase in runs.scenario().phases]
    assert len(rows["fault"]) == sum(event["kind"] == "fault_injecting" for event in run.events)
    assert (60.0, 80.0, "ReplicaDown") in [(bar.begin_s, bar.end_s, bar.name) for bar in rows["alert"]]
    assert [bar.name for bar in rows["ejected"]].count("replica-2") == 2
    begin = run.span("one-replica")[0]
    assert rows["ejected"][0].begin_s == pytest.approx(begin + 4, abs=0.3)
    assert {bar.more.rpartition(" ")[2] for bar in rows["recovered"]} == {"one-replica", "all-replicas"}
    assert {line.kind for line in moments.lines(found)} == {"alert", "ejected", "recovered"}


def test_steps_of_an_operation_are_moments(tmp_path: Path) -> None:
    """A restart says when it had drained, stopped and started: in a row of their own, not as lines in the charts."""
    run = runs.healthy()
    step = {"kind": "fault_step", "fault": "f", "phase": "one-replica", "on": "replica-2", "step": "first_token"}
    run.events.append({"t_s": 70.0, **step, "took_ms": 64.3, "emulated": None})
    found = moments.bars(*seen(run, tmp_path / "run"))
    assert [bar for bar in found if bar.row == "step"] == [
        Bar("step", 70.0, 70.0, "first token replica-2", "took ms: 64.3")
    ]
    assert "step" not in {line.kind for line in moments.lines(found)}


def test_what_never_ended_has_no_end(tmp_path: Path) -> None:
    """A fault that was not healed goes on; so does an alert."""
    run = runs.healthy()
    run.drop_events("fault_healed")
    view, verdict = seen(run, tmp_path / "run")
    found = moments.bars(view, verdict)
    assert all(math.isinf(bar.end_s) for bar in found if bar.row == "fault")
    assert "the run ended before" in moments.strip(found, view, 100.0)


def test_restarts_are_marked(tmp_path: Path) -> None:
    """A component whose supervisor has started it again, and the time in which it did not run."""
    times = np.arange(0.0, 120.0)
    restarted = sampled("replica-1", "restarts_total", zip(times, (times >= 70).astype(float)))  # noqa: B905
    running = sampled("replica-1", "running_state", zip(times, ((times < 65) | (times >= 70)).astype(float)))  # noqa: B905
    run = runs.healthy()
    run.metrics = run.metrics[~run.metrics["metric"].isin(["restarts_total", "running_state"])]
    found = moments.bars(*seen(with_samples(run, restarted, running), tmp_path / "run"))
    down = [(bar.name, bar.begin_s, bar.end_s) for bar in found if bar.row == "down"]
    assert down == [("replica-1", 65.0, 70.0), ("restart of replica-1", 70.0, 70.0)]


def test_names_never_stand_on_each_other() -> None:
    """Ten phases of 2 s each with long names: in every line each name ends before the next one begins."""
    found = [Bar("phase", 2.0 * n, 2.0 * n + 2, f"a-phase-with-a-long-name-{n}") for n in range(10)]
    lines = moments._lines(found, 0.0, 100.0)
    for (line, limit), bar in zip(lines, found, strict=True):
        following = [other.begin_s for other, (place, _) in zip(found, lines, strict=True) if place == line]
        assert limit <= min((begin for begin in following if begin > bar.begin_s), default=100.0)
        assert limit - bar.begin_s > 100.0 * moments._LETTER * len(bar.name)
    assert len({line for line, _ in moments._lines(found[::5], 0.0, 100.0)}) <= 2


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Alerts and faults come from outside: they open no element and leave no attribute."""
    run = runs.healthy()
    run.events += runs.alert_told(HOSTILE, 60.0, 80.0, server=HOSTILE)
    html = str(timeline.html(*seen(run, tmp_path / "run")))
    assert "<img" not in html
    assert "alert('x')" not in html
    assert html.count("<script") == html.count('<script type="application/json">')
