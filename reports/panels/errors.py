"""What went wrong for users, grouped, with request ids to look up in the gateways' logs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.evidence.attempts import Attempts, example_ids
from harness.evidence.view import RunView
from harness.model.stream import TOKENS_NOT_SENT
from harness.model.verdict import Verdict
from reports import requests
from reports.panel import table

ORDER, TITLE = 50, "Errors"
GROUPS_MAX = 30
#: Of so many kinds one request is shown with what was logged about it.
LOOKED_AT = 6
_KEYS = ["judged_phase", "outcome", "subtype", "http_status", "error_code", "error_message"]


def html(view: RunView, verdict: Verdict) -> Markup:
    """All attempts that were not ok, most frequent first, and what that means."""
    quiet = ("ok", "cancelled_intended", "cancelled_drain")
    failed = view.requests[~view.requests["outcome"].isin(quiet)]
    kinds = failed[_KEYS].astype({"judged_phase": object})
    group = kinds.groupby(_KEYS, dropna=False, sort=False).ngroup().to_numpy()
    frequent = np.argsort(-np.bincount(group), kind="stable")[:GROUPS_MAX]
    head = ("attempts", "phase", "outcome", "status", "error code", "message", "request ids, e.g.")
    said = "Attempts, not requests: many of these were retried and answered. Faults break some; checks ask how many."
    groups = [failed[group == one] for one in frequent]
    if not groups:
        return table(head, [])
    shown = tuple(dict.fromkeys(str(rows.head(1)["request_id"].iloc[0]) for rows in groups[:LOOKED_AT]))
    of_each = Markup("<h3>One request of each of the most frequent kinds</h3>{}").format(
        Markup("").join(requests.examples(view, shown, [one]) for one in shown)
    )
    return Markup("<p>{}</p>").format(said) + table(head, [_row(rows) for rows in groups]) + of_each


def _row(rows: Attempts) -> tuple[object, ...]:
    first = rows.head(1)[_KEYS].astype(object).iloc[0]
    phase, outcome, subtype, status, code, message = ("" if pd.isna(value) else value for value in first)
    different = rows["request"].drop_duplicates().index[:3]
    ids = ", ".join(example_ids(rows[rows.index.isin(different)]["request_id"]))
    what = f"{outcome} ({subtype})" if subtype else outcome
    if outcome == "empty" and subtype == TOKENS_NOT_SENT:
        tokens = rows["output_tokens"]
        message = f"usage counts up to {int(tokens.max())} tokens, but none was sent: they were hidden or dropped"
    return len(rows), phase, what, "" if status == "" else int(status), code, message, ids
