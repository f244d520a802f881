"""Failover: what clients felt is counted from the raw attempts and DNS answers; where nobody moved there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from reports.panels import failover
from tests.unit.reports.stored import HOSTILE, NOT_MEASURED, NOTHING, RUNS, changed, tables, view

STORED = ("gateway-failover/green", "gateway-failover/red", "timeout-spike/green")
QUIET = ("cancelled_intended", "cancelled_drain", "not_sent")


def window(name: str, phase: str) -> tuple[float, float, float]:
    """When the faults of a phase were ordered, the last of them was in place, and the first was healed."""
    lines = list(map(json.loads, (RUNS / name / "events.jsonl").read_text().splitlines()))
    times = {
        kind: [e["t_s"] for e in lines if e["kind"] == kind and e.get("phase") == phase]
        for kind in ("fault_injecting", "fault_injected", "fault_healing")
    }
    return min(times["fault_injecting"]), max(times["fault_injected"]), min(times["fault_healing"])


def raw(name: str) -> pd.DataFrame:
    """The attempts with their end."""
    rows = pd.read_parquet(RUNS / name / "requests.parquet")
    return rows.assign(end_s=rows["start_s"] + rows["e2e_ms"].fillna(0) / 1000)


def after(times: pd.Series, since: float, last: bool = False) -> str:
    """As the panel writes it."""
    return f"{(times.max() if last else times.min()) - since:.2f} s" if len(times.dropna()) else "never"


@pytest.mark.parametrize("name", STORED)
def test_what_clients_felt_is_counted_from_the_attempts(name: str) -> None:
    """Cut, first failure, first sent and first token elsewhere, last sent there; of every row."""
    run, rows = view(name), raw(name)
    (shown,) = tables(str(failover.html(run, NOTHING)))
    assert len(shown) == (1 if name.startswith("timeout") else 3)
    for row in shown:
        ordered, _, healed = window(name, row["phase"])
        bad = ~rows["outcome"].isin(["ok", *QUIET])
        mine = rows["gateway"].eq(run.address_of(row["away from"])) & rows["start_s"].le(healed)
        flying = mine & rows["start_s"].lt(ordered) & rows["end_s"].gt(ordered)
        assert row["cut of those in flight"] == f"{(flying & bad).sum()} of {flying.sum()}"
        assert row["first failure after"] == after(rows["end_s"][mine & bad & rows["end_s"].ge(ordered)], ordered)
        there = rows["start_s"][mine & rows["start_s"].ge(ordered)]
        assert row["last sent there after"] == after(there, ordered, last=True)
        other = rows[rows["gateway"].notna() & rows["gateway"].ne(run.address_of(row["away from"]))]
        other = other[other["start_s"].between(ordered, healed)]
        assert row["first sent elsewhere after"] == after(other["start_s"], ordered)
        assert row["first token elsewhere after"] == after(other["start_s"] + other["ttft_ms"] / 1000, ordered)
        judged = run.attempts(row["phase"]).frame()
        judged = judged[judged["final"] & ~judged["outcome"].isin(QUIET)]
        failed = row["requests failed in the end"]
        assert failed.startswith(f"{judged['outcome'].ne('ok').sum()} of {len(judged)}")
        assert sum(map(int, re.findall(r" (\d+)[,)]", failed))) == judged["outcome"].ne("ok").sum()


@pytest.mark.parametrize("name", STORED)
def test_dns_is_timed_by_its_answers(name: str) -> None:
    """Left: since the last answer with the gateway before the heal; back: the first with it after that."""
    run = view(name)
    answers = run.metrics("dns", "answer")
    for row in tables(str(failover.html(run, NOTHING)))[0]:
        _, placed, healing = window(name, row["phase"])
        here = answers[answers["t_s"].between(placed, healing)]
        mine = here["labels"].eq(f"address={run.address_of(row['away from'])}")
        later = here[here["t_s"] > here["t_s"][mine].max()] if mine.any() else here
        left = "never" if later.empty else f"{later['t_s'].min() - placed:.2f} s"
        assert row["DNS left after"] == f"{left} (n = {here['t_s'].nunique()})"
        assert (row["DNS back after the heal"] == "—") == later.empty


@pytest.mark.parametrize("name", STORED)
def test_shares_are_those_of_the_attempts(name: str) -> None:
    """Each window of the chart, of all attempts and of those that connected anew."""
    run, rows = view(name), raw(name)
    rows = rows[rows["gateway"].notna()]
    for series in failover._shares(run).series:
        gateway, what = series.name.split(", ")
        of = rows if what == "requests" else rows[rows["connect_ms"].notna()]
        half = (series.x[1] - series.x[0]) / 2
        for x, y in list(zip(series.x, series.y, strict=True))[::7]:
            here = of[of["start_s"].between(x - half, x + half, inclusive="left")]
            if len(here):
                assert y == pytest.approx(100 * here["gateway"].eq(run.address_of(gateway)).mean())
            else:
                assert pd.isna(y)


def test_a_silent_dns_is_told_as_its_check_tells_it() -> None:
    """How many asked in vain, by the records."""
    page, rows = str(failover.html(view(STORED[0]), NOTHING)), raw(STORED[0])
    _, placed, healed = window(STORED[0], "dns-dead")
    here = rows[rows["start_s"].between(placed, healed)]
    assert f"{here['dns_ms'].notna().sum()} of {len(here)} attempts asked in vain" in page


def test_it_is_there_where_clients_had_to_move(tmp_path: Path) -> None:
    """Not where DNS led to one gateway all the time, nor where DNS was not asked; what was not sampled says so."""
    assert not failover.html(view("oom/green"), NOTHING)
    assert not failover.html(view("v1"), NOTHING)
    _, placed, _ = window(STORED[0], "hung")
    deaf = changed(
        STORED[0], tmp_path / "run",
        metrics=lambda all_: all_[~(all_["component"].eq("dns") & all_["t_s"].between(placed + 1, placed + 6))],
    )  # fmt: skip
    (rows,) = tables(str(failover.html(deaf, NOTHING)))
    assert [row["DNS left after"] == NOT_MEASURED for row in rows] == [False, True, False]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """An outcome that is markup: scenarios take no such phase."""
    run = changed(STORED[0], tmp_path / "run", requests=lambda rows: rows.assign(outcome=HOSTILE))
    page = str(failover.html(run, NOTHING))
    assert "<img" not in page
    assert page.count("&lt;img") == 3
