"""What a board shows, as plain data: the desk's JSON, and all that its pages are made from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from harness.run.board import ConsoleView, PlayersView
from reports.charts import Chart, Series


def of_players(view: PlayersView) -> dict[str, Any]:
    """The players' view: these fields alone, whatever else the board may have handed over."""
    return {field.name: plain(getattr(view, field.name)) for field in fields(PlayersView)}


def of_console(view: ConsoleView) -> dict[str, Any]:
    """The facilitator's view, the players' fields among it."""
    return {field.name: plain(getattr(view, field.name)) for field in fields(ConsoleView)}


def of_charts(charts: Iterable[Chart], since_s: float) -> list[dict[str, Any]]:
    """Charts as data, from that moment of the game on: each curve with its times and values."""
    return [
        {
            "id": chart.id,
            "title": chart.title,
            "unit": chart.unit,
            "series": [_curve(one, since_s) for one in chart.series],
        }
        for chart in charts
    ]


def _curve(series: Series, since_s: float) -> dict[str, Any]:
    seen = series.x >= since_s
    times, values = (np.asarray(one[seen], dtype=float).round(4).tolist() for one in (series.x, series.y))
    return {"name": series.name, "at_s": times, "values": plain(values)}


def plain(value: Any) -> Any:
    """Dataclasses and mappings as objects, tuples as lists; a number that is none is None: not measured."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
