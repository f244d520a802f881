"""Running installers: what is kept, what is said when they fail, and what is left of them."""

from __future__ import annotations

import io
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.model.errors import MissingTool
from stack.tools import progress as progress_module
from stack.tools.execution import execute
from stack.tools.progress import Step
from tests.waiting import until


@pytest.fixture
def output() -> io.StringIO:
    """What the step printed."""
    return io.StringIO()


@pytest.fixture
def step(output: io.StringIO) -> Step:
    """A step without a terminal."""
    return Step("the thing", Console(file=output, force_terminal=False, width=200), None)


def test_output_is_kept(tools: Path, step: Step) -> None:
    """Both streams go to the log, after the command itself; calls append."""
    execute(["sh", "-c", "echo out; echo err >&2"], step, "log", "Do it.")
    execute(["sh", "-c", 'echo "$WORD"'], step, "log", "Do it.", env={"WORD": "more"})
    lines = (tools / "logs" / "log.log").read_text().splitlines()
    assert lines[1:3] == ["out", "err"]
    assert lines[-1] == "more"


def test_failure_shows_last_lines_log_and_remedy(tools: Path, step: Step) -> None:
    """The message alone is enough to act on."""
    with pytest.raises(MissingTool) as caught:
        execute(["sh", "-c", "seq 100; echo no such package; exit 7"], step, "log", "Name a mirror.")
    message = str(caught.value)
    assert "the thing: `sh` ended with 7 (expected 0)" in message
    assert "no such package" in message
    assert "\n    100\n" in message
    assert "\n    50\n" not in message
    assert str(tools / "logs" / "log.log") in message
    assert message.endswith("Name a mirror.")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("ILL", "was ended by SIGILL: the build uses instructions that this processor lacks (expected 0)"),
        ("KILL", "was ended by SIGKILL: perhaps by the kernel, for lack of memory (expected 0)"),
        ("SEGV", "was ended by SIGSEGV (expected 0)"),
    ],
)
def test_a_signal_is_named(tools: Path, step: Step, number: str, words: str) -> None:
    """«-4» tells nobody anything."""
    with pytest.raises(MissingTool) as caught:
        execute(["sh", "-c", f"kill -{number} $$"], step, "log", "Do it.")
    assert f"the thing: `sh` {words}" in str(caught.value)


def test_note_follows_the_output_and_waits_for_it(tools: Path, step: Step) -> None:
    """Until something is said the step's own note stays; then it is the last line, or what is made of it."""
    step.note("downloading much")
    execute(["true"], step, "log", "Do it.")
    assert step.waiting_for == "downloading much"
    execute(["printf", "one\\n\\ntwo\\nunfinished"], step, "log", "Do it.")
    assert step.waiting_for == "two"
    told = {"two": "now the second", "three": None}
    execute(["printf", "two\\nthree\\n"], step, "log", "Do it.", told=told.get)
    assert step.waiting_for == "now the second"


def test_missing_command_is_named(tools: Path, step: Step) -> None:
    """No traceback for a program that is not there."""
    with pytest.raises(MissingTool, match="`no-such-program` could not be started"):
        execute(["no-such-program"], step, "log", "Install it.")


def test_limit_ends_the_command_and_its_children(tools: Path, step: Step) -> None:
    """A hanging download is given up, and nothing of it stays behind."""
    script = "sleep 300 & echo $! ; wait"
    with pytest.raises(MissingTool, match="not done within 1 s"):
        execute(["sh", "-c", script], step, "log", "Try again.", limit_s=1)
    child = int((tools / "logs" / "log.log").read_text().splitlines()[-1])
    until(lambda: not _alive(child), 10, "its child lives on")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_long_steps_say_what_they_wait_for(step: Step, output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal: silence at first, then a line with the last thing heard, not a line per note."""
    step.note("first")
    assert output.getvalue() == ""
    monkeypatch.setattr(progress_module, "REMINDER_S", 0.0)
    step.note("downloading\n torch")
    monkeypatch.setattr(progress_module, "REMINDER_S", 60.0)
    step.note("third")
    assert output.getvalue().count("\n") == 1
    assert "the thing" in output.getvalue()
    assert "downloading torch" in output.getvalue()
