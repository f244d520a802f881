"""What the Makefile hands on. Nothing is run: make only says what it would do."""

from __future__ import annotations

import subprocess

import pytest

from stack.tools import places


def dry_run(*words: str) -> str:
    """The commands that `make WORDS` would run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", *words],
        cwd=places.CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_drill_passes_everything_through() -> None:
    """Each setting arrives at the program, and set-up brings what that runtime and engine need."""
    settings = ["RUNTIME=docker", "ENGINE=sim", "INSTANCE=41", "MODEL=v2", "WORKERS=3", "ARGS=--set load.rate=5/s"]
    commands = " ".join(dry_run("drill-timeout-spike", *settings).split())
    assert "stack.tools install --runtime docker --engine sim" in commands
    options = "--runtime docker --engine sim --instance 41 --model v2 --workers 3 --set load.rate=5/s"
    assert f"-m harness run timeout-spike {options}" in commands


def test_capacity_takes_the_new_value_only_when_told() -> None:
    """`make capacity` measures; ACCEPT=1 makes load follow what it finds."""
    assert "-m harness capacity --runtime" in dry_run("capacity")
    assert "--accept" not in dry_run("capacity")
    assert "--accept" in dry_run("capacity", "ACCEPT=1")


def test_unset_settings_are_left_to_the_program() -> None:
    """The defaults of model and workers live in one place, which is not the Makefile."""
    commands = dry_run("drill-timeout-spike")
    assert "--model" not in commands
    assert "--workers" not in commands


def test_tests_need_no_vllm() -> None:
    """`make test` waits for no 6 GB environment."""
    assert "install --runtime process --engine sim" in dry_run("test")


@pytest.mark.parametrize(
    "target", ["setup", "up", "down", "status", "logs", "drills", "check", "test", "night", "clean"]
)
def test_help_names_every_target(target: str) -> None:
    """`make` alone lists what there is."""
    done = subprocess.run(["make"], cwd=places.CHECKOUT, capture_output=True, text=True, timeout=30, check=True)
    assert f"make {target} " in done.stdout
