"""What a stack's components have logged since a run began, and why one of them did not start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.evidence.record import RunFolder
from harness.model.errors import StackError
from harness.probes import component_logs


@dataclass
class Stack:
    """A runtime with nothing but logs: files, text (Docker), or none at all."""

    found: dict[str, Path | str | None] = field(default_factory=dict)

    @property
    def topology(self) -> SimpleNamespace:
        """The components that have a log."""
        return SimpleNamespace(components=[SimpleNamespace(name=name) for name in self.found])

    def logs(self, name: str) -> Path | str:
        """As the runtimes answer."""
        log = self.found[name]
        if log is None:
            raise StackError(f"{name} has no log")
        return log


def collected(folder: RunFolder, name: str) -> str:
    """What the run kept of a component's log."""
    return (folder.path / "logs" / f"{name}.log").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder.create(tmp_path / "runs", "one")


def test_only_what_was_logged_during_the_run_is_kept(tmp_path: Path, folder: RunFolder) -> None:
    """A warm stack's log holds earlier runs: the copy begins where the log ended when the run began."""
    log = tmp_path / "gateway-a.log"
    log.write_text("earlier run\n")
    stack = Stack({"gateway-a": log})
    marks = component_logs.LogMarks.take(stack)  # type: ignore[arg-type]
    with log.open("a") as file:
        file.write("this run\n")
    marks.collect(stack, folder)  # type: ignore[arg-type]
    assert collected(folder, "gateway-a") == "this run\n"
    assert log.read_text() == "earlier run\nthis run\n"


def test_rotated_log_is_kept_whole(tmp_path: Path, folder: RunFolder) -> None:
    """A log that is shorter than before was begun anew: all of it is of this run."""
    log = tmp_path / "replica-1.log"
    log.write_text("a very long earlier log\n" * 10)
    stack = Stack({"replica-1": log})
    marks = component_logs.LogMarks.take(stack)  # type: ignore[arg-type]
    log.write_text("after rotation\n")
    marks.collect(stack, folder)  # type: ignore[arg-type]
    assert collected(folder, "replica-1") == "after rotation\n"


def test_text_logs_are_cut_by_bytes(folder: RunFolder) -> None:
    """Docker gives text; characters of several bytes do not shift the cut."""
    stack = Stack({"gateway-a": "früher «é»\n"})
    marks = component_logs.LogMarks.take(stack)  # type: ignore[arg-type]
    stack.found["gateway-a"] = "früher «é»\njetzt\n"
    marks.collect(stack, folder)  # type: ignore[arg-type]
    assert collected(folder, "gateway-a") == "jetzt\n"


def test_missing_log_does_not_lose_the_others(tmp_path: Path, folder: RunFolder) -> None:
    """A component without a log gives an empty file; the others are collected."""
    stack = Stack({"dns": None, "exporter": tmp_path / "nowhere.log", "gateway-a": ""})
    marks = component_logs.LogMarks.take(stack)  # type: ignore[arg-type]
    stack.found["gateway-a"] = "here\n"
    marks.collect(stack, folder)  # type: ignore[arg-type]
    assert [collected(folder, name) for name in ("dns", "exporter", "gateway-a")] == ["", "", "here\n"]


@pytest.mark.parametrize(
    "text",
    [
        "{cause}\n\nDuring handling\n\nRuntimeError: Engine core initialization failed. See root cause above.\n",
        "(EngineCore pid=19) ERROR 11-23 03:26:05 [core.py:1510] {cause}\n(APIServer pid=1) RuntimeError: no core\n",
        "  raise ValueError(\nWARNING found error limits like `OSError: [Errno 24] Too many`\n{cause}\n{cause}\n",
    ],
)
def test_the_first_error_since_then_is_the_cause(text: str) -> None:
    """The last line of the first traceback: no warning, no line of code, nothing that was there before."""
    before, cause = "KeyError: of an earlier run\n", "safetensors_rust.SafetensorError: incomplete metadata"
    stack = Stack({"replica-2": before})
    marks = component_logs.LogMarks.take(stack, "replica-2")  # type: ignore[arg-type]
    assert marks.first_error(stack, "replica-2") is None  # type: ignore[arg-type]
    stack.found["replica-2"] = before + text.format(cause=cause)
    assert marks.first_error(stack, "replica-2") == cause  # type: ignore[arg-type]


def test_a_long_error_is_cut_to_a_line(tmp_path: Path) -> None:
    """It is quoted in a reason, without the secrets that it may hold."""
    log = tmp_path / "replica-2.log"
    log.touch()
    stack = Stack({"replica-2": log})
    marks = component_logs.LogMarks.take(stack)  # type: ignore[arg-type]
    log.write_text("OSError: no access with Bearer abcdefghijklmnop1234 " + "and so on " * 90 + "\n")
    found = marks.first_error(stack, "replica-2")  # type: ignore[arg-type]
    assert found is not None
    assert found.startswith("OSError: no access with [redacted] and so on")
    assert len(found) <= component_logs.ERROR_CHARS_MAX
