"""Damaged scenario files and ``--set``: a Scenario or one line for people, never a traceback, nothing started."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

from harness.cli import main
from harness.judge import drill
from harness.model.scenario import Scenario
from harness.model.topology import Endpoint, Target, Topology
from harness.plan import loading
from harness.run import pipeline
from stack.stacks import external
from stack.stacks.vllm_haproxy import STACK
from tests.unit.properties import mutations
from tests.unit.properties.depth import SEED, depth
from tests.unit.properties.guards import (
    LOADED,
    REFUSED,
    SECONDS_MAX,
    Mutants,
    assert_loaded_or_refused,
    nothing_started,
    outcome,
    within,
)

SHIPPED = [*sorted((drill.ROOT / "scenarios").glob("*.yaml")), drill.ROOT / "tests" / "drills" / "short.yaml"]
#: Those that the command is given without a target.
OWN_STACK = [path for path in SHIPPED if not path.stem.endswith(".external")]


def fuzzed(path: Path, number: int) -> bytes:
    """Mutation ``number`` of the file."""
    return mutations.mutated(path.read_text(), random.Random(f"{SEED}/{path.name}/{number}"))


def topology(path: Path) -> Topology:
    """What that scenario is for."""
    target = Target(Endpoint("https", "llm.example.com", 443))
    return Topology(STACK) if path in OWN_STACK else Topology(external.stack(target), target=target)


def warm_up() -> None:
    """Load what is loaded once, so that nobody opens a file to write byte code to it later."""
    for path in SHIPPED:
        loading.load(path, (), topology(path))


@depth(quick=60, deep=5200)
def test_a_damaged_file_is_loaded_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    """Every mutation of every shipped scenario: quickly, in words, and without touching anything."""
    warm_up()
    mutants = Mutants(SHIPPED, examples, fuzzed, tmp_path / "mutant.yaml")
    assert_loaded_or_refused(mutants, lambda path, mutant: loading.load(mutant, (), topology(path)), Scenario)


@depth(quick=30, deep=600)
def test_a_damaged_override_is_used_or_refused_in_one_line(examples: int) -> None:
    """The same for ``--set``."""
    warm_up()
    found = []
    for number in range(examples):
        rng = random.Random(f"{SEED}/set/{number}")
        given = [mutations.override(rng) for _ in range(rng.choice((1, 1, 2)))]
        path = SHIPPED[number % len(SHIPPED)]
        ended = outcome(functools.partial(loading.load, path, given, topology(path)), Scenario)
        if ended not in (LOADED, REFUSED):
            found.append(f"FUZZ_SEED={SEED}, {path.name} number {number}: {ended}\n{str(given)[:3000]}")
    assert not found, f"{len(found)} of {examples}:\n" + "\n\n".join(found[:20])


class Loaded(BaseException):
    """The scenario was valid: from here on a run would touch the machine."""


@depth(quick=10, deep=300)
def test_the_command_refuses_a_damaged_file(
    examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run --scenario FILE` ends with 64 and one line on stderr, before anything is started."""
    load = loading.load

    def loaded(*arguments: object) -> Scenario:
        load(*arguments)  # type: ignore[arg-type]
        raise Loaded

    monkeypatch.setattr(pipeline.loading, "load", loaded)
    warm = ["run", "timeout-spike", "--runtime", "process", "--engine", "sim", "--instance", "74", "--scenario"]
    with pytest.raises(Loaded):
        main.main([*warm, str(OWN_STACK[0])])
    mutant, refused = tmp_path / "mutant.yaml", 0
    for number in range(examples):
        path = OWN_STACK[number % len(OWN_STACK)]
        mutant.write_bytes(fuzzed(path, number))
        try:
            with within(SECONDS_MAX), nothing_started():
                code = main.main([*warm, str(mutant)])
        except Loaded:
            continue
        err = capsys.readouterr().err
        assert code == 64, f"FUZZ_SEED={SEED}, {path.name} number {number}: exit code {code}\n{err}"
        assert err.startswith(f"drillyard: {mutant}")
        assert err.count("\n") == 1
        refused += 1
    assert refused > examples // 2
