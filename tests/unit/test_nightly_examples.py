"""The examples under docs/nightly/: they are well-formed, their commands exist, and no secret shows when they run.

GitHub's and GitLab's runners are not here. Their steps are executed as they stand, in a folder where `make`, `gh` and
the program only note what they were asked for.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.judge.drill import ROOT

EXAMPLES = ROOT / "docs" / "nightly"
UNITS = sorted([*EXAMPLES.glob("*.service"), *EXAMPLES.glob("*.timer")])
PROGRAM = ".venv/bin/python -m harness"
SECRET = "https://hooks.example.com/services/T000/abcdefghijklmnop"
#: What a run of the examples leaves where `make` and the program do nothing.
_STUB = '#!/bin/sh\necho "$(basename "$0") $*" >> "$ASKED"\n'


def loaded(name: str) -> dict[Any, Any]:
    """A YAML file of the examples."""
    found = yaml.safe_load((EXAMPLES / name).read_text())
    assert isinstance(found, dict)
    return found


def steps() -> list[tuple[str, dict[str, Any]]]:
    """All steps of the GitHub workflow, with their job."""
    jobs = loaded("github-actions.yml")["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


def scripts() -> Iterator[str]:
    """Everything that a shell is given, in any of the examples."""
    yield from (step["run"] for _, step in steps() if "run" in step)
    job = loaded("gitlab-ci.yml")["drillyard-nightly"]
    yield from (line for part in ("before_script", "script", "after_script") for line in job[part])
    for unit in UNITS:
        yield from re.findall(r"^Exec\w+=-?(.+)$", unit.read_text(), re.MULTILINE)
    yield from cron_commands()


def cron_commands() -> list[str]:
    """What cron hands to a shell."""
    lines = (EXAMPLES / "crontab").read_text().splitlines()
    return [line.split(maxsplit=5)[5] for line in lines if not line.startswith("#")]


def commands(start: str) -> list[list[str]]:
    """All commands of all examples that begin so, as words without the beginning."""
    found = []
    for script in scripts():
        for text in re.findall(rf"(?:^|[/;&|{{]\s*){re.escape(start)} ([^;&|\n]*)", script, re.MULTILINE):
            found.append(shlex.split(text))
    return found


def test_the_examples_are_found() -> None:
    """The tests below are about something."""
    assert len(UNITS) == 4
    assert ["nightly"] in commands(PROGRAM)
    assert ["down", "--force"] in commands(PROGRAM)
    assert ["setup", "ENGINE=sim", "RUNTIME=process"] in commands("make")


@pytest.mark.parametrize("words", commands(PROGRAM), ids=" ".join)
def test_each_command_of_the_program_can_be_read(words: list[str]) -> None:
    """With its options."""
    main._parser({}).parse_args(words)


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_each_target_of_make_exists(words: list[str]) -> None:
    """Make says what it would do, and no setting is one that it does not know."""
    makefile = (ROOT / "Makefile").read_text()
    subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, timeout=60, check=True)
    settings = re.findall(r"^(\w+) *\?=", makefile, re.MULTILINE)
    assert [word for word in words[1:] if word.partition("=")[0] not in settings] == []


def test_actions_are_pinned() -> None:
    """To one version each: what runs at night does not change by itself."""
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert used
    assert [one for one in used if not re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", one)] == []


def test_the_workflow_may_do_little() -> None:
    """It reads the code; only the job of a pull request may comment, and no step keeps the token of the checkout."""
    workflow = loaded("github-actions.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert [job.get("permissions", {}) for job in workflow["jobs"].values()] == [
        {}, {"contents": "read", "pull-requests": "write"}
    ]  # fmt: skip
    assert all(not step["with"]["persist-credentials"] for _, step in steps() if "checkout" in step.get("uses", ""))
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert set(triggers) == {"schedule", "workflow_dispatch", "pull_request"}
    assert "pull_request_target" not in (EXAMPLES / "github-actions.yml").read_text()


@pytest.mark.parametrize("script", list(scripts()))
def test_no_script_holds_or_shows_a_secret(script: str) -> None:
    """Values reach it by its environment only: neither secrets nor what a pull request's author has written."""
    assert "${{" not in script
    assert not re.search(r"WEBHOOK|TOKEN|set -\w*x|xtrace|\b(printenv|declare|export -p)\b|\benv\b(?!\s*&&)", script)


