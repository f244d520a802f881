"""Whom it hit: requests by what became of them, by minute, tokens, the slowest answer, and the error budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from harness.model.incident import NOT_MEASURED, Block, Figure, Source, Table, Text, said
from reports.incident import severity
from reports.incident.case import Case, Outcome, day, figure
from reports.incident.times import Times
from reports.panel import anchor

ORDER, TITLE = 20, "Impact"
#: So many minutes are listed: those with bad requests, and one before and after.
MINUTES = 30


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """Totals, then minutes."""
    outcomes, source = case.outcomes()
    rows = [
        *(_row(f"requests: {one.name}", figure(_id("requests", one), one.requests, "", source)) for one in outcomes),
        _users(case),
        *(_row(what, figure(f"impact.tokens.{id_}", n, "", of)) for id_, what, n, of in case.tokens()),
        _slowest(case),
        *_budget(case),
    ]
    yield Table(("what", "how much"), tuple(rows))
    yield from case.limits()
    minutes = _minutes(case, outcomes, source)
    if minutes.rows:
        yield said("By minute (UTC), from the first minute with a bad request to the last:")
        yield minutes


def _row(name: str, value: Figure) -> tuple[Text, Text]:
    return said(name), said(value)


def _id(of: str, one: Outcome) -> str:
    return f"impact.{of}.{anchor('is', one.name)}"


def _users(case: Case) -> tuple[Text, Text]:
    users = case.users()
    name = "users with a request that was not good"
    if users is None:
        return _row(name, Figure("impact.users", NOT_MEASURED))
    hit, every, source = users
    return _row(name, Figure("impact.users", f"{hit} of {every}", source))


def _slowest(case: Case) -> tuple[Text, Text]:
    found = case.slowest()
    return _row("slowest answer", Figure("impact.slowest", *(found or (NOT_MEASURED,))))


def _budget(case: Case) -> Iterator[tuple[Text, Text]]:
    (own, month), answers = severity.budget(case), case.promises()[0]
    for id_, name, share in (
        ("own", f"error budget of these requests ({answers.name}), burned", own),
        ("month", "error budget of 30 days at this rate of requests, burned", month),
    ):
        yield _row(name, figure(f"impact.budget.{id_}", None if share is None else 100 * share, "%", answers.source))


def _minutes(case: Case, outcomes: Sequence[Outcome], source: Source) -> Table:
    bad = sorted({at for one in outcomes if one.hit for at, n in one.by_minute.items() if n > 0})
    every = sorted({at for one in outcomes for at in one.by_minute})
    shown = [at for at in every if bad and bad[0] - 60 <= at <= bad[-1] + 60]
    rows = [
        (
            said(f"{day(case, at)}{datetime.fromtimestamp(at, UTC):%H:%M}"),
            *(said(_of(one, at, source)) for one in outcomes),
        )
        for at in shown[:MINUTES]
    ]
    if len(shown) > MINUTES:
        rows.append((said(f"and {len(shown) - MINUTES} more"), *(said("") for _ in outcomes)))
    return Table(("minute", *(one.name for one in outcomes)), tuple(rows))


def _of(one: Outcome, at: float, source: Source) -> Figure:
    return figure(_id(f"minute.{at:.0f}", one), one.by_minute.get(at, 0.0), "", source)
