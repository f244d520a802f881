"""What it costs to watch a drill: CPU of harness, probes, exporter and Prometheus, in a short one on the simulator.

The simulator's pages of metrics are asked for and read as vLLM's are.
"""

from __future__ import annotations

from typing import Any

from harness.evidence import observer
from harness.evidence.observer import BOUND_CORES
from harness.evidence.view import RunView
from harness.judge import drill
from tests.drills import outcome

#: Of the run, the start of its stack included; only a hang reaches it.
LIMIT_S = 400.0
SCENARIO = drill.ROOT / "tests" / "drills" / "short.yaml"


def measure(instance: int) -> dict[str, Any]:
    """One run of the short timeout-spike; the stack stays up, as after any drill."""
    stack = ["--runtime", "process", "--engine", "sim", "--instance", str(instance)]
    output: list[str] = []
    ended = outcome.run(("timeout-spike", "--scenario", str(SCENARIO), *stack), LIMIT_S, output.append)
    if ended.folder is None or not (ended.folder.path / "verdict.json").exists():
        raise SystemExit("\n".join(["the run left no verdict:", *output[-20:], ended.reason]))
    view = RunView(ended.folder)
    cost = observer.measure(view)
    if cost is None or view.interrupted is not None:
        raise SystemExit(f"the run cannot be measured: {view.interrupted or 'the observer was not sampled'}")
    return {
        "verdict": ended.status,
        "cores": {source: round(value, 4) for source, value in cost.cores.items()},
        "cores_total": round(cost.total, 4),
        "share_of_stack": None if cost.share is None else round(cost.share, 3),
        "not_measured": list(cost.missing),
    }


def broken(figures: dict[str, Any]) -> list[str]:
    """All of it together stays within a tenth of a core."""
    found = [f"{source} was not measured" for source in figures["not_measured"]]
    if figures["cores_total"] > BOUND_CORES:
        found.append(f"{figures['cores_total']} cores, at most {BOUND_CORES}")
    return found
