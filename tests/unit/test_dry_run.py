"""``--dry-run``: prints everything that a run would do, and touches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from stack.state import CHECKOUT

#: Ends the program at the first attempt to connect, resolve, start a process or write a file.
WATCHED = """
import os, sys
def watch(event, args):
    writing = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    listening = event == "socket.bind" and args[1][1]  # on port 0 a library asks only whether there is IPv6
    touching = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn",
                "os.fork", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.kill", "shutil.rmtree")
    if writing or listening or event in touching:
        os.write(2, f"TOUCHED {event} {args}".encode())
        os._exit(99)
sys.addaudithook(watch)
from harness.cli.main import main
for line in sys.argv[1:]:
    if code := main(line.split()):
        sys.exit(code)
"""
RUN = ("run", "timeout-spike", "--dry-run", "--instance", "54", "--engine", "sim", "--set", "load.rate=5/s")
TARGET = ("--target", "https://llm.example.com", "--i-own-this-target", "llm.example.com", "--api-key-env", "SOME_KEY")


def tree() -> set[tuple[str, int]]:
    """What is in the folders that runs and this stack write to, with times of change."""
    found = [*(CHECKOUT / ".state" / "54").rglob("*"), *(CHECKOUT / "runs").glob("*")]
    return {(str(path), path.lstat().st_mtime_ns) for path in found}


def watched(*lines: str) -> subprocess.CompletedProcess[str]:
    """These command lines, one after the other in one process that ends with 99 when it touches anything."""
    return subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, *lines], capture_output=True, text=True, cwd=CHECKOUT, timeout=60,
        env={**os.environ, "SOME_KEY": "sk-0123456789"},
    )  # fmt: skip


def test_nothing_is_touched() -> None:
    """No file is written, no process started, no connection made and no name resolved, whatever the runtime."""
    before = tree()
    lines = [" ".join((*RUN, "--runtime", runtime)) for runtime in ("auto", "process", "docker")]
    done = watched(*lines, " ".join((*RUN, "--runtime", "external", *TARGET)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("dry run of timeout-spike") == 4
    assert "sk-0123456789" not in done.stdout
    assert tree() == before


def test_the_watch_sees_a_touch() -> None:
    """The test above can fail: the same watch ends the same command without --dry-run."""
    done = watched("run timeout-spike --runtime process --instance 54 --engine sim")
    assert done.returncode == 99
    assert "TOUCHED" in done.stderr


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the plan says, blanks folded."""
    assert main.main([*RUN, *arguments]) == 0
    return re.sub(r" +", " ", capsys.readouterr().out)


def test_it_says_all_that_would_happen(capsys: pytest.CaptureFixture[str]) -> None:
    """Times, faults with target, options, proof and undo, load, objectives with their numbers, checks, the guard."""
    text = said(capsys, "--runtime", "process", "--set", "phases.baseline.duration=40s")
    for line in (
        "runtime process, engine sim, instance 54, on 127.0.54.0/24",
        "guard touches only what this checkout starts itself",
        "load open, poisson, 5/s for 150 to 200 s",
        "stops when nothing: it goes on to its end",
        " 10.0 s – 50.0 s baseline (baseline)",
        " 50.0 s – 80.0 s one-replica (fault)",
        "latency on gateway-b-to-replica-2: latency 20s",
        "proof Cross the link again",
        "undo drain_latency: ",
        "timeout on gateway-a-to-replica-1: no options",
        "availability before: availability >= 99 % in baseline",
        "gateway.first_byte_timeout_ms = 3000",
        "gateways eject replica-2: Do the gateways stop using",
    ):
        assert line in text, text


def test_it_says_how_long_an_open_phase_may_last(capsys: pytest.CaptureFixture[str]) -> None:
    """A phase that lasts until its faults have settled is shown with both its bounds, and so is the load."""
    phase = "phases.all-replicas"
    text = said(capsys, "--runtime", "process", "--set", f"{phase}.until=settled", "--set", f"{phase}.at_most=90s")
    assert "load open, poisson, 5/s for 140 to 260 s" in text
    assert "and on until its faults have settled, 90 s at most" in text


