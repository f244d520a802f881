"""The gates of a rollout: what they decide, how soon, and that nothing proven is no promotion."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.artifacts import rollout
from harness.model.artifacts.rollout import (
    OPEN,
    PROMOTE,
    ROLL_BACK,
    Decision,
    Deployment,
    Gates,
    Probe,
    Rollout,
    Stage,
    decide,
    pairs,
)

GATES = Gates()
QUESTIONS = 40
NEW, OLD = "v2@1", "v1@1"


def answers(count: int, slow: float = 1.0, wrong: float = 0.0, failed: float = 0.0, seed: int = 1) -> list[Probe]:
    """Pairs as a rollout asks them: the candidate ``slow`` times as slow, with such shares wrong and failed."""
    return list(_answers(count, slow, wrong, failed, random.Random(seed)))


def _answers(count: int, slow: float, wrong: float, failed: float, draw: random.Random) -> Iterator[Probe]:
    for pair in range(1, count + 1):
        question = (pair - 1) % QUESTIONS
        ttft, rate = (draw.lognormvariate(0, 0.2) for _ in range(2))
        yield Probe(pair, pair, "stable", "replica-1", question, "ok", OLD, True, 60 * ttft, 100 * rate)
        ttft, rate = (draw.lognormvariate(0, 0.2) for _ in range(2))
        outcome = "timeout" if draw.random() < failed else "ok"
        right = outcome == "ok" and draw.random() >= wrong
        fine = outcome == "ok"
        yield Probe(
            pair, pair, "candidate", "replica-2", question, outcome, NEW if fine else None, right,
            60 * slow * ttft if fine else None, 100 / slow * rate if fine else None,
        )  # fmt: skip


def after(probes: list[Probe], questions: int = QUESTIONS) -> Decision:
    """What is decided on them."""
    return decide(probes, NEW, questions, GATES)


def decided_after(probes: list[Probe]) -> tuple[int, Decision]:
    """The first decision on them, pair by pair, and after how many."""
    for pair in range(1, probes[-1].pair + 1):
        decision = after([probe for probe in probes if probe.pair <= pair])
        if decision.verdict != OPEN:
            return pair, decision
    return probes[-1].pair, after(probes)


@pytest.mark.parametrize("seed", range(20))
def test_a_good_candidate_is_promoted_when_the_whole_eval_set_was_asked(seed: int) -> None:
    """As good and as quick: promoted, and not before every question was answered."""
    number, decision = decided_after(answers(2 * QUESTIONS, seed=seed))
    assert decision.verdict == PROMOTE, decision
    assert QUESTIONS <= number <= 1.5 * QUESTIONS


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_candidate_is_stopped_by_latency_soon(seed: int) -> None:
    """Three times as slow: some ten pairs are enough."""
    number, decision = decided_after(answers(QUESTIONS, slow=3, seed=seed))
    assert decision.verdict == ROLL_BACK
    assert decision.gate in ("ttft", "rate")
    assert number <= 15


@pytest.mark.parametrize("seed", range(20))
def test_a_bad_candidate_is_stopped_by_quality_soon(seed: int) -> None:
    """As soon as the threshold is out of reach, not at the end of the eval set."""
    number, decision = decided_after(answers(QUESTIONS, wrong=0.9, seed=seed))
    assert (decision.verdict, decision.gate) == (ROLL_BACK, "quality")
    assert number <= 8


def test_failing_answers_stop_it() -> None:
    """One in three fails: that is decided before quality is."""
    decision = decided_after(answers(QUESTIONS, failed=0.34))[1]
    assert (decision.verdict, decision.gate) == (ROLL_BACK, "errors")


def test_one_that_becomes_slow_later_is_stopped_as_well() -> None:
    """Thirty quick answers are no credit."""
    number, decision = decided_after(answers(30) + [replace(p, pair=p.pair + 30) for p in answers(30, slow=3)])
    assert (decision.verdict, decision.gate in ("ttft", "rate")) == (ROLL_BACK, True)
    assert 30 < number <= 45


def test_another_version_stops_it_at_once() -> None:
    """A wrong model that answers right is still the wrong model."""
    probes = [replace(p, version=OLD) for p in answers(1)]
    assert after(probes).gate == "version"
    assert after(probes).verdict == ROLL_BACK


def test_exactly_the_threshold_passes_and_one_less_does_not() -> None:
    """95 % of 40 are 38."""
    good = answers(QUESTIONS)

    def with_wrong(count: int) -> Decision:
        missed = set(range(count))
        return after([replace(p, right=p.question not in missed) if p.side == "candidate" else p for p in good])

    assert with_wrong(2).verdict == PROMOTE
    assert with_wrong(3).verdict == ROLL_BACK


@given(st.lists(st.sampled_from([0.6, 1.0, 1.4, 2.0]), max_size=9))
def test_few_pairs_prove_nothing(slowness: list[float]) -> None:
    """Below the minimum the speed gates are open, whatever they have seen."""
    probes = [probe for n, slow in enumerate(slowness) for probe in answers(1, slow=slow, seed=n)]
    numbered = [replace(probe, pair=1 + i // 2) for i, probe in enumerate(probes)]
    assert rollout.speed_is_open(numbered, GATES)


def test_nothing_answered_decides_nothing() -> None:
    """No data is neither a promotion nor a rollback."""
    assert after([]).verdict == OPEN
    assert after(answers(QUESTIONS)[:0], questions=0).verdict == OPEN


def test_only_whole_pairs_are_compared() -> None:
    """A half whose other half failed says nothing about speed."""
    probes = answers(3)
    probes[0] = replace(probes[0], outcome="timeout")
    assert [candidate.pair for candidate, _ in pairs(probes)] == [2, 3]


def test_a_rollout_survives_its_file() -> None:
    """What was written is what is read."""
    one = Rollout(
        "s/swap/replica-2", "s", "replica-2", Deployment("v2", NEW, "ab"), Deployment("v1", OLD, None), GATES, 2
    )
    one.serves("replica-2", OLD, 0.0)
    one.ends("replica-2", 3.0)
    one.stages.append(Stage("canary", 10, 4.9, 5.0))
    one.probes += answers(2)
    one.decision, one.decided_s = after(one.probes), 9.0
    again = rollout.from_data(json.loads(json.dumps(one.as_data())))
    assert again == one
    assert again.candidate.measured["answers"] == 2
    assert rollout.performance([], "stable")["ttft_p50_ms"] is None


def test_a_gate_that_has_seen_nothing_says_nothing() -> None:
    """A candidate that was never asked has shown no gate anything, not even its version."""
    assert {one.verdict for one in rollout.by_gate([], NEW, QUESTIONS, GATES)} == {OPEN}
    failed = {one.gate: one for one in rollout.by_gate(answers(9, failed=1.1), NEW, QUESTIONS, GATES)}
    assert (failed["version"].verdict, failed["version"].why) == (OPEN, "nothing was answered")


def test_answers_that_were_asked_three_at_once_say_nothing_of_speed() -> None:
    """They count for what was right; medians are those of the pairs, on both sides."""
    probes = answers(12)
    alone = [replace(probe, pair=probe.pair + 12, ttft_ms=9e3) for probe in probes if probe.side == "candidate"]
    before, found = (rollout.performance(some, "candidate") for some in (probes, probes + alone))
    assert found["answers"] == 24
    assert found["ttft_p50_ms"] == before["ttft_p50_ms"]
