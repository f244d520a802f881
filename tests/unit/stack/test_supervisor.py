"""stack/runtimes/supervisor.py: what supervisord is told, and what is read from its log."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import xmlrpc.client
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from harness.model.errors import StackError, UsageError
from stack.commands import Command
from stack.runtimes import supervisor

AWKWARD = "50% \"quoted\" 'single' a,b=c {x} ; #y"


def _configured(tmp_path: Path, command: Command) -> object:
    """The program as supervisord itself understands the file."""
    path = tmp_path / "supervisord.conf"
    path.write_text(supervisor.configuration({"replica-1": command}, "abc", tmp_path, tmp_path, tmp_path))
    options = ServerOptions()
    options.realize(["-c", str(path)])
    return options.process_group_configs[0].process_configs[0]


def _seen(program: object) -> list[str]:
    """What it prints when it is started as supervisord would start it."""
    words = shlex.split(program.command)  # type: ignore[attr-defined]
    return os.fsdecode(subprocess.run(words, capture_output=True, check=True).stdout).splitlines()


def test_arguments_arrive_as_they_were_given(tmp_path: Path) -> None:
    """Quotes, commas, braces and percent signs reach the component unharmed, and it is as nice as it should be."""
    words = ["/bin/sh", "-c", 'printf "%s\\n" "$0"; nice', AWKWARD]
    command = Command(words, {"KEY": AWKWARD}, nice=10, cwd=tmp_path)
    program = _configured(tmp_path, command)
    supervisor.write_start("replica-1", command, tmp_path)
    assert _seen(program) == [AWKWARD, str(os.nice(0) + 10)]


def test_environment_is_complete_and_no_argument(tmp_path: Path) -> None:
    """A component gets exactly its environment, and its values stand in no command line: everybody may read those."""
    command = Command(["/usr/bin/env"], {"KEY": AWKWARD, "LINES": "a\nb", "BYTES": "\udcff"}, cwd=tmp_path)
    program = _configured(tmp_path, command)
    supervisor.write_start("replica-1", command, tmp_path)
    assert "50%" not in program.command  # type: ignore[attr-defined]
    assert (supervisor.start_file(tmp_path, "replica-1").stat().st_mode & 0o777) == 0o600
    assert {line for line in _seen(program) if not re.match("PWD=|SHLVL=|_=", line)} == {
        f"KEY={AWKWARD}",
        "LINES=a",
        "b",
        "BYTES=\udcff",  # no text
    }


def test_another_start_takes_effect_without_telling_supervisord(tmp_path: Path) -> None:
    """A replica is given another model so: its program stays, what it starts does not."""
    program = _configured(tmp_path, Command(["/bin/echo", "v1"], {}))
    for model in ("v1", "v2"):
        supervisor.write_start("replica-1", Command(["/bin/echo", model], {}), tmp_path)
        assert _seen(program) == [model]


def test_whatever_exits_is_started_again_but_nothing_by_itself(tmp_path: Path) -> None:
    """vLLM's API process exits 0 when its engine died: the exit code must not matter."""
    program = _configured(tmp_path, Command(["/bin/engine"], {}))
    restarts_always = program.autorestart  # type: ignore[attr-defined]
    assert restarts_always.__name__ == "RestartUnconditionally"
    assert program.autostart is False  # type: ignore[attr-defined]
    assert program.stopasgroup  # type: ignore[attr-defined]
    assert program.killasgroup  # type: ignore[attr-defined]


def test_a_value_that_would_become_a_comment_is_refused(tmp_path: Path) -> None:
    """Supervisord would silently cut the line there."""
    with pytest.raises(UsageError, match="comment"):
        supervisor.configuration({"x": Command(["/bin/x"], cwd=Path("/a #b"))}, "abc", tmp_path, tmp_path, tmp_path)


def test_restarts_count_crashes_but_not_deliberate_starts() -> None:
    """A start after a stop was asked for; one after an exit was not."""
    log = """
2026-01-01 00:00:00,000 INFO spawned: 'replica-1' with pid 1
2026-01-01 00:00:01,000 WARN exited: replica-1 (terminated by SIGKILL; not expected)
2026-01-01 00:00:02,000 INFO spawned: 'replica-1' with pid 2
2026-01-01 00:00:03,000 INFO stopped: replica-1 (terminated by SIGTERM)
2026-01-01 00:00:04,000 INFO spawned: 'replica-1' with pid 3
2026-01-01 00:00:04,000 INFO spawned: 'gateway-a' with pid 4
"""
    assert supervisor.restarts(log) == {"replica-1": 1, "gateway-a": 0}


def test_a_supervisor_that_is_not_there_is_a_stack_error(tmp_path: Path) -> None:
    """The message names the socket and what to do."""
    with pytest.raises(StackError, match="make down"):
        supervisor.Supervisor(tmp_path).programs()


@pytest.mark.parametrize(
    ("answer", "started"),
    [("SPAWN_ERROR: replica-2", True), ("ALREADY_STARTED: replica-2", False), ("BAD_NAME: replica-2", None)],
)
def test_what_ends_at_once_was_started(
    answer: str, started: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """supervisord looks for dead children before it answers: whose program was quick to die is no refusal."""

    def refuse(*_: object) -> None:
        raise xmlrpc.client.Fault(50, answer)

    control = supervisor.Supervisor(tmp_path)
    monkeypatch.setattr(control, "_call", refuse)
    if started is None:
        with pytest.raises(StackError, match="BAD_NAME"):
            control.start("replica-2")
    else:
        assert control.start("replica-2") is started
