"""Single requests on the page: what became of each attempt, and what gateways and replicas logged about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd
from markupsafe import Markup

from harness.evidence import logs
from harness.evidence.per_view import per_view
from harness.evidence.view import RunView
from harness.model.verdict import Status, Verdict
from reports.panel import number, table

#: So many requests of each check are shown, so many checks' in all, and so many attempts of each request.
SHOWN, CHECKS, ATTEMPTS = 3, 12, 6
_HEAD = ("attempt", "began", "gateway", "replica", "outcome", "status", "error", "first token", "took")
_COLUMNS = ["request_id", "attempt", "start_s", "gateway", "replica", "gateway_replica", "outcome", "subtype",
            "http_status", "error_code", "error_message", "ttft_ms", "e2e_ms"]  # fmt: skip


def wanted(verdict: Verdict) -> tuple[str, ...]:
    """The ids that the page shows: of the checks that failed first, then of the undecided."""
    open_ = [c for status in (Status.FAIL, Status.INCONCLUSIVE) for c in verdict.checks if c.status is status]
    named = [check for check in open_ if check.examples][:CHECKS]
    return tuple(dict.fromkeys(one for check in named for one in check.examples[:SHOWN]))


def examples(view: RunView, known: tuple[str, ...], ids: Sequence[str]) -> Markup:
    """The first few of these requests that are ``known``, folded; the others by their ids. "" without any.

    ``known`` are all that one part of the page shows: their attempts and lines are looked for at once.
    """
    shown = [one for one in ids[:SHOWN] if one in known]
    parts = [_request(view, one, known) for one in shown]
    if rest := [one for one in ids if one not in shown]:
        listed = ", ".join(rest)
        parts.append(Markup('<p>{} <span class="ids">{}</span></p>').format("Also:" if shown else "Requests:", listed))
    return Markup("").join(parts)


def _request(view: RunView, one: str, known: tuple[str, ...]) -> Markup:
    attempts = _attempts(view, known)
    mine = attempts[attempts["request_id"].eq(one)].sort_values("attempt", kind="stable")
    outcome = mine["outcome"].iloc[-1] if len(mine) else "not recorded"
    return Markup(
        '<details class="request"><summary>Request <span class="ids">{}</span>: {}</summary>{}{}</details>'
    ).format(
        one,
        outcome,
        table(_HEAD, [_row(view, row) for _, row in mine.head(ATTEMPTS).iterrows()]),
        _lines(view, one, known),
    )


@per_view
def _attempts(view: RunView, ids: tuple[str, ...]) -> pd.DataFrame:
    return view.requests[view.requests["request_id"].isin(list(ids))][_COLUMNS].astype(object)


@per_view
def _logged(view: RunView, ids: tuple[str, ...]) -> dict[str, list[logs.Line]]:
    return logs.about(view.folder, ids, (*view.gateways, *view.replicas))


def _row(view: RunView, row: pd.Series) -> tuple[object, ...]:
    value = {name: None if pd.isna(one) else one for name, one in row.items()}
    names = {view.address_of(name): name for name in view.gateways}
    error = ": ".join(str(value[name]) for name in ("error_code", "error_message") if value[name])
    return (
        value["attempt"],
        None if value["start_s"] is None else f"{value['start_s']:.2f} s",
        names.get(str(value["gateway"]), value["gateway"] or "—"),
        value["replica"] or value["gateway_replica"] or "—",
        f"{value['outcome']} ({value['subtype']})" if value["subtype"] else value["outcome"],
        "—" if value["http_status"] is None else int(value["http_status"]),
        error or "—",
        "—" if value["ttft_ms"] is None else number(value["ttft_ms"], "ms"),
        None if value["e2e_ms"] is None else number(value["e2e_ms"], "ms"),
    )


def _lines(view: RunView, one: str, known: tuple[str, ...]) -> Markup:
    """What was logged about it in the order of time; who logged nothing that names it is said, too."""
    if not (view.folder.path / "logs").is_dir():
        return Markup('<p class="nodata">The run folder has no logs.</p>')
    lines = _logged(view, known).get(one, [])
    silent = _silent(lines, (*view.gateways, *view.replicas))
    shown = "\n".join(
        f"{'' if line.t_s is None else f'{line.t_s:8.2f} s '}{line.component}: {line.text}" for line in lines
    )
    said = Markup("<p><small>No line names it in the log of {}.</small></p>").format(silent) if silent else Markup("")
    return (Markup("<pre>{}</pre>").format(shown) if lines else Markup("")) + said


def _silent(lines: Sequence[logs.Line], components: Collection[str]) -> str:
    spoke = {line.component for line in lines}
    return ", ".join(component for component in components if component not in spoke)