def test_it_says_which_alerts_are_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A phase that is too short for an alert is named with what that alert may take."""
    text = said(capsys, "--runtime", "process", "--set", "phases.one-replica.duration=12s", "--set", "load.rate=12/s")
    line = "ReplicaDown{server=replica-2} in one-replica: the phase is too short to tell, it may take 11 s"
    assert f"will not be asked, {line}" in text
    assert "alerts silent in one-replica" in text
    assert "will not be asked" not in said(capsys, "--runtime", "process")


def test_it_says_what_an_external_run_would_not_ask(capsys: pytest.CaptureFixture[str]) -> None:
    """The target, its name yet to be resolved, the runtime's own scenario, and one line of what is not asked."""
    text = said(capsys, "--runtime", "external", *TARGET[:4], "--metrics-url", "https://llm.example.com:9000")
    for line in (
        "target https://llm.example.com, with no key",
        "metrics https://llm.example.com:9000/metrics",
        "guard you own llm.example.com (pinned: resolved once when the run starts)",
        "timeout on client-to-target",
        "stops when error_ratio > 50 % for 30 s",
        "no hang in silent-link: Does every request",
    ):
        assert line in text, text
    (line,) = (line for line in text.splitlines() if "not asked of an external target" in line)
    for name in ("gateways eject replica-2", "steady state in recovery-one", "alerts fire in all-replicas"):
        assert name in line
    assert "no hang in silent-link" not in line
    assert "SKIPPED" not in text


def test_it_says_what_an_external_run_would_skip(capsys: pytest.CaptureFixture[str]) -> None:
    """What the drill asks such a target about and the scenario lacks: each with what it needs. Here nobody asks about
    one of the faults, and nothing is left out.
    """
    short = str(CHECKOUT / "tests" / "drills" / "external.yaml")
    external = ("--runtime", "external", *TARGET[:4])
    changed = ("--set", "phases.slow-link.name=slow", "--set", "slos=[]")
    text = said(capsys, *external, "--scenario", short, *changed)
    assert "no hang in slow-link: will be SKIPPED, it needs the phase slow-link, which this runtime" in text
    assert "gateways eject replica-2: will be SKIPPED, it needs the state of the gateways" in text
    assert "not asked" not in text


def test_an_external_run_has_a_stop_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that the scenario lacks, or that somebody has emptied, is put in, and said; its own is left alone."""
    external = ("--runtime", "external", *TARGET[:4])
    text = said(capsys, *external, "--set", "abort_when=[]")
    assert "no stop condition, which an external target needs: error_ratio > 50 % for 10 s is put in" in text
    assert "stops when error_ratio > 50 % for 10 s" in text
    text = said(capsys, *external, "--set", "abort_when=[{sli: error_ratio, objective: '> 20 %', for: 5s}]")
    assert "is put in" not in text
    assert "stops when error_ratio > 20 % for 5 s" in text


def test_what_is_wrong_is_refused_as_in_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario whose targets the external runtime does not have ends with 64, names them, and plans nothing."""
    inner = str(CHECKOUT / "scenarios" / "timeout-spike.yaml")
    assert main.main([*RUN, "--runtime", "external", *TARGET[:4], "--scenario", inner]) == 64
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "nothing is called 'gateway-*-to-replica-2'" in heard.err
    assert "Known: client-to-target" in heard.err


def test_an_objective_of_unknown_gateways_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The policy of our gateways says nothing about somebody else's."""
    name, late = "slos.availability before", "<= gateway.first_byte_timeout_ms"
    change = ("--set", f"{name}.sli=ttft_p95_ms", "--set", f"{name}.objective={late}")
    assert main.main([*RUN, "--runtime", "external", *TARGET[:4], *change]) == 64
    assert "nobody knows the policy of an external target's gateways" in capsys.readouterr().err
