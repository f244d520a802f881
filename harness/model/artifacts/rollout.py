"""A rollout of another model: what it did, as ``rollout.json`` of a run holds it, and the gates that it has to pass.

``decide`` is a pure function of the answers to paired questions, so the judge can repeat what the rollout decided.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.model.artifacts import Artifact

FILE = "rollout.json"

Side = Literal["candidate", "stable"]
PROMOTE, ROLL_BACK, OPEN = "promote", "roll back", "open"

#: Wald's sequential test ends when one of two shares is so much likelier that it is wrong once in a hundred times.
_SURE = math.log(99)
#: Of pairs in which the candidate is slower than it may be: as good as stable, and too slow.
_SLOW_SHARES = (0.3, 0.7)
#: Of answers that fail.
_FAILED_SHARES = (0.01, 0.2)


@dataclass(frozen=True)
class Gates:
    """What the candidate must show before it gets more traffic."""

    quality: float = 0.95  # share of the eval set that it answers exactly right
    slower: float = 1.5  # times as slow as stable it may be, in TTFT and per token
    pairs_min: int = 10


@dataclass(frozen=True)
class Probe:
    """The answer of one side to one question. Questions of one ``pair`` are the same, asked one after the other."""

    t_s: float  # when it had been answered
    pair: int
    side: Side
    replica: str
    question: int  # place in the eval set
    outcome: str
    version: str | None
    right: bool
    ttft_ms: float | None
    tokens_per_s: float | None


@dataclass(frozen=True)
class Decision:
    """What follows from the answers so far, which gate says so, and why."""

    verdict: str  # PROMOTE | ROLL_BACK | OPEN
    gate: str  # start | version | errors | quality | ttft | rate; "" when all agree
    why: str


@dataclass
class Stage:
    """A stretch of the rollout. ``percent`` of the users' requests are meant for the new version.

    From ``requested_at_s`` one gateway after another is changed; at ``applied_at_s`` the last one was.
    """

    name: str
    percent: int
    requested_at_s: float
    applied_at_s: float


@dataclass
class Served:
    """Which version a replica served, from when it was ready until it was told to end. None: it still does."""

    replica: str
    version: str
    from_s: float
    to_s: float | None = None


@dataclass
class Deployment:
    """What is known of one version. ``weights`` is their SHA-256, None where none are ours to hash.

    The commit that it was rolled out from is the run's (plan.json).
    """

    model: str
    version: str
    weights: str | None
    measured: dict[str, float | None] = field(default_factory=dict)


@dataclass
class Rollout:
    """One rollout, on the replica that went first. Times are seconds since the run's zero."""

    fault: str
    phase: str
    candidate_on: str
    candidate: Deployment
    stable: Deployment
    gates: Gates
    questions: int  # of the eval set
    stages: list[Stage] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    decision: Decision | None = None
    decided_s: float | None = None
    traffic_s: float | None = None  # the gateways have done what was decided: all to stable, or more to the candidate
    ended: str | None = None  # promoted | rolled back | aborted
    restored_s: float | None = None  # every replica serves stable again
    broken: str | None = None  # why it could not go on; the heal is what puts stable back then

    def serves(self, replica: str, version: str, t_s: float) -> None:
        """``replica`` answers with ``version`` from now on."""
        self.served.append(Served(replica, version, t_s))

    def ends(self, replica: str, t_s: float) -> None:
        """``replica`` is told to end what it serves."""
        for served in self.served:
            if served.replica == replica and served.to_s is None:
                served.to_s = t_s

    def as_data(self) -> dict[str, Any]:
        """What rollout.json holds."""
        self.candidate.measured = performance(self.probes, "candidate")
        self.stable.measured = performance(self.probes, "stable")
        return dataclasses.asdict(self)


def from_data(data: Mapping[str, Any]) -> Rollout:
    """The rollout in it. KeyError or TypeError when it is something else."""
    return Rollout(
        **{
            **data,
            "candidate": Deployment(**data["candidate"]),
            "stable": Deployment(**data["stable"]),
            "gates": Gates(**data["gates"]),
            "stages": [Stage(**stage) for stage in data["stages"]],
            "served": [Served(**served) for served in data["served"]],
            "probes": [Probe(**probe) for probe in data["probes"]],
            "decision": Decision(**data["decision"]) if data["decision"] else None,
        }
    )


ARTIFACT = Artifact[Rollout | None](FILE, from_data, None)


def performance(probes: Sequence[Probe], side: Side) -> dict[str, float | None]:
    """Its share of right answers, and medians of what one side has shown in pairs."""
    mine, compared = [probe for probe in probes if probe.side == side], timed(probes, side)
    return {
        "answers": float(len(mine)),
        "right_ratio": sum(probe.right for probe in mine) / len(mine) if mine else None,
        "ttft_p50_ms": _median([p.ttft_ms for p in compared if p.ttft_ms is not None]),
        "tokens_per_s_p50": _median([p.tokens_per_s for p in compared if p.tokens_per_s is not None]),
    }


