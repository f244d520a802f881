"""What counts as a flake of a healthy drill, and what is the machine's doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.drills.drill_process import Ended
from tests.trust.stability import Drilled, describe, passed, summary
from tests.trust.standstill import STANDSTILL_S, TRIES, until_measured

PASS = Drilled(7, "PASS", "all 12 checks passed", 25.0, 0.5)
UNMEASURED = Drilled(7, "INCONCLUSIVE", "the load generator was the bottleneck", 25.0, 0.4)
UNMEASURED_FOR_NO_REASON = Drilled(7, "INCONCLUSIVE", "the load generator was the bottleneck", 25.0, 0.05)
WRONGLY_RED = Drilled(7, "FAIL", "TTFT", 25.0, 0.4)


@pytest.mark.parametrize(
    ("ends", "made", "flakes", "seeds_passed"),
    [
        ([PASS], 1, 0, 1),
        ([UNMEASURED, PASS], 2, 0, 1),
        ([UNMEASURED, WRONGLY_RED], 2, 1, 0),
        ([UNMEASURED_FOR_NO_REASON, PASS], 1, 1, 0),
        ([WRONGLY_RED, PASS], 1, 1, 0),
        ([UNMEASURED] * 9, TRIES, 0, 0),
    ],
    ids=[
        "passes",
        "stood still",
        "red the second time",
        "no standstill",
        "red while it stood still",
        "stands still always",
    ],
)
def test_only_a_standstill_is_made_again(ends: list[Drilled], made: int, flakes: int, seeds_passed: int) -> None:
    """A drill that could not measure is made again where the witness says why; whatever else does not pass counts."""
    left = list(ends)
    drilled = list(until_measured(lambda: left.pop(0)))
    assert drilled == ends[:made]
    assert (sum(one.flake for one in drilled), passed(drilled)) == (flakes, seeds_passed)


@pytest.mark.parametrize(
    ("code", "why", "stood_still_s", "blamed"),
    [
        (2, "the load generator was the bottleneck: schedule lag p99 was 1194.9 ms", 0.4, True),
        (2, "the load generator was the bottleneck: schedule lag p99 was 1194.9 ms", 0.05, False),
        (1, "the load generator was the bottleneck: schedule lag p99 was 1194.9 ms", 0.4, False),
        (2, "the fault had no effect", 0.4, False),
        (64, "", 0.4, False),
    ],
    ids=["could not measure", "no standstill", "wrongly red", "another reason", "refused"],
)
def test_a_standing_machine_excuses_only_what_it_explains(
    code: int, why: str, stood_still_s: float, blamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill is made again when it says it could not measure, for that reason, and a witness saw why; a FAIL stays."""
    monkeypatch.setattr(Ended, "results", lambda self, part: {"load generator on schedule": {"why": why}})
    assert Ended(code, "", "", stood_still_s).machine_to_blame is blamed


def test_what_did_not_pass_is_told_with_its_reason() -> None:
    """One line each, the standstill with its length."""
    told = summary([UNMEASURED, PASS, WRONGLY_RED])
    assert "1 of 1 seeds passed on a healthy stack, 1 flakes" in told
    assert "seed 7: INCONCLUSIVE, 25 s, machine stood still for 0.40 s (not a flake): the load generator" in told
    assert describe(WRONGLY_RED) in told
    assert describe(PASS) not in told


def test_the_witness_sees_a_standstill() -> None:
    """A process with a witness in it is stopped for twice the limit."""
    program = (
        "from tests.trust.standstill import witness\n"
        "with witness() as seen:\n"
        "    print('watching', flush=True)\n"
        "    input()\n"
        "print(seen.longest_s)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "watching\n"
        os.kill(watching.pid, signal.SIGSTOP)
        until = time.monotonic() + 2 * STANDSTILL_S
        while time.monotonic() < until:
            time.sleep(0.02)
        os.kill(watching.pid, signal.SIGCONT)
        told, _ = watching.communicate("\n", timeout=30)
    assert float(told) >= STANDSTILL_S
