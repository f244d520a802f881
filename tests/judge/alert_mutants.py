"""Defects of alerting, made from what a drill expects: each of its expectations is disappointed in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from harness.judge import alert_times, drill
from harness.judge.checks.alerts import NO_PAGE, STAYS_WELL
from harness.judge.drill import Expected
from harness.model.alert_rules import STACK_SCALE
from tests.judge.defects import Mutant
from tests.runs import Run, alert_told


def of(name: str) -> Iterator[Mutant]:
    """All of one drill."""

    def mutant(defect: Callable[[Run], None], check: str, about: str = "") -> Mutant:
        what = defect.func.__name__ if isinstance(defect, partial) else defect.__name__
        return Mutant(f"{name}-{what}{about}", check, defect, recount=False)

    yield from (mutant(defect, NO_PAGE) for defect in (page_without_a_reason, page_that_stays))
    yield mutant(page_after_all_is_over, STAYS_WELL)
    for one in drill.load(name).alerts:
        about = f"-{one.phase}-{one}"
        if not one.fires:
            yield mutant(partial(told_wrongly, one=one), f"alerts silent in {one.phase}", about)
            continue
        for defect in (nobody_is_told, told_late, another_is_named):
            yield mutant(partial(defect, one=one), f"alerts fire in {one.phase}", about)
        for defect in (cleared_late, never_cleared):
            yield mutant(partial(defect, one=one), f"alerts clear after {one.phase}", about)


def page_without_a_reason(run: Run) -> None:
    """Somebody is woken while all is well."""
    begin, _ = run.span("baseline")
    run.events += alert_told("TtftP95High", begin + 5, begin + 6)


def page_that_stays(run: Run) -> None:
    """A page fires in the warm-up and never clears."""
    begin, _ = run.span("warm-up")
    run.events += alert_told("E2eP95High", begin + 8, begin + 9)
    run.drop_events("alert_cleared", alert="E2eP95High")


def page_after_all_is_over(run: Run) -> None:
    """The steady state was reached at the end, and yet somebody is woken."""
    said = max(e["t_s"] for e in run.events if e["kind"] == "steady_state")
    run.events += alert_told("E2eP95High", said - 0.2, said + 1.0)


#: Of whom an alert tells that the drill rules out for everybody.
_SOMEBODY = {"GatewayDown": {"component": "gateway-b"}, "ReplicaDown": {"component": "replica-1"}}


def told_wrongly(run: Run, one: Expected) -> None:
    """An alert that the drill rules out, and nothing that it could be true of."""
    begin, _ = run.span(one.phase)
    labels = one.labels or _SOMEBODY.get(one.alert, {})
    run.events += alert_told(one.alert, begin + 5, begin + 6, **labels)


def _told(run: Run, kind: str, one: Expected) -> dict[str, object]:
    """The event about that alert in its phase."""
    begin, _ = run.span(one.phase)
    of_it = [e for e in run.events if e["kind"] == kind and e["alert"] == one.alert and e["labels"] == one.labels]
    return min((e for e in of_it if e["started_s"] > begin), key=lambda e: float(e["started_s"]))


def _instant(run: Run, kind: str, one: Expected) -> float:
    return float(max(e["t_s"] for e in run.events if e["kind"] == kind and e["phase"] == one.phase))


def nobody_is_told(run: Run, one: Expected) -> None:
    """It does not come."""
    run.events.remove(_told(run, "alert_fired", one))


def told_late(run: Run, one: Expected) -> None:
    """It comes, half a second after its bound."""
    at_s = _instant(run, "fault_injected", one) + alert_times.fires_within_s(one, STACK_SCALE) + 0.5
    event = _told(run, "alert_fired", one)
    event |= {"received_s": at_s, "t_s": at_s + 0.2}


def another_is_named(run: Run, one: Expected) -> None:
    """An alert comes at that time, but not this one."""
    event = _told(run, "alert_fired", one)
    event["alert"] = "MemoryLow"


def cleared_late(run: Run, one: Expected) -> None:
    """It is over half a second after its bound."""
    bound = alert_times.clears_within_s(one.alert, one.clear_delay_s, STACK_SCALE)
    at_s = _instant(run, "fault_healed", one) + bound + 0.5
    event = _told(run, "alert_cleared", one)
    event |= {"received_s": at_s, "t_s": at_s + 0.2}


def never_cleared(run: Run, one: Expected) -> None:
    """It goes on for ever."""
    run.events.remove(_told(run, "alert_cleared", one))
