"""Makes a scenario fit the machine: a share of capacity becomes a rate, or the sentence that the machine is too small.

Capacity is measured with one cohort, and with a replica drained. A scenario whose answers are longer gets a lower rate,
by the speed of one stream. One that takes a replica away also leaves room for its start, which runs on the same
processor.

Below 4 requests per second answers are shortened first, from 48 tokens down to 12, then phases that have too few
samples for their objectives, or for a check that judges a single replica, stretch, by 1.5 at most. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple, Self

from harness.judge import objectives
from harness.judge.capacity import Capacity
from harness.judge.drill import Check, ReplicaSamples
from harness.model.scenario import Cohort, Phase, Scenario, Share
from harness.model.topology import GatewayPolicy
from harness.plan import loading

#: At fewer a window of five seconds does not hold the 20 requests that recovery is judged by.
RATE_MIN_PER_S = 4.0
#: Answers of the cohort that capacity is measured with, and how short they may become.
TOKENS, TOKENS_MIN = 48, 12
TOKENS_STEP = 4  # where 4/s and longer phases are not enough
STRETCH_MAX = 1.5
#: Of the requests that a key may make per minute: random arrivals of one user come in bursts.
KEY_SHARE_MAX = 0.5
_STRETCHES = (1.0, 1.1, 1.2, 1.3, 1.4, STRETCH_MAX)
#: What a scenario needs is looked for between these rates.
_NEED_FROM_PER_S, _NEED_TO_PER_S, _NEED_PRECISION = 0.1, 1000.0, 1.02


@dataclass(frozen=True)
class Fitted:
    """A scenario with a rate of its own. ``too_small`` says why it cannot be run here: then it is as asked."""

    scenario: Scenario
    asked: str
    notes: tuple[str, ...] = ()
    too_small: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What checks need besides the samples of objectives: answers of a single one of so many replicas."""

    samples: tuple[ReplicaSamples, ...]
    replicas: int

    @classmethod
    def of(cls, checks: Iterable[Check], replicas: int) -> Self:
        """Those of these checks."""
        return cls(tuple(one.replica_samples for one in checks if one.replica_samples is not None), replicas)

    def lacking(self, scenario: Scenario, capacity: Capacity) -> Iterator[ReplicaSamples]:
        """Those for which too few answers will come. One for a phase that the scenario lacks needs none: no answer."""
        names = {phase.name for phase in scenario.phases}
        for one in self.samples:
            if set(one.after) <= names:
                expected = scenario.load.per_s / self.replicas * _counted_s(scenario, one, capacity)
                if loading.at_least(expected) < one.count:
                    yield one


def _counted_s(scenario: Scenario, samples: ReplicaSamples, capacity: Capacity) -> float:
    """How long requests count that begin after the phases of ``samples``; whose answer the next fault cuts do not."""
    stream, total = _Stream.of(capacity), 0.0
    answer_s = 0.0 if stream is None else stream.answers_s(scenario)
    for name in samples.after:
        following = _until_next_fault(scenario, name)
        cut_s = 0.0 if following[-1:] == scenario.phases[-1:] else answer_s
        lasts_s = sum(phase.duration for phase in following if phase.kind != "quiet")
        total += max(0.0, lasts_s - samples.from_s - cut_s)
    return total


def _until_next_fault(scenario: Scenario, name: str) -> tuple[Phase, ...]:
    """The phases after that one, up to the next that injects something."""
    names = [phase.name for phase in scenario.phases]
    return tuple(takewhile(lambda one: not one.faults, scenario.phases[names.index(name) + 1 :]))


