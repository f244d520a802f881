"""stack/runtimes/priority.py: who goes first, as the kernel sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stack.runtimes import priority

#: Run in a session of its own: that of the tests stays as it is.
_IN_AND_OUT = """
from pathlib import Path
from stack.runtimes import priority
def niceness():
    print(Path("/proc/self/autogroup").read_text().split()[-1])
Path("/proc/self/autogroup").write_text("{before}")
try:
    with priority.own_session({during}):
        niceness()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    niceness()
"""


def test_the_harness_goes_before_containers_only() -> None:
    """As processes the stack's session is nice already; containers are in no session that could be."""
    assert priority.of_harness("docker") < priority.of_harness("process") == 0


@pytest.mark.parametrize(
    ("before", "during", "seen"),
    [
        (3, -5, ["-5", "3"]),  # raised, and put back whatever ended the block
        (0, 0, ["0", "0"]),
        (-7, -5, ["-7", "-7"]),  # somebody gave it more than we want: theirs to decide
    ],
)
def test_the_own_session_is_raised_while_the_block_lasts(before: int, during: int, seen: list[str]) -> None:
    """The session is the shell's: it has to be left as it was."""
    if not _may_raise():
        pytest.skip("this kernel groups no sessions, or only root may raise one")
    code = _IN_AND_OUT.format(before=before, during=during)
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == seen


def test_without_the_right_to_it_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's drill runs all the same; the check for gaps in the samples says whether it mattered."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(priority.Path, "write_text", refuse)
    with priority.own_session(-5):
        pass


def test_a_kernel_that_groups_no_sessions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such file there."""

    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(priority.Path, "read_text", missing)
    with priority.own_session(-5):
        pass


def _may_raise() -> bool:
    file = "/proc/self/autogroup"
    raise_it = f"from pathlib import Path; Path({file!r}).write_text('-1')"
    asked = subprocess.run([sys.executable, "-c", raise_it], start_new_session=True, capture_output=True)
    return Path(file).exists() and asked.returncode == 0
