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
from harness.model.incident import NOT_MEASURED, Figure, Items, Source, Text, said
from reports.incident.scenario import Again
from reports.panel import number

#: So many alerts are listed: of a large cluster there may be hundreds.
ALERTS_SHOWN = 30
#: A time that is known better is shown as one; a stretch is shown in whole seconds where it is so long.
_EXACT_S, _WHOLE_FROM_S = 0.1, 10.0


@dataclass(frozen=True)
class Promise:
    """An objective over single requests: ``target`` percent of them are not bad. ``timed`` says what the time of a
    request is here, where that is not when it ended.
    """

    id: str
    name: str
    target: float
    counted: Counted
    source: Source
    timed: str = ""


#: What may have happened to a component: it stopped and went on to answer its scrapes, was restarted; a gateway
#: ejected and readmitted it, or no longer had it in its configuration, and had it again.
SILENT, ANSWERS, RESTARTED = "silent", "answers", "restarted"
EJECTED, READMITTED, FORGOTTEN, KNOWN = "ejected", "readmitted", "forgotten", "known"


@dataclass(frozen=True)
class Entry:
    """Something that happened: at ``at_s``, or up to ``within_s`` before. ``what`` says it to people.

    ``kind`` is one of those above, ``component`` whom it happened to and ``by`` the gateway that did it; all are empty
    where nothing is made of it.
    """

    at_s: float
    what: str
    source: Source
    within_s: float = 0.0
    kind: str = ""
    component: str = ""
    by: str = ""


@dataclass(frozen=True)
class FiredAlert:
    """An alert that fired. ``cleared_s`` is None while it still did at the end; ``before``: it is older than this.

    ``source`` is where it comes from, if not where the others do.
    """

    name: str
    severity: str
    labels: Mapping[str, str]
    fired_s: float
    cleared_s: float | None
    before: bool
    source: Source | None = None

    @property
    def told(self) -> str:
        """Its name, with the labels that tell it from others of that name."""
        labels = ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{self.name} ({labels})" if labels else self.name


@dataclass(frozen=True)
class Silenced:
    """Somebody silenced an alert that had fired."""

    at_s: float
    by: str
    alert: str
    source: Source


@dataclass(frozen=True)
class Hole:
    """Evidence that is missing: of whom, and between which times; all of it, or these signals."""

    who: str
    from_s: float
    until_s: float
    why: str
    signals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How many requests ended so, in all and by minute of the clock (UTC, its beginning in Unix seconds).

    ``hit``: their users did not get what they had asked for, and did not end it themselves.
    """

    name: str
    hit: bool
    requests: float
    by_minute: Mapping[float, float]


@dataclass(frozen=True)
class Trigger:
    """What set it off, as far as is known. ``hit`` are the components that it was done to or that showed it first.

    ``unknown`` says what is not known. ``fault`` is what would bring it about again: type, component, options.
    It ended at ``ended_s``, or up to ``ended_within_s`` before.
    """

    what: str
    hit: tuple[str, ...]
    began_s: float | None
    ended_s: float | None
    sources: tuple[Source, ...]
    unknown: str = ""
    faults: tuple[Mapping[str, object], ...] = ()
    ended_within_s: float = 0.0


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

    def limits(self) -> Sequence[Text]:
        """What the counts of requests cannot know."""

    def users(self) -> tuple[int, int, Source] | None:
        """How many users had a bad request, of how many; None where nobody could tell users apart."""

    def tokens(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """(id, what, how many, source) of tokens that were made, lost and abandoned."""

    def slowest(self) -> tuple[str, Source] | None:
        """The worst latency in words; None where it was not measured."""

    def entries(self) -> Sequence[Entry]:
        """What happened, in order of time, alerts left out."""

    def alerts(self) -> Sequence[FiredAlert]:
        """Alerts of this service that fired, in order of time."""

    def others(self) -> Sequence[FiredAlert]:
        """Alerts of other services that fired meanwhile, in order of time: nothing rests on them."""

    def silenced(self) -> Sequence[Silenced] | None:
        """Who silenced an alert that had fired, in order of time; None where nothing tells."""

    def alert_source(self) -> Source:
        """Where they come from."""

    def silent(self) -> Sequence[str] | None:
        """Alerts that should have fired and did not, or of a history: those that are there and did not. None where the
        server does not tell which there are.
        """

    def reds(self) -> Sequence[Red]:
        """Checks that failed; none of a history."""

    def trigger(self) -> Trigger:
        """What set it off."""

    def again(self) -> Again | str:
        """What brings it about again; or a sentence that says why nothing is known to."""

    def first_token_p95(self, replica: str, from_s: float, until_s: float) -> tuple[str | None, Source]:
        """In words, with its bounds where it is only known to lie between two; None of too few answers for a p95."""

    def share(self, replica: str, from_s: float, until_s: float) -> tuple[float | None, Source]:
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
    """``14:02:05.3 UTC``; with ``within_s`` ``14:01:50 – 14:02:05 UTC``, since it is known no better. The day stands
    before it where that is not the first one.
    """
    if not math.isfinite(at_s):
        return NOT_MEASURED
    wall_s = case.zero_wall_s + at_s
    if within_s < _EXACT_S:
        return f"{_clock(case, round(10 * wall_s), 10)} UTC"
    parts = 1 if within_s >= _WHOLE_FROM_S else 10
    # Outwards: what happened lies between what is shown.
    begin, end = (round(1000 * one) * parts for one in (wall_s - within_s, wall_s))
    return f"{_clock(case, begin // 1000, parts)} – {_clock(case, -(-end // 1000), parts)} UTC"


def _clock(case: Case, units: int, parts: int) -> str:
    """Of so many units since the epoch, ``parts`` of which are a second."""
    text = f"{day(case, units // parts)}{datetime.fromtimestamp(units // parts, UTC):%H:%M:%S}"
    return text if parts == 1 else f"{text}.{units % parts}"


def day(case: Case, wall_s: float) -> str:
    """``2026-11-29 `` of a Unix second that is not on the first day of the evidence; else ""."""
    first, then = (datetime.fromtimestamp(at, UTC).date() for at in (case.zero_wall_s, wall_s))
    return "" if first == then else f"{then} "


def listed(names: Sequence[str]) -> Items:
    """The first of them, and how many more there are."""
    more = len(names) - ALERTS_SHOWN
    shown = [*names[:ALERTS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return Items(tuple(map(said, shown)))


def lasted(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    whole = round(seconds)
    if whole < 60:
        return number(seconds, "s")
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def between(from_s: float, from_within_s: float, until_s: float, until_within_s: float) -> str:
    """How long it was from one time to another, each of which may be as much earlier: ``25 s to 55 s``."""
    least, most = until_s - until_within_s - from_s, until_s - from_s + from_within_s
    if from_within_s < _EXACT_S and until_within_s < _EXACT_S:
        return lasted(until_s - from_s)
    return f"{lasted(max(least, 0.0))} to {lasted(most)}"


def figure(id_: str, value: float | None, unit: str, source: Source | None) -> Figure:
    """A number as the page writes it: whole ones in full."""
    if value is None or not math.isfinite(value):
        return Figure(id_, NOT_MEASURED, source)
    text = f"{value:,.0f} {unit}".strip() if float(value).is_integer() else number(value, unit)
    return Figure(id_, text, source)
