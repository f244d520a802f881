"""Accuracy of the interference meter beside a fully loaded stack: a known disturber's CPU, the delay until it is
detected, and false positives."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from harness.evidence import interference, record
from harness.evidence.interference import COMPONENT, OTHERS_MIN_CORES, SPEAKS_S
from harness.evidence.record import EventLog, RunFolder
from harness.evidence.view import RunView
from harness.model.scenario import Scenario
from harness.model.topology import Topology
from harness.probes import machine
from harness.probes.base import MetricWriter, Row
from harness.run import measuring
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK
from tests.disturber import HEAVY, LIGHT, Disturber, disturbed

QUIET_S, DISTURBED_S, PAUSE_S = 20.0, 10.0, 2.0
#: Simulates the stack under load, one per core: a descendant of the watcher, so the meter counts it as ours.
OWN = Disturber("own", 1.0, 1.0, 0.0)
STRANGERS = (LIGHT, HEAVY)
#: The watcher's first sample, and its end. Only a hang reaches them.
WITHIN_S = 60.0
#: Of all processes that this starts.
LIMIT_S = 2 * WITHIN_S + QUIET_S + len(STRANGERS) * (DISTURBED_S + PAUSE_S)
#: Two samples of forty: a daemon that wakes up.
FALSE_SHARE_MAX = 0.05


@dataclass(frozen=True)
class Stretch:
    """A time span, in seconds since the run's zero, and the CPU seconds of the disturber in it, by the kernel."""

    begin_s: float
    end_s: float
    cpu_s: float = 0.0


def measure(instance: int) -> dict[str, Any]:
    """Own load on every core: quiet first, then beside each disturber. No stack is needed."""
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        anchor = record.anchor()
        zero_s = float(anchor["mono_s"])
        folder.write_json("plan.json", _plan(anchor))
        with watched(folder.path, instance):
            begin_s = time.monotonic() - zero_s
            time.sleep(QUIET_S)
            quiet = Stretch(begin_s, time.monotonic() - zero_s)
            strangers = {}
            for one in STRANGERS:
                strangers[one.name] = beside(one, zero_s)
                time.sleep(PAUSE_S)
        return figures(RunView(folder), quiet, strangers)


def _plan(anchor: dict[str, Any]) -> dict[str, Any]:
    """The part of a plan that RunView needs to read the samples."""
    phase = {"name": "watched", "kind": "baseline", "duration": 1.0}
    load = measuring.load_spec(1).model_dump(mode="json")
    scenario = Scenario.stored({"name": "watched", "description": "no load", "load": load, "phases": [phase]})
    data = scenario.model_dump(mode="json")
    return {
        "schema": record.SCHEMA_VERSION,
        "run_id": "watched",
        "drill": record.CAPACITY,
        "scenario": data,
        "anchor": anchor,
    }


def beside(disturber: Disturber, zero_s: float) -> Stretch:
    """Run the disturber; its time span with the CPU seconds that it used."""
    begin_s = time.monotonic() - zero_s
    with disturbed(disturber, LIMIT_S) as process:
        assert process is not None
        time.sleep(DISTURBED_S)
        user_s, system_s, *_ = psutil.Process(process.pid).cpu_times()
        return Stretch(begin_s, time.monotonic() - zero_s, user_s + system_s)


@contextmanager
def watched(folder: Path, instance: int) -> Iterator[None]:
    """The meter of the machine beside the block, with its samples in ``folder`` afterwards.

    In a process of its own: the meter counts descendants of its parent process as ours, and disturbers must not be.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    watcher = context.Process(target=watch, args=(folder, instance, there))
    watcher.start()
    there.close()
    try:
        if not here.poll(WITHIN_S):
            raise SystemExit(f"the machine was not sampled within {WITHIN_S:g} s")
        here.recv()  # EOFError when it has died; it printed the reason
        yield
    finally:
        here.close()
        watcher.join(WITHIN_S)
        if watcher.is_alive():
            watcher.kill()
            watcher.join()


def watch(folder: Path, instance: int, end: Connection) -> None:
    """Watch until the other end of ``end`` is closed, beside a load of our own on every core."""
    with ExitStack() as load:
        for _ in os.sched_getaffinity(0):
            load.enter_context(disturbed(OWN, LIMIT_S))
        asyncio.run(_watch(RunFolder(folder), instance, end))


class _Sampled(MetricWriter):
    """Knows when the CPU of others was sampled for the first time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.others_seen = asyncio.Event()

    def add(self, t_s: float, rows: Sequence[Row]) -> None:
        """Append them."""
        super().add(t_s, rows)
        if (COMPONENT, "others_cores", "") in self.latest:
            self.others_seen.set()


