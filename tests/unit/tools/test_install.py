"""Stamps, order, resuming, the lock, and the command line of set-up."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.model.errors import MissingTool
from stack.tools import __main__ as command_line
from stack.tools import install, places
from stack.tools.install import bring, parts_for
from stack.tools.lock import only_one
from stack.tools.part import Part
from stack.tools.progress import Progress, Step


class Workshop:
    """Makes parts that remember how often they were installed."""

    def __init__(self) -> None:
        self.installed: list[str] = []
        self.broken: set[str] = set()

    def part(self, name: str, recipe: str = "1") -> Part:
        """A part that works as soon as it was installed."""

        def _install(step: Step) -> None:
            if name in self.broken:
                raise MissingTool(f"{name} could not be had")
            self.installed.append(name)

        return Part(name, name.title(), lambda: recipe, lambda: name in self.installed, _install)


@pytest.fixture
def workshop() -> Workshop:
    """A fresh one."""
    return Workshop()


@pytest.fixture
def output() -> io.StringIO:
    """What set-up printed."""
    return io.StringIO()


@pytest.fixture
def progress(output: io.StringIO) -> Progress:
    """Progress without a terminal."""
    return Progress(Console(file=output, force_terminal=False, width=200))


def test_second_call_does_nothing(tools: Path, workshop: Workshop, progress: Progress, output: io.StringIO) -> None:
    """Everything is brought once; then the answer is that it was all there, and not a word is printed."""
    parts = [workshop.part("a"), workshop.part("b")]
    assert bring(parts, progress) is False
    said = output.getvalue()
    assert bring(parts, progress) is True
    assert workshop.installed == ["a", "b"]
    assert output.getvalue() == said


def test_changed_recipe_installs_again(tools: Path, workshop: Workshop, progress: Progress) -> None:
    """A new version in a lock file is a new recipe, though what is there still works."""
    bring([workshop.part("a", "1")], progress)
    bring([workshop.part("a", "2")], progress)
    assert workshop.installed == ["a", "a"]


def test_what_no_longer_works_is_brought_again(tools: Path, workshop: Workshop, progress: Progress) -> None:
    """A stamp alone proves nothing: the machine may have changed under it."""
    part = workshop.part("a")
    bring([part], progress)
    assert not replace(part, works=lambda: False).is_current()


def test_goes_on_where_it_failed(tools: Path, workshop: Workshop, progress: Progress, output: io.StringIO) -> None:
    """What was done before a failure stays done; the failed part and those after it come next time."""
    parts = [workshop.part("a"), workshop.part("b"), workshop.part("c")]
    workshop.broken.add("b")
    with pytest.raises(MissingTool, match="b could not be had"):
        bring(parts, progress)
    assert "✗ B" in output.getvalue()
    workshop.broken.clear()
    bring(parts, progress)
    assert workshop.installed == ["a", "b", "c"]


def test_interrupted_install_leaves_no_stamp(tools: Path, workshop: Workshop, progress: Progress) -> None:
    """A reinstall that dies half-way must not be taken for the old, whole one."""
    bring([workshop.part("a", "1")], progress)
    workshop.broken.add("a")
    with pytest.raises(MissingTool):
        bring([workshop.part("a", "2")], progress)
    assert not workshop.part("a", "1").is_current()


def names(runtime: str, engine: str, model: str = "v1") -> list[str]:
    """Names of the parts in their order."""
    return [part.name for part in parts_for(runtime, engine, model)]


def test_each_use_brings_what_it_needs_and_no_more() -> None:
    """The simulator needs no vLLM, Docker no programs of the host; models come last: vLLM's environment trains them."""
    assert names("process", "vllm") == ["debian", "toxiproxy", "vllm", "models"]
    assert names("process", "sim") == ["debian", "toxiproxy"]
    assert names("docker", "vllm") == ["models"]
    assert names("docker", "sim") == []
    assert names("process", "vllm", "some/model-on-a-hub") == ["debian", "toxiproxy", "vllm"]


HOLDER = """
import sys
from pathlib import Path
from stack.tools import places
from stack.tools.lock import only_one
places.TOOLS = Path(sys.argv[1])
with only_one(print):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_set_ups_do_not_meet(tools: Path) -> None:
    """The second one says who holds the lock and gives up after its limit; it gets the lock when the first has died."""
    said: list[str] = []
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tools)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=places.CHECKOUT,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MissingTool, match=f"process {holder.pid}"), only_one(said.append, limit_s=0.1):
            pass
        holder.kill()
    assert said == [f"another set-up (process {holder.pid}) is running in this checkout: waiting for it"]
    with only_one(said.append, limit_s=10):
        assert len(said) == 1


def test_command_line_reports_failure_in_words(
    tools: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that cannot be had ends it with 64 and the reason, without a traceback."""
    workshop.broken.add("a")
    monkeypatch.setattr(command_line, "parts_for", lambda *use: (workshop.part("a"),))
    assert command_line.main(["install", "--runtime", "process"]) == 64
    assert capsys.readouterr().err == "set-up: a could not be had\n"


@pytest.mark.parametrize(
    ("arguments", "says"), [(("--engine", "simm"), "vllm, sim"), (("--runtime", "podman"), "auto, docker, process")]
)
def test_an_unknown_setting_is_refused_in_a_sentence(
    arguments: tuple[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Set-up is what most targets begin with: what was found, what was expected, and nothing is brought."""
    assert command_line.main(["install", *arguments]) == 64
    name, value = arguments[0].removeprefix("--").upper(), arguments[1]
    assert f"set-up: {name}={value}: expected one of {says}" in capsys.readouterr().err


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_command_line_passes_the_use_on(
    runtime: str, tools: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for decides what is brought."""
    asked: list[tuple[str, ...]] = []

    def _parts(*use: str) -> tuple[Part, ...]:
        asked.append(use)
        return (workshop.part("a"),)

    monkeypatch.setattr(command_line, "parts_for", _parts)
    assert command_line.main(["install", "--runtime", runtime, "--engine", "sim", "--model", "v2"]) == 0
    assert asked == [(runtime, "sim", "v2")]


def test_browser_is_apart() -> None:
    """A drill never waits for Chromium, nor for what the tests look at pages with in it."""
    assert [part.name for part in install.browser()] == ["chromium", "axe"]
