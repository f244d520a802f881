"""Damaged game files: a Game or one line for people, never a traceback, nothing started."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.model.game import Game
from harness.model.topology import Topology
from harness.plan import games
from stack.stacks.vllm_haproxy import STACK
from tests.unit.properties import mutations
from tests.unit.properties.depth import SEED, depth
from tests.unit.properties.guards import SECONDS_MAX, Mutants, assert_loaded_or_refused, nothing_started, within

SHIPPED = [games.find(name) for name in games.names()]


def fuzzed(path: Path, number: int) -> bytes:
    """Mutation ``number`` of the file. Its keys ``on`` are quoted: else its tree would have the key true instead."""
    text = re.sub(r"\bon:", "'on':", path.read_text())
    return mutations.mutated(text, random.Random(f"{SEED}/game/{path.name}/{number}"))


@depth(quick=60, deep=3000)
def test_a_damaged_file_is_loaded_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    """Every mutation of every shipped game: quickly, in words, and without touching anything."""
    for path in SHIPPED:
        games.load(path)  # what is loaded once, so that nobody opens a file to write byte code to it later
    mutants = Mutants(SHIPPED, examples, fuzzed, tmp_path / "mutant.yaml")
    assert_loaded_or_refused(mutants, lambda _, mutant: games.load(mutant, Topology(STACK)), Game)


@depth(quick=24, deep=300)
def test_the_command_refuses_a_damaged_file(examples: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`game-day FILE --dry-run` prints a game, or ends with 64 and one line on stderr with the file's name."""
    mutant, refused = tmp_path / "mutant.yaml", 0
    assert main.main(["game-day", str(SHIPPED[0]), "--dry-run"]) == 0
    capsys.readouterr()
    for number in range(examples):
        path = SHIPPED[number % len(SHIPPED)]
        mutant.write_bytes(fuzzed(path, number))
        with within(SECONDS_MAX), nothing_started():
            code = main.main(["game-day", str(mutant), "--dry-run", "--show-answers"])
        captured = capsys.readouterr()
        if code == 0:
            assert captured.out.startswith("dry run of the game ")
            continue
        assert code == 64, f"FUZZ_SEED={SEED}, {path.name} number {number}: exit code {code}\n{captured.err}"
        assert captured.err.startswith(f"drillyard: {mutant}")
        assert captured.err.count("\n") == 1
        refused += 1
    assert refused > examples // 3
