"""What the Makefile hands on, and refuses. Nothing is run: make only says what it would do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.judge import drill
from harness.plan.options import ENGINES
from stack.models import TRAINED
from stack.runtimes.base import NAMES
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
    commands = " ".join(shlex.split(dry_run("drill-timeout-spike", *settings)))
    assert "stack.tools install --runtime docker --engine sim" in commands
    options = "--runtime docker --engine sim --instance 41 --model v2 --workers 3 --set load.rate=5/s"
    assert f"-m harness run timeout-spike {options}" in commands


def test_a_seed_reaches_the_drill() -> None:
    """As it reaches a storm."""
    assert "--seed 7" in " ".join(shlex.split(dry_run("drill-timeout-spike", "SEED=7")))
    assert "--seed" not in dry_run("drill-timeout-spike", "SEED=")


def test_a_dry_run_sets_nothing_up() -> None:
    """It prints a plan, for which the harness alone is enough."""
    for target in ("drill-timeout-spike", "drills"):
        assert "stack.tools install" not in dry_run(target, "ARGS=--dry-run --set load.rate=5/s")
        assert "stack.tools install" in dry_run(target)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout without an environment. Its `python3` checks settings, and notes everything that it is to run."""
    for name in ("Makefile", "drills", "harness", "requirements.lock", "scenarios", "stack"):
        (tmp_path / name).symlink_to(places.CHECKOUT / name)
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> asked\n[ "$2" = harness.cli.settings ] || exit 7\nexec {sys.executable} -S -B "$@"\n'
    )
    python.chmod(0o755)
    return tmp_path


def first(fresh: Path, *words: str) -> tuple[str, list[str]]:
    """What `make WORDS` says there on stderr, and which programs it has run by then."""
    done = subprocess.run(
        ["make", "--no-print-directory", "PYTHON=./python3", *words],
        cwd=fresh,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr, [re.findall(r"\S*settings|\S*bootstrap.py", line)[0] for line in _lines(fresh / "asked")]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("drill-timeout-spkie",), "did you mean 'timeout-spike'?"),
        (("drill-timeout-spkie", "ARGS=--dry-run"), "did you mean 'timeout-spike'?"),
        (("drill-oom", "drill-timeout-spkie"), "did you mean 'timeout-spike'?"),
        (("drills", "MODEL=/no/such"), "MODEL=/no/such: there is no such folder"),
        (("up", "ENGINE=simm"), "ENGINE=simm: expected one of"),
        (("capacity", "RUNTIME=podman"), "RUNTIME=podman: expected one of"),
        (("setup", "INSTANCE=seven"), "INSTANCE=seven: expected a number"),
    ],
)
def test_what_is_misspelt_brings_nothing(words: tuple[str, ...], says: str, fresh: Path) -> None:
    """It is told by whatever Python there is, before the harness has one of its own."""
    said, ran = first(fresh, *words)
    assert says in said
    assert ran == ["harness.cli.settings"]


