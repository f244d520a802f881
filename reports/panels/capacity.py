"""What the stack can carry on the machine that it ran on, and how the load of this run followed from that."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import capacity
from harness.model.verdict import Verdict
from reports.panel import facts

ORDER, TITLE = 80, "Capacity"


def html(view: RunView, verdict: Verdict) -> Markup:
    """A regression first; then the fitted load, and the capacity that it is a share of."""
    known: dict[str, Any] = view.plan.get("capacity") or {}
    parts = [
        Markup('<p class="nodata">{}</p>').format(text)
        for text in (known.get("regression"), *(event.data.get("why") for event in view.events("too_small")))
        if text
    ]
    if known.get("asked"):
        notes = (known.get("fitted") or {}).get("notes") or ()
        parts.append(facts([("load as the scenario says", known["asked"]), *(("fitted", n) for n in notes)]))
    if not known.get("used"):
        absolute = "its load is what the scenario says, in requests per second"
        why = "measuring it failed, see the reason above" if known.get("asked") else absolute
        parts.append(Markup('<p class="nodata">Capacity was not measured on this machine: {}.</p>').format(why))
        return Markup("").join(parts)
    used = capacity.from_data(known["used"])
    rows = [
        ("machine", known.get("machine")),
        ("measured", f"{used.measured}, {'once' if used.repeats == 1 else f'{used.repeats} times'}"),
        ("accepted", f"no: {'; '.join(used.provisional)}" if used.provisional else "yes"),
        *(("", line) for line in used.lines),
    ]
    return Markup("").join([*parts, facts(rows)])
