"""Random histories of one gateway: no number of its report is more, or better known, than its samples allow.

What really happened is known second by second; how much of it the samples prove is computed here by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.evidence.history import MISSED, HistoryView
from harness.model import mapping
from harness.run.history import Wanted, fetch
from reports.incident import times
from reports.incident.make import report
from reports.incident.of_history import HistoryCase
from tests.prometheus_server import Recorded, Server, serving
from tests.unit.properties.depth import depth, draws

FROM = 1_700_000_040.0
Span = tuple[int, int]
#: A counter at the scrapes that were answered: (seconds since FROM, value).
Samples = list[tuple[int, int]]


@dataclass(frozen=True)
class Past:
    """What happened: in second ``t`` ``load[t]`` requests ended well and badly. The exporter, which counts them, was
    started again at each of ``restarts``, did not answer in ``silent``, and was not asked in ``holes``.
    """

    scrape_s: int
    first_s: int
    load: tuple[tuple[int, int], ...]
    restarts: tuple[int, ...]
    silent: tuple[Span, ...]
    holes: tuple[Span, ...]

    @property
    def lasts_s(self) -> int:
        """The length of the history."""
        return len(self.load)

    @cached_property
    def asked(self) -> list[int]:
        """When the exporter was asked."""
        every = range(self.first_s, self.lasts_s + 1, self.scrape_s)
        return [t for t in every if not any(begin <= t < end for begin, end in self.holes)]

    @cached_property
    def answered(self) -> list[int]:
        """When it answered."""
        return [t for t in self.asked if not any(begin <= t < end for begin, end in self.silent)]

    def happened(self, bad: bool, since: float, until: float) -> int:
        """How many requests really ended so, in (since, until]: those of second ``t`` before it is over."""
        return sum(one[bad] for t, one in enumerate(self.load) if since <= t < until)

    def counted(self, bad: bool) -> Samples:
        """The counter at each answered scrape."""
        found = []
        for t in self.answered:
            since = max((at for at in self.restarts if at <= t), default=0)
            found.append((t, self.happened(bad, since, t)))
        return found

    def series(self) -> list[Recorded]:
        """All that the server has. A class of answers has no series before the first of it."""
        own = {"instance": "exporter:9109", "job": "exporter"}
        of = {**own, "gateway": "gateway-a"}
        requests = "drillyard_gateway_requests_total"
        up = [(FROM + t, float(t in self.answered)) for t in self.asked]
        found = [Recorded("up", {**own, "component": "exporter"}, up)]
        for bad, name in ((False, "2xx"), (True, "5xx")):
            found.append(Recorded(requests, {**of, "status_class": name}, _sampled(self.counted(bad), empty=False)))
        return [*found, Recorded("drillyard_gateway_failures_total", of, _sampled(self.counted(True), empty=True))]


def _sampled(counted: Samples, empty: bool) -> list[tuple[float, float]]:
    return [(FROM + t, float(value)) for t, value in counted if value or empty]


def rises(counted: Samples) -> list[tuple[int, int, int]]:
    """(since, until, how many at least). Of a counter that fell it is all that it has now; one that was not there for a
    while may be the same as before.
    """
    first = next((place for place, (_, value) in enumerate(counted) if value), len(counted))
    there = [*counted[:first], *((t, value) for t, value in counted[first:] if value)]
    return [(since, t, b - a if b >= a else b) for (since, a), (t, b) in pairwise(there)]


def spans(lasts_s: int, most: int) -> st.SearchStrategy[tuple[Span, ...]]:
    """Stretches of the history, up to a fifth of it each."""
    one = st.tuples(st.integers(0, lasts_s), st.integers(1, lasts_s // 5)).map(lambda span: (span[0], sum(span)))
    return st.lists(one, max_size=most).map(tuple)


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    """Half an hour or an hour of some requests, quiet stretches and bad ones."""
    lasts_s = draw(st.sampled_from((1_200, 2_400)))
    scrape_s = draw(st.integers(15, 60))
    pieces = draw(
        st.lists(st.tuples(st.integers(1, 400), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=8)
    )
    load = [(good, bad) for seconds, good, bad in pieces for _ in range(seconds)]
    load = (load * (lasts_s // len(load) + 1))[:lasts_s]
    return Past(
        scrape_s, draw(st.integers(1, scrape_s)), tuple(load),
        tuple(sorted(draw(st.lists(st.integers(1, lasts_s), max_size=3)))),
        draw(spans(lasts_s, 2)), draw(spans(lasts_s, 2)),
    )  # fmt: skip


def of(past: Past, folder: Path) -> HistoryCase:
    """What its server has, fetched."""
    with serving(Server(past.series(), now=lambda: FROM + past.lasts_s)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        fetch(client, Wanted(FROM, FROM + past.lasts_s, "", mapping.shipped()), folder, lambda text: None)
    return HistoryCase(HistoryView(folder))


@depth(quick=5, deep=400)
def test_no_number_is_wrong(tmp_path_factory: pytest.TempPathFactory, examples: int) -> None:
    """Requests, minutes, times and gaps."""

    @draws(examples)
    @given(past=pasts())
    def holds(past: Past) -> None:
        assume(len(past.answered) >= 8 and any(value for _, value in past.counted(False)))
        case = of(past, tmp_path_factory.mktemp("history"))
        counts_are_proven(past, case)
        times_hold_what_happened(past, case)
        gaps_are_named(past, case)
        shown = report(case).figures()
        first, last = past.answered[0], past.answered[-1]
        assert shown["impact.counted.1"].text == f"{_clock(first)} – {_clock(last)} UTC"

    holds()


def counts_are_proven(past: Past, case: HistoryCase) -> None:
    """As many as the samples prove, in all and by minute, and never more than there were; what a restart has taken
    from them is told wherever it shows.
    """
    by_name = {one.name: one for one in case.outcomes()[0]}
    first, last = past.answered[0], past.answered[-1]
    for bad, name in ((False, "status 2xx"), (True, "failed (5xx)")):
        proven = rises(past.counted(bad))
        total = sum(n for *_, n in proven)
        found = by_name.get(name)
        assert (found.requests if found else 0) == total
        assert total <= past.happened(bad, first, last)
        by_minute: dict[float, float] = {}
        for _, until, n in proven:
            minute = (FROM + until) // 60 * 60
            by_minute[minute] = by_minute.get(minute, 0) + n
        shown = found.by_minute if found else {}
        assert {at: n for at, n in shown.items() if n} == {at: n for at, n in by_minute.items() if n}
    fell = any(b < a for bad in (False, True) for (_, a), (_, b) in pairwise(past.counted(bad)))
    said = " ".join("".join(map(str, one.parts)) for one in case.limits())
    assert ("was counted from 0 again" in said) == fell


def times_hold_what_happened(past: Past, case: HistoryCase) -> None:
    """In each time that is shown for a bad request there was one, and none of the bad ones is counted twice."""
    found = times.of(case)
    for name in ("began", "first-failure", "mitigated"):
        moment = found.at(name)
        if moment.at_s is not None:
            assert past.happened(True, moment.at_s - moment.within_s, moment.at_s) > 0
    for promise, one in found.outside:
        if promise.id == "answers":
            assert 5 <= one.bad <= past.happened(True, one.from_s - one.within_s, one.until_s)
            assert one.bad <= one.total <= sum(past.happened(b, 0, one.until_s) for b in (False, True))


def gaps_are_named(past: Past, case: HistoryCase) -> None:
    """Each stretch without an answered scrape that is longer than some may be late, and no other."""
    usual = sorted(b - a for a, b in pairwise(past.answered))
    middle = (usual[(len(usual) - 1) // 2] + usual[len(usual) // 2]) / 2
    marks = [0, *past.answered, past.lasts_s]
    expected = [(a, b) for a, b in pairwise(marks) if b - a > MISSED * middle]
    shown = [(hole.from_s, hole.until_s) for hole in case.holes() if hole.who == "gateway-a"]
    assert shown == expected


def _clock(seconds: int) -> str:
    whole = int(FROM) % 86_400 + seconds
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
