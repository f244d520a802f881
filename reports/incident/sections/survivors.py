"""What became of the replicas that were not hit: how much waited there, how soon they answered, their share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from harness.model.incident import NOT_MEASURED, Block, Figure, Table, Text, said
from reports.incident.case import Case, figure
from reports.incident.times import Times

ORDER, TITLE = 50, "Survivors"
_HEAD = ("replica", "when", "waiting (mean)", "waiting (most)", "first token p95", "share of requests")


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """Each replica before, during and after; then how unevenly they were loaded."""
    if not case.replicas:
        yield said("No replica's own metrics are known.")
        return
    hit = set(case.trigger().hit)
    spans = _spans(case, times)
    rows = []
    for replica in case.replicas:
        who = f"{replica} (hit)" if replica in hit else replica
        for name, from_s, until_s in spans:
            rows.append((said(who), said(name), *_cells(case, replica, name, from_s, until_s)))
    yield said("What was not hit had to carry the load: a survivor that waits longer than before was the next to fail.")
    yield Table(_HEAD, tuple(rows))
    yield _skew(case, spans)


def _spans(case: Case, times: Times) -> list[tuple[str, float, float]]:
    began, ended = times.at("began").at_s, times.at("mitigated").at_s
    trigger = case.trigger()
    from_s = min((at for at in (began, trigger.began_s) if at is not None), default=case.lasts_s)
    until_s = max((at for at in (ended, trigger.ended_s) if at is not None), default=case.lasts_s)
    return [("before", 0.0, from_s), ("during", from_s, until_s), ("after", until_s, case.lasts_s)]


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "-", name)


def _waiting(case: Case, replica: str, from_s: float, until_s: float) -> tuple[float | None, float | None]:
    samples = case.view.metrics(replica, "waiting")
    inside = samples[samples["t_s"].between(from_s, until_s)]["value"]
    return (None, None) if inside.empty else (float(inside.mean()), float(inside.max()))


def _cells(case: Case, replica: str, when: str, from_s: float, until_s: float) -> tuple[Text, ...]:
    of = f"survivors.{_id(replica)}.{when}"
    mean, most = _waiting(case, replica, from_s, until_s)
    waiting = case.source_of("waiting")
    (p95, p95_source), (share, share_source) = (
        case.first_token_p95(replica, from_s, until_s), case.share(replica, from_s, until_s),
    )  # fmt: skip
    return (
        said(figure(f"{of}.waiting", mean, "", waiting)),
        said(figure(f"{of}.most", most, "", waiting)),
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
