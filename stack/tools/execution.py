"""Running the programs that set-up needs, with their output kept in a file and their last line shown."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.model.errors import MissingTool
from stack.tools import places
from stack.tools.progress import Step

LOG_LINES_SHOWN = 12
TICK_S = 1.0
#: What a signal that ends a program usually means, where its name alone says too little.
_MEANS = {
    signal.SIGILL: "the build uses instructions that this processor lacks",
    signal.SIGKILL: "perhaps by the kernel, for lack of memory",
}

#: Called with each whole line of output; what is being waited for now, in words for people; None: as before.
Told = Callable[[str], str | None]


def execute(
    argv: Sequence[str | Path],
    step: Step,
    log: str,
    remedy: str,
    env: Mapping[str, str] | None = None,
    limit_s: float = 1800.0,
    told: Told = str,
) -> None:
    """Run ``argv`` in the checkout until it ends; its output goes to ``.tools/logs/<log>.log``, appended.

    ``env`` is added to our own environment. ``told`` makes the step's note out of the output; by default its last line
    is the note, and until there is one the step's own note stays. Raises MissingTool (with the last lines, the log's
    path and ``remedy``) when the command cannot be started, ends with anything but 0, or takes longer than ``limit_s``
    seconds.
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
            in_time = _follow(process, file, step, limit_s, told)
        finally:
            _end_group(process)
    if not in_time:
        raise MissingTool(f"{step.title}: not done within {limit_s:.0f} s. Full log: {path}. {remedy}")
    if process.returncode != 0:
        last = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        lines = "\n".join(f"    {line}" for line in last)
        raise MissingTool(
            f"{step.title}: `{Path(words[0]).name}` {_ending(process.returncode)} (expected 0). Its last lines:\n"
            f"{lines}\nFull log: {path}\n{remedy}"
        )


def _ending(code: int) -> str:
    """How a program ended, in words; a negative code is the number of the signal that ended it."""
    if code >= 0:
        return f"ended with {code}"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"was ended by signal {-code}"
    return f"was ended by {number.name}" + (f": {_MEANS[number]}" if number in _MEANS else "")


def _follow(process: subprocess.Popen[bytes], file: IO[bytes], step: Step, limit_s: float, told: Told) -> bool:
    """Copy the output into ``file`` until the process ends; False when ``limit_s`` passed first."""
    assert process.stdout is not None
    deadline = time.monotonic() + limit_s
    begun = b""  # of a line whose end has not come yet
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(timeout=TICK_S):
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                file.write(chunk)
                file.flush()
                *lines, begun = (begun + chunk).split(b"\n")
                for line in filter(None, (line.decode(errors="replace").strip() for line in lines)):
                    step.note(told(line) or step.waiting_for)
            step.note(step.waiting_for)
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
