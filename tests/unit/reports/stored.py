"""Stored runs for tests of panels: read as they are, or copied and edited; and what a panel's tables say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.model.verdict import Status, Verdict

RUNS = Path(__file__).parents[2] / "fixtures" / "runs"
NOTHING = Verdict(Status.PASS, "all held", (), ())
HOSTILE = "<img src=x onerror=alert(1)>"
#: Of a text of a page.
NOT_MEASURED = "not measured"


def view(name: str) -> RunView:
    """A stored run, such as ``oom/green``."""
    return RunView(RunFolder(RUNS / name))


def changed(
    name: str,
    path: Path,
    metrics: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    requests: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    events: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    waves: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> RunView:
    """A copy of a stored run with other samples, attempts, events or waves."""
    shutil.copytree(RUNS / name, path)
    for file, change in (("metrics.parquet", metrics), ("requests.parquet", requests)):
        if change is not None:
            change(pd.read_parquet(path / file)).to_parquet(path / file)
    if events is not None:
        lines = events([json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()])
        (path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if waves is not None:
        (path / "waves.json").write_text(json.dumps(waves(json.loads((path / "waves.json").read_text()))))
    return RunView(RunFolder(path))


def tables(page: str) -> list[list[dict[str, str]]]:
    """Of each table with a head its rows, as text by the titles of the columns."""
    found = []
    for table in re.findall(r"<table.*?</table>", page, flags=re.DOTALL):
        head = [_text(cell) for cell in re.findall(r"<th scope=\"col\">(.*?)</th>", table, flags=re.DOTALL)]
        rows = [re.findall(r"<td>(.*?)</td>", row, flags=re.DOTALL) for row in re.findall("<tr>.*?</tr>", table, re.S)]
        found.append([dict(zip(head, map(_text, row), strict=True)) for row in rows if row])
    return found


def _text(cell: str) -> str:
    return unescape(re.sub("<[^>]+>", "", cell))
