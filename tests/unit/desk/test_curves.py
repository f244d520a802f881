"""The charts of a game: what the stack's Prometheus has, on the game's clock."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from harness.adapters.prometheus import Answered, Series
from harness.model.errors import AdapterError
from harness.run.desk import curves
from harness.run.desk.curves import CHARTS, Curves
from tests.unit.desk.boards import Client, FakeBoard, a_view

CLOCK_S = 100.0


class FakePrometheus:
    """One sample a second of two metrics; ``asked`` are the stretches, ``down`` whether it answers."""

    def __init__(self) -> None:
        self.began_s = time.time() - CLOCK_S
        self.asked: list[tuple[str, float, float]] = []
        self.down = False

    def samples(self, selector: str, start_s: float, end_s: float) -> Answered:
        """A counter that grows by two a second, and begins again after 60 s; a gauge of seven."""
        self.asked.append((selector, start_s, end_s))
        if self.down:
            raise AdapterError("no answer")
        at_s = np.arange(np.floor(start_s) + 1, end_s)
        if selector == "drillyard_gateway_failures_total":
            values = (2 * (at_s - self.began_s)) % 120
            return Answered((Series(selector, {"gateway": "gateway-a"}, at_s, values),), ())
        if selector == "vllm:num_requests_running":
            return Answered((Series(selector, {"component": "replica-1"}, at_s, np.full(len(at_s), 7.0)),), ())
        return Answered((), ())


@pytest.fixture
def found() -> tuple[FakePrometheus, Curves]:
    """A game in its hundredth second."""
    server = FakePrometheus()
    return server, Curves(server, lambda: CLOCK_S)  # type: ignore[arg-type]


def curve(of: Curves, chart: str) -> tuple[np.ndarray, np.ndarray]:
    """The only curve of a chart."""
    (one,) = next(found for found in of.charts() if found.id == chart).series
    return one.x, one.y


def test_a_counter_is_a_rate_on_the_games_clock(found: tuple[FakePrometheus, Curves]) -> None:
    """Where it began again nothing is known; a gauge is as it is."""
    _, of = found
    asyncio.run(of.look())
    x, y = curve(of, "failures")
    assert x[-1] == pytest.approx(CLOCK_S - curves.LAG_S, abs=3.0)
    assert y[~np.isnan(y)] == pytest.approx(2.0)
    assert np.isnan(y).sum() == 1
    assert set(curve(of, "running")[1]) == {7.0}


def test_only_what_is_new_is_asked_for(found: tuple[FakePrometheus, Curves]) -> None:
    """From where the last answer ended; no sample is there twice."""
    server, of = found
    asyncio.run(of.look())
    asyncio.run(of.look())
    first, second = server.asked[: len(CHARTS)], server.asked[len(CHARTS) :]
    assert {start for _, start, _ in second} == {end for _, _, end in first}
    x, _ = curve(of, "running")
    assert (np.diff(x) > 0).all()


def test_no_answer_is_a_hole_and_asked_for_again(found: tuple[FakePrometheus, Curves]) -> None:
    """Nothing ends by it."""
    server, of = found
    server.down = True
    asyncio.run(of.look())
    assert not any(chart.series for chart in of.charts())
    server.down = False
    asyncio.run(of.look())
    assert len(curve(of, "running")[0]) > 50


def test_charts_are_data_for_programs(found: tuple[FakePrometheus, Curves]) -> None:
    """The last seconds of each curve, on the game's clock; what is not known is null, and no number."""
    asyncio.run(found[1].look())
    board = FakeBoard(a_view(clock_s=CLOCK_S))
    client = Client(board, charts=found[1].charts)
    charts = {one["id"]: one for one in client.get("/api/charts?last=50").json()["charts"]}
    assert list(charts) == [one.id for one in CHARTS]
    (running,) = charts["running"]["series"]
    assert (running["name"], charts["running"]["unit"], set(running["values"])) == ("replica-1", "requests", {7.0})
    assert CLOCK_S - 51 < min(running["at_s"]) < CLOCK_S - 45
    assert None in charts["failures"]["series"][0]["values"]  # the counter began again
    assert len(client.get("/api/charts").json()["charts"][0]["series"]) == 0
    assert client.get("/api/charts?last=inf").status_code == 400
