"""Running the programs that set-up needs, with their output kept in a file and their last line shown."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.errors import MissingTool
from stack.tools import places
from stack.tools.progress import Step

LOG_LINES_SHOWN = 12
TICK_S = 1.0


def execute(
    argv: Sequence[str | Path],
    step: Step,
    log: str,
    remedy: str,
    env: Mapping[str, str] | None = None,
    limit_s: float = 1800.0,
) -> None:
    """Run ``argv`` in the checkout until it ends; its output goes to ``.tools/logs/<log>.log``, appended.

    ``env`` is added to our own environment. Raises MissingTool (with the last lines, the log's path and ``remedy``)
    when the command cannot be started, ends with anything but 0, or takes longer than ``limit_s`` seconds.
    """
    path = places.TOOLS / "logs" / f"{log}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with path.open("ab") as file:
        file.write(f"$ {' '.join(words)}\n".encode())
        file.flush()
        try:
            process = subprocess.Popen(
                words,
                cwd=places.CHECKOUT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a time limit or Ctrl-C ends its children too
            )
        except OSError as error:
            raise MissingTool(f"{step.title}: `{words[0]}` could not be started: {error}. {remedy}") from error
        try:
            in_time = _follow(process, file, step, limit_s)
        finally:
            _end_group(process)
    if not in_time:
        raise MissingTool(f"{step.title}: not done within {limit_s:.0f} s. Full log: {path}. {remedy}")
    if process.returncode != 0:
        last = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        lines = "\n".join(f"    {line}" for line in last)
        raise MissingTool(
            f"{step.title}: `{Path(words[0]).name}` ended with {process.returncode} (expected 0). Its last lines:\n"
            f"{lines}\nFull log: {path}\n{remedy}"
        )


def _follow(process: subprocess.Popen[bytes], file: IO[bytes], step: Step, limit_s: float) -> bool:
    """Copy the output into ``file`` until the process ends; False when ``limit_s`` passed first."""
    assert process.stdout is not None
    deadline = time.monotonic() + limit_s
    last_line = "started"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(timeout=TICK_S):
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                file.write(chunk)
                file.flush()
                lines = chunk.decode(errors="replace").strip().splitlines()
                last_line = lines[-1] if lines else last_line
            step.note(last_line)
        else:
            return False
    try:
        process.wait(timeout=max(TICK_S, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Make sure that nothing of a command that did not end by itself stays behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
