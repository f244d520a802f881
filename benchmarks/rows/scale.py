"""What it costs to judge and render a run of a million requests, and how large its page is: see benchmarks/large.py."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import large
from harness.judge.drill import ROOT

REQUESTS = 1_000_000
#: Of processors, on all cores together, from the start of the process: others on the machine cost no such time.
CPU_S_MAX = 15.0
PEAK_MB_MAX, PAGE_KB_MAX = 550, 2000
#: Only a hang reaches it.
LIMIT_S = 600.0


def measure(instance: int) -> dict[str, Any]:
    """Of a process of its own, from its start to its end; no stack is needed."""
    return of(REQUESTS)


def of(requests: int) -> dict[str, Any]:
    """The figures for a run of that many requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = large.make(Path(name) / "run", requests)
        command = (sys.executable, "-m", large.__name__, str(folder.path))
        began = time.monotonic()
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=True)
        seconds = time.monotonic() - began
    return {"requests": requests, "seconds": round(seconds, 1), **json.loads(ended.stdout)}


def broken(figures: dict[str, Any]) -> list[str]:
    """It takes seconds and about half a gigabyte, the page is small, and the run is judged as the small one is."""
    found = [] if figures["verdict"] == "PASS" else [f"the run is {figures['verdict']}: {figures['reason']}"]
    if figures["cpu_s"] > CPU_S_MAX:
        found.append(f"{figures['cpu_s']} s of CPU, at most {CPU_S_MAX:g} s")
    if figures["peak_mb"] > PEAK_MB_MAX:
        found.append(f"{figures['peak_mb']} MB at its peak, at most {PEAK_MB_MAX} MB")
    if figures["page_kb"] > PAGE_KB_MAX:
        found.append(f"a page of {figures['page_kb']} kB, at most {PAGE_KB_MAX} kB")
    return found