def test_secrets_reach_one_step_only() -> None:
    """That which tells people."""
    text = (EXAMPLES / "github-actions.yml").read_text()
    assert re.findall(r"\$\{\{ secrets\.\w+ \}\}", text) == ["${{ secrets.NIGHTLY_WEBHOOK }}"]
    holders = [step["run"] for _, step in steps() if "secrets." in str(step.get("env", ""))]
    assert holders == [".venv/bin/python -m harness nightly"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two nights in it, in which every program only notes what it was asked for."""
    for path in ("bin/make", "bin/gh", "bin/apt-get", "bin/logger", ".venv/bin/python"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(_STUB)
        (tmp_path / path).chmod(0o755)
    for name in ("nightly-2026-11-27", "nightly-2026-11-28", "nightly-2026-11-28-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "summary.md").write_text(f"# {name}\n")
    (tmp_path / "nightly.env").write_text(f"NOTIFY_WEBHOOK={SECRET}\nENGINE=sim\n")
    return tmp_path


def executed(place: Path, script: str, **more: str) -> str:
    """What the script writes; it has to end well."""
    environment = {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "ASKED": str(place / "asked"), "NOTIFY_WEBHOOK": SECRET,
        "GITHUB_STEP_SUMMARY": str(place / "summary"), "NUMBER": "7", **more,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=place, env=environment, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_the_workflow_does_what_it_should(place: Path) -> None:
    """The night's own summary is the job's, the pull request gets the drill's report, and nothing shows the secret."""
    said = "".join(executed(place, step["run"]) for _, step in steps() if "run" in step)
    assert (place / "asked").read_text().splitlines() == [
        "make setup ENGINE=sim RUNTIME=process",
        "python -m harness nightly",
        "python -m harness down",
        "make prune KEEP=30",
        "make setup ENGINE=sim RUNTIME=process",
        "python -m harness run timeout-spike",
        "gh pr comment 7 --body-file runs/latest/report.md",
    ]
    assert (place / "summary").read_text() == "# nightly-2026-11-28-2\n"
    assert SECRET not in said + (place / "summary").read_text()


def test_the_job_does_what_it_should(place: Path) -> None:
    """GitLab's: set-up, the night, then the stack goes; a FAIL and a regression fail it, INCONCLUSIVE is a warning."""
    job = loaded("gitlab-ci.yml")["drillyard-nightly"]
    said = "".join(executed(place, line) for part in ("before_script", "script", "after_script") for line in job[part])
    asked = (place / "asked").read_text().splitlines()
    assert asked[-3:] == ["python -m harness nightly", "python -m harness down", "make prune KEEP=30"]
    assert SECRET not in said
    assert job["allow_failure"] == {"exit_codes": 2}
    assert job["artifacts"]["reports"] == {"junit": "runs/nightly-*/junit.xml"}


def test_cron_runs_both(place: Path) -> None:
    """The night, then the stack goes; in the morning the check. Settings come from a file, and are handed on."""
    lines = (EXAMPLES / "crontab").read_text().splitlines()
    times = [line.split()[:5] for line in lines if not line.startswith("#")]
    assert times == [["0", "2", "*", "*", "*"], ["5", "7", "*", "*", "*"]]
    (place / ".venv" / "bin" / "python").write_text(_STUB.replace("$*", "$* ENGINE=$ENGINE"))
    for command in cron_commands():
        assert "%" not in command, "cron reads it as a line break"
        here = command.replace("/srv/drillyard", str(place)).replace(
            "/etc/drillyard/nightly.env", f"{place}/nightly.env"
        )
        assert SECRET not in executed(place, here)
    assert sorted((place / "asked").read_text().splitlines()) == [
        "logger -t drillyard",
        "python -m harness down ENGINE=sim",
        "python -m harness nightly ENGINE=sim",
        "python -m harness nightly-check --by 07:00 ENGINE=sim",
    ]


def test_units_are_what_systemd_takes(place: Path) -> None:
    """`systemd-analyze verify` has nothing to say, with the paths and the user of this test."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    for unit in UNITS:
        text = unit.read_text().replace("/srv/drillyard", str(place))
        (place / unit.name).write_text(text.replace("User=drillyard", f"User={getpass.getuser()}"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(place / unit.name) for unit in UNITS)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "drillyard" in line]
    assert (done.returncode, ours) == (0, [])


def test_a_unit_that_is_wrong_is_found(place: Path) -> None:
    """The test above would see a word that systemd does not know, and a time that is none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    wrong = place / "drillyard-wrong.timer"
    wrong.write_text((EXAMPLES / "drillyard-nightly.timer").read_text().replace("02:00:00", "25:00:00"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(wrong)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "drillyard-wrong.timer" in done.stderr


def test_the_page_names_every_example() -> None:
    """And every example names nothing that the page does not explain."""
    page = (ROOT / "docs" / "nightly.md").read_text()
    assert [path.name for path in sorted(EXAMPLES.iterdir()) if path.name not in page] == []
    for code, what in (("0", "PASS"), ("1", "FAIL"), ("2", "INCONCLUSIVE"), ("3", "regression")):
        assert re.search(rf"^\| {code} \|.*{what}", page, re.MULTILINE), what
