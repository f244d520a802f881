"""What went wrong for users, grouped, with request ids to look up in the gateways' logs."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.panel import table

ORDER, TITLE = 50, "Errors"
GROUPS_MAX = 30


def html(view: RunView, verdict: Verdict) -> Markup:
    """All attempts that were not ok, most frequent first."""
    quiet = ("ok", "cancelled_intended", "cancelled_drain")
    failed = view.requests[~view.requests["outcome"].isin(quiet)]
    keys = ["judged_phase", "outcome", "subtype", "http_status", "error_code", "error_message"]
    groups = failed.groupby(keys, dropna=False, sort=False)
    rows = sorted(((len(rows), key, rows) for key, rows in groups), key=lambda entry: -entry[0])
    head = ("attempts", "phase", "outcome", "status", "error code", "message", "request ids, e.g.")
    return table(head, [_row(*row) for row in rows[:GROUPS_MAX]])


def _row(count: int, key: tuple[object, ...], rows: object) -> tuple[object, ...]:
    phase, outcome, subtype, status, code, message = ("" if value is None or value != value else value for value in key)
    ids = ", ".join(dict.fromkeys(rows["request_id"].head(3)))  # type: ignore[index]
    what = f"{outcome} ({subtype})" if subtype else outcome
    shown = int(status) if isinstance(status, int | float) else ""
    return count, phase, what, shown, code, message, ids
