"""``python -m benchmarks.large FOLDER``: judge and render that run, and say how long it took and what memory it needed.

``make`` stores a run of any number of requests: the phases of a small healthy one, which practises timeout-spike,
stretched, under as many more requests per second as it takes, with samples as close as in any run.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from harness.evidence.record import METRIC_COLUMNS, REQUEST_COLUMNS, RunFolder
from harness.judge import drill
from harness.model import arrivals
from harness.model.scenario import Scenario
from reports import render
from stack.stacks.vllm_haproxy import STACK
from tests import runs
from tests.judge.timeout_spike.story import TIMEOUT_SPIKE
from tests.runs import Run

#: A drill of two minutes becomes a run of twenty.
LONGER = 10
_CHUNK = 50_000


def make(path: Path, requests: int, longer: int = LONGER) -> RunFolder:
    """Store a run of about so many requests, ``longer`` times as long as the small one, all of whose checks pass."""
    data = runs.scenario().model_dump(mode="json")
    for phase in data["phases"]:
        phase |= {key: longer * phase[key] for key in ("duration", "at_most") if phase[key]}
    data["load"]["rate"] = requests / sum(phase["duration"] for phase in data["phases"])
    scenario = Scenario.stored(data)
    run = runs.planned_run(TIMEOUT_SPIKE.drill, scenario)
    spans = {phase.name: run.span(phase.name) for phase in scenario.phases}
    run.requests = pd.concat(_requests(run, scenario, spans), ignore_index=True)
    run.count()
    nobody = pd.DataFrame(columns=["start_s", "e2e_ms", "outcome", "replica"])
    run.metrics = pd.DataFrame(TIMEOUT_SPIKE.metrics(spans, nobody), columns=METRIC_COLUMNS.names)
    _count_requests(run)
    runs.add_surroundings(run)
    return run.write(path)


def _requests(run: Run, scenario: Scenario, spans: runs.Spans) -> Iterator[pd.DataFrame]:
    """Their attempts, so many at a time: as rows they are large."""
    rng, end_s = random.Random(7), max(end for _, end in spans.values())
    draws = arrivals.arrivals(run.plan["run_id"], run.plan["seed"], scenario.load, arrivals.default_users())
    due = ((runs.BEGAN_S + draw.offset_s, draw) for draw in draws)
    numbered = enumerate(itertools.takewhile(lambda one: one[0] <= end_s, due))
    while chunk := list(itertools.islice(numbered, _CHUNK)):
        made = (runs.attempts(TIMEOUT_SPIKE, scenario.load.retries, *one, spans, rng) for one in chunk)
        frame = pd.DataFrame(itertools.chain.from_iterable(made), columns=REQUEST_COLUMNS.names)
        yield pa.Table.from_pandas(frame, schema=REQUEST_COLUMNS, preserve_index=False).to_pandas()


def _count_requests(run: Run) -> None:
    """Put the requests into the counters of replicas and gateways, as the story of the small run has them."""
    rows, samples = run.requests, run.metrics
    ok = rows[rows["outcome"].eq("ok")]
    ends_s = ok["start_s"] + ok["e2e_ms"] / 1000
    begun = np.searchsorted(np.sort(rows["start_s"].to_numpy()), samples["t_s"])
    samples["value"] = samples["value"].mask(samples["metric"].eq("server_sessions_total"), begun // 4)
    tokens = samples["metric"].eq("generation_tokens_total")
    for replica in STACK.of("replica"):
        of_replica = np.sort(ends_s[ok["replica"].eq(replica)].to_numpy())
        made = runs.TOKENS * np.searchsorted(of_replica, samples["t_s"])
        samples["value"] += made * (tokens & samples["component"].eq(replica))


def main() -> int:
    """Judge and render; a line of JSON."""
    folder, began = RunFolder(Path(sys.argv[1])), time.monotonic()
    verdict = render.judged(folder, drill.load(str(folder.plan()["drill"])))
    told = {
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "judged_and_rendered_s": round(time.monotonic() - began, 2),
        "cpu_s": round(time.process_time(), 2),
        "page_kb": (folder.path / "report.html").stat().st_size // 1000,
        "peak_mb": _peak_mb(),
    }
    print(json.dumps(told))
    return 0


def _peak_mb() -> int:
    """Of this process alone: what getrusage says includes the process that has started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1000


if __name__ == "__main__":
    sys.exit(main())
