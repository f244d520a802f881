"""Phases partition all records, whatever happened when: each attempt in one phase, or before the first."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import phases
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import Event
from tests.unit.properties.depth import depth, draws

NAMES = ("warm-up", "baseline", "bad", "after", "worse")
KINDS = dict(zip(NAMES, ("warmup", "baseline", "fault", "recovery", "fault"), strict=True))
HAPPENINGS = ("phase_started", "phase_ended", "fault_injecting", "fault_injected", "fault_healed", "note")
TIMES = st.integers(0, 100).map(float)  # few different ones, so that things coincide

EVENTS = st.lists(
    st.tuples(TIMES, st.sampled_from(HAPPENINGS), st.sampled_from(NAMES)).map(lambda e: Event(*e[:2], {"phase": e[2]})),
    max_size=25,
)  # fmt: skip
ATTEMPTS = st.lists(
    st.tuples(
        st.integers(0, 12),  # request
        TIMES,  # intended start of the request: of its first attempt in the list
        st.one_of(st.none(), st.floats(0, 30)),  # start after that, null: never sent
        st.one_of(st.none(), st.floats(0, 40_000)),  # duration in ms
    ),
    max_size=30,
)


def frame(attempts: list[tuple[int, float, float | None, float | None]]) -> pd.DataFrame:
    """Attempts as records; those of one request have one intended start."""
    intended: dict[int, float] = {}
    rows = []
    for request, at, delay, e2e in attempts:
        begin = intended.setdefault(request, at)
        start = math.nan if delay is None else begin + delay
        rows.append((f"r{request}", begin, start, math.nan if e2e is None else e2e))
    return pd.DataFrame(rows, columns=["request_id", "intended_start_s", "start_s", "e2e_ms"])


def interval(rows: pd.DataFrame) -> tuple[float, float]:
    """A request in flight: from its intended start until its last attempt has ended; what never began takes no time."""
    begin = float(rows["intended_start_s"].iloc[0])
    ends = rows["start_s"].fillna(begin).clip(lower=begin) + rows["e2e_ms"].fillna(0) / 1000
    return begin, float(ends.max())


def straddled(begin: float, end: float, phase: object, spans: tuple[PhaseSpan, ...]) -> str | None:
    """The earliest fault that the interval meets without lying in it as a request of that phase."""
    for span in spans:
        if span.fault_start_s is None:
            continue
        until = math.inf if span.fault_end_s is None else span.fault_end_s
        if max(begin, span.fault_start_s) <= min(end, until):
            inside = span.fault_start_s <= begin and end <= until and phase == span.name
            if not inside:
                return span.name
    return None


@depth(quick=60, deep=1500)
def test_every_attempt_belongs_to_one_phase_or_lies_before_the_first(examples: int) -> None:
    """By its intended start; null only before the first phase (or without any); the sums are the total."""

    @draws(examples)
    @given(events=EVENTS, attempts=ATTEMPTS)
    def holds(events: list[Event], attempts: list[tuple[int, float, float | None, float | None]]) -> None:
        spans = phases.spans(events, KINDS)
        rows = frame(attempts)
        found = rows.assign(**phases.assign(rows, spans))
        assert len(found) == len(attempts)
        assert len({s.name for s in spans}) == len(spans), "a phase is one span"
        assert [s.start_s for s in spans] == sorted(s.start_s for s in spans)
        for at, phase in zip(found["intended_start_s"], found["phase"], strict=True):
            begun = [s.name for s in spans if s.start_s <= at]
            assert (None if pd.isna(phase) else phase) == (begun[-1] if begun else None)
        for column in ("phase", "straddles"):
            counts = found[column].value_counts()
            assert set(counts.index) <= {s.name for s in spans}
            assert counts.sum() + found[column].isna().sum() == len(attempts)

    holds()


@depth(quick=60, deep=1500)
def test_straddling_is_being_in_flight_across_an_injection_or_a_heal(examples: int) -> None:
    """Both ways: marked exactly when in flight across one of them, all attempts of a request alike."""

    @draws(examples)
    @given(events=EVENTS, attempts=ATTEMPTS)
    def holds(events: list[Event], attempts: list[tuple[int, float, float | None, float | None]]) -> None:
        spans = phases.spans(events, KINDS)
        table = frame(attempts)
        found = table.assign(**phases.assign(table, spans))
        for _, rows in found.groupby("request_id"):
            assert rows["phase"].nunique(dropna=False) == 1
            assert rows["straddles"].nunique(dropna=False) == 1
            phase, said = rows["phase"].iloc[0], rows["straddles"].iloc[0]
            expected = straddled(*interval(rows), phase, spans)
            assert (None if pd.isna(said) else said) == expected

    holds()


@depth(quick=40, deep=800)
def test_the_order_of_records_changes_nothing(examples: int) -> None:
    """Records are appended as requests end; shuffled they get the same phases."""

    @draws(examples)
    @given(events=EVENTS, attempts=ATTEMPTS, seed=st.integers(0, 2**16))
    def holds(events: list[Event], attempts: list[tuple[int, float, float | None, float | None]], seed: int) -> None:
        spans, rows = phases.spans(events, KINDS), frame(attempts)
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = phases.assign(rows.iloc[order], spans).sort_index()
        pd.testing.assert_frame_equal(shuffled, phases.assign(rows, spans), check_dtype=False)

    holds()