def timed(probes: Iterable[Probe], side: Side) -> list[Probe]:
    """One side's part of the pairs: only those were asked one at a time, with the other side to compare with."""
    return [one for both in pairs(probes) for one in both if one.side == side]


# ── the gates ──


def decide(probes: Sequence[Probe], version: str, questions: int, gates: Gates) -> Decision:
    """Roll back as soon as one gate says so, promote when all of them agree; until then it is open."""
    found = by_gate(probes, version, questions, gates)
    bad = next((one for one in found if one.verdict == ROLL_BACK), None)
    waits = next((one for one in found if one.verdict == OPEN), None)
    return bad or waits or Decision(PROMOTE, "", "; ".join(one.why for one in found))


def by_gate(probes: Sequence[Probe], version: str, questions: int, gates: Gates) -> list[Decision]:
    """What each gate says of these answers, the one that ends a rollout soonest first."""
    mine = [probe for probe in probes if probe.side == "candidate"]
    return [
        _version(mine, version),
        _errors(mine),
        *(_speed(name, pairs(probes), gates) for name in ("ttft", "rate")),
        _quality(mine, questions, gates),
    ]


def pairs(probes: Iterable[Probe]) -> list[tuple[Probe, Probe]]:
    """Candidate and stable of each pair in which both have answered, in order."""
    halves: dict[int, dict[str, Probe]] = {}
    for probe in probes:
        if probe.outcome == "ok":
            halves.setdefault(probe.pair, {})[probe.side] = probe
    return [(both["candidate"], both["stable"]) for _, both in sorted(halves.items()) if len(both) == 2]


def speed_is_open(probes: Sequence[Probe], gates: Gates) -> bool:
    """Whether more pairs are needed to tell which side is slower."""
    return any(_speed(name, pairs(probes), gates).verdict == OPEN for name in ("ttft", "rate"))


def _version(mine: Sequence[Probe], version: str) -> Decision:
    told = [probe.version for probe in mine if probe.outcome == "ok"]
    wrong = [one for one in told if one != version]
    if not told:
        return Decision(OPEN, "version", "nothing was answered")
    if wrong:
        return Decision(ROLL_BACK, "version", f"it should serve {version}, but its answer says {wrong[0]}")
    return Decision(PROMOTE, "version", f"every answer came from {version}")


def _errors(mine: Sequence[Probe]) -> Decision:
    failed = [probe.outcome != "ok" for probe in mine]
    verdict = _sequential(failed, *_FAILED_SHARES)
    return Decision(verdict, "errors", f"{sum(failed)} of {len(failed)} answers of the candidate failed")


def _speed(name: str, both: Sequence[tuple[Probe, Probe]], gates: Gates) -> Decision:
    ratios = [ratio for candidate, stable in both if (ratio := _slowness(name, candidate, stable)) is not None]
    slow = [ratio > gates.slower for ratio in ratios]
    verdict = _sequential(slow, *_SLOW_SHARES) if len(slow) >= gates.pairs_min else OPEN
    middle = _median(ratios)
    what = {"ttft": "first token", "rate": "token after token"}[name]
    words = "nothing to compare yet" if middle is None else f"{middle:.2f} times as slow in the middle"
    return Decision(
        verdict, name, f"{what}: {words}, more than {gates.slower:g} times in {sum(slow)} of {len(slow)} pairs"
    )


def _slowness(name: str, candidate: Probe, stable: Probe) -> float | None:
    if name == "ttft":
        return candidate.ttft_ms / stable.ttft_ms if candidate.ttft_ms and stable.ttft_ms else None
    return stable.tokens_per_s / candidate.tokens_per_s if candidate.tokens_per_s and stable.tokens_per_s else None


def _quality(mine: Sequence[Probe], questions: int, gates: Gates) -> Decision:
    """Over the whole eval set; one that cannot reach the threshold any more is not asked to the end."""
    asked = {probe.question: probe.right for probe in mine}
    right, wrong = sum(asked.values()), len(asked) - sum(asked.values())
    why = f"{right} of {len(asked)} questions answered exactly right ({questions} in the eval set)"
    if wrong > (1 - gates.quality) * questions:
        return Decision(ROLL_BACK, "quality", why)
    return Decision(PROMOTE if len(asked) >= questions > 0 else OPEN, "quality", why)


def _sequential(bad: Iterable[bool], fine: float, poor: float) -> str:
    """Wald's sequential probability ratio test: is the share of bad ones rather ``fine`` or ``poor``?

    What was fine for long is no credit: what turns bad later is noticed nearly as soon as what began so.
    """
    likelihood = 0.0
    for one in bad:
        likelihood += math.log(poor / fine) if one else math.log((1 - poor) / (1 - fine))
        if likelihood >= _SURE:
            return ROLL_BACK
        likelihood = max(likelihood, -_SURE)
    return PROMOTE if likelihood <= -_SURE else OPEN


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else None
