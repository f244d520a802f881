"""What clients felt of a gateway that went away, or of a silent DNS. Nothing where all of them stayed with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.evidence.attempts import Attempts, tally
from harness.evidence.record import FAULT_PRESENT, NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks import dns
from harness.judge.checks.fault_window import FaultWindow, last_heal_s
from harness.judge.checks.recovers_within import watched_until
from harness.judge.slo import NotMeasured
from harness.model.verdict import Verdict
from reports.charts import Chart, Series, draw
from reports.panel import stretch, table
from reports.panels.timeline import Windows, end_of

ORDER, TITLE = 21, "Failover"
HEAD = (
    "phase", "away from", "cut of those in flight", "first failure after", "DNS left after",
    "first sent elsewhere after", "first token elsewhere after", "last sent there after", "requests failed in the end",
    "DNS back after the heal",
)  # fmt: skip
_DNS = "dns"
_READ = (
    "How to read it: a row is a gateway that clients had to leave, and its times count from the order of the fault "
    "until clients noticed, DNS named another one, and the other one served them."
)
_NOTE = (
    "In flight: attempts at that gateway that had begun and not ended when the fault was ordered; cut: those of them "
    "that did not end well. DNS left after: from when the fault was in place until no answer named it any more. "
    "Elsewhere: at another gateway, of attempts that began after the order. Requests failed in the end: after all "
    "retries, of those of the phase. «never»: not before the heal. «—»: DNS had never left it."
)


def html(view: RunView, verdict: Verdict) -> Markup:
    """A row per gateway and phase that clients had to leave, a sentence per silent DNS, and the shares over time."""
    left, silent = list(_left(view)), list(_silent(view))
    if not left and not silent:
        return Markup("")
    rows = (_row(view, one) for one in left)
    felt = Markup("<p>{}</p>{}<p><small>{}</small></p>").format(_READ, table(HEAD, rows, "figures"), _NOTE)
    said = (
        Markup("<p>{}, without DNS: {}</p>").format(stretch(phase, span.ordered_s, span.end_s), _in_vain(view, phase))
        for phase, span in silent
    )
    return felt + Markup("").join(said) + draw(_shares(view), view.phases, end_of(view))


# ── which ──


@dataclass(frozen=True)
class Left:
    """A gateway that DNS had led to when a fault began that it did not serve through."""

    phase: str
    gateway: str
    fault: FaultWindow


def _left(view: RunView) -> Iterator[Left]:
    """Faults on the gateway that DNS led to or all its links, and others after which DNS led elsewhere."""
    for phase in view.fault_phases:
        try:
            fault = FaultWindow.of(view, phase)
        except NotMeasured:
            continue
        for gateway in view.gateways:
            if not dns.led_to(view, gateway, fault.ordered_s):
                continue
            moved = dns.named_other(view, gateway, fault.begin_s, fault.end_s)
            if moved or _cut_off(view, gateway, fault) or _was_on(view, gateway, fault):
                yield Left(phase, gateway, fault)


def _silent(view: RunView) -> Iterator[tuple[str, FaultWindow]]:
    """The phases in which DNS itself had the fault."""
    for phase in view.fault_phases:
        try:
            fault = FaultWindow.of(view, phase)
        except NotMeasured:
            continue
        if _was_on(view, _DNS, fault):
            yield phase, fault


def _cut_off(view: RunView, gateway: str, fault: FaultWindow) -> bool:
    """Whether each of its links to a replica had the fault."""
    links = {view.topology.link_between(gateway, replica).name for replica in view.replicas}
    return bool(links) and links <= fault.on


def _was_on(view: RunView, component: str, fault: FaultWindow) -> bool:
    """Whether the component itself was seen to have it."""
    seen = view.metrics(component, FAULT_PRESENT)
    return bool(seen["value"][seen["t_s"].between(fault.ordered_s, fault.end_s)].eq(1).any())


# ── what clients felt ──


def _row(view: RunView, one: Left) -> tuple[object, ...]:
    fault, rows, mine = one.fault, view.requests, view.address_of(one.gateway)
    sent = rows[rows["start_s"].le(fault.end_s) & rows["gateway"].notna()]
    there, elsewhere = sent[sent["gateway"].eq(mine)], sent[sent["gateway"].ne(mine)]
    elsewhere = elsewhere[elsewhere["start_s"].ge(fault.ordered_s)]
    failed = there[~there["outcome"].isin(["ok", *NOT_OF_THE_SERVICE]) & there["end_s"].ge(fault.ordered_s)]
    tokens = elsewhere["start_s"] + elsewhere["ttft_ms"] / 1000
    return (
        stretch(one.phase, fault.ordered_s, fault.end_s),
        one.gateway,
        _cut(there, fault.ordered_s),
        _after(failed["end_s"].min(), fault.ordered_s),
        _dns_left(view, one),
        _after(elsewhere["start_s"].min(), fault.ordered_s),
        _after(tokens.min(), fault.ordered_s),
        _after(there["start_s"][there["start_s"].ge(fault.ordered_s)].max(), fault.ordered_s),
        _unanswered(view, one.phase),
        _dns_back(view, one),
    )


def _after(at_s: float, since_s: float) -> str:
    return "never" if pd.isna(at_s) else f"{float(at_s) - since_s:.2f} s"


def _cut(there: Attempts, at_s: float) -> str:
    flying = there[there["start_s"].lt(at_s) & there["end_s"].gt(at_s)]
    cut = flying[~flying["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])]
    return f"{len(cut):,} of {len(flying):,}"


def _dns_left(view: RunView, one: Left) -> str | None:
    try:
        ms, answers = dns.left_after_ms(view, one.gateway, one.fault)
    except NotMeasured:
        return None
    return f"{'never' if ms is None else f'{ms / 1000:.2f} s'} (n = {answers})"


def _dns_back(view: RunView, one: Left) -> str | None:
    """From the last heal of the phase until it is named again; «never»: not before the next fault."""
    healed = last_heal_s(view, one.phase)
    if healed is None or dns.led_to(view, one.gateway, one.fault.end_s) is None:
        return None
    if dns.led_to(view, one.gateway, one.fault.end_s):
        return "—"
    at_s = dns.named_again_s(view, one.gateway, one.fault.end_s, watched_until(view, healed))
    return "never" if at_s is None else f"{max(0.0, at_s - healed):.2f} s"


def _unanswered(view: RunView, phase: str) -> str:
    rows = view.attempts(phase)
    rows = rows[rows["final"].eq(True) & ~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    bad = rows[rows["outcome"].ne("ok")]
    kinds = f" ({', '.join(f'{name} {count}' for name, count in tally(bad['outcome']).items())})" if len(bad) else ""
    return f"{len(bad):,} of {len(rows):,}{kinds}"


def _in_vain(view: RunView, phase: str) -> str:
    """What the check of it says, whether or not the drill asks it."""
    return dns.clients_use_stale_answers(phase).run(view).why


# ── over time ──


def _shares(view: RunView) -> Chart:
    """Of each gateway its share of the attempts that were begun, and of the new connections."""
    rows = view.requests[view.requests["gateway"].notna()]
    windows = Windows.of(end_of(view), len(rows))
    made = rows[rows["connect_ms"].notna()]
    series = []
    for what, of, marks in (("requests", rows, False), ("new connections", made, True)):
        total = windows.count(of["start_s"])
        for gateway in view.gateways:
            mine = windows.count(of["start_s"][of["gateway"].eq(view.address_of(gateway))])
            with np.errstate(invalid="ignore", divide="ignore"):
                series.append(Series(f"{gateway}, {what}", windows.middles, 100.0 * mine / total, marks=marks))
    note = f"where attempts went, by their start, in windows of {windows.width_s:g} s; dots: new connections"
    return Chart("failover-shares", "Share of each gateway", "% of attempts", series, note=note)
