"""Load without a drill, on a whole stack: what is recorded, who is kept away meanwhile, and how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from harness.adapters.toxiproxy import Toxic, Toxiproxy
from harness.evidence import records_kept
from harness.evidence.record import LOAD, RunFolder
from harness.judge import drill
from harness.model.errors import StackError
from harness.recover.lock import RUN, held
from harness.run import ends, load_only
from harness.run.load_only import Order
from harness.run.progress import Progress
from stack import state
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import load_processes

pytestmark = pytest.mark.timeout(180)

SPIKE = drill.ROOT / "scenarios" / "timeout-spike.yaml"
STARTS_WITHIN_S = 90.0


def put(runtime: ProcessRuntime, tmp_path: Path, lasts_s: float = 4.0) -> tuple[RunFolder, str]:
    """Load for that long at 20/s: its folder, and what was said."""
    scenario, limits = load_only.baseline(SPIKE, runtime.topology, "20/s", lasts_s)
    said = tmp_path / "said"
    with said.open("w") as file, held(state.instance_folder(runtime.topology) / RUN, "a test", print) as lock:
        progress = Progress(Console(file=file, width=200))
        order = Order(runtime, lock, scenario, limits, progress, "command", seed=1, lasts_s=lasts_s)
        return load_only.put(order, tmp_path / "runs"), said.read_text()


def test_every_request_is_in_the_folder(sim_stack: ProcessRuntime, tmp_path: Path) -> None:
    """In the columns of a run, of one phase, with what the gateways know; the figures of the end are theirs."""
    folder, said = put(sim_stack, tmp_path)
    assert folder.plan()["drill"] == LOAD
    assert re.fullmatch(r"load-\d{8}-\d{6}", folder.path.name)
    final = folder.requests().query("final")
    assert len(final) >= 40
    assert set(final["phase"]) == {"baseline"}
    good = final[final["outcome"] == "ok"]
    assert len(good) > 0
    assert good["gateway_replica"].isin(sim_stack.topology.replicas).all()
    assert records_kept.difference(folder) is None
    assert [event.kind for event in folder.events()] == [
        "phase_started", "load_started", "load_stopped", "phase_ended"
    ]  # fmt: skip
    lines = load_only.summary(folder)
    assert re.search(r"offered \d+\.\d/s, achieved \d+\.\d/s", lines[0])
    assert lines[1].startswith(f"{len(final)} requests: ok {len(good)}  not ok ")
    assert re.fullmatch(r"TTFT p50 \d+ ms, p95 (\d+ ms|not measured) \(\d+ good requests\)", lines[2])
    assert "s left  offered" in said or "load on, no figures yet" in said
    assert not (tmp_path / "runs" / "latest").exists()


def test_what_a_person_has_broken_stays_broken(sim_stack: ProcessRuntime, tmp_path: Path) -> None:
    """Load repairs nothing: a toxic that was put in place by hand is there afterwards, and was felt."""
    api = sim_stack.topology.component("toxiproxy")
    toxiproxy = Toxiproxy(api.address, api.ports["api"])
    link = "client-to-gateway-a"
    toxiproxy.add(link, Toxic("by-hand", "latency", "downstream", {"latency": 300, "jitter": 0}))
    try:
        folder, _ = put(sim_stack, tmp_path)
        assert [toxic.name for toxic in toxiproxy.toxics(link)] == ["by-hand"]
    finally:
        toxiproxy.change(link, "by-hand", {"latency": 0})  # what it holds goes on: nothing waits when it is removed
        toxiproxy.remove(link, "by-hand")
    assert folder.requests()["ttft_ms"].max() >= 300


def test_a_stack_that_is_taken_down_ends_it(
    sim_stack: ProcessRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence, and with the records until then."""
    monkeypatch.setattr(ends, "takes_down", lambda folder: "process 1 does so")
    with pytest.raises(StackError, match="the stack was taken down: process 1 does so"):
        put(sim_stack, tmp_path)
    (path,) = (tmp_path / "runs").iterdir()
    assert (path / "requests.parquet").exists()
    assert [event.data["why"] for event in RunFolder(path).events() if event.kind == "aborted"]


def test_as_people_run_it(sim_stack: ProcessRuntime, tmp_path: Path) -> None:
    """A drill is refused while it goes on; Ctrl-C ends it with 0, a summary and the records; no process is left."""
    instance = ["--runtime", "process", "--instance", str(sim_stack.topology.instance)]
    program = [sys.executable, "-m", "harness"]
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [*program, "load", *instance, "--rate", "20/s", "--seed", "1"], cwd=drill.ROOT, stdin=subprocess.DEVNULL,
            stdout=to_out, stderr=to_err, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while " offered " not in err.read_text():
            assert process.poll() is None, err.read_text()
            assert time.monotonic() < deadline, err.read_text()
            time.sleep(0.1)
        refused = subprocess.run(
            [*program, "run", "timeout-spike", *instance, "--engine", "sim"], cwd=drill.ROOT, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert refused.returncode == 64
        assert "in use by load without a drill" in refused.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, err.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    folder = RunFolder(Path(re.findall(r"^records: (.+)$", out.read_text(), re.MULTILINE)[0]))
    try:
        assert "SIGINT: load off" in err.read_text()
        assert " requests: ok " in out.read_text()
        assert folder.attempts_count() > 0
        assert load_processes(folder.path.name) == []
    finally:
        shutil.rmtree(folder.path)