async def _watch(folder: RunFolder, instance: int, end: Connection) -> None:
    log = EventLog(folder, float(folder.plan()["anchor"]["mono_s"]))
    writer = _Sampled(folder.path / "metrics.parquet")
    runtime = ProcessRuntime(Topology(STACK, instance=instance, runtime="process", engine="sim"))
    meter = asyncio.create_task(machine.watch(runtime, writer, log))
    try:
        await asyncio.wait_for(writer.others_seen.wait(), WITHIN_S)
        end.send("watching")
        await asyncio.to_thread(end.poll, LIMIT_S)
    finally:
        meter.cancel()
        await asyncio.gather(meter, return_exceptions=True)
        writer.close()
        log.close()


def figures(view: RunView, quiet: Stretch, strangers: dict[str, Stretch]) -> dict[str, Any]:
    """Measured values beside the real ones."""
    spans = interference.spans(view)
    false_s = interference.overlap_s(spans, quiet.begin_s, quiet.end_s)
    return {
        "quiet_s": round(quiet.end_s - quiet.begin_s, 1),
        "false_s": round(false_s, 2),
        "false_why": interference.describe(spans, quiet.begin_s, quiet.end_s),
        "quiet_cores": round(_reported(view, quiet), 3),
        "disturbers": {name: _of(view, stretch) for name, stretch in strangers.items()},
    }


def _of(view: RunView, stretch: Stretch) -> dict[str, float | None]:
    """Its cores by the kernel and by the meter, and the delay until the first sample that shows interference."""
    spans = interference.spans(view)
    seen = (t_s for _, t_s, _ in _samples(view, stretch) if any(one.begin_s < t_s <= one.end_s for one in spans))
    seen_s = next(seen, None)
    return {
        "real_cores": round(stretch.cpu_s / (stretch.end_s - stretch.begin_s), 3),
        "reported_cores": round(_reported(view, stretch), 3),
        "seen_after_s": None if seen_s is None else round(seen_s - stretch.begin_s, 2),
    }


def _reported(view: RunView, stretch: Stretch) -> float:
    """Cores of others in a stretch, by the meter."""
    used_s = sum(value * (t_s - before_s) for before_s, t_s, value in _samples(view, stretch))
    return used_s / (stretch.end_s - stretch.begin_s)


def _samples(view: RunView, stretch: Stretch) -> list[tuple[float, float, float]]:
    """Samples of others' cores that overlap a stretch: (time of the sample before, its own time, cores)."""
    samples = view.metrics(COMPONENT, "others_cores")
    times, values = samples["t_s"].tolist(), samples["value"].tolist()
    rows = zip(times, times[1:], values[1:], strict=False)
    return [row for row in rows if row[1] > stretch.begin_s and row[0] < stretch.end_s]


def broken(figures: dict[str, Any]) -> list[str]:
    """Bounds that do not hold: false positives, accuracy and detection delay of each disturber; one line each."""
    found = []
    if figures["false_s"] > FALSE_SHARE_MAX * figures["quiet_s"]:
        found.append(
            f"false positives in {figures['false_s']} s of {figures['quiet_s']} quiet ones: {figures['false_why']}"
        )
    for name, one in figures["disturbers"].items():
        if abs(one["reported_cores"] - one["real_cores"]) > OTHERS_MIN_CORES:
            real = f"really {one['real_cores']}, at most {OTHERS_MIN_CORES} off"
            found.append(f"the {name} disturber: {one['reported_cores']} cores were reported, {real}")
        if one["seen_after_s"] is None or one["seen_after_s"] > SPEAKS_S:
            seen = "never" if one["seen_after_s"] is None else f"after {one['seen_after_s']} s"
            found.append(f"the {name} disturber was seen {seen}, at most {SPEAKS_S:g} s")
    return found
