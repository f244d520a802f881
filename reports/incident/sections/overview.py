"""What happened, in three sentences, and how bad it was."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import NOT_MEASURED, Block, Figure, Inline, Items, said
from reports.incident import severity
from reports.incident.case import Case, Promise, between, utc
from reports.incident.times import Moment, Times, gap, spells

ORDER, TITLE = 10, "Overview"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """What is missing comes first: nothing below can say more than was recorded."""
    holes = case.holes()
    if holes:
        yield said("Data incomplete: ")
        yield Items(tuple(said(f"{h.who} {utc(case, h.from_s)} – {utc(case, h.until_s)}: {h.why}") for h in holes))
    yield said(*_severity(case, times))
    yield said(*_impact(case, times), " ", *_course(case, times), " ", case.trigger().what)


def _severity(case: Case, times: Times) -> list[Inline]:
    found = severity.of(case, times)
    return ["Severity: ", Figure("severity", found.level, found.source), f" ({found.why})."]


def _impact(case: Case, times: Times) -> list[Inline]:
    if not times.outside:
        lacking = severity.unseen(case)
        return [f"Whether an objective was broken is not known: {lacking}." if lacking else "No objective was broken."]
    answers = case.promises()[0]
    failed = Figure("overview.bad", _bad(answers), answers.source)
    parts: list[Inline] = [failed, " were not answered"]
    if not failed.measured:
        parts = ["How many requests were not answered is ", failed]
    users = case.users()
    if users is None:
        parts += ["; how many users that were is ", Figure("overview.users", NOT_MEASURED), "."]
    else:
        hit, every, source = users
        parts += [", by ", Figure("overview.users", f"{hit} of {every} users", source), "."]
    outside = {promise.id: promise for promise, _ in times.outside if promise.id != answers.id}
    for number, (id_, late) in enumerate(outside.items()):
        before = "; " if number else " Too late were "
        parts += [before, Figure(f"overview.late.{id_}", _bad(late), late.source), f" ({late.name})"]
    return [*parts, "."] if outside else parts


def _bad(promise: Promise) -> str:
    bad, total = float(promise.counted.bad.sum()), float(promise.counted.total.sum())
    return f"{bad:,.0f} of {total:,.0f} requests" if total else NOT_MEASURED


def _course(case: Case, times: Times) -> list[Inline]:
    began, ended, detected = (times.at(id_) for id_ in ("began", "mitigated", "detected"))
    if began.at_s is None or ended.at_s is None:
        return _fired(case)
    parts: list[Inline] = [
        "It began at ", _time("overview.began", case, began), " and users were served as promised again after ",
        Figure("overview.lasted", between(began.at_s, began.within_s, ended.at_s, ended.within_s), ended.source),
    ]  # fmt: skip
    stretches, together = spells(times)
    if stretches > 1:
        text = f"{stretches} stretches, {together} outside an objective in all"
        parts += [", in ", Figure("overview.stretches", text, ended.source)]
    parts.append("; ")
    if detected.at_s is None:
        return [*parts, "no alert fired."]
    return [*parts, "the first alert fired ", Figure("overview.detected", gap(began, detected), detected.source), "."]


def _fired(case: Case) -> list[Inline]:
    """Alerts tell of something also where no time of users does."""
    fired = len([one for one in case.alerts() if not one.before])
    return [Figure("overview.alerts", f"{fired} alerts", case.alert_source()), " fired."] if fired else [""]


def _time(id_: str, case: Case, moment: Moment) -> Figure:
    text = NOT_MEASURED if moment.at_s is None else utc(case, moment.at_s, moment.within_s)
    return Figure(id_, text, moment.source)
