"""Damaged run folders: `judge` and `report` end in words and a known exit code, and lost evidence is never PASS."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli import main
from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import runs
from tests.unit.properties import mutations
from tests.unit.properties.depth import SEED, depth
from tests.unit.properties.guards import within

SECONDS_MAX = 20.0
TEXTS = ("plan.json", "events.jsonl", "load-summary.json", "verdict.json")
TABLES = ("requests.parquet", "metrics.parquet")
DRILL = drill.load("timeout-spike")
EVIDENCE = ("events.jsonl", "load-summary.json", *TABLES)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy run with its verdict."""
    folder = runs.healthy_run(tmp_path_factory.mktemp("judged") / "run")
    assert main.main(["judge", str(folder.path)]) == 0
    return folder.path


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file of the run somehow; says what was done."""
    name = rng.choice((*TEXTS, *TEXTS, *TABLES))
    path = folder / name
    if name.endswith(".json") and rng.random() < 0.5:
        data = json.loads(path.read_text())
        containers = mutations.containers(data)
        for _ in range(rng.choice((1, 1, 3))):
            rng.choice(mutations.EDITS)(rng.choice(containers), rng)
        path.write_text(json.dumps(data, default=str))
        return f"{name}: its tree"
    kind = rng.choice((mutations.of_bytes, mutations.of_lines)) if name in TEXTS else mutations.of_bytes
    path.write_bytes(kind(path.read_bytes().decode(errors="surrogateescape"), rng))
    return f"{name}: {kind.__name__}"


@depth(quick=1, deep=12)
def test_a_damaged_run_is_judged_or_refused_in_words(
    examples: int, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever happened to a file: 0, 1, 2 or 64, one line on stderr at most, no traceback, in a bounded time."""
    problems = []
    for number in range(examples):
        rng = random.Random(f"{SEED}/run/{number}")
        folder = tmp_path / str(number)
        shutil.copytree(judged, folder)
        what = damage(folder, rng)
        for command in ("report", "judge"):
            with within(SECONDS_MAX):
                code = main.main([command, str(folder)])
            err = capsys.readouterr().err
            if code not in (0, 1, 2, 64) or err.count("\n") != (code == 64):
                problems.append(f"FUZZ_SEED={SEED}, number {number}, {command}, {what}: {code}\n{err[-1500:]}")
        shutil.rmtree(folder)
    assert not problems, f"{len(problems)} of {examples}:\n" + "\n".join(problems[:10])


def gone(path: Path, rng: random.Random) -> None:
    """There is no such file."""
    path.unlink()


def empty(path: Path, rng: random.Random) -> None:
    """Nothing is in it."""
    path.write_bytes(b"")


def cut(path: Path, rng: random.Random) -> None:
    """The rest of it was lost in the middle of a record."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(1, len(content) - 2)])


def overwritten(path: Path, rng: random.Random) -> None:
    """A block of zeros, as file systems leave them after a power cut."""
    content = path.read_bytes()
    at = rng.randrange(max(1, len(content) - 5000))
    path.write_bytes(
        content[:at] + b"\0" * 4096 + content[at + 4096 :] if len(content) > 9000 else b"\0" * len(content)
    )


@depth(quick=1, deep=12)
@pytest.mark.parametrize("lose", [gone, empty, cut, overwritten], ids=lambda f: f.__name__)
def test_lost_evidence_is_never_a_pass(
    lose: Callable[[Path, random.Random], None], examples: int, judged: Path, tmp_path: Path
) -> None:
    """A file that a verdict rests on, lost in part or as a whole: the healthy run does not pass any more."""
    rng = random.Random(f"{SEED}/{lose.__name__}")
    names = rng.sample(EVIDENCE * (1 + examples // len(EVIDENCE)), examples)
    for number, name in enumerate(names):
        folder = RunFolder(tmp_path / str(number))
        shutil.copytree(judged, folder.path)
        lose(folder.path / name, rng)
        found = verdicts.judge(folder, DRILL)
        assert found.status is not Status.PASS, f"FUZZ_SEED={SEED}, {name}, number {number}"
        shutil.rmtree(folder.path)


@depth(quick=1, deep=15)
def test_a_table_without_a_column_is_never_a_pass(examples: int, judged: Path, tmp_path: Path) -> None:
    """A column that checks read is missing: they have crashed, which is INCONCLUSIVE."""
    for number in range(examples):
        rng = random.Random(f"{SEED}/column/{number}")
        folder = tmp_path / str(number)
        shutil.copytree(judged, folder)
        name = rng.choice(TABLES)
        frame: Any = pd.read_parquet(folder / name)
        needed = ("outcome", "request_id", "final", "intended_start_s", "e2e_ms", "t_s", "value", "metric", "component")
        column = rng.choice([c for c in frame.columns if c in needed])
        frame.drop(columns=column).to_parquet(folder / name)
        found = verdicts.judge(RunFolder(folder), DRILL)
        assert found.status is not Status.PASS, f"{name} without {column}"
        shutil.rmtree(folder)
