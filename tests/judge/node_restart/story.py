"""A run of the node-restart drill on the simulator, as it was recorded: every check is green. The tests edit copies.

It was recorded before alerts, readiness and DNS were: those are added as a healthy stack shows them.
"""

from __future__ import annotations

import functools
import json

from harness.evidence.record import METRIC_COLUMNS, REQUEST_COLUMNS, RunFolder
from harness.judge import drill
from harness.model.scenario import Scenario
from stack.stacks.vllm_haproxy import STACK
from tests import runs
from tests.runs import Run, add_alerts, add_unremarkable, recorded_today, scenario

RECORDED = runs.ROOT / "tests" / "fixtures" / "runs" / "node-restart"


@functools.cache
def _texts() -> tuple[str, str, str]:
    return tuple((RECORDED / name).read_text() for name in ("plan.json", "events.jsonl", "load-summary.json"))  # type: ignore[return-value]


def healthy() -> Run:
    """A fresh copy of it."""
    plan, events, summary = _texts()
    folder = RunFolder(RECORDED)
    run = Run(
        json.loads(plan) | {"serves": dict.fromkeys(STACK.of("replica"), "v1@sim")},
        [json.loads(line) for line in events.splitlines()],
        folder.requests()[REQUEST_COLUMNS.names],
        folder.metrics()[METRIC_COLUMNS.names],
        json.loads(summary),
    )
    # Its phases are shorter than the scenario's, and its objectives today's.
    run.plan["scenario"]["slos"] = scenario("node-restart").model_dump(mode="json")["slos"]
    recorded_today(run, Scenario.stored(run.plan["scenario"]))
    run.metrics = run.metrics[run.metrics["metric"].ne("synthetic_ok")]  # rarer than today
    add_alerts(run, drill.load("node-restart"))
    add_unremarkable(run)
    return run