def fit(
    scenario: Scenario, share: Share, capacity: Capacity, policy: GatewayPolicy, cores: int, needs: Needs
) -> Fitted:
    """``scenario``, whose rate is ``share``, for a machine with that capacity and ``cores``, behind such gateways."""
    of_capacity = capacity.per_s(share.without_replica)
    if capacity.hopeless:
        return Fitted(scenario, str(share), (), _doubted(capacity.hopeless, capacity), {"capacity_per_s": of_capacity})
    room = share_left_by_a_start(cores) if share.without_replica else 1.0
    plain = share.per_s(of_capacity * room)
    first = _tokens(scenario, plain, capacity)
    for tokens in (*range(first, TOKENS_MIN, -TOKENS_STEP), TOKENS_MIN) if plain > 0 else ():
        shorter = _shortened(scenario, tokens)
        rate = _bounded(plain * gain(shorter, capacity), max(plain, of_capacity * room))
        shorter = _with_users(_at(shorter, rate), rate, policy)
        for stretch in _STRETCHES:
            fitted, stretched = _stretched(shorter, stretch, capacity, needs)
            if _has_samples(fitted, capacity, needs):
                notes = _notes(share, of_capacity, room, rate, tokens, stretched, stretch)
                return Fitted(fitted, str(share), notes, None, {"capacity_per_s": of_capacity, "rate_per_s": rate})
    needed = needed_per_s(scenario, share, capacity, cores, needs)
    numbers = {"capacity_per_s": of_capacity, "needed_per_s": needed}
    why = _doubted(too_small(scenario, share, of_capacity, needed), capacity)
    return Fitted(scenario, str(share), (), why, numbers)


def _bounded(rate: float, measured: float) -> float:
    """``rate``, at most ``measured``: shorter answers are served faster, but one stream's speed says little of many."""
    return min(rate, max(measured, RATE_MIN_PER_S))


def share_left_by_a_start(cores: int) -> float:
    """The share of the machine, 0–1, that a starting replica leaves to the other components.

    A start is one busy thread (a Python process that imports and loads); on a single core it takes half of it.
    """
    return max(cores - 1, 0.5 * cores) / cores


def _doubted(why: str, capacity: Capacity) -> str:
    """With what speaks against the measurement: a disturbed machine is not a small one."""
    doubts = [doubt for doubt in capacity.provisional if doubt != capacity.hopeless]
    return f"{why} (provisional: {'; '.join(doubts)})" if doubts else why


def hopeless(scenario: Scenario, share: Share, known: Capacity, cores: int, needs: Needs) -> str | None:
    """The sentence that no capacity below the highest rate of any step so far is enough; None while one may be."""
    needed = needed_per_s(scenario, share, known, cores, needs)
    if known.saturated_per_s >= needed:
        return None
    return too_small(scenario, share, known.saturated_per_s, needed, " at most")


def too_small(scenario: Scenario, share: Share, of_capacity: float, needed: float, bound: str = "") -> str:
    """The sentence with both numbers."""
    which = " with one replica fewer" if share.without_replica else ""
    return (
        f"too small: {scenario.name} asks for {share} and needs a capacity of {needed:.3g}/s{which}, this machine has "
        f"{of_capacity:.3g}/s{bound}; answers of {TOKENS_MIN} tokens and phases {STRETCH_MAX:g} times as long "
        "are counted in"
    )


def needed_per_s(scenario: Scenario, share: Share, capacity: Capacity, cores: int, needs: Needs) -> float:
    """A capacity with which ``scenario`` has too few samples, whatever fitting does, and with 2 % more has enough."""
    too_few, enough = _NEED_FROM_PER_S, _NEED_TO_PER_S
    shortest = _shortened(scenario, TOKENS_MIN)
    while enough / too_few > _NEED_PRECISION:
        rate = math.sqrt(too_few * enough)
        if _has_samples(_stretched(_at(shortest, rate), STRETCH_MAX, capacity, needs)[0], capacity, needs):
            enough = rate
        else:
            too_few = rate
    room = share_left_by_a_start(cores) if share.without_replica else 1.0
    by_gain = too_few / (share.percent / 100) / room / gain(shortest, capacity)
    return by_gain if too_few <= RATE_MIN_PER_S else max(by_gain, too_few / room / max(1.0, share.percent / 100))


def gain(scenario: Scenario, capacity: Capacity) -> float:
    """Cost of a request that capacity was measured with / cost of one of ``scenario``, by one stream's speed.

    1 where that speed is not known.
    """
    stream = _Stream.of(capacity)
    return 1.0 if stream is None else stream.takes_s(stream.usual_tokens) / stream.answers_s(scenario)


class _Stream(NamedTuple):
    """How quick one stream is, and how many tokens the answers had that capacity was measured with, in the mean."""

    prefill_s: float
    tokens_per_s: float
    usual_tokens: float

    @classmethod
    def of(cls, capacity: Capacity) -> Self | None:
        """None where it is not known."""
        whole = capacity.whole
        if not capacity.ttft_ms or not capacity.tps or whole is None or not whole.rate_per_s:
            return None
        return cls(capacity.ttft_ms / 1000, capacity.tps, whole.tokens_per_s / whole.rate_per_s)

    def takes_s(self, tokens: float) -> float:
        """How long an answer of that length takes."""
        return self.prefill_s + tokens / self.tokens_per_s

    def answers_s(self, scenario: Scenario) -> float:
        """How long the answers of the scenario take, in the mean."""
        cohorts = scenario.load.cohorts
        total = sum(one.share for one in cohorts)
        return self.takes_s(sum(one.share / total * _answer_tokens(one, self.usual_tokens) for one in cohorts))


