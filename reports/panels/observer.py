"""What it cost to watch the run: an observer that uses much of a small machine is part of what it measures."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence import observer
from harness.evidence.observer import BOUND_CORES, Cost
from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.panel import table

ORDER, TITLE = 75, "Observer cost"
_NAMES = {
    observer.HARNESS: "harness and its probes",
    observer.METER: "meter of the machine",
    "exporter": "exporter",
    "prometheus": "Prometheus and its scrapes",
    "alertmanager": "Alertmanager",
}


def html(view: RunView, verdict: Verdict) -> Markup:
    """Cores by source while there was load, their sum, and what could not be told apart."""
    cost = observer.measure(view)
    if cost is None:
        return Markup('<p class="nodata">The CPU time of harness and probes was not measured in this run.</p>')
    rows: list[tuple[object, ...]] = [(_NAMES[source], _percent(cores)) for source, cores in cost.cores.items()]
    rows += [(_NAMES[source], None) for source in cost.missing]
    rows += [
        ("all of it", _percent(cost.total)),
        ("answering scrapes, and synthetic generations, in replicas and gateways", "part of their own use"),
    ]
    return Markup("<p>{}</p>").format(sentence(cost)) + table(("source", "of one core, while there was load"), rows)


def sentence(cost: Cost) -> str:
    """The finding in one line, with the bound."""
    said = f"Watching this run took {_percent(cost.total)} of one core"
    if cost.share is not None:
        said += f", {_percent(cost.share)} of what the stack itself used"
    if cost.synthetic_ratio is not None:
        said += f"; {_percent(cost.synthetic_ratio)} of the tokens were synthetic"
    bound = f"the bound is {100 * BOUND_CORES:g} % of a core"
    match cost.within_bound:
        case False:
            return f"Warning: {said[0].lower()}{said[1:]}; {bound}. Times may look longer than they were."
        case None:
            return f"{said}, without {', '.join(cost.missing)}, which was not measured; {bound}."
    return f"{said}; {bound}."


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"
