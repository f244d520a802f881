"""What happened, in three sentences, and how bad it was."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import NOT_MEASURED, Block, Figure, Inline, Items, said
from reports.incident import severity
from reports.incident.case import Case, between, utc
from reports.incident.times import Moment, Times, gap

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
    bad, total = float(answers.counted.bad.sum()), float(answers.counted.total.sum())
    parts: list[Inline] = [
        Figure("overview.bad", f"{bad:,.0f} of {total:,.0f} requests", answers.source), " were not answered as promised"
    ]  # fmt: skip
    users = case.users()
    if users is None:
        parts += ["; how many users that were is ", Figure("overview.users", NOT_MEASURED), "."]
    else:
        hit, every, source = users
        parts += [", by ", Figure("overview.users", f"{hit} of {every} users", source), "."]
    return parts


def _course(case: Case, times: Times) -> list[Inline]:
    began, ended, detected = (times.at(id_) for id_ in ("began", "mitigated", "detected"))
    if began.at_s is None or ended.at_s is None:
        return [""]
    parts: list[Inline] = [
        "It began at ", _time("overview.began", case, began), " and users were served as promised again after ",
        Figure("overview.lasted", between(began.at_s, began.within_s, ended.at_s, ended.within_s), ended.source), "; ",
    ]  # fmt: skip
    if detected.at_s is None:
        return [*parts, "no alert fired."]
    return [*parts, "the first alert fired ", Figure("overview.detected", gap(began, detected), detected.source), "."]


def _time(id_: str, case: Case, moment: Moment) -> Figure:
    text = NOT_MEASURED if moment.at_s is None else utc(case, moment.at_s, moment.within_s)
    return Figure(id_, text, moment.source)
