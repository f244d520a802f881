"""A drill as a process of its own, and how it ended, as its folder says.

A run whose recorded root cause is interference of the machine (``cause`` in verdict.json) says nothing about the
stack: it is *not judged*.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.evidence import interference
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge.drill import ROOT
from harness.judge.validity import STEADY_FIRST
from harness.model.errors import RunFolderError
from harness.model.night import NOT_STEADY
from harness.model.verdict import INTERFERENCE

#: What make and the shell may have said about the stack.
VARIABLES = ("RUNTIME", "ENGINE", "INSTANCE", "MODEL", "WORKERS", "MAKEFLAGS")
#: After the limit: the harness heals and judges, then it is killed.
_STOPS_WITHIN_S = 60.0


def run_name(said: str) -> str | None:
    """The run's name, which the program reports with its runtime; None when it began none.

    Before that it may have spoken of other runs, which have left something behind.
    """
    found = re.search(r"run (\d{8}-\S+)  runtime ", said)
    return found[1] if found else None


def not_judged(verdict: Mapping[str, Any]) -> bool:
    """Whether a stored verdict says that interference of the machine kept the run from being judged."""
    return verdict.get("status") == "INCONCLUSIVE" and verdict.get("cause") == INTERFERENCE


@dataclass(frozen=True)
class Outcome:
    """One ended run. ``status`` is the verdict's; «exit N» where there is none, and then ``reason`` is what was said.
    ``cause`` is the verdict's, or ``NOT_STEADY`` of a run that never began its drill on an undisturbed machine.

    ``took_s`` is the time from the start of the program to its end, seconds; ``run`` the folder's name, or ""; ``code``
    the program's exit code.
    """

    status: str
    cause: str | None
    reason: str
    took_s: float
    run: str = ""
    code: int = 0

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.status == "PASS"

    @property
    def not_judged(self) -> bool:
        """Whether interference kept it from being judged."""
        return not_judged({"status": self.status, "cause": self.cause})

    @property
    def folder(self) -> RunFolder | None:
        """The run's folder; None when it began none."""
        return RunFolder(ROOT / "runs" / self.run) if self.run else None

    @property
    def red(self) -> tuple[str, ...]:
        """Every check that is FAIL, with why: where only a log is kept, the folder is gone. None without a verdict."""
        try:
            checks = self.folder.read_json("verdict.json")["checks"] if self.folder else ()
        except RunFolderError:
            return ()
        return tuple(f"{one['name']}: {one['why']}" for one in checks if one["status"] == "FAIL")


def read(code: int, said: str, took_s: float, folder: RunFolder | None = None) -> Outcome:
    """The outcome of a run from its folder, else from the exit code and the last line of what was ``said``."""
    name = run_name(said)
    folder = folder or (RunFolder(ROOT / "runs" / name) if name else None)
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing").strip()
    if folder is None:
        return Outcome(f"exit {code}", None, last, took_s, code=code)
    try:
        verdict = folder.read_json("verdict.json")
        status, cause, reason = str(verdict["status"]), verdict.get("cause"), str(verdict["reason"])
        expected = int(verdict["exit_code"])
        if status == "INCONCLUSIVE" and cause is None and _not_steady(folder, verdict):
            cause = NOT_STEADY
    except (RunFolderError, KeyError, ValueError, TypeError) as error:
        return Outcome(f"exit {code}", None, f"no verdict: {error}", took_s, folder.path.name, code)
    if code != expected:  # interrupted, or a bug of the harness: the verdict alone would hide it
        return Outcome(f"exit {code}", None, f"{status}: {reason}", took_s, folder.path.name, code)
    return Outcome(status, cause, reason, took_s, folder.path.name, code)


def _not_steady(folder: RunFolder, verdict: Mapping[str, Any]) -> bool:
    """Whether the first steady state was not reached, on a machine that was watched and that nothing disturbed."""
    found = {one["name"]: one["status"] for one in verdict.get("validity", ())}
    if found.get(STEADY_FIRST, "PASS") == "PASS":
        return False
    try:
        view = RunView(folder)
        return interference.known(view) and not interference.spans(view)
    except Exception:  # of metrics that cannot be read nobody knows whether the machine was disturbed
        return False


def run(arguments: Sequence[str], limit_s: float, show: Callable[[str], object]) -> Outcome:
    """``python -m harness run`` with these arguments, bounded; ``show`` gets each line that it writes.

    At the limit, and when we are interrupted ourselves, it is asked to stop (it heals and judges), then killed.
    """
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    began, said = time.monotonic(), list[str]()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", *arguments], cwd=ROOT, env=clean, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    reader = threading.Thread(target=_copy, args=(process, said, show), daemon=True)
    reader.start()
    try:
        code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        code = stopped(process)
        said.append(f"it did not end within {limit_s:.0f} s (exit {code})")
        code = 124
    finally:
        if process.poll() is None:
            stopped(process)
    reader.join(timeout=5)  # a component that was started may hold the pipe open
    return read(code, "\n".join(said), time.monotonic() - began)


def _copy(process: subprocess.Popen[str], said: list[str], show: Callable[[str], object]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip("\n"))
        show(said[-1])


def stopped(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Ask it to stop, as Ctrl-C does, and kill it where it does not; its exit code.

    Where SIGINT is ignored (nohup, a shell's background), whatever was started from here ignores it, too.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)
    try:
        return process.wait(timeout=_STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its watchdog heals
        return process.wait()
