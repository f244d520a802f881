"""The alerts of a stored run: what Alertmanager delivered while it lasted, and whether anybody was listening."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.evidence.evidence import Evidence
from harness.evidence.per_view import per_view
from harness.evidence.record import Event
from harness.evidence.view import RunView
from harness.judge.drill import Expected
from harness.model.alert_rules import BY_NAME, SCALES, Scale

#: Who has to be there for an alert to reach the sink, and the samples that say so (harness/probes/alerts.py).
CHAIN = (("prometheus", "rules_evaluated"), ("alertmanager", "up"), ("exporter", "alerts_readable"))
#: What is delivered is not lost when nobody reads it for a while: a gap is one only when it is longer than this.
_GAP_MAX_S = 5.0


@dataclass(frozen=True)
class Alert:
    """One alert from firing to clearing; seconds since the run's zero.

    ``started_s`` and ``ended_s`` are Alertmanager's, ``fired_s`` and ``cleared_s`` when it was told. The latter two are
    None when that was not seen.
    """

    name: str
    severity: str
    labels: Mapping[str, str]
    started_s: float
    fired_s: float
    before: bool  # its condition is older than the run's load: not this run's
    ended_s: float | None = None
    cleared_s: float | None = None

    def __str__(self) -> str:
        """As Prometheus writes it."""
        return str(Expected("", self.name, self.labels))

    @property
    def is_page_of_service(self) -> bool:
        """Whether somebody is woken for the service, not for the machine that it shares with others."""
        rule = BY_NAME.get(self.name)
        return self.severity == "page" and (rule is None or rule.of == "service")

    def is_for(self, expected: Expected) -> bool:
        """Whether it is the one that was expected, or one of them."""
        return self.name == expected.alert and expected.labels.items() <= self.labels.items()

    def is_on(self, t_s: float) -> bool:
        """Whether it was firing at that moment."""
        return self.started_s <= t_s and (self.ended_s is None or self.ended_s > t_s)


@per_view
def scale(view: Evidence) -> Scale | None:
    """The time scale of the rules that Prometheus had; None when nobody could ask it."""
    said = [event.data.get("scale") for event in view.events("alert_rules")]
    return next((known for known in SCALES if known in said), None)


def rules(view: Evidence) -> frozenset[str]:
    """The names of the rules that Prometheus had."""
    return frozenset(str(name) for event in view.events("alert_rules") for name in event.data.get("rules", ()))


def load_start_s(view: Evidence) -> float:
    """When the run's load began; 0 when it never did."""
    return min((event.t_s for event in view.events("load_started")), default=0.0)


@per_view
def seen(view: Evidence) -> tuple[Alert, ...]:
    """All alerts by the time at which they were told."""
    load, on = load_start_s(view), scale(view)
    found: dict[tuple[str, float], Alert] = {}
    for event in view.events():
        if event.kind in ("alert_before", "alert_fired"):
            alert = _alert(event, load, on)
            found[str(alert), alert.started_s] = alert
        elif event.kind == "alert_cleared":
            key = str(_alert(event, load, on)), float(event.data["started_s"])
            if key in found:
                ended_s, cleared_s = float(event.data["ended_s"]), float(event.data["received_s"])
                found[key] = replace(found[key], ended_s=ended_s, cleared_s=cleared_s)
    return tuple(sorted(found.values(), key=lambda alert: (alert.fired_s, str(alert))))


def _alert(event: Event, load_s: float, on: Scale | None) -> Alert:
    data, started = event.data, float(event.data["started_s"])
    rule = BY_NAME.get(str(data["alert"]))
    held = rule.hold.seconds(on) if rule is not None and on is not None else 0
    before = event.kind == "alert_before" or started - held <= load_s
    labels = {str(name): str(value) for name, value in data["labels"].items()}
    return Alert(str(data["alert"]), str(data["severity"]), labels, started, float(data["received_s"]), before)


def unheard(view: Evidence, begin: float, end: float) -> str | None:
    """Who in the chain was not seen for some seconds of that time, so that an alert may be missing; None if nobody."""
    for component, metric in CHAIN:
        samples = view.metrics(component, metric)
        times = samples["t_s"][samples["value"].eq(1)].tolist()
        edges = [begin, *(t for t in times if begin < t < end), end]
        gap = max(right - left for left, right in itertools.pairwise(edges))
        if gap > _GAP_MAX_S:
            words = metric.replace("_", " ")
            return f"nobody saw {component} ({words}) for {gap:.1f} s between {begin:.1f} s and {end:.1f} s"
    return None


@dataclass(frozen=True)
class FaultTime:
    """When a phase's faults were put in place and taken away, and until when alerts are theirs."""

    ordered_s: float  # the first order to inject
    effective_s: float  # the last injection was confirmed
    healing_s: float  # the first order to heal; infinite without one
    healed_s: float  # the last heal was confirmed; infinite without one
    until_s: float  # the next fault, or the end of the last phase; of one that was broken off, the last event


@per_view
def fault_time(view: Evidence, phase: str) -> FaultTime | None:
    """None when nothing was injected in ``phase``."""
    injected = [e.t_s for e in view.events("fault_injected", phase)]
    span = view.phase(phase)
    if not injected or span is None or span.fault_start_s is None:
        return None
    healing = min((e.t_s for e in view.events("fault_healing", phase)), default=math.inf)
    healed = math.inf if span.fault_end_s is None else span.fault_end_s
    following = [s.fault_start_s for s in view.phases if s.fault_start_s is not None and s.fault_start_s > healed]
    last = max(event.t_s for event in view.events())
    ends = [last if s.end_s is None else s.end_s for s in view.phases]
    until = min(following) if following else max(ends)
    return FaultTime(span.fault_start_s, max(injected), healing, healed, until)


@per_view
def of_fault(view: Evidence, phase: str) -> tuple[Alert, ...]:
    """The alerts that began to fire from a phase's fault on, until the next one, in the order of being told."""
    fault = fault_time(view, phase)
    if fault is None:
        return ()
    return tuple(a for a in seen(view) if fault.ordered_s <= a.started_s < fault.until_s)


def declared(view: RunView) -> tuple[Expected, ...]:
    """What the drill expected when the run was planned."""
    return tuple(Expected(**one) for one in view.plan.get("alerts", ()))


def time_to_detect_s(view: RunView, phase: str) -> float | None:
    """From the fault's being in place to the first alert that reached the sink; None when none did before the heal.

    Of those that the drill expects of the phase; any page where it expects none.
    """
    fault, expected = fault_time(view, phase), [one for one in declared(view) if one.phase == phase and one.fires]
    every = of_fault(view, phase)
    fired = [a for a in every if (any(map(a.is_for, expected)) if expected else a.is_page_of_service)]
    if fault is None or not fired or fired[0].fired_s > fault.healed_s:
        return None
    return max(0.0, fired[0].fired_s - fault.effective_s)
