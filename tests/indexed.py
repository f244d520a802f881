"""Run folders with no more in them than the index of runs reads: a plan, a verdict, the last event."""

from __future__ import annotations

import copy
import datetime as dt
import json
from pathlib import Path
from typing import Any

BEGAN = dt.datetime(2026, 11, 1, 2, 0, tzinfo=dt.UTC)
TTFT = "slo-ttft-p95-ms/baseline"


def plan(run_id: str, day: float = 0, **changed: Any) -> dict[str, Any]:
    """The plan of a run, ``day`` days after ``BEGAN``."""
    data = {
        "schema": 2,
        "run_id": run_id,
        "drill": "timeout-spike",
        "scenario": {"name": "timeout-spike", "description": "", "load": {"rate": 4.0}, "phases": []},
        "written": {"name": "timeout-spike", "description": "", "load": {"rate": "40 %"}, "phases": []},
        "anchor": {"mono_s": 0.0, "wall": (BEGAN + dt.timedelta(days=day)).isoformat()},
        "engine": "sim",
        "runtime": "process",
        "seed": 7,
        "serves": {"replica-1": "v1@sim", "replica-2": "v1@sim"},
        "topology": {"defects": [], "target": None},
        "defects": {},
        "git": {"commit": "a" * 40, "dirty": False},
        "machine": {"cores": 2, "system": "Linux", "key": "0123abcd", "name": "AMD EPYC, 2 cores, 24 GiB"},
    }
    return copy.deepcopy(data) | changed


def check(id: str, measured: float | None = 0.0, status: str = "PASS", **changed: Any) -> dict[str, Any]:
    """The result of a check as verdict.json has it."""
    data: dict[str, Any] = {"id": id, "name": id, "status": status, "why": "it was so", "objective": "", "unit": "ms"}
    data |= {"measured": measured, "margin": None, "samples": 80, "phase": None, "subject": None, "examples": []}
    return data | {"details": {}} | changed


def verdict(status: str = "PASS", checks: list[dict[str, Any]] | None = None, **changed: Any) -> dict[str, Any]:
    """A verdict, by default with one objective that was measured as 200 ms."""
    found = [check("slo-ttft-p95-ms", 200.0, phase="baseline")] if checks is None else checks
    return {"schema": 1, "status": status, "reason": "all checks passed", "checks": found, "validity": []} | changed


def write(runs: Path, run_id: str, day: float = 0, *, judged: dict[str, Any] | None = None, **changed: Any) -> Path:
    """A run folder; ``judged`` is its verdict, by default a PASS, none where it is empty. ``changed`` of the plan."""
    folder = runs / run_id
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan(run_id, day, **changed)))
    (folder / "events.jsonl").write_text('{"t_s": 0.1, "kind": "planned"}\n{"t_s": 140.5, "kind": "load_stopped"}\n')
    if judged != {}:
        (folder / "verdict.json").write_text(json.dumps(verdict() if judged is None else judged))
    return folder


def ttft(ms: float | None, status: str = "PASS") -> dict[str, Any]:
    """A verdict with that status whose objective was measured as ``ms``."""
    return verdict(status, [check("slo-ttft-p95-ms", ms, phase="baseline")])
