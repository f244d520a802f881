"""What it costs to watch a drill: CPU of harness, probes, exporter and Prometheus, in a short one on the simulator.

The simulator's pages of metrics are asked for and read as vLLM's are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import drill, observer
from harness.observer import BOUND_CORES
from harness.record import RunFolder
from harness.view import RunView

SCENARIO = drill.ROOT / "tests" / "drills" / "short.yaml"


def measure(instance: int) -> dict[str, Any]:
    """One run of the short timeout-spike; the stack stays up, as after any drill."""
    stack = ["--runtime", "process", "--engine", "sim", "--instance", str(instance)]
    command = [sys.executable, "-m", "harness", "run", "timeout-spike", "--scenario", str(SCENARIO), *stack]
    ended = subprocess.run(command, cwd=drill.ROOT, capture_output=True, text=True)
    found = re.search(r"report: (\S+)/report\.html", ended.stdout + ended.stderr)
    if found is None:
        raise SystemExit(f"the run left no report (exit {ended.returncode}):\n{ended.stderr[-2000:]}")
    view = RunView(RunFolder(drill.ROOT / Path(found[1])))
    cost = observer.measure(view)
    if cost is None or view.interrupted is not None:
        raise SystemExit(f"the run cannot be measured: {view.interrupted or 'the observer was not sampled'}")
    return {
        "exit": ended.returncode,
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
