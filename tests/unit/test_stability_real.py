"""The long count on real vLLM: its bars, its ledger, who disturbs, and whether somebody else does."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from harness.evidence.record import RunFolder
from harness.run.outcome import Outcome
from tests import runs
from tests.disturber import HEAVY, LIGHT, PERIOD_S, Disturber, DisturberDied, disturbed, work
from tests.drills.outcome import CHECKOUT
from tests.trust import ledger, others, stability_real
from tests.trust.ledger import Entry, Ledger, Series, Slot
from tests.trust.stability_real import GROUPS, bar, bars, count, describe, tally, todo
from tests.waiting import eventually

DRILLS = ("oom", "timeout-spike")
SIX = tuple("abcdef")
SERIES = Series("0123456789ab", "a processor, 2 cores")
PASS = Outcome("PASS", None, "all passed", 150.0, "run-1")
FAIL = Outcome("FAIL", None, "TTFT before: 900 ms", 150.0, "run-2")
DISTURBED = Outcome("INCONCLUSIVE", "interference", "the machine was 97 % busy", 150.0, "run-3")
NO_CAUSE = Outcome("INCONCLUSIVE", None, "too few samples", 150.0, "run-4")
REFUSED = Outcome("exit 64", None, "the port is taken", 1.0)
QUIET, LIGHTLY, HEAVILY = GROUPS


FIRST, ONE_HEAVY = Slot("quiet", "oom", 1), Slot("heavy", "oom", 1)


def entry(outcome: Outcome, slot: Slot = FIRST) -> Entry:
    """A run that was made."""
    return Entry(SERIES, slot, outcome, "others 0.02 cores", "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("group", "ends", "holds"),
    [
        (QUIET, [PASS] * 18, True),
        (QUIET, [PASS] * 15 + [DISTURBED] * 3, True),
        (QUIET, [PASS] * 14 + [DISTURBED] * 4, False),
        (QUIET, [PASS] * 17 + [FAIL], False),
        (QUIET, [PASS] * 17 + [NO_CAUSE], False),
        (QUIET, [PASS] * 17 + [REFUSED], False),
        (QUIET, [PASS] * 17, None),
        (QUIET, [DISTURBED] * 4, False),
        (QUIET, [FAIL], False),
        (QUIET, [], None),
        (LIGHTLY, [PASS] * 12 + [DISTURBED] * 6, True),
        (LIGHTLY, [PASS] * 11 + [DISTURBED] * 7, False),
        (HEAVILY, [DISTURBED] * 12, True),
        (HEAVILY, [DISTURBED] * 11 + [FAIL], False),
        (HEAVILY, [DISTURBED] * 11 + [NO_CAUSE], False),
    ],
)
def test_the_bar(group: stability_real.Group, ends: Sequence[Outcome], holds: bool | None) -> None:
    """No FAIL, no INCONCLUSIVE but for interference, enough PASS; with runs missing it does not hold yet."""
    found = bar(group, [entry(one) for one in ends], len(group.planned(SIX)))
    assert found.holds is holds, found.why


def test_what_broke_a_bar_is_named() -> None:
    """Which drill, and how it ended."""
    assert "1 wrong: FAIL of oom" in bar(QUIET, [entry(FAIL)], 18).why


def test_only_missing_runs_are_made_round_by_round() -> None:
    """Of the wanted drills; a run that is in the ledger, red or not, is not made again."""
    made = {FIRST: entry(FAIL)}
    slots = [slot for _, slot in todo(GROUPS, DRILLS, DRILLS, made)]
    assert slots[:3] == [Slot("quiet", "timeout-spike", 1), Slot("quiet", "oom", 2), Slot("quiet", "timeout-spike", 2)]
    assert len(slots) == 2 * (3 + 3 + 2) - 1
    only = [slot for _, slot in todo([HEAVILY], DRILLS, ["oom"], made)]
    assert only == [Slot("heavy", "oom", 1), Slot("heavy", "oom", 2)]


def test_the_ledger_keeps_what_was_made(tmp_path: Path) -> None:
    """Line by line; of other commits and machines apart; a torn line is no run, and the first of a slot counts."""
    book = Ledger(tmp_path / "runs" / "ledger.jsonl")
    assert book.of(SERIES) == {}
    book.add(entry(FAIL))
    with book.path.open("a") as file:
        file.write('{"series": {"commit": "0123')
    other = dataclasses.replace(entry(PASS), series=dataclasses.replace(SERIES, commit="ba9876543210"))
    for one in (entry(PASS), other, entry(DISTURBED, ONE_HEAVY)):
        book.add(one)
    found = Ledger(book.path).of(SERIES)
    assert found == {
        Slot("quiet", "oom", 1): entry(FAIL),
        Slot("heavy", "oom", 1): entry(DISTURBED, Slot("heavy", "oom", 1)),
    }
    assert Ledger(book.path).of(other.series) == {other.slot: other}


def test_a_count_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """What was made before Ctrl-C stays; a machine that others use ends it, and makes no entry."""
    book, told = Ledger(tmp_path / "ledger.jsonl"), list[str]()
    work_ = list(todo([QUIET], DRILLS, DRILLS, {}))

    def attempts(*ends: object):  # type: ignore[no-untyped-def]
        left = list(ends)

        def attempt(group: object, slot: object) -> tuple[Outcome, str] | None:
            end = left.pop(0)
            if isinstance(end, Outcome):
                return end, "others 0.02 cores"
            if end is None:
                return None
            raise KeyboardInterrupt

        return attempt

    with pytest.raises(KeyboardInterrupt):
        count(work_, SERIES, book, attempts(PASS, KeyboardInterrupt), told.append)
    assert list(book.of(SERIES)) == [work_[0][1]]
    rest = list(todo([QUIET], DRILLS, DRILLS, book.of(SERIES)))
    assert rest == work_[1:]
    assert not count(rest, SERIES, book, attempts(DISTURBED, None), told.append)
    assert len(book.of(SERIES)) == 2
    assert count(rest[1:2], SERIES, book, attempts(PASS), told.append)
    assert told[0] == "1 of 6: oom, quiet, round 1"


def test_the_tally_says_it_per_group() -> None:
    """Machine, and per run its interference, cause and reason; then whether each bar holds."""
    made = {slot: entry(DISTURBED if slot.round == 1 else PASS, slot) for slot in GROUPS[2].planned(DRILLS)} | {
        Slot("quiet", "oom", 1): entry(FAIL)
    }
    text = tally(SERIES, made, DRILLS)
    assert "machine a processor, 2 cores" in text
    assert "quiet: BROKEN: 1 of 6 runs, 0 PASS (at least 5), 0 not judged, 1 wrong: FAIL of oom" in text
    assert "light: not complete: 0 of 6 runs" in text
    assert "heavy: HOLDS: 4 of 4 runs, 2 PASS (at least 0), 2 not judged" in text
    assert describe(entry(FAIL)) in text
    assert describe(entry(FAIL)).endswith("\n         TTFT before: 900 ms")
    assert "interference" in describe(entry(DISTURBED))
    assert [one.holds for one in bars(made, DRILLS).values()] == [False, None, True]


def test_interference_is_read_from_the_run(tmp_path: Path) -> None:
    """From its own samples of the machine; without any it is not undisturbed but not sampled."""
    assert stability_real.interference(None) == "no run"
    assert stability_real.interference(RunFolder(tmp_path)) == "no run"
    run = runs.healthy()
    assert stability_real.interference(run.write(tmp_path / "quiet")) == "undisturbed"
    runs.disturb(run, 10.0, 20.0)
    assert "for 10.0 s of it: others used up to 1 cores" in stability_real.interference(run.write(tmp_path / "busy"))
    run.metrics = run.metrics[run.metrics["component"] != "machine"]
    assert stability_real.interference(run.write(tmp_path / "old")) == "not sampled"


def test_the_series_names_commit_and_machine() -> None:
    """Twelve digits, more where the checkout differs; a processor, its cores and memory."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert ledger.commit().split("+")[0] == head.stdout[:12]
    assert f"{len(os.sched_getaffinity(0))} cores" in ledger.machine()
    assert ledger.machine() == ledger.machine()


