"""No key and no prompt leaves a run: not in its folder, not on the terminal, not in a command line.

Nothing here depends on how the run is judged, so other tests may run beside it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from harness.evidence.record import RunFolder
from harness.run.outcome import VARIABLES, run_name
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import SHORT
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

#: In every key and in every prompt, and nowhere else; no pattern of keys fits.
KEY, PROMPT = "Qx7canary0", "zanzibarcanary"
WARM_UP_S = 2


@dataclass(frozen=True)
class Drill:
    """What an ended run has left: its folder, what it said, and the command lines of all processes meanwhile."""

    folder: RunFolder
    said: str
    command_lines: frozenset[str]


class CommandLines:
    """Collects the command lines of all processes of this machine, again and again, until it is left."""

    def __enter__(self) -> CommandLines:
        """Begin."""
        self.seen: set[str] = set()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._enough.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._enough.wait(timeout=0.1):
            for process in psutil.process_iter(["cmdline"]):
                self.seen.add(" ".join(process.info["cmdline"] or ()))


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Of a drill of a few seconds, on a stack of its own. Keys and questions with canaries are in the environment."""
    folder = tmp_path_factory.mktemp("secrets")
    users = {f"user-{n:03d}": f"{KEY}user{n:03d}{'x' * (n % 7)}" for n in range(1, 41)}
    (folder / "keys.json").write_text(json.dumps({"operator": f"{KEY}operator/+=", "users": users}))
    questions = [{"question": f"Where is {PROMPT} number {n}?", "answer": "Here."} for n in range(5)]
    (folder / "questions.json").write_text(json.dumps(questions))
    data = yaml.load(SHORT.read_text(), Loader=yaml.BaseLoader)
    data["phases"] = [{"name": "warm-up", "kind": "warmup", "duration": f"{WARM_UP_S}s"}]
    data |= {"slos": [], "partial": True, "description": f"with {KEY}endpoint"}
    (folder / "brief.yaml").write_text(yaml.safe_dump(data))
    with pytest.MonkeyPatch.context() as patch, free_topology() as topology:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("DRILLYARD_KEYS_FILE", str(folder / "keys.json"))
        patch.setenv("CANARY_QUESTIONS", str(folder / "questions.json"))
        patch.setenv("API_KEY_ENV", "SOME_ENDPOINT")
        patch.setenv("SOME_ENDPOINT", f"{KEY}endpoint")
        stack = ["--runtime", "process", "--engine", "sim", "--instance", str(topology.instance)]
        try:
            yield ["run", "timeout-spike", *stack, "--scenario", str(folder / "brief.yaml"), "--seed", "1"]
        finally:
            ProcessRuntime(topology).down(print)


@pytest.fixture(scope="module")
def drill(arguments: list[str]) -> Iterator[Drill]:
    """The harness that spills, run to its end; ``runs`` is afterwards as before."""
    pointer = CHECKOUT / "runs" / "latest"
    before = pointer.readlink() if pointer.is_symlink() else None
    with CommandLines() as lines:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.leaking_harness", *arguments],
            cwd=CHECKOUT, env=dict(os.environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    name = run_name(done.stderr)
    assert name, done.stderr
    folder = CHECKOUT / "runs" / name
    try:
        assert done.returncode == 2, done.stderr
        yield Drill(RunFolder(folder), done.stdout + done.stderr, frozenset(lines.seen))
    finally:
        shutil.rmtree(folder)
        if pointer.is_symlink() and not pointer.exists():
            pointer.unlink()
            if before is not None:
                pointer.symlink_to(before)


def leaks(run: Drill, needle: str) -> list[str]:
    """Where ``needle`` turns up, as it is or as URLs and base64 write it."""
    encoded = [base64.b64encode(b" " * shift + needle.encode()).decode()[4:-4] for shift in range(3)]
    places = {"terminal": run.said, "process list": "\n".join(run.command_lines)}
    for path in run.folder.path.rglob("*"):
        if path.suffix == ".parquet":
            places[path.name] = str(pq.read_table(path).to_pydict())
        elif path.is_file():
            places[path.name] = path.read_bytes().decode("latin-1")
    return sorted(place for place, text in places.items() if any(form in text for form in (needle, *encoded)))


def test_no_key_and_no_prompt_leaves_a_run(drill: Drill) -> None:
    """Errors, logs and messages that held keys are there, the keys are not; prompts are lengths and keyed hashes."""
    assert [leaks(drill, needle) for needle in (KEY, PROMPT)] == [[], []]
    assert any("harness.load" in line for line in drill.command_lines)
    assert any("haproxy" in line for line in drill.command_lines)
    assert drill.said.count("no answer to Bearer [redacted]") == 2
    (error,) = (event for event in drill.folder.events() if event.kind == "probe_error")
    assert "'Bearer [redacted]'" in error.data["why"]
    assert "key=[redacted]" in (drill.folder.path / "logs" / "exporter.log").read_text()
    assert drill.folder.plan()["scenario"]["description"] == "with [redacted]"
    requests = drill.folder.requests()
    assert len(requests) > 5
    assert requests["prompt_hash"].nunique() > 1
    assert requests["prompt_text"].isna().all()


@pytest.mark.parametrize("needle", [KEY, PROMPT])
def test_every_leak_would_be_found(drill: Drill, needle: str, tmp_path: Path) -> None:
    """The same run with leaks put in: in a file, in a cell of a table, encoded, on the terminal, in a command line."""
    folder = RunFolder(Path(shutil.copytree(drill.folder.path, tmp_path / "run")))
    with (folder.path / "events.jsonl").open("a") as events:
        events.write(f'{{"why": "x{needle}y"}}\n')
    (folder.path / "logs" / "load.log").write_bytes(b"\xff" + base64.b64encode(f"a{needle}1".encode()))
    table = pq.read_table(folder.path / "requests.parquet").to_pandas()
    table.loc[0, "error_message"] = needle
    table.to_parquet(folder.path / "requests.parquet", compression="zstd")
    assert leaks(replace(drill, folder=folder), needle) == ["events.jsonl", "load.log", "requests.parquet"]
    assert leaks(replace(drill, said=f"{needle}!"), needle) == ["terminal"]
    with CommandLines() as lines, subprocess.Popen([sys.executable, "-c", "input()", needle], stdin=-1) as process:
        until(lambda: any(needle in line for line in lines.seen), 20, "the process list does not show it")
        process.kill()
    assert leaks(replace(drill, command_lines=frozenset(lines.seen)), needle) == ["process list"]
