"""What was typed after make is refused before anything is downloaded, and by a Python that has no packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.model import interpreter
from stack.tools import places


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    """This Python as on a fresh machine: without the site-packages, nothing of the environment set."""
    return subprocess.run(
        [sys.executable, "-S", "-E", "-B", "-m", *words],
        cwd=places.CHECKOUT,
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("timeout-spkie",), "did you mean 'timeout-spike'?"),
        (("oom", "timeout-spkie"), "did you mean 'timeout-spike'?"),
        (("oom", "--model", "/no/such"), "MODEL=/no/such: there is no such folder"),
        (("--engine", "simm"), "ENGINE=simm: expected one of vllm, sim"),
        (("--runtime", "podman"), "RUNTIME=podman: expected one of auto, docker, process, external"),
        (("--instance", "seven"), "INSTANCE=seven: expected a number from 0 to 255"),
        (("--instance", "256"), "INSTANCE=256: expected a number from 0 to 255"),
        (("--keep", "0"), "KEEP=0: expected a whole number from 1"),
        (("--keep", "all"), "KEEP=all: expected a whole number from 1"),
        (("--days", "-3"), "DAYS=-3: expected a whole number from 1"),
        (("--days", "1.5"), "DAYS=1.5: expected a whole number from 1"),
    ],
)
def test_what_is_misspelt_is_refused_without_any_package(words: tuple[str, ...], says: str) -> None:
    """In one line, by name, with 64."""
    done = bare("harness.cli.settings", *words)
    assert done.returncode == 64, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_is_right_is_taken() -> None:
    """All settings at once, and none; a target's owner calls a model as he likes."""
    settings = ("--runtime", "process", "--engine", "sim", "--instance", "41", "--model", "v2", "--keep", "30")
    for words in ((), ("timeout-spike", "oom", *settings), ("oom", "--runtime", "external", "--model", "any model")):
        done = bare("harness.cli.settings", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_program_without_its_packages_says_what_to_do() -> None:
    """As `python3 -m harness` ends on a machine that has them in .venv only: one line, wrong usage, no traceback."""
    done = bare("harness", "list")
    assert done.returncode == 64
    assert done.stderr.startswith("drillyard: found no package ")
    assert "use .venv/bin/python; `make setup`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_missing_of_our_own_is_a_bug() -> None:
    """It is raised: no set-up would bring it."""
    for name in ("harness.cli.mian", "stack", None):
        with pytest.raises(ImportError):
            interpreter.refuse_without(ImportError("gone", name=name))


def test_a_python_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its version and what to do; the oldest that will do is taken."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit) as ended:
        interpreter.require()
    assert ended.value.code == 64
    assert "expected 3.11 or newer: use .venv/bin/python" in capsys.readouterr().err
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    interpreter.require()