@pytest.mark.parametrize("target", ["status", "down", "doctor"])
def test_where_nothing_was_started_one_line_says_so(target: str, fresh: Path) -> None:
    """It is no error, and nothing is brought for it."""
    done = subprocess.run(
        ["make", "--no-print-directory", target], cwd=fresh, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "nothing runs: nothing was ever started from this checkout\n"
    (fresh / ".state").mkdir()
    assert "bootstrap.py" in first(fresh, target)[1][0]


def test_what_is_right_is_brought(fresh: Path) -> None:
    """After the check comes the environment, which ends with 7 here."""
    said, ran = first(fresh, "drill-timeout-spike", "ENGINE=sim")
    assert "Error 7" in said
    assert ran == ["harness.cli.settings", "stack/tools/bootstrap.py"]


def test_a_plan_comes_before_the_stack_is_brought() -> None:
    """What is wrong in ARGS or a scenario is told by it; for `drills` by the plan of each."""
    commands = dry_run("drill-oom", "SCENARIO=scenarios/oom-wide.yaml", "ARGS=--set load.rate=5/s")
    plan, brought, run = (commands.index(word) for word in ("--dry-run", "stack.tools install", "harness run 'oom'"))
    assert plan < brought < run
    assert commands.count("--scenario 'scenarios/oom-wide.yaml'") == 2
    assert all(f"'{name}'" in dry_run("drills") for name in drill.names())


def test_a_setting_that_nobody_gave_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's first command gives none; an environment without any is a fresh machine's."""
    for name in ("PYTHON", "RUNTIME", "ENGINE", "INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    commands = " ".join(shlex.split(dry_run("--always-make", "drill-timeout-spike")))
    assert "python3 stack/tools/bootstrap.py" in commands
    assert "stack.tools install --runtime auto --engine vllm" in commands
    assert "-m harness run timeout-spike --runtime auto --engine vllm --instance 0" in commands


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


def test_help_lists_every_setting() -> None:
    """With what it is now."""
    said = subprocess.run(["make"], cwd=places.CHECKOUT, capture_output=True, text=True, timeout=30, check=True).stdout
    assert [name for name in SETTINGS if f" {name}=" not in said] == []


def test_help_lists_what_a_setting_may_be() -> None:
    """Drills, runtimes, engines, models that can be served, and scenarios that are not a drill's own."""
    said = subprocess.run(["make"], cwd=places.CHECKOUT, capture_output=True, text=True, timeout=30, check=True).stdout
    others = {path.name for path in places.CHECKOUT.glob("scenarios/*.yaml") if ".external." not in path.name}
    others -= {f"{name}.yaml" for name in drill.names()}
    words = set(re.findall(r"[\w./-]+", said))
    assert {*drill.names(), *NAMES, *ENGINES, *(set(TRAINED) - {"truncated"})} <= words
    assert {f"scenarios/{name}" for name in others} <= words


MAKEFILE = (places.CHECKOUT / "Makefile").read_text()
#: Every variable that the Makefile gives a value to, and those that a user is meant to set.
VARIABLES = sorted(a or b for a, b in re.findall(r"^(?:define +(\w+)|(\w+) *[:?+]?=)", MAKEFILE, re.MULTILINE))
SETTINGS = sorted(re.findall(r"^(\w+) *\?=", MAKEFILE, re.MULTILINE))
#: Each makes a file in one way: by a second command, a shell in the shell or in make, a redirection, a line of its own.
HOSTILE = (
    "7;touch {0}",
    "7 & touch {0}",
    "7|tee {0}",
    "7 > {0}",
    "`touch {0}`",
    "$(shell touch {0})",
    "$$(touch {0})",
    "${{shell touch {0}}}",
    "7\ntouch {0}",
    "7'\ntouch {0}\n'",
    "7';touch {0};'",
    '7";touch {0};"',
    "7 # touch {0}",
)


def refused(tmp_path: Path, *words: str, **environment: str) -> str:
    """What make says to these words when it refuses them; nothing was executed by then."""
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=places.CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not list(tmp_path.iterdir()), "something was executed"
    assert done.returncode == 2
    assert done.stdout == "", "a recipe was begun"
    return done.stderr


def test_the_makefile_is_read_as_it_is() -> None:
    """The tests below find what they are about."""
    assert {"INSTANCE", "ARGS", "C", "PY", "STACK", "NEWLINE"} <= set(VARIABLES)
    assert {"INSTANCE", "ARGS", "C", "PYTHON"} <= set(SETTINGS) < set(VARIABLES)


@pytest.mark.parametrize("name", VARIABLES)
def test_no_value_is_executed(name: str, tmp_path: Path) -> None:
    """A value that make or a shell would run is refused with a sentence, whichever variable it is for."""
    for hostile in HOSTILE:
        said = refused(tmp_path, "status", f"{name}={hostile.format(tmp_path / 'made')}")
        assert f"*** {name}=" in said
        assert "found" in said
        assert "expected" in said


@pytest.mark.parametrize("name", SETTINGS)
def test_no_value_of_the_environment_is_executed(name: str, tmp_path: Path) -> None:
    """An exported setting counts as one that was typed."""
    for hostile in HOSTILE:
        assert f"*** {name}=" in refused(tmp_path, "status", **{name: hostile.format(tmp_path / "made")})


def test_no_name_of_a_drill_is_executed(tmp_path: Path) -> None:
    """It stands in the recipe, too."""
    for hostile in HOSTILE:
        assert "expected" in refused(tmp_path, "drill-" + hostile.format(tmp_path / "made"))


def test_what_make_hands_to_the_environment_is_not_executed(tmp_path: Path) -> None:
    """TARGET and its like are no settings of the Makefile, but make would expand what they hold."""
    assert "*** TARGET=" in refused(tmp_path, "status", f"TARGET=$(shell touch {tmp_path / 'made'})")
    assert "harness status" in dry_run("status", "TARGET=https://host/path?a=1&b=2;3")


def test_a_setting_is_one_word_and_args_are_several() -> None:
    """Spaces in a path stay; ARGS are split as a shell does it, quotes and brackets included."""
    line = dry_run("up", "MODEL=/my models/v*", "ARGS=--set 'a=b c' --defect x[1]").splitlines()[-1]
    words = shlex.split(line)
    assert words[words.index("--model") + 1] == "/my models/v*"
    assert words[-4:] == ["--set", "a=b c", "--defect", "x[1]"]


def test_quotes_that_do_not_end_run_nothing() -> None:
    """ARGS may hold quotes; a single one swallows the rest of the recipe, and the shell says so."""
    for mark in "'\"":
        line = dry_run("status", f"ARGS={mark}").splitlines()[-1]
        done = subprocess.run(["sh", "-c", line], check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode != 0
        assert "nterminated quoted string" in done.stderr
