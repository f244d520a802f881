"""What became of the replicas that were not hit: how much waited there, how soon they answered, their share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from harness.model.incident import NOT_MEASURED, Block, Figure, Table, Text, said
from reports.incident.case import Case, figure
from reports.incident.times import Times
from reports.panel import number

ORDER, TITLE = 50, "Survivors"
#: A mean below it is not shown in full, and is no zero.
_LEAST = 0.001
_HEAD = ("replica", "when", "waiting (mean)", "waiting (most)", "first token p95", "share of requests")


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """Each replica before, during and after; then how unevenly they were loaded."""
    if not case.replicas:
        yield said("No replica's own metrics are known.")
        return
    hit = set(case.trigger().hit)
    spans, ids = _spans(case, times), _ids(case.replicas)
    rows = []
    for replica in case.replicas:
        who = f"{replica} (hit)" if replica in hit else replica
        for name, from_s, until_s in spans:
            cells = _cells(case, replica, f"survivors.{ids[replica]}.{name}", from_s, until_s)
            rows.append((said(who), said(name), *cells))
    if hit.issuperset(case.replicas):
        yield said("There are none: every replica was hit.")
    else:
        yield said(
            "What was not hit had to carry the load: a survivor that waits longer than before was the next to fail."
        )
    yield Table(_HEAD, tuple(rows))
    yield _skew(case, spans)


def _spans(case: Case, times: Times) -> list[tuple[str, float, float]]:
    began, ended = times.at("began").at_s, times.at("mitigated").at_s
    trigger = case.trigger()
    from_s = min((at for at in (began, trigger.began_s) if at is not None), default=case.lasts_s)
    until_s = max((at for at in (ended, trigger.ended_s) if at is not None), default=case.lasts_s)
    return [("before", 0.0, from_s), ("during", from_s, until_s), ("after", until_s, case.lasts_s)]


def _ids(names: Sequence[str]) -> dict[str, str]:
    """How figures call them: those that differ in signs only are numbered."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]", "-", name)
        tried = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
        found[name] = next(one for one in tried if one not in found.values())
    return found


def _waiting(case: Case, replica: str, from_s: float, until_s: float) -> tuple[str, str]:
    """The mean and the most that waited, in words."""
    samples = case.view.metrics(replica, "waiting")
    inside = samples[samples["t_s"].between(from_s, until_s)]["value"]
    if inside.empty:
        return NOT_MEASURED, NOT_MEASURED
    return f"{_requests(float(inside.mean()))} (n = {len(inside):,} samples)", _requests(float(inside.max()))


def _requests(count: float) -> str:
    if 0 < count < _LEAST:
        return f"fewer than {_LEAST:g} requests"
    return f"{number(round(count, 3))} {'request' if count == 1 else 'requests'}"


def _cells(case: Case, replica: str, of: str, from_s: float, until_s: float) -> tuple[Text, ...]:
    mean, most = _waiting(case, replica, from_s, until_s)
    waiting = case.source_of("waiting")
    (p95, p95_source), (share, share_source) = (
        case.first_token_p95(replica, from_s, until_s), case.share(replica, from_s, until_s),
    )  # fmt: skip
    return (
        said(Figure(f"{of}.waiting", mean, waiting)),
        said(Figure(f"{of}.most", most, waiting)),
        said(Figure(f"{of}.ttft", p95 or NOT_MEASURED, p95_source)),
        said(figure(f"{of}.share", None if share is None else 100 * share, "%", share_source)),
    )


def _skew(case: Case, spans: list[tuple[str, float, float]]) -> Table:
    """The largest share over the smallest, of those that had any."""
    rows = []
    for name, from_s, until_s in spans:
        shares = [case.share(replica, from_s, until_s) for replica in case.replicas]
        known = [share for share, _ in shares if share]
        skew = max(known) / min(known) if len(known) > 1 else None
        source = replace(shares[0][1], how="largest share over the smallest that is not 0")
        rows.append((said(name), said(figure(f"survivors.skew.{name}", skew, "", source))))
    return Table(("when", "skew between replicas"), tuple(rows))
