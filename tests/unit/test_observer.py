"""What it cost to watch a run: summed where it was measured, and never 0 where it was not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

from harness.evidence import observer
from harness.evidence.observer import BOUND_CORES, WATCHERS, Cost
from harness.evidence.record import METRIC_COLUMNS
from harness.evidence.view import RunView
from harness.probes.resources import ResourceProbe
from reports.panels import observer as panel
from stack.runtimes import family
from stack.runtimes.base import ComponentState, ComponentStats
from stack.stacks.vllm_haproxy import STACK
from tests import runs

CORES = {"harness": 0.025, "meter": 0.005, "exporter": 0.01, "prometheus": 0.02, "alertmanager": 0.005}
USED = {"replica-1": 0.5, "gateway-a": 0.15}


def view(folder: Path, missing: tuple[str, ...] = (), factor: float = 1.0, restarted_s: float | None = None) -> RunView:
    """A run in which everybody used as much of a core as said above; Prometheus may have been restarted."""
    run = runs.healthy()
    begin, end = run.events[0]["t_s"], run.events[-1]["t_s"]
    run.drop_events("load_started", "load_stopped")
    run.events += [{"t_s": begin, "kind": "load_started"}, {"t_s": end, "kind": "load_stopped", "status": 0}]

    def samples() -> Iterator[tuple[float, str, str, str, float]]:
        for t_s in map(float, range(int(begin), int(end))):
            for source, cores in CORES.items():
                since = restarted_s if source == "prometheus" and restarted_s and t_s >= restarted_s else -7.0
                if source not in missing:
                    yield t_s, "harness", "cpu_s", f"source={source}", factor * cores * (t_s - since)
            for name, cores in USED.items():
                yield t_s, name, "cpu_s", "", cores * t_s

    more = pd.DataFrame(samples(), columns=METRIC_COLUMNS.names)
    run.metrics = pd.concat([run.metrics, more], ignore_index=True)
    return RunView(run.write(folder / "run"))


def measured(found: Cost | None) -> Cost:
    """What must have been measured."""
    assert found is not None
    return found


def test_all_sources_are_summed_and_compared_with_the_stack(tmp_path: Path) -> None:
    """The stack is everybody else."""
    cost = measured(observer.measure(view(tmp_path)))
    assert cost.cores == pytest.approx(CORES)
    assert cost.total == pytest.approx(0.065)
    assert cost.stack_cores == pytest.approx(0.65)
    assert cost.share == pytest.approx(0.1)
    assert cost.within_bound is True
    assert "6.5 % of one core, 10.0 % of what the stack itself used" in panel.sentence(cost)
    assert "Warning" not in panel.sentence(cost)


def test_above_the_bound_is_a_warning(tmp_path: Path) -> None:
    """Of the harness, in the report; also when something else was not measured: it can only be more."""
    for missing in ((), ("alertmanager",)):
        cost = measured(observer.measure(view(tmp_path / str(len(missing)), missing, factor=2.0)))
        assert cost.within_bound is False
        assert panel.sentence(cost).startswith("Warning: watching this run took 1")


def test_what_was_not_measured_is_not_zero(tmp_path: Path) -> None:
    """A source without samples is named, and below the bound nobody knows; a run without any has no figure at all."""
    cost = measured(observer.measure(view(tmp_path, missing=("prometheus",))))
    assert (cost.missing, cost.within_bound) == (("prometheus",), None)
    assert "prometheus" not in cost.cores
    assert "without prometheus, which was not measured" in panel.sentence(cost)
    html = panel.html(view(tmp_path / "again", missing=("prometheus",)), SimpleNamespace())  # type: ignore[arg-type]
    assert 'Prometheus and its scrapes</td><td><span class="nodata">not measured' in html
    old = RunView(runs.healthy_run(tmp_path / "old"))
    assert observer.measure(old) is None
    assert "not measured" in panel.html(old, SimpleNamespace())  # type: ignore[arg-type]


def test_a_component_that_was_restarted_counts_from_zero(tmp_path: Path) -> None:
    """Its counter falls: that is no negative use."""
    cost = measured(observer.measure(view(tmp_path, restarted_s=40.0)))
    assert 0.9 * CORES["prometheus"] < cost.cores["prometheus"] <= CORES["prometheus"]


def test_synthetic_tokens_are_a_share_of_all(tmp_path: Path) -> None:
    """Of what the replicas made under load; None without the samples."""
    stored = view(tmp_path)
    begin, end = stored.events("load_started")[0].t_s, stored.events("load_stopped")[0].t_s
    counters = {("generation_tokens_total", ""): 100.0, ("own_tokens_asked_total", "by=exporter"): 5.0}
    samples = [
        (t_s, replica, metric, labels, (t_s - begin) * per_s)
        for (metric, labels), per_s in counters.items()
        for replica in STACK.of("replica")
        for t_s in map(float, range(int(begin), int(end) + 1))
    ]
    kept = stored.folder.metrics()
    kept = kept[~kept["metric"].isin([metric for metric, _ in counters])]
    run = runs.healthy()
    run.events = [{"t_s": event.t_s, "kind": event.kind, **event.data} for event in stored.events()]
    run.metrics = pd.concat([kept, pd.DataFrame(samples, columns=METRIC_COLUMNS.names)], ignore_index=True)
    found = measured(observer.measure(RunView(run.write(tmp_path / "synthetic"))))
    assert found.synthetic_ratio == pytest.approx(0.05)
    assert "5.0 % of the tokens were synthetic" in panel.sentence(found)
    assert "synthetic" not in panel.sentence(Cost({"harness": 0.01}, (), None, None))


def test_the_probe_samples_its_own_process_and_those_that_watch() -> None:
    """By source; a component whose CPU cannot be read has no row. The bound is a share of one core."""
    seen = [
        (ComponentState(name, "running", 1, 1.0, 0), ComponentStats(None, cpu_s, None))
        for name, cpu_s in (("replica-1", 9.0), ("exporter", 2.0), ("prometheus", None))
    ]
    probe = ResourceProbe(SimpleNamespace(usage=lambda: seen))
    rows = {row.labels: row.value for row in asyncio.run(probe.sample()) if row.component == "harness"}
    assert rows.keys() == {"source=harness", "source=exporter"}
    assert rows["source=exporter"] == 2.0
    assert 0 < rows["source=harness"] <= sum(os.times()[:2]) + 0.1
    assert 0 < BOUND_CORES < 1
    assert set(WATCHERS) == {"exporter", "prometheus", "alertmanager"}


def test_a_tree_uses_what_its_processes_use() -> None:
    """From one pass over the process table, as psutil says it of each; who is gone is left out."""
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(sum(range(10**6))); input()'])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        tree = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        assert len(tree) == 2
        found = family.used_by_trees([started.pid, 2**22 + 1])
        assert found.keys() == {started.pid}
        cpu_s = sum(t.user + t.system for t in (process.cpu_times() for process in tree))
        assert found[started.pid].cpu_s == pytest.approx(cpu_s, abs=0.05)
        assert found[started.pid].rss_bytes == pytest.approx(sum(p.memory_info().rss for p in tree), rel=0.05)
        assert not family.is_stopped(started.pid)
        started.communicate(b"\n")
    assert not family.is_stopped(started.pid)


def test_conducting_draws_nothing() -> None:
    """Charts are for when the run is over: what they need is not even loaded by then."""
    code = "import json, sys, harness.run.timeline; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert "harness.run.timeline" in loaded
    assert not {"reports.charts", "locust"} & set(loaded)