def _answer_tokens(cohort: Cohort, usual: float) -> float:
    """Mean length of a cohort's answers: ``usual`` at most for eval questions, ``max_tokens`` for all others."""
    return min(usual, cohort.max_tokens) if cohort.prompts == "eval" else cohort.max_tokens


def _tokens(scenario: Scenario, rate: float, capacity: Capacity) -> int:
    """The longest answers, in tokens, with which the rate is at least ``RATE_MIN_PER_S``."""
    for tokens in range(TOKENS, TOKENS_MIN, -1):
        if rate * gain(_shortened(scenario, tokens), capacity) >= RATE_MIN_PER_S:
            return tokens
    return TOKENS_MIN


def _shortened(scenario: Scenario, tokens: int) -> Scenario:
    """Every cohort's answers in proportion; none that is short already becomes longer."""
    if tokens == TOKENS:
        return scenario
    cohorts = tuple(
        one.model_copy(update={"max_tokens": min(one.max_tokens, max(TOKENS_MIN, one.max_tokens * tokens // TOKENS))})
        for one in scenario.load.cohorts
    )
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": cohorts})})


def _with_users(scenario: Scenario, rate: float, policy: GatewayPolicy) -> Scenario:
    """With as many users as it takes that each asks half as often as their key may: a rate limit is no capacity."""
    each_per_s = KEY_SHARE_MAX * policy.requests_per_minute / 60
    total = sum(one.share for one in scenario.load.cohorts)
    cohorts = tuple(
        one.model_copy(update={"users": max(one.users, math.ceil(rate * one.share / total / each_per_s))})
        for one in scenario.load.cohorts
    )
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": cohorts})})


def _at(scenario: Scenario, rate: float) -> Scenario:
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"rate": rate})})


def _has_samples(scenario: Scenario, capacity: Capacity, needs: Needs) -> bool:
    """Whether every objective, and every check of a single replica, would have enough."""
    problems = [problem for slo in scenario.slos for problem in loading.slo_problems(scenario, slo)]
    return not problems and not any(needs.lacking(scenario, capacity))


def _stretched(scenario: Scenario, factor: float, capacity: Capacity, needs: Needs) -> tuple[Scenario, list[str]]:
    """With the phases of all objectives and checks with too few samples so many times as long, and their names."""
    named = {
        phase.name
        for one in needs.lacking(scenario, capacity)
        for name in one.after
        for phase in _until_next_fault(scenario, name)
    }
    for slo in scenario.slos:
        if any(loading.slo_problems(scenario, slo)):
            used = {name.partition(".")[0] for name in objectives.names(objectives.parse(slo.objective))}
            named |= {p.name for p in scenario.phases if p.name.replace("-", "_") in used or p.kind in used}
            named |= set(slo.phases)
    if factor == 1.0 or not named:
        return scenario, []
    phases = [_longer(phase, factor) if phase.name in named else phase for phase in scenario.phases]
    return scenario.model_copy(update={"phases": tuple(phases)}), [p.name for p in phases if p.name in named]


def _longer(phase: Phase, factor: float) -> Phase:
    bound = None if phase.at_most is None else phase.at_most * factor
    return phase.model_copy(update={"duration": phase.duration * factor, "at_most": bound})


def _notes(
    share: Share, of_capacity: float, room: float, rate: float, tokens: int, stretched: Sequence[str], stretch: float
) -> tuple[str, ...]:
    starting = f", {of_capacity * room:.3g}/s while a replica starts beside it" if room < 1 else ""
    notes = [f"{share}, which is {of_capacity:.3g}/s here{starting}: {rate:.3g}/s"]
    if tokens < TOKENS:
        notes.append(f"answers have {tokens} tokens instead of {TOKENS}, others in proportion")
    if stretched:
        notes.append(f"{', '.join(stretched)} last {stretch:g} times as long, for enough samples")
    return tuple(notes)
