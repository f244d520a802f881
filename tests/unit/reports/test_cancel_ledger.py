"""The cancel ledger: nothing that was cancelled is missing from it, and each number is that of the raw records."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.judge.aftermath import LAG_S, SYNTHETIC
from reports.panels import cancels
from tests.unit.reports.stored import HOSTILE, NOT_MEASURED, NOTHING, RUNS, changed, tables, view

STORED = ("cancel-storm/green", "cancel-storm/red")
CUT = ("cut: no answer", "cut: queue or prefill", "cut: decode")
ACCOUNTS = (*CUT, "over before", "unaccounted for")


def waves_of(name: str) -> list[dict[str, Any]]:
    """As the file has them."""
    found: list[dict[str, Any]] = json.loads((RUNS / name / "waves.json").read_text())["waves"]
    return found


def state(stream: dict[str, Any]) -> str:
    """Which column a stream belongs in, by the file alone."""
    if stream["ended"] is not None:
        return "over before"
    if stream["cancelled_s"] is None:
        return "unaccounted for"
    if stream["first_token_s"] is not None:
        return "cut: decode"
    return "cut: no answer" if stream["status"] is None else "cut: queue or prefill"


def cancelled_s(wave: dict[str, Any]) -> float:
    """The last cancel."""
    return max(stream["cancelled_s"] for stream in wave["streams"])


@pytest.mark.parametrize("name", STORED)
def test_every_stream_of_a_wave_is_in_one_column(name: str) -> None:
    """Counts and tokens of each row are those of waves.json; the sentence has their sums."""
    page = str(cancels.html(view(name), NOTHING))
    waves, (rows,) = waves_of(name), tables(page)
    assert len(rows) == len(waves)
    for wave, row in zip(waves, rows, strict=True):
        streams = wave["streams"]
        assert row["wave"].startswith(f"{wave['phase']} {wave['number']}")
        assert ("moment missed" in row["wave"]) != wave["reached"]
        assert {column: int(row[column]) for column in ACCOUNTS} == {
            column: sum(state(stream) == column for stream in streams) for column in ACCOUNTS
        }
        assert int(row["streams"]) == len(streams)
        assert row["tokens thrown away"] == f"{sum(s['tokens'] for s in streams if state(s) in CUT):,}"
    every = [stream for wave in waves for stream in wave["streams"]]
    fin = sum(stream["ending"] == "fin" for stream in every)
    assert f"{len(every)} streams in {len(waves)} waves: {len(every)} cancelled ({fin} by FIN" in page


def over_many(samples: pd.Series, rows: pd.DataFrame, end_s: float, begin_s: float) -> tuple[float, float]:
    """Between which two looks the last was that had more than users and two others explain; the last one is not alone.

    ``samples`` are what was held, by time. Seconds after ``begin_s``.
    """
    last, after = -math.inf, math.inf
    looks = [(t_s, held) for t_s, held in samples.items() if begin_s <= t_s <= end_s]
    above = [
        held > ((rows["first_byte_sent_s"] <= t_s).sum() - (rows["end_s"] < t_s - LAG_S).sum()) + SYNTHETIC
        for t_s, held in looks
    ]
    for n, high in enumerate(above):
        gone_before = n > 0 and not above[n - 1]
        if high and not (gone_before and not any(above[n + 1 :])):
            last, after = looks[n][0], looks[n + 1][0] if n + 1 < len(looks) else math.inf
    return last - begin_s, after - begin_s


@pytest.mark.parametrize("name", STORED)
def test_gateways_have_let_go_when_their_sessions_are_others(name: str) -> None:
    """Each time encloses the last sample with more sessions than users and two others explain, and no later one."""
    run = view(name)
    rows = run.requests.frame()
    rows["end_s"] = rows["start_s"] + rows["e2e_ms"].fillna(0) / 1000
    (shown,) = tables(str(cancels.html(run, NOTHING)))
    seen = 0
    for wave, row in zip(waves_of(name), shown, strict=True):
        if row["gateways let go after"] == "—":
            assert {stream["entrypoint"] for stream in wave["streams"]}.isdisjoint(run.gateways)
            continue
        most = float(re.findall(r"[\d.]+", row["gateways let go after"])[-1])
        for gateway in run.gateways:
            held = run.metrics(gateway, "server_sessions_current").groupby("t_s")["value"].sum()
            held += run.metrics(gateway, "queue_current").groupby("t_s")["value"].sum()
            mine = rows[rows["gateway"].eq(run.address_of(gateway))]
            last, after = over_many(held, mine, wave["watched_until_s"], cancelled_s(wave))
            assert last < most + 0.005
            seen += last > 0 and abs(after - most) < 0.006
    assert seen or name.endswith("green")


@pytest.mark.parametrize("name", STORED)
def test_what_ran_before_is_the_last_look_before_the_cancel(name: str) -> None:
    """The sums over the replicas of the raw samples."""
    run = view(name)
    (shown,) = tables(str(cancels.html(run, NOTHING)))
    for wave, row in zip(waves_of(name), shown, strict=True):
        sums = []
        for metric in ("wave_running", "wave_waiting"):
            looks = [run.metrics(replica, metric) for replica in run.replicas]
            sums.append(sum(one[one["t_s"] < cancelled_s(wave)]["value"].iloc[-1] for one in looks))
        assert row["running + waiting"] == f"{sums[0]:.0f} + {sums[1]:.0f}"


def test_a_gateway_that_misses_cancels_lets_go_late() -> None:
    """The defect of the red run: queued streams stay at the gateways, and the engines work for them."""
    (red,), (green,) = (tables(str(cancels.html(view(name), NOTHING))) for name in reversed(STORED))
    assert red[0]["gateways let go after"] == "0.54–1.01 s"
    assert red[0]["engines let go after"] == "1.06–1.09 s"
    assert red[0]["tokens made after"] == "468 to 500"
    assert green[0]["gateways let go after"] == "≤ 0.14 s"
    assert green[0]["tokens made after"] == "0"


def test_what_was_not_sampled_is_not_measured(tmp_path: Path) -> None:
    """Without close looks at one replica nothing is said of the engines, without sessions nothing of the gateways."""
    blind = changed(
        STORED[0], tmp_path / "engines",
        metrics=lambda all_: all_[~(all_["component"].eq("replica-2") & all_["metric"].str.startswith("wave_"))],
    )  # fmt: skip
    (rows,) = tables(str(cancels.html(blind, NOTHING)))
    engines = ("running + waiting", "engines let go after", "tokens made after", "still held")
    assert {row[column] for row in rows for column in engines} == {NOT_MEASURED}
    deaf = changed(
        STORED[0], tmp_path / "gateways", metrics=lambda all_: all_[all_["metric"].ne("server_sessions_current")]
    )
    (rows,) = tables(str(cancels.html(deaf, NOTHING)))
    assert {row["gateways let go after"] for row in rows} == {NOT_MEASURED, "—"}
    assert all(row["still held"] == "0" for row in rows)


def test_no_cancelled_request_is_missing(tmp_path: Path) -> None:
    """However streams and attempts ended: each stream is counted once, and each attempt that its client cut."""
    rng = random.Random(20)

    def streams(data: dict[str, Any]) -> dict[str, Any]:
        for stream in (stream for wave in data["waves"] for stream in wave["streams"]):
            stream["ended"] = rng.choice([None, None, "stop"])
            for field in ("cancelled_s", "first_token_s", "status"):
                stream[field] = rng.choice([stream[field], None])
        return data

    def attempts(rows: pd.DataFrame) -> pd.DataFrame:
        kinds = ["ok", "cancelled_intended", "cancelled_drain", "broken_stream"]
        rows["outcome"] = [rng.choice(kinds) for _ in range(len(rows))]
        rows["phase"] = [phase if rng.random() < 0.9 else None for phase in rows["phase"]]
        for column in ("headers_ms", "ttft_ms"):
            rows[column] = [value if rng.random() < 0.7 else None for value in rows[column]]
        return rows

    for number, name in enumerate(STORED):
        run = changed(name, tmp_path / str(number), waves=streams, requests=attempts)
        page = str(cancels.html(run, NOTHING))
        (rows,) = tables(page)
        waves = [row for row in rows if not row["wave"].startswith(("users", "end of the load"))]
        written = json.loads((tmp_path / str(number) / "waves.json").read_text())["waves"]
        every = [stream for wave in written for stream in wave["streams"]]
        assert len(waves) == len(written)
        for column in ACCOUNTS:
            assert sum(int(row[column]) for row in waves) == sum(state(stream) == column for stream in every)
        for who, outcome in (("users", "cancelled_intended"), ("end of the load", "cancelled_drain")):
            theirs = [row for row in rows if row["wave"].startswith(who)]
            count = int(run.requests["outcome"].eq(outcome).sum())
            assert sum(int(row["streams"]) for row in theirs) == count
            assert f" {count:,}" in page
        assert all(sum(int(row[column]) for column in ACCOUNTS) == int(row["streams"]) for row in rows)


def test_it_is_there_where_somebody_hung_up(tmp_path: Path) -> None:
    """Not in a run without waves and cancels, whatever the end of the load cut; in one whose users cancel, it is."""
    drained = changed("oom/green", tmp_path / "drained", requests=lambda rows: rows.assign(outcome="cancelled_drain"))
    assert not cancels.html(view("oom/green"), NOTHING)
    assert not cancels.html(drained, NOTHING)
    users = changed("oom/green", tmp_path / "users", requests=lambda rows: rows.assign(outcome="cancelled_intended"))
    page = str(cancels.html(users, NOTHING))
    assert f"No waves; users cancelled {len(users.requests):,} attempts." in page


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """A phase and a reason that are markup."""

    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        data["waves"][0] |= {"phase": HOSTILE, "why": HOSTILE, "reached": False}
        return data

    page = str(cancels.html(changed(STORED[0], tmp_path / "run", waves=renamed), NOTHING))
    assert "<img" not in page
    assert page.count("&lt;img") == 2
