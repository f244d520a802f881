"""Damaged game files: a Game or one line for people, never a traceback, nothing started."""

from __future__ import annotations

import collections
import functools
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
from tests.unit.properties.guards import LOADED, REFUSED, SECONDS_MAX, nothing_started, outcome, within

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
    found, ends = [], collections.Counter[str]()
    for path in SHIPPED:
        for number in range(-(-examples // len(SHIPPED))):
            content = fuzzed(path, number)
            mutant = tmp_path / "mutant.yaml"
            mutant.write_bytes(content)
            ended = outcome(functools.partial(games.load, mutant, Topology(STACK)), Game)
            ends[ended] += 1
            if ended not in (LOADED, REFUSED):
                found.append(f"FUZZ_SEED={SEED}, {path.name} number {number}: {ended}\n{content[:3000]!r}")
    print(f"{ends.total()} mutations: {dict(ends)}")
    assert not found, f"{len(found)} of {examples}:\n" + "\n\n".join(found[:20])
    assert min(ends[LOADED], ends[REFUSED]) > 0.05 * ends.total(), f"one-sided mutations: {ends}"


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
