"""KV pressure: each number is that of the raw samples, attempts and answers; every request of a workload is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.panels import kv_pressure
from tests.unit.reports.stored import HOSTILE, NOT_MEASURED, NOTHING, RUNS, changed, tables, view

STORED = ("oom/green", "oom/red", "cancel-storm/green", "cancel-storm/red")


def asks(name: str) -> list[dict[str, Any]]:
    """What came of the workload's own requests, from the file."""
    return [e for e in map(json.loads, (RUNS / name / "events.jsonl").read_text().splitlines()) if e["kind"] == "ask"]


def by_phase(rows: list[dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """Each row with the phase that it belongs to, which only the first of them names."""
    found, phase = [], ""
    for row in rows:
        phase = row["phase"] or phase
        found.append((phase, row))
    return found


@pytest.mark.parametrize("name", STORED)
def test_rows_are_those_of_the_samples_and_attempts(name: str) -> None:
    """KV use, preemptions, queue, running, admitted and refused, of every replica in every phase."""
    run, rows = view(name), pd.read_parquet(RUNS / name / "requests.parquet")
    samples = pd.read_parquet(RUNS / name / "metrics.parquet")
    path = RUNS / name / "waves.json"
    waves = json.loads(path.read_text())["waves"] if path.exists() else []
    shown = by_phase(tables(str(kv_pressure.html(run, NOTHING)))[0])
    assert {row["at"] for _, row in shown} - {"gateways"} == set(run.replicas)
    assert list(dict.fromkeys(phase for phase, _ in shown)) == ["baseline", *run.fault_phases]
    for phase, row in shown:
        if row["at"] == "gateways":
            continue
        span = run.phase(phase)
        assert span is not None
        here = samples[samples["component"].eq(row["at"]) & samples["t_s"].between(span.start_s, span.end_s)]
        of = {metric: part["value"] for metric, part in here.groupby("metric")}
        percent, count = re.fullmatch(r"([\d.]+) % \(n = (\d+)\)", row["KV cache used, most"]).groups()
        assert float(percent) == pytest.approx(100 * of["kv_usage_ratio"].max(), rel=0.005)
        assert int(count) == len(of["kv_usage_ratio"])
        for column, metric in (("waiting, most", "waiting"), ("running, most", "running")):
            assert int(row[column]) == of[metric].max()
        for column, metric in (("preempted", "preemptions_total"), ("refused", "admission_rejections_total")):
            assert int(row[column]) == of[metric].iloc[-1] - of[metric].iloc[0]
        judged = rows["straddles"].fillna(rows["phase"]).eq(phase)
        given = rows["replica"].eq(row["at"]) | rows["gateway_replica"].eq(row["at"])
        assert int(row["users admitted"]) == (judged & given & rows["http_status"].eq(200)).sum()
        own = [s for wave in waves if wave["phase"] == phase for s in wave["streams"]]
        own += [ask for ask in asks(name) if ask["phase"] == phase]
        admitted = sum(one["replica"] == row["at"] and one["status"] == 200 for one in own)
        assert row["workload admitted"] == (str(admitted) if own else "—")


@pytest.mark.parametrize("name", STORED)
def test_gateways_have_a_row_where_somebody_waited_or_was_refused(name: str) -> None:
    """The longest queue of any, and the users and requests of the workload that got a refusal of no replica."""
    run, rows = view(name), pd.read_parquet(RUNS / name / "requests.parquet")
    shown = by_phase(tables(str(kv_pressure.html(run, NOTHING)))[0])
    for phase in ("baseline", *run.fault_phases):
        queue = max(run.metrics(gateway, "queue_current", phase=phase)["value"].max() for gateway in run.gateways)
        judged = rows["straddles"].fillna(rows["phase"]).eq(phase)
        refused = int((judged & rows["outcome"].isin(["shed_429", "shed_503"]) & rows["replica"].isna()).sum())
        refused += sum(
            a["phase"] == phase and a["outcome"] == "refused" and a["layer"] == "gateway" for a in asks(name)
        )
        row = next((row for of, row in shown if of == phase and row["at"] == "gateways"), None)
        assert (row is None) == (not queue and not refused)
        if row is not None:
            assert (int(row["waiting, most"]), int(row["refused"])) == (queue, refused)


@pytest.mark.parametrize("name", ["oom/green", "oom/red"])
def test_no_request_of_the_workload_is_missing(name: str) -> None:
    """Served, refused by whom, or neither: the columns add up to all that were sent."""
    shown, known = tables(str(kv_pressure.html(view(name), NOTHING)))[1], asks(name)
    assert sum(int(row["requests"]) for row in shown) == len(known)
    for row in shown:
        here = [ask for ask in known if ask["phase"] == row["workload of"]]
        columns = ("served whole", "refused by gateways", "refused by engines", "others")
        numbers = [int(row[column].split()[0]) for column in columns]
        assert sum(numbers) == int(row["requests"]) == len(here)
        assert numbers[0] == sum(ask["outcome"] == "whole" for ask in here)
        for number, layer in zip(numbers[1:3], ("gateway", "engine"), strict=True):
            assert number == sum(ask["outcome"] == "refused" and ask["layer"] == layer for ask in here)


def test_it_is_there_where_something_pressed(tmp_path: Path) -> None:
    """Not in an ordinary run; in one whose cache was full, or that preempted somebody."""
    assert not kv_pressure.html(view("gateway-failover/green"), NOTHING)
    for metric, value in (("kv_usage_ratio", 0.97), ("preemptions_total", 3.0)):

        def pressed(samples: pd.DataFrame, metric: str = metric, value: float = value) -> pd.DataFrame:
            late = samples["component"].eq("replica-2") & samples["metric"].eq(metric) & samples["t_s"].gt(50)
            return samples.assign(value=samples["value"].mask(late, value))

        page = kv_pressure.html(changed("gateway-failover/green", tmp_path / metric, metrics=pressed), NOTHING)
        shown = by_phase(tables(str(page))[0])
        (row,) = (row for phase, row in shown if phase == "dead" and row["at"] == "replica-2")
        assert row["KV cache used, most"].startswith("97 %") == (metric == "kv_usage_ratio")
        assert row["workload admitted"] == "—"


def test_what_was_not_sampled_is_not_measured(tmp_path: Path) -> None:
    """A replica without samples has no zeros; a counter that began again counts from there."""
    blind = changed("oom/green", tmp_path / "blind", metrics=lambda all_: all_[all_["component"].ne("replica-1")])
    shown = by_phase(tables(str(kv_pressure.html(blind, NOTHING)))[0])
    rows = [row for _, row in shown if row["at"] == "replica-1"]
    columns = ("KV cache used, most", "preempted", "waiting, most", "running, most", "refused")
    assert {row[column] for row in rows for column in columns} == {NOT_MEASURED}

    def again(samples: pd.DataFrame) -> pd.DataFrame:
        mine = samples["component"].eq("replica-1") & samples["metric"].eq("preemptions_total")
        values = samples["value"].mask(mine & samples["t_s"].between(50, 55), 4.0)
        return samples.assign(value=values.mask(mine & samples["t_s"].gt(55), 1.0))

    shown = by_phase(tables(str(kv_pressure.html(changed("oom/green", tmp_path / "again", metrics=again), NOTHING)))[0])
    (row,) = (row for phase, row in shown if phase == "oversized" and row["at"] == "replica-1")
    assert row["preempted"] == "5"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """A phase and an outcome that are markup."""
    run = changed(
        "oom/green", tmp_path / "run",
        events=lambda all_: [e | {"phase": HOSTILE, "outcome": HOSTILE} if e["kind"] == "ask" else e for e in all_],
    )  # fmt: skip
    page = str(kv_pressure.html(run, NOTHING))
    assert "<img" not in page
    assert page.count("&lt;img") == 2
