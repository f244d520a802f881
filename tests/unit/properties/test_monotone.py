"""Judging is monotone: with validity held fixed, worse samples never improve a verdict, whatever drill it is of.

«Worse» is what tests/judge/worsenings.py does to a run. The statuses are ordered PASS, INCONCLUSIVE, FAIL; no check and
no verdict may move towards PASS, nor from FAIL to INCONCLUSIVE. Runs begin as every drill's healthy one, or as one
that has a defect of the drill's mutants already.

Left out, because there «worse» has no meaning for the check that looks at it:

- what precedes the first fault: its numbers are what limits are made of (``2 * baseline.ttft_p95_ms``), so a worse
  baseline loosens them on purpose;
- ``BY_DESIGN``, checks that lose what they look at, or are given it: each with its reason.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import drill, validity, verdicts
from harness.judge.drill import Drill
from harness.judge.finding import Finding
from harness.model.verdict import CheckResult, Status, worst
from tests.judge import stories, worsenings
from tests.judge.conftest import once  # noqa: F401
from tests.judge.worsenings import Worse
from tests.runs import Run
from tests.unit.properties.depth import SEED, depth

ORDER = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
#: Requests that were answered are so no more.
FAILED = frozenset({"fail", "fail_somehow"})


@dataclass(frozen=True)
class Exempt:
    """Checks, by the beginning of their ids, that may look better once one of ``after`` was done, and why.

    ``from_nothing``: only where there was nothing to look at before, so that the answer is a first one.
    """

    ids: tuple[str, ...]
    after: frozenset[str]
    why: str
    from_nothing: bool = False


BY_DESIGN = (
    Exempt(
        ("slo-e2e-", "slo-max-stall-", "slo-ttft-"),
        FAILED,
        "percentiles of the answered requests: one that fails leaves them; availability is there to see it",
    ),
    Exempt(
        ("warm-up-after-rejoin",),
        frozenset({"slower"}),
        "like is compared with like: where the others are as slow, nobody knows whether it was the restart",
    ),
    Exempt(
        ("cancels-reach-engine",),
        frozenset({"slower", "stall"}),
        "the others' share is subtracted: users whose answers take longer may be whom a replica still works for",
    ),
    Exempt(("honest-errors",), FAILED, "no error could be looked at before", from_nothing=True),
)


def judged(run: Run, path: Path, asked: Drill, findings: tuple[Finding, ...]) -> dict[str, CheckResult]:
    """Every check with these findings, whatever the run's own are."""
    run.recount()
    folder = run.write(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts.validity, "findings", lambda view: findings)
        return {check.name: check for check in verdicts.judge(folder, asked).checks}


def by_design(old: CheckResult, done: set[str]) -> bool:
    """Whether that check may look better after what was done."""
    return any(
        old.id.startswith(one.ids) and done & one.after and not (one.from_nothing and old.samples) for one in BY_DESIGN
    )


def loosened(before: dict[str, CheckResult], after: dict[str, CheckResult], done: set[str]) -> Iterator[str]:
    """Checks that look better after the samples got worse."""
    for name, old in before.items():
        new = after[name]
        if ORDER.index(new.status) < ORDER.index(old.status) and not by_design(old, done):
            yield f"{old.id}, {name}: {old.status} → {new.status} ({old.why} → {new.why})"


def begun(name: str, number: int, rng: random.Random) -> Worse:
    """A healthy run of that drill where the number is even, else one with a defect that some check exists for."""
    mutant = rng.choice([one for one in stories.mutants(name) if one.recount]) if number % 2 else None
    worse = Worse.of(stories.healthy(name, mutant.of if mutant else rng.choice(stories.ways(name))), rng)
    if mutant:
        mutant.defect(worse.run)
    return worse


@pytest.mark.parametrize("name", stories.names())
@depth(quick=1, deep=24)
def test_worse_samples_never_improve_a_verdict(name: str, examples: int, tmp_path: Path) -> None:
    """From the healthy run, or one that is bad already, step by step: no check and no verdict gets better."""
    problems, moved, asked = [], 0, drill.load(name)
    findings = validity.findings(RunView(stories.healthy(name).write(tmp_path / "healthy")))
    for number in range(examples):
        rng = random.Random(f"{SEED}/worse/{name}/{number}")
        worse = begun(name, number, rng)
        before, done = judged(worse.run, tmp_path / "run", asked, findings), set[str]()
        for _ in range(2):
            for worsening in rng.sample(worsenings.ALL, rng.choice((3, 4))):
                worsening(worse)
                done.add(worsening.__name__)
            after = judged(worse.run, tmp_path / "run", asked, findings)
            found = list(loosened(before, after, done))
            problems += [f"FUZZ_SEED={SEED}, number {number}, {sorted(done)}: {one}" for one in found]
            old, new = (worst(check.status for check in results.values()) for results in (before, after))
            assert problems or ORDER.index(new) >= ORDER.index(old), f"number {number}: {old} → {new}"
            moved += {n: c.status for n, c in before.items()} != {n: c.status for n, c in after.items()}
            before = after
    assert not problems, "\n".join(problems[:20])
    assert moved > 0, "nothing that was done mattered to any check"
