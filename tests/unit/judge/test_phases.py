"""Which phase a request belongs to, and time to recover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.evidence import phases
from harness.evidence.record import Event
from harness.judge.checks.recovers_within import recovery_s

KINDS = {"baseline": "baseline", "bad": "fault", "after": "recovery", "worse": "fault"}
EVENTS = [
    Event(10.0, "phase_started", {"phase": "baseline"}),
    Event(20.0, "phase_ended", {"phase": "baseline"}),
    Event(20.5, "phase_started", {"phase": "bad"}),
    Event(20.6, "fault_injecting", {"phase": "bad"}),
    Event(20.8, "fault_injected", {"phase": "bad"}),
    Event(30.0, "fault_healed", {"phase": "bad"}),
    Event(30.1, "phase_ended", {"phase": "bad"}),
    Event(30.2, "phase_started", {"phase": "after"}),
    Event(40.0, "phase_ended", {"phase": "after"}),
    Event(40.0, "phase_started", {"phase": "worse"}),
    Event(40.1, "fault_injecting", {"phase": "worse"}),
]


def assigned(*attempts: tuple[str, float, float, float]) -> list[tuple[object, object]]:
    """(phase, straddles) of attempts given as (request id, intended start, start, e2e in ms)."""
    frame = pd.DataFrame(attempts, columns=["request_id", "intended_start_s", "start_s", "e2e_ms"])
    found = phases.assign(frame, phases.spans(EVENTS, KINDS))
    return [
        (None if pd.isna(p) else p, None if pd.isna(s) else s)
        for p, s in zip(found["phase"], found["straddles"], strict=True)
    ]


@pytest.mark.parametrize(
    ("intended", "e2e_ms", "phase", "straddles"),
    [
        (5.0, 100.0, None, None),
        (12.0, 500.0, "baseline", None),
        (19.9, 500.0, "baseline", None),  # ends before the injection, in the gap between two phases
        (20.2, 200.0, "baseline", None),  # meant to start in that gap
        (19.9, 5000.0, "baseline", "bad"),  # hit by the injection
        (22.0, 500.0, "bad", None),
        (29.9, 500.0, "bad", "bad"),  # hit by the heal
        (30.15, 500.0, "bad", None),  # after the heal, before the next phase
        (31.0, 500.0, "after", None),
        (39.9, 500.0, "after", "worse"),
        (50.0, 500.0, "worse", None),  # never healed
        (19.9, 60000.0, "baseline", "bad"),  # across both: the first
    ],
)
def test_phase_of_the_intended_start(intended: float, e2e_ms: float, phase: str | None, straddles: str | None) -> None:
    """Phase by the intended start; across an injection or a heal: the fault's."""
    assert assigned(("r1", intended, intended, e2e_ms)) == [(phase, straddles)]


def test_all_attempts_of_a_request_go_together() -> None:
    """One attempt before, one during the fault: the whole request is the fault's."""
    found = assigned(("r1", 19.0, 19.0, 500.0), ("r1", 19.0, 21.0, 500.0), ("r2", 19.0, 19.0, 500.0))
    assert found == [("baseline", "bad"), ("baseline", "bad"), ("baseline", None)]


def test_not_sent_requests_keep_their_phase() -> None:
    """No start and no end: the intended start decides."""
    assert assigned(("r1", 12.0, float("nan"), float("nan"))) == [("baseline", None)]


def test_nothing_to_assign() -> None:
    """No requests and no phases are no crash."""
    empty = pd.DataFrame({"request_id": [], "intended_start_s": [], "start_s": [], "e2e_ms": []})
    assert phases.assign(empty, phases.spans(EVENTS, KINDS)).empty
    one = pd.DataFrame([("r", 1.0, 1.0, 1.0)], columns=["request_id", "intended_start_s", "start_s", "e2e_ms"])
    assert phases.assign(one, ())["phase"].isna().all()


def recovery(bad: list[int], count: int = 120, rate: float = 4.0) -> tuple[float | None, int]:
    """Time to recover with the given requests bad, at a steady rate."""
    starts = (np.arange(count) + 0.5) / rate
    good = ~np.isin(np.arange(count), bad)
    return recovery_s(starts, good, count / rate)


def test_recovered_at_once() -> None:
    """All good: 0 s."""
    assert recovery([])[0] == 0.0


def test_one_failure_in_twenty_is_within_the_rule() -> None:
    """95 % by count: a single failure does not undo a recovery, two close ones do."""
    assert recovery([60])[0] == 0.0
    late, _ = recovery([60, 65])
    assert late == pytest.approx(60.5 / 4)


def test_recovery_begins_after_the_last_bad_window() -> None:
    """Bad for 8 s: recovered right after the last but one failure, when 19 of 20 are good."""
    found, _ = recovery(list(range(32)))
    assert found == pytest.approx(30.5 / 4)


def test_never_recovered() -> None:
    """Failures up to the end."""
    found, windows = recovery(list(range(0, 120, 3)))
    assert found is None
    assert windows > 0


def test_a_late_relapse_counts() -> None:
    """Good, then bad again: recovered after the relapse only."""
    found, _ = recovery(list(range(60, 70)))
    assert found is not None
    assert found > 60 / 4


@pytest.mark.parametrize("count", [0, 5, 19])
def test_too_few_requests_for_a_window(count: int) -> None:
    """Fewer than twenty: no window, no answer."""
    assert recovery([], count=count) == (None, 0)


def test_sparse_load_widens_the_window() -> None:
    """One request per second: a window takes as long as twenty requests do."""
    found, windows = recovery([], count=60, rate=1.0)
    assert found == 0.0
    assert windows == 41
