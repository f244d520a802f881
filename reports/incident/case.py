"""What an incident report asks of its evidence, whether that is a run or a server's history (``Case``).

All times are seconds since the evidence began. What is not known is None, and is shown as not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from harness.evidence.evidence import Evidence
from harness.judge.outside import Counted
from harness.model.incident import NOT_MEASURED, Figure, Source
from reports.incident.scenario import Again
from reports.panel import number


@dataclass(frozen=True)
class Promise:
    """An objective over single requests: ``target`` percent of them are not bad."""

    id: str
    name: str
    target: float
    counted: Counted
    source: Source


@dataclass(frozen=True)
class Entry:
    """Something that happened: at ``at_s``, or up to ``within_s`` before."""

    at_s: float
    what: str
    source: Source
    within_s: float = 0.0


@dataclass(frozen=True)
class Told:
    """An alert that fired. ``cleared_s`` is None while it still did at the end; ``before``: it is older than this."""

    name: str
    severity: str
    labels: Mapping[str, str]
    fired_s: float
    cleared_s: float | None
    before: bool


@dataclass(frozen=True)
class Hole:
    """Evidence that is missing: of whom, and between which times."""

    who: str
    from_s: float
    until_s: float
    why: str


@dataclass(frozen=True)
class Outcome:
    """How many requests ended so, in all and by minute of the clock (UTC, its beginning in Unix seconds)."""

    name: str
    requests: float
    by_minute: Mapping[float, float]


@dataclass(frozen=True)
class Trigger:
    """What set it off, as far as is known. ``hit`` are the components that it was done to or that showed it first.

    ``unknown`` says what could not be told. ``fault`` is what would bring it about again: type, component, options.
    """

    what: str
    hit: tuple[str, ...]
    began_s: float | None
    ended_s: float | None
    sources: tuple[Source, ...]
    unknown: str = ""
    faults: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Red:
    """A check that failed: its id, its sentence, why, in which phase, and how the drill is called that asks it."""

    id: str
    name: str
    why: str
    phase: str
    family: str


@dataclass(frozen=True)
class Request:
    """A request that failed: its id, what became of it, and what was logged about it."""

    id: str
    what: str
    lines: tuple[str, ...]


class Case(Protocol):
    """The evidence of one incident. Every number that it hands out says where it comes from."""

    @property
    def view(self) -> Evidence:
        """The series."""

    @property
    def lasts_s(self) -> float:
        """How long the evidence lasts."""

    #: Unix seconds at which it began.
    zero_wall_s: float
    title: str
    #: How the report is asked for again: what ``Report.made_from`` holds.
    made_from: Mapping[str, str]
    replicas: tuple[str, ...]
    gateways: tuple[str, ...]

    def holes(self) -> Sequence[Hole]:
        """What is missing, in order of time."""

    def promises(self) -> Sequence[Promise]:
        """The objectives that began, mitigated and the budget rest on; the first is about answers at all."""

    def outcomes(self) -> tuple[Sequence[Outcome], Source]:
        """Requests by what became of them, the good ones first."""

    def users(self) -> tuple[int, int, Source] | None:
        """How many users had a bad request, of how many; None where nobody could tell users apart."""

    def tokens(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """(id, what, how many, source) of tokens that were made, lost and abandoned."""

    def slowest(self) -> tuple[str, Source] | None:
        """The worst latency in words; None where it was not measured."""

    def entries(self) -> Sequence[Entry]:
        """What happened, in order of time, alerts left out."""

    def alerts(self) -> Sequence[Told]:
        """Alerts that fired, in order of time."""

    def alert_source(self) -> Source:
        """Where they come from."""

    def silent(self) -> Sequence[str]:
        """Alerts that should have fired and did not, or of a history: those that are there and did not."""

    def reds(self) -> Sequence[Red]:
        """Checks that failed; none of a history."""

    def trigger(self) -> Trigger:
        """What set it off."""

    def again(self) -> Again | str:
        """What brings it about again; or a sentence that says why nothing is known to."""

    def first_token_p95(self, replica: str, from_s: float, until_s: float) -> str | None:
        """In words, with its bounds where it is only known to lie between two."""

    def share(self, replica: str, from_s: float, until_s: float) -> float | None:
        """Of all requests that gateways gave to replicas: those that this one got, from 0 to 1."""

    def source_of(self, signal: str, how: str = "") -> Source:
        """Where the samples of a signal (``waiting``) come from."""

    def by_design(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """(id, what, how many, source) of retries, ejections and refusals: what the system does in trouble."""

    def configuration(self) -> Sequence[tuple[str, str]]:
        """What is configured that plays a part: name and value."""

    def versions(self) -> Sequence[tuple[str, str]]:
        """Of what ran: name and version."""

    def requests(self) -> Sequence[Request]:
        """Some that failed."""


def utc(case: Case, at_s: float, within_s: float = 0.0) -> str:
    """``14:02:05.3 UTC``; with ``within_s`` ``14:01:50 – 14:02:05 UTC``, since it is known no better."""
    if not math.isfinite(at_s):
        return NOT_MEASURED
    if within_s >= 1.0:
        return f"{_clock(case, at_s - within_s, 0)} – {_clock(case, at_s, 0)} UTC"
    return f"{_clock(case, at_s, 1)} UTC"


def _clock(case: Case, at_s: float, digits: int) -> str:
    moment = datetime.fromtimestamp(round(case.zero_wall_s + at_s, digits), UTC)
    text = moment.strftime("%H:%M:%S")
    return text if digits == 0 else f"{text}.{moment.microsecond // 100_000}"


def lasted(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    whole = round(seconds)
    if whole < 60:
        return number(seconds, "s")
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(id_: str, value: float | None, unit: str, source: Source | None) -> Figure:
    """A number as the page writes it: whole ones in full."""
    if value is None or not math.isfinite(value):
        return Figure(id_, NOT_MEASURED, source)
    text = f"{value:,.0f} {unit}".strip() if float(value).is_integer() else number(value, unit)
    return Figure(id_, text, source)
