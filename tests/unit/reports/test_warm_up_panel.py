"""Restart warm-up: each time and median is that of the raw steps, samples and answers; what was not seen says so."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.judge.checks.restarts import COLD
from reports.panels import warm_up
from tests.unit.reports.stored import HOSTILE, NOT_MEASURED, NOTHING, RUNS, changed, tables, view

STORED = (
    "node-restart/green",
    "node-restart/red",
    "node-restart",
    "oom/green",
    "oom/red",
    "model-swap/green",
    "model-swap/red",
)


def steps(name: str) -> list[tuple[float, str, str, str]]:
    """Time, replica, phase and step of every end and every comeback, from the file."""
    lines = map(json.loads, (RUNS / name / "events.jsonl").read_text().splitlines())
    kinds = ("stopping", "killing", "ready")
    return [
        (e["t_s"], e["on"], e["phase"], e["step"]) for e in lines if e["kind"] == "fault_step" and e["step"] in kinds
    ]


def restarts(name: str) -> list[tuple[float, float, str, str]]:
    """Ended, ready, replica, phase; each end is followed by the replica's own comeback."""
    found = []
    for n, (t_s, replica, phase, step) in enumerate(steps(name)):
        if step != "ready":
            ready = next(one for one in steps(name)[n + 1 :] if one[1] == replica and one[3] == "ready")
            found.append((t_s, ready[0], replica, phase))
    return sorted(found)


def answers(rows: pd.DataFrame, replica: str, ready: float, end: float) -> pd.DataFrame:
    """Good answers of a replica since it was ready, that ended before ``end``."""
    mine = rows["replica"].eq(replica) & rows["outcome"].eq("ok") & rows["start_s"].ge(ready)
    return rows[mine & (rows["start_s"] + rows["e2e_ms"] / 1000 < end)].sort_values("start_s")


def until(name: str, ready: float, replica: str) -> float:
    """When the next phase with a fault began to inject, or the replica ended again."""
    ends = [ended for ended, _, other, _ in restarts(name) if other == replica and ended > ready]
    return min([*ends, next_fault(name, ready)])


def next_fault(name: str, after: float) -> float:
    """When the next phase with a fault began to inject."""
    lines = list(map(json.loads, (RUNS / name / "events.jsonl").read_text().splitlines()))
    first: dict[str, float] = {}
    for event in lines:
        if event["kind"] in ("fault_injecting", "fault_injected"):
            first.setdefault(event["phase"], event["t_s"])
    return min((t_s for t_s in first.values() if t_s > after), default=math.inf)


def close(shown: str, value: float) -> bool:
    """Whether a number of three digits is that value."""
    return abs(float(shown.split()[0].replace(",", "")) - value) <= max(0.5e-2 * abs(value), 1e-9)


@pytest.mark.parametrize("name", STORED)
def test_times_are_those_of_steps_samples_and_answers(name: str) -> None:
    """Ended and ready by the steps; in rotation by the last gateway's sample; first answer and count by the records."""
    run, rows = view(name), pd.read_parquet(RUNS / name / "requests.parquet")
    shown, expected = tables(str(warm_up.html(run, NOTHING)))[0], restarts(name)
    assert [row["restart"] for row in shown] == [f"{replica}, {phase}" for _, _, replica, phase in expected]
    for row, (ended, ready, replica, _) in zip(shown, expected, strict=True):
        mine = answers(rows, replica, ready, until(name, ready, replica))
        assert close(row["ended at"], ended)
        assert close(row["ready after"], ready - ended)
        ups = [run.metrics(gateway, "server_up", f"server={replica}") for gateway in run.gateways]
        back = max(_back(up, ended, ready) for up in ups)
        again = min((one[0] for one in expected if one[2] == replica and one[0] > ended), default=math.inf)
        assert row["in rotation after"] == "never" if back > again else close(row["in rotation after"], back - ended)
        first = (mine["start_s"] + mine["ttft_ms"] / 1000).min()
        assert (
            row["first answer after"] == "no answer" if mine.empty else close(row["first answer after"], first - ended)
        )
        assert int(row["answers"]) == len(mine)


def _back(up: pd.DataFrame, ended: float, ready: float) -> float:
    """The sample in which a gateway first used the replica again."""
    out = up[up["t_s"].between(ended, ready) & up["value"].eq(0)]["t_s"].max()
    return float(up[up["t_s"].gt(out) & up["value"].eq(1)]["t_s"].min())


def tps(rows: pd.DataFrame) -> pd.Series:
    """Tokens per second of each stream; one whose first token was its end has no rate."""
    seconds = (rows["e2e_ms"] - rows["ttft_ms"]) / 1000
    return rows["output_tokens"] / seconds[seconds > 0]


