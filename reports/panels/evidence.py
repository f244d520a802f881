"""Each fault with its proof: what crossed the target before, during and after."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.record import Event
from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.panel import anchor, table

ORDER, TITLE = 30, "Proof of each fault"


def html(view: RunView, verdict: Verdict) -> Markup:
    """One row per fault that was injected; what is missing is said."""
    found = [event for kind in ("fault_injected", "fault_stays") for event in view.events(kind)]
    phases = [str(event.data.get("phase", "")) for event in found]
    rows = [
        _row(view, event, phase not in phases[:n]) for n, (event, phase) in enumerate(zip(found, phases, strict=True))
    ]
    head = ("fault", "on", "injected", "healed", "before", "during", "after", "effect", "heal")
    return table(head, rows)


def proof(view: RunView, phase: str | None) -> Markup:
    """A link to the proof of a phase's faults; "" where none was injected in it."""
    if not any(
        event.data.get("phase") == phase for kind in ("fault_injected", "fault_stays") for event in view.events(kind)
    ):
        return Markup("")
    return Markup('<a href="#{}">proof of the fault in {}</a>').format(anchor("proof", str(phase)), phase)


def _row(view: RunView, injected: Event, first: bool) -> tuple[object, ...]:
    """``first`` of its phase, which links lead to."""
    fault = injected.data["fault"]
    effect = _first(view, ("fault_proven", "fault_unproven"), fault)
    healed = _first(view, ("fault_healed",), fault)
    heal = _first(view, ("heal_proven", "heal_unproven"), fault)
    stays = injected.kind == "fault_stays"
    when = "until the users had gone" if stays else f"in {injected.data.get('phase', '')}"
    target = Markup('<span id="{}">{}</span>') if first else Markup("{1}")
    return (
        target.format(anchor("proof", str(injected.data.get("phase", ""))), f"{injected.data.get('type', '')} {when}"),
        injected.data.get("on", ""),
        f"{injected.t_s:.1f} s",
        f"{healed.t_s:.1f} s" if healed else "never",
        "as above" if stays else effect.data.get("before") if effect else None,
        "stays" if stays else effect.data.get("during") if effect else None,
        heal.data.get("after") if heal else None,
        "as above" if stays else "proven" if effect and effect.kind == "fault_proven" else "NOT PROVEN",
        _of_heal(heal),
    )


def _of_heal(heal: Event | None) -> str:
    """Whether the heal was proven; else what is left, where that was found out."""
    if heal is not None and heal.kind == "heal_proven":
        return "proven"
    left = heal.data.get("left") if heal is not None else None
    if left is None:
        return "NOT PROVEN"
    return f"STILL THERE: {left}" if left else "NOT PROVEN: nothing left, service not seen to be back in time"


def _first(view: RunView, kinds: tuple[str, ...], fault: str) -> Event | None:
    return next((e for kind in kinds for e in view.events(kind) if e.data.get("fault") == fault), None)
