"""Judging is monotone: with validity held fixed, worse samples never improve a verdict.

«Worse» is one of ``WORSENINGS``: a good request fails, its times grow, its answer is cut or loses tokens, a failed
attempt tells less, an attempt hangs, a fault is never healed, a replica is in rotation later or is busy longer. The
statuses are ordered PASS, INCONCLUSIVE, FAIL; no check and no verdict may move towards PASS, nor from FAIL to
INCONCLUSIVE.

Left out, because there «worse» has no meaning for the check that looks at it:

- the baseline (and what precedes it): its numbers are what limits are made of (``2 * baseline.ttft_p95_ms``), so a
  worse baseline loosens them on purpose;
- a check that is new evidence: a request that fails gives «honest errors» something to look at, INCONCLUSIVE before;
- requests that fail leave the population of the ok-only percentiles, which are samples of the answered requests by
  definition: failing requests is judged with all checks but those; availability is there to see them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge import drill, validity, verdicts
from harness.judge.finding import Finding
from harness.model.verdict import CheckResult, Status, worst
from tests import runs
from tests.judge import defects
from tests.runs import Run
from tests.unit.properties.depth import SEED, depth

DRILL = drill.load("timeout-spike")
ORDER = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
#: Objectives over the answered requests alone.
OK_ONLY = "TTFT with one bad replica"
Worsening = Callable[[Run, random.Random], None]


def some(run: Run, among: pd.Series, rng: random.Random) -> pd.Series:
    """Marks some of these rows, at least one, outside of the warm-up and the baseline."""
    _, begin = run.span("baseline")
    rows = run.requests.index[among & run.requests["intended_start_s"].gt(begin)]
    count = min(len(rows), rng.choice((1, 1, 2, 5, 20, 100)))
    return run.requests.index.isin(rng.sample(list(rows), count))  # type: ignore[return-value]


def ok(run: Run) -> pd.Series:
    """Marks what ended well."""
    return run.requests["outcome"].eq("ok") & run.requests["final"].eq(True)


def failed(run: Run) -> pd.Series:
    """Marks attempts that were refused."""
    return run.requests["outcome"].isin(["shed_503", "http_5xx"])


def fail(run: Run, rng: random.Random) -> None:
    """Good requests fail, with an honest error."""
    defects.fail(run, some(run, ok(run), rng))  # type: ignore[arg-type]


def slower(run: Run, rng: random.Random) -> None:
    """Answers take longer, from the first token on."""
    rows, extra = some(run, ok(run), rng), rng.choice((1.0, 50.0, 500.0, 4000.0, 20000.0))
    for column in ("ttft_ms", "ttft_from_schedule_ms", "e2e_ms", "e2e_from_schedule_ms"):
        run.requests.loc[rows, column] += extra


def stall(run: Run, rng: random.Random) -> None:
    """Streams stand still for a while."""
    rows, extra = some(run, ok(run), rng), rng.choice((100.0, 3000.0, 13000.0))
    for column in ("max_stall_ms", "e2e_ms", "e2e_from_schedule_ms"):
        run.requests.loc[rows, column] += extra


def cut(run: Run, rng: random.Random) -> None:
    """Answers end without a finish reason and pass for whole ones."""
    run.requests.loc[some(run, ok(run), rng), "finish_reason"] = None


def lose_usage(run: Run, rng: random.Random) -> None:
    """Answers do not say how many tokens they have."""
    run.requests.loc[some(run, ok(run), rng), "output_tokens"] = None


def tell_less(run: Run, rng: random.Random) -> None:
    """Refusals leave out what they should say."""
    column = rng.choice(("error_type", "error_code", "error_message", "error_request_id", "retry_after_s"))
    rows = some(run, failed(run), rng)
    if column == "retry_after_s":  # with the wait before the next attempt as it was
        run.requests.loc[rows & run.requests["final"].eq(True), column] = None
    else:
        run.requests.loc[rows, column] = None


def hang(run: Run, rng: random.Random) -> None:
    """Refusals become requests that nobody answers until the client gives up."""
    rows = some(run, failed(run) & run.requests["final"].eq(True), rng)
    run.requests.loc[rows, ["outcome", "e2e_ms", "http_status"]] = ["timeout_total", 30000.0, None]


def leave_injected(run: Run, rng: random.Random) -> None:
    """Some fault's heal was found not to have worked; one that was not seen to be over may be seen to be left."""
    proofs = [e for e in run.events if e["kind"] == "heal_proven" or not e.get("left", True)]
    if proofs:
        rng.choice(proofs).update(kind="heal_unproven", left=rng.choice(("", "a toxic")))


def in_rotation_longer(run: Run, rng: random.Random) -> None:
    """A gateway takes the bad replica out later."""
    begin, end = run.span("one-replica")
    until = min(end, begin + rng.choice((3.0, 5.5, 9.0)))
    run.metrics.loc[defects.samples(run, "gateway-a", "server_up", begin, until, "server=replica-2"), "value"] = 1.0


def busy_longer(run: Run, rng: random.Random) -> None:
    """A replica works for nobody."""
    begin, end = run.span("all-replicas")
    at = rng.uniform(begin, end)
    run.metrics.loc[defects.samples(run, "replica-1", "running", at, at + rng.uniform(0, 5)), "value"] = 2.0


WORSENINGS: tuple[Worsening, ...] = (
    fail, slower, stall, cut, lose_usage, tell_less, hang, leave_injected, in_rotation_longer, busy_longer,
)  # fmt: skip


def judged(run: Run, path: Path, findings: tuple[Finding, ...]) -> dict[str, CheckResult]:
    """Every check with these findings, whatever the run's own are."""
    run.recount()
    folder = run.write(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts.validity, "findings", lambda view: findings)
        return {check.name: check for check in verdicts.judge(folder, DRILL).checks}


def loosened(before: dict[str, CheckResult], after: dict[str, CheckResult], done: set[str]) -> list[str]:
    """Checks that look better after the samples got worse."""
    return [
        f"{name}: {old.status} → {after[name].status} ({old.why} → {after[name].why})"
        for name, old in before.items()
        if ORDER.index(after[name].status) < ORDER.index(old.status)
        and not (name == OK_ONLY and "fail" in done)
        and not (name.startswith("honest errors") and old.samples == 0)
    ]


@depth(quick=1, deep=12)
def test_worse_samples_never_improve_a_verdict(examples: int, tmp_path: Path) -> None:
    """From the healthy run, or one that is bad already, step by step: no check and no verdict gets better."""
    problems, moved = [], 0
    for number in range(examples):
        rng = random.Random(f"{SEED}/worse/{number}")
        run = runs.healthy()
        for _ in range(rng.choice((0, 0, 1, 3))):
            rng.choice(WORSENINGS)(run, rng)
        findings = validity.findings(RunView(run.write(tmp_path / "run")))
        before, done = judged(run, tmp_path / "run", findings), set[str]()
        for _ in range(3):
            for worsening in rng.sample(WORSENINGS, rng.choice((1, 1, 2))):
                worsening(run, rng)
                done.add(worsening.__name__)
            after = judged(run, tmp_path / "run", findings)
            problems += [f"FUZZ_SEED={SEED}, number {number}, {done}: {p}" for p in loosened(before, after, done)]
            old, new = (worst(check.status for check in results.values()) for results in (before, after))
            assert problems or ORDER.index(new) >= ORDER.index(old), f"number {number}: {old} → {new}"
            moved += {n: c.status for n, c in before.items()} != {n: c.status for n, c in after.items()}
            before = after
    assert not problems, "\n".join(problems[:20])
    assert moved > 0, "nothing that was done mattered to any check"