@pytest.mark.parametrize("name", STORED)
def test_medians_are_those_of_the_answers(name: str) -> None:
    """Of the baseline, the first answers, the later ones and the other replicas, each with its count."""
    run, rows = view(name), pd.read_parquet(RUNS / name / "requests.parquet")
    shown, expected = tables(str(warm_up.html(run, NOTHING)))[1], restarts(name)
    calm = rows[rows["request_id"].isin(run.attempts("baseline")["request_id"]) & rows["outcome"].eq("ok")]
    rates = (("TTFT p50", lambda part: part["ttft_ms"]), ("TPS p50", tps))
    for n, (_, ready, replica, _) in enumerate(expected):
        end = until(name, ready, replica)
        mine = answers(rows, replica, ready, end)
        others = pd.concat([answers(rows, other, ready, end) for other in run.replicas if other != replica])
        groups = {
            "baseline": calm, "its first answers": mine.head(COLD), "its later answers": mine.iloc[COLD:],
            "other replicas meanwhile": others,
        }  # fmt: skip
        for row, (title, values_of) in zip(shown[2 * n : 2 * n + 2], rates, strict=True):
            assert row["what"] == title
            for column, part in groups.items():
                values = values_of(part).dropna()
                assert row[column].endswith(f"(n = {len(values):,})"), (row, column)
                if len(values) >= COLD:
                    assert close(row[column], statistics.median_low(values))


@pytest.mark.parametrize("name", STORED)
def test_warm_is_the_first_ten_in_a_row_that_are_usual(name: str) -> None:
    """Recounted answer by answer."""
    rows = pd.read_parquet(RUNS / name / "requests.parquet")
    calm = view(name).attempts("baseline")
    usual = statistics.median_low(calm["ttft_ms"][calm["outcome"].eq("ok")].dropna())
    limit = max(1.5 * usual, usual + 100)
    shown = tables(str(warm_up.html(view(name), NOTHING)))[0]
    for row, (ended, ready, replica, _) in zip(shown, restarts(name), strict=True):
        mine = answers(rows, replica, ready, until(name, ready, replica))
        ttft = mine["ttft_ms"].tolist()
        warm = next((n for n in range(len(ttft) - 9) if statistics.median(ttft[n : n + 10]) <= limit), None)
        if len(ttft) < 10:
            assert row["warm after"] == f"too few answers ({len(ttft)})"
            continue
        assert warm is not None
        assert row["warm after"].endswith(f"(answer {warm + 1})")
        assert close(row["warm after"], mine["start_s"].iloc[warm] - ended)


@pytest.mark.parametrize("name", STORED)
def test_the_chart_has_each_answer_once(name: str) -> None:
    """As many dots as answers of the restarted replicas in the baseline and after their restarts."""
    run, rows = view(name), pd.read_parquet(RUNS / name / "requests.parquet")
    ids = set[str]()
    calm = run.attempts("baseline")
    for _, ready, replica, _ in restarts(name):
        ids |= set(answers(rows, replica, ready, until(name, ready, replica))["request_id"])
        ids |= set(calm["request_id"][calm["replica"].eq(replica) & calm["outcome"].eq("ok")])
    page = str(warm_up.html(run, NOTHING))
    told = json.loads(page.partition('<script type="application/json">')[2].partition("</script>")[0])
    assert sum(len(series["y"]) for series in told["series"]) == len(ids)


def test_what_was_not_seen_is_not_measured(tmp_path: Path) -> None:
    """A replica that never came back, gateways that were not sampled, a run without a baseline's answers."""

    def never_ready(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [e for e in events if not (e["kind"] == "fault_step" and e["step"] == "ready" and e["phase"] == "oom")]

    gone = changed("oom/green", tmp_path / "gone", events=never_ready)
    (row,) = tables(str(warm_up.html(gone, NOTHING)))[0]
    assert {row[column] for column in ("ready after", "first answer after", "warm after", "answers")} == {NOT_MEASURED}
    blind = changed("oom/green", tmp_path / "blind", metrics=lambda all_: all_[all_["metric"].ne("server_up")])
    (row,) = tables(str(warm_up.html(blind, NOTHING)))[0]
    assert row["in rotation after"] == NOT_MEASURED
    assert row["answers"] == tables(str(warm_up.html(view("oom/green"), NOTHING)))[0][0]["answers"]
    slow = changed("oom/green", tmp_path / "slow", requests=lambda rows: rows.assign(ttft_ms=None))
    (row,) = tables(str(warm_up.html(slow, NOTHING)))[0]
    assert row["warm after"] == NOT_MEASURED


def test_a_restart_that_nobody_asked_for_is_one_too(tmp_path: Path) -> None:
    """Without the steps of the kill the supervisor's count tells of it; a run without a restart has no such panel."""

    def no_steps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [e for e in events if e["kind"] != "fault_step"]

    run = changed("oom/green", tmp_path / "run", events=no_steps)
    (row,) = tables(str(warm_up.html(run, NOTHING)))[0]
    (asked,) = tables(str(warm_up.html(view("oom/green"), NOTHING)))[0]
    assert row["restart"] == "replica-2, unexpected"
    assert abs(float(row["ready after"].split()[0]) - float(asked["ready after"].split()[0])) < 1
    assert not warm_up.html(view("gateway-failover/green"), NOTHING)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """A phase that is markup."""
    run = changed(
        "oom/green", tmp_path / "run",
        events=lambda all_: [e | {"phase": HOSTILE} if e["kind"] == "fault_step" else e for e in all_],
    )  # fmt: skip
    page = str(warm_up.html(run, NOTHING))
    assert "<img" not in page
    assert "&lt;img" in page
