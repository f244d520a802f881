"""A drill as people run it: ``python -m harness run`` as a process, on the simulator, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from harness.adapters.toxiproxy import Toxiproxy
from harness.evidence.record import RunFolder
from harness.model.topology import Topology
from harness.run.outcome import VARIABLES, not_judged, run_name
from tests.drills.outcome import CHECKOUT
from tests.unit.judge.verdicts import complaints

SHORT = CHECKOUT / "tests" / "drills" / "short.yaml"
#: Bounds that only a hang reaches: a stack starts slowly on a busy machine.
RUN_S_MAX = 400.0
MOMENT_S_MAX = 200.0


@dataclass(frozen=True)
class Ended:
    """One ended run of the program."""

    code: int
    out: str
    err: str
    checkout: Path = CHECKOUT

    @property
    def not_judged(self) -> bool:
        """Whether interference of the machine kept it from being judged, as it recorded."""
        return self.code == 2 and not_judged(self.verdict)

    @property
    def folder(self) -> RunFolder:
        """The folder that the program said it writes to."""
        name = run_name(self.err)
        assert name, f"no run was begun:\n{self.err}"
        return RunFolder(self.checkout / "runs" / name)

    @property
    def verdict(self) -> dict[str, Any]:
        """verdict.json, as its schema promises it."""
        found = self.folder.read_json("verdict.json")
        assert complaints(found) == []
        return found

    def results(self, part: str = "checks") -> dict[str, dict[str, Any]]:
        """Checks (or ``validity`` findings) by name."""
        return {result["name"]: result for result in self.verdict[part]}

    def __str__(self) -> str:
        """All that the program said: what a failed assertion should show."""
        return f"exit {self.code}\n{self.out}\n{self.err[-6000:]}"


class Running:
    """One run in progress; what it says is in files, so that it never waits for a reader."""

    def __init__(
        self,
        topology: Topology,
        folder: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        program: str = "harness",
        drill: str = "timeout-spike",
        checkout: Path = CHECKOUT,
    ):
        self.topology, self.checkout = topology, checkout
        self._out, self._err = folder / "out", folder / "err"
        stack = ("--runtime", "process", "--engine", "sim", "--instance", str(topology.instance))
        clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, "run", drill, *stack, *arguments],
                cwd=checkout, env=clean | (environment or {}), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """stderr so far."""
        return self._err.read_text(errors="replace")

    def wait_for(self, what: Callable[[], bool], limit_s: float = MOMENT_S_MAX) -> None:
        """Poll until ``what``. AssertionError when the run ends or the time is over before.

        A run that ended because the machine was disturbed skips the test.
        """
        deadline = time.monotonic() + limit_s
        while not what():
            if self.process.poll() is not None:
                if (ended := self.end()).not_judged:
                    pytest.skip(f"not judged, since the machine was disturbed: {ended.verdict['reason']}")
                raise AssertionError(f"the run ended too early:\n{self.said}")
            assert time.monotonic() < deadline, f"it did not come to that in {limit_s:.0f} s:\n{self.said}"
            time.sleep(0.05)

    def end(self) -> Ended:
        """Wait for its end; one that takes too long is ended."""
        try:
            code = self.process.wait(timeout=RUN_S_MAX)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        return Ended(code, self._out.read_text(), self.said, self.checkout)


def scenario(folder: Path, *phases: str, of: Path = SHORT) -> Path:
    """That scenario with only these phases, and the objectives about them."""
    data = yaml.load(of.read_text(), Loader=yaml.BaseLoader)  # text only: YAML 1.1 reads the key `on` as true
    data["phases"] = [phase for phase in data["phases"] if phase["name"] in phases]
    data["slos"] = [slo for slo in data.get("slos", []) if set(slo["phases"]) <= set(phases)]
    data["partial"] = True
    path = folder / "some-phases.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def toxics(topology: Topology) -> dict[str, list[str]]:
    """What toxiproxy itself says is injected, by link."""
    api = topology.component("toxiproxy")
    proxies = Toxiproxy(api.address, api.ports["api"]).proxies()
    return {name: [toxic["name"] for toxic in proxy["toxics"]] for name, proxy in proxies.items() if proxy["toxics"]}


def load_processes(run: str) -> list[psutil.Process]:
    """Processes of the load generator of that run."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if "harness.load" in line and any(run in part for part in line):
            found.append(process)
    return found


def starve(running: Running) -> None:
    """Give the load generator the processor for 0.2 s of every 0.6 s only, as a tight CPU quota does."""
    running.wait_for(lambda: "phase baseline" in running.said)
    generator = load_processes(str(run_name(running.said)))
    assert generator
    group = os.getpgid(generator[0].pid)
    with suppress(ProcessLookupError):  # it ends in its own time
        while "load off" not in running.said:
            os.killpg(group, signal.SIGSTOP)
            time.sleep(0.4)
            os.killpg(group, signal.SIGCONT)
            time.sleep(0.2)