def test_a_disturber_works_in_its_own_rhythm() -> None:
    """The heavy one 20 s on, 20 s off; the light one always."""
    assert [HEAVY.works(after_s) for after_s in (0.0, 19.9, 20.1, 39.9, 40.1)] == [True, True, False, False, True]
    assert all(LIGHT.works(tenths / 10) for tenths in range(50))
    assert (LIGHT.share, HEAVY.share) == (0.25, 1.0)


def test_a_disturber_takes_its_share_and_no_more() -> None:
    """A quarter of each period at most, however little it gets; in its pauses nothing."""
    process, waited = psutil.Process(), list[float]()
    before = sum(process.cpu_times()[:2])
    work(LIGHT, lambda wait_s: waited.append(wait_s) or len(waited) == 10, 60.0)
    assert sum(process.cpu_times()[:2]) - before < 10 * PERIOD_S * LIGHT.share * 2
    assert all(0 <= wait_s <= PERIOD_S for wait_s in waited)
    rested = list[float]()
    work(Disturber("paused", 1.0, 1e-9, 1e9), lambda wait_s: rested.append(wait_s) or len(rested) == 3, 60.0)
    assert min(rested[1:]) > PERIOD_S / 2


def test_a_disturber_ends_with_the_block_and_is_missed_when_it_does_not_last() -> None:
    """Gone when the block is left; a run beside one that died was not disturbed as planned."""
    with disturbed(LIGHT, 60.0) as process:
        assert process is not None
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        assert process.poll() is None
    assert process.returncode == 0
    with pytest.raises(DisturberDied, match="the light disturber ended with -9"):
        _killed_meanwhile()
    with disturbed(None, 60.0) as nobody:
        assert nobody is None


def _killed_meanwhile() -> None:
    with disturbed(LIGHT, 60.0) as process:
        assert process is not None
        process.kill()
        process.wait()


def test_a_disturber_dies_with_its_parent_by_sigkill() -> None:
    """Nobody is left who computes for nothing when the count itself is killed."""
    program = (
        "from tests.disturber import HEAVY, disturbed\n"
        "with disturbed(HEAVY, 60.0) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        disturber = psutil.Process(int(parent.stdout.readline()))
        assert disturber.is_running()
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not disturber.is_running() or disturber.status() == psutil.STATUS_ZOMBIE, 30)


def test_others_are_everybody_but_us() -> None:
    """A disturber is another one; what it can take is bounded by the machine's cores."""
    with disturbed(HEAVY, 60.0):
        found = others.cores(instance=255, over_s=1.0)
    assert 0 < found <= (os.cpu_count() or 1) * 1.1


def test_a_run_waits_for_a_quiet_machine_but_not_for_ever() -> None:
    """It begins when the others have gone; when they do not go it is given up, with what they use."""
    seen, told = [1.2, 0.5, 0.05], list[str]()
    assert others.wait_until_alone(0, 0.125, 600, told.append, lambda _: seen.pop(0), lambda _: None) == ""
    assert told == ["others use 1.20 cores of this machine (limit 0.12): waiting"]
    why = others.wait_until_alone(0, 0.125, 0, told.append, lambda _: 0.8, lambda _: None)
    assert why.startswith("others use 0.80 cores of this machine (limit 0.12) and have for 0 s")
