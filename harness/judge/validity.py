"""What a run could not measure, found before any value is compared (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from harness.evidence import records_kept, samples_kept
from harness.evidence.attempts import tally
from harness.evidence.record import Event
from harness.evidence.view import TARGET, RunView
from harness.judge import objectives, possible, sampled
from harness.judge.arrivals_as_planned import arrivals_as_planned
from harness.judge.as_planned import faults_as_planned, plan_unchanged
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.judge.phases_as_planned import phases_as_planned, requests_in_their_phase
from harness.judge.possible_events import possible_events
from harness.judge.possible_samples import possible_samples
from harness.judge.presence import faults_stay
from harness.judge.proofs_in_order import proofs_in_order
from harness.model import exhausted

_LAG_SHARE = 0.05  # of the tightest latency objective
#: What a load generator may not exceed, while capacity is measured either.
LAG_DEFAULT_MS = 40.0
CPU_MAX = 0.85  # of a core, by one process
_CPU_BUSY_S = 3.0  # for longer than this
_RATE_TOLERANCE = 0.01
#: Why a request was not sent, by subtype.
_NOT_SENT = {
    **exhausted.WORDS,
    "generator_behind": "too late for the schedule",
    "harness_error": "a bug of the load generator (logs/load.log)",
}
#: Its reason is a whole sentence about the run.
COMPLETE = "run complete"
STEADY_FIRST = "steady state before the first fault"
#: Findings that no early end of a run brings about.
PROBES, WATCHDOG = "probes", "watchdog"
CRASHES = (PROBES, WATCHDOG)


def findings(view: RunView) -> tuple[Finding, ...]:
    """All of them, those that are fine included. One that crashes invalidates everything.

    That somebody interrupted the run comes before what follows from it; a record that was lost is a cause of its own.
    """
    first = (records_written, run_complete) if view.events("interrupted") else ()
    rules = (*first, *(rule for rule in RULES if rule not in first))
    return tuple(finding for rule in rules for finding in of_rule(rule, view))


def of_rule(rule: Callable[[RunView], Iterator[Finding]], view: RunView) -> list[Finding]:
    """What one rule of ``RULES`` finds; when it crashes, that."""
    words = rule.__name__.strip("_")
    view.give_back()
    try:
        found = list(rule(view))
    except Exception as error:  # what cannot even be looked at is not valid
        why = f"it could not be judged: {type(error).__name__}: {error}"
        found = [bad(words.replace("_", " "), why, EVERYTHING)]
    return [replace(one, result=replace(one.result, id=words.replace("_", "-"))) for one in found]


def records_written(view: RunView) -> Iterator[Finding]:
    """Could every record be written?"""
    name, lost = "records written", view.folder.unwritten()
    if lost:
        what, why = next(iter(lost.items()))
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        yield bad(name, f"{what} could not be written: {why}{more}", EVERYTHING)
    else:
        yield good(name, "no write failed")


def load_ended_well(view: RunView) -> Iterator[Finding]:
    """Did the generator exit cleanly, and record every request that it had reported as ended?"""
    name, recorded = "load generator's end", len(view.final)
    stopped = view.events("load_stopped")
    if not stopped and not view.events("load_started") and view.requests.empty:
        yield good(name, "no load was started")
        return
    if not stopped:
        why = "how the load generator ended is not recorded"
        yield bad(name, why, EVERYTHING)
        return
    for event in stopped:
        if event.data.get("status") != 0:
            why = event.data.get("why") or f"the load generator ended with status {event.data.get('status', 'unknown')}"
            yield bad(name, str(why), EVERYTHING)
            return
        reported = event.data.get("ended")
        if not isinstance(reported, int):
            yield bad(name, "how many requests the load generator reported is not recorded", EVERYTHING)
            return
        if reported > recorded:
            why = f"the load generator reported {reported} ended requests, but only {recorded} are recorded"
            yield bad(name, why, EVERYTHING)
            return
    in_flight = (view.summary or {}).get("in_flight_at_end")
    if in_flight != 0:
        how_many = "how many" if in_flight is None else in_flight
        yield bad(name, f"{how_many} requests were in flight at the end: how they ended is not recorded", EVERYTHING)
        return
    yield good(name, "it exited cleanly, and every request that it reported is recorded")


def machine_large_enough(view: RunView) -> Iterator[Finding]:
    """Can this machine carry what the scenario asks for?"""
    name, said = "machine large enough", view.events("too_small")
    if said:
        yield bad(name, str(said[0].data.get("why", "no reason given")), EVERYTHING)
    else:
        yield good(name, "no shortfall of capacity was reported before the first phase")


def run_complete(view: RunView) -> Iterator[Finding]:
    """Was the run carried through to its end?"""
    why = view.interrupted
    if why:
        window = _waited_in_vain(view) if view.events("aborted") and not view.events("interrupted") else None
        yield replace(bad(COMPLETE, why, EVERYTHING), window=window, steady=True)
    else:
        yield good(COMPLETE, "every planned phase ran to its end")


def _waited_in_vain(view: RunView) -> tuple[float, float] | None:
    """From the start of the phase that did not reach its steady state, which is the last that was told, to that."""
    told = view.events("steady_state")
    if not told or told[-1].data.get("reached"):
        return None
    span = view.phase(str(told[-1].data.get("phase")))
    return (span.start_s, told[-1].t_s) if span is not None else None


def events_readable(view: RunView) -> Iterator[Finding]:
    """Is every line of the events an event?"""
    name, lost = "events readable", view.folder.unreadable_events()
    if lost:
        yield bad(name, f"{lost} lines of events.jsonl cannot be read: nobody knows what they told", EVERYTHING)
    else:
        yield good(name, "every line is an event")


def steady_state_first(view: RunView) -> Iterator[Finding]:
    """Was the service in its steady state before the first fault?"""
    name = STEADY_FIRST
    if not view.fault_phases:
        yield good(name, "no fault is planned")
        return
    first = min((s.fault_start_s for s in view.phases if s.fault_start_s is not None), default=float("inf"))
    seen = [e for e in view.events("steady_state") if e.t_s <= first]
    if any(e.data.get("reached") for e in seen):
        yield good(name, "it was reached")
    else:
        why = seen[-1].data.get("why", "no reason given") if seen else "nobody recorded it"
        found = bad(name, f"not in steady state before the first fault: {why}", EVERYTHING)
        yield replace(found, window=_waited_in_vain(view), steady=True)


def load_on_schedule(view: RunView) -> Iterator[Finding]:
    """Did the generator start requests when it should have?"""
    name = "load generator on schedule"
    lags = view.requests["schedule_lag_ms"].dropna().to_numpy(dtype=float)
    if len(lags) == 0:
        yield bad(name, "there are no requests with a schedule lag", "load")
        return
    lag, limit = float(np.quantile(lags, 0.99, method="inverted_cdf")), _lag_limit_ms(view)
    why = f"schedule lag p99 was {lag:.1f} ms (limit {limit:.0f} ms)"
    extra = {"objective": f"≤ {limit:.6g} ms", "measured": lag, "unit": "ms", "samples": len(lags)}
    if lag > limit:
        found = bad(name, f"the load generator was the bottleneck: {why}", "load", **extra)
        yield replace(found, window=_loaded(view), per_request=True)
    else:
        yield good(name, why, **extra)


def load_not_saturated(view: RunView) -> Iterator[Finding]:
    """Did the generator have processor time to spare?"""
    name = "load generator not saturated"
    samples = view.metrics("load", "cpu_ratio")
    if samples.empty:
        yield bad(name, "the load generator's use of the processor was not sampled", "load")
        return
    gap, at = sampled.largest_gap(samples["t_s"].to_numpy(dtype=float), *_loaded(view), ())
    if samples["value"].isna().any() or gap > _CPU_BUSY_S:
        why = f"the load generator's use of the processor was not sampled for {gap:.1f} s from {at:.1f} s on"
        yield replace(bad(name, why, "load"), window=(at, at + gap))
        return
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    longest, begun, ended = 0.0, None, 0.0
    for t_s, value, before in zip(times[1:], values[1:], times, strict=False):
        begun = (before if begun is None else begun) if value > CPU_MAX else None
        if begun is not None and t_s - begun > longest:
            longest, ended = t_s - begun, t_s
    extra = {"objective": f"≤ {CPU_MAX:.0%} of a core", "measured": 100 * float(values.max()), "unit": "%"}
    if longest > _CPU_BUSY_S:
        why = f"it used more than {CPU_MAX:.0%} of a core for {longest:.0f} s, up to {values.max():.0%}"
        found = bad(name, f"the load generator was the bottleneck: {why}", "load", **extra)
        yield replace(found, window=(ended - longest, ended))
    else:
        yield good(name, f"it used up to {values.max():.0%} of a core", **extra)


def load_at_rate(view: RunView) -> Iterator[Finding]:
    """Did the generator produce the arrivals that its schedule had?"""
    name = "load generator at rate"
    planned = view.summary.get("planned_rate_per_s") if view.summary else None
    achieved = view.summary.get("achieved_rate_per_s") if view.summary else None
    if not planned or achieved is None:
        yield bad(name, "the load generator left no summary with its planned and achieved rate", "load")
        return
    off = abs(float(achieved) - float(planned)) / float(planned)
    why = f"{achieved:.4g}/s of {planned:.4g}/s were started"
    extra = {"objective": f"≤ {_RATE_TOLERANCE:.0%} off", "measured": off * 100, "unit": "%"}
    if not off <= _RATE_TOLERANCE:  # nor with a rate that is no number
        begin, end = window = _loaded(view)
        found = bad(name, f"the load generator was the bottleneck: {why}", "load", **extra)
        yield replace(found, window=window, late_s=off * (end - begin))
    else:
        yield good(name, why, **extra)


def all_sent(view: RunView) -> Iterator[Finding]:
    """Did the generator send what it scheduled?"""
    final = view.final
    unsent = final["subtype"][final["outcome"].eq("not_sent")]
    if unsent.empty:
        yield good("requests sent", f"0 of {len(final)} requests were not sent", samples=len(final))
        return
    kinds = tally(unsent.astype("str").fillna("no reason recorded"))
    reasons = ", ".join(f"{count} × {_NOT_SENT.get(str(kind), kind)}" for kind, count in kinds.items())
    why = f"{len(unsent)} of {len(final)} requests were never sent by the load generator: {reasons}"
    found = bad("requests sent", why, "load", samples=len(final))
    local = unsent.isin(list(exhausted.WORDS)).any()
    yield found if local else replace(found, window=_loaded(view), per_request=True)


def metrics_without_gaps(view: RunView) -> Iterator[Finding]:
    """Was every gateway and replica sampled all the time? An external target only if it shows its metrics.

    A page without any wanted series is not a sample.
    """
    if not view.phases:
        yield bad("metrics", "no phase was started, so nothing was sampled for one", "metrics")
        return
    begin = view.phases[0].start_s
    end = max(p.end_s if p.end_s is not None else p.start_s for p in view.phases)
    for component in view.scraped:
        gap, at = _unanswered(view, component, begin, end)
        name = f"metrics of {component}"
        extra: dict[str, object] = {
            "subject": component,
            "objective": f"≤ {sampled.GAP_MAX_S:.6g} s",
            "measured": gap,
            "unit": "s",
        }
        if component == TARGET and not set(view.metrics_of(component)) - {"up"}:
            received = _received_instead(view, component, end) or "; what was received instead is not recorded"
            yield bad(name, f"no series of {component} was read{received}", "metrics", subject=component)
        elif gap > sampled.GAP_MAX_S:
            why = f"{component} was not sampled for {gap:.1f} s from {at:.1f} s on"
            why += _received_instead(view, component, at + gap)
            yield replace(bad(name, why, "metrics", **extra), window=(at, at + gap))
        else:
            yield good(name, f"the largest gap was {gap:.2f} s", **extra)


def _received_instead(view: RunView, component: str, until_s: float) -> str:
    """What was received instead of metrics before ``until_s``, as a suffix; "" where that is not recorded."""
    unread = [e for e in view.events("metrics_unread") if e.data.get("component") == component and e.t_s <= until_s]
    return f"; received instead: {unread[-1].data.get('what')}" if unread else ""


def samples_as_taken(view: RunView) -> Iterator[Finding]:
    """Are the recorded samples all that were taken, and no others?"""
    name, difference = "samples complete", samples_kept.difference(view)
    if difference is not None:
        yield bad(name, difference, "metrics")
    else:
        yield good(name, "every series has all samples that were taken of it")


def records_as_left(view: RunView) -> Iterator[Finding]:
    """Are events and documents those that the run left?"""
    name, difference = "records unchanged since the run", records_kept.difference(view.folder)
    if difference is not None:
        yield bad(name, difference, EVERYTHING)
    else:
        yield good(name, "events, attempts and documents match the digests that the run wrote")


def probes_alive(view: RunView) -> Iterator[Finding]:
    """Did every probe measure whenever it was asked to?"""
    crashed = [(str(e.data.get("probe")), str(e.data.get("why"))) for e in view.events("probe_error")]
    if crashed:
        probe, why = crashed[0]
        yield bad(PROBES, f"the probe {probe!r} crashed, so its samples have gaps: {why}", "metrics")
    else:
        yield good(PROBES, "no probe crashed")


def watchdog_alive(view: RunView) -> Iterator[Finding]:
    """Was there somebody in the end who would have healed, had the harness been killed?"""
    if view.events("watchdog_died"):
        yield bad(WATCHDOG, "the watchdog died: a killed harness would have left its faults behind")
    else:
        yield good(WATCHDOG, "it watched until the run had ended")


def faults_proven(view: RunView) -> Iterator[Finding]:
    """Did every fault have its effect, and was it gone afterwards?"""
    for phase in view.fault_phases:
        name, invalidates = f"fault in {phase}", f"fault:{phase}"
        injected = view.events("fault_injected", phase)
        planned = len(next(p for p in view.planned_phases if p["name"] == phase)["faults"])
        if len(injected) < planned:
            yield bad(
                name, f"{len(injected)} of {planned} planned faults were injected in {phase}", invalidates, phase=phase
            )
            continue
        problems = [why for event in injected for why in _unproven(view, phase, event)]
        if problems:
            yield replace(bad(name, problems[0], invalidates, phase=phase), window=_proving(view, phase))
        else:
            yield good(name, f"effect and heal were proven in {phase}", phase=phase)


def _proving(view: RunView, phase: str) -> tuple[float, float]:
    """From the order to inject the fault until the last that was told of it."""
    kinds = ("fault_injecting", "fault_proven", "fault_unproven", "fault_healed", "heal_proven", "heal_unproven")
    times = [event.t_s for kind in kinds for event in view.events(kind, phase)]
    return min(times, default=0.0), max(times, default=0.0)


def _loaded(view: RunView) -> tuple[float, float]:
    """From the first intended start to the last."""
    intended = view.requests["intended_start_s"].dropna()
    return (float(intended.min()), float(intended.max())) if len(intended) else (0.0, 0.0)


def nobody_restarted(view: RunView) -> Iterator[Finding]:
    """Did components restart that nobody had told to?"""
    name = "no unexpected restarts"
    for component, t_s in sorted(_restarts(view), key=lambda restart: restart[1]):
        if not any(begin < t_s < end for begin, end in sampled.expected_gaps(view, component, "restarts")):
            yield bad(name, f"{component} restarted at {t_s:.1f} s, which nobody had ordered", EVERYTHING)
            return
    yield good(name, "no component restarted unless a fault requested it")


def _restarts(view: RunView) -> Iterator[tuple[str, float]]:
    """Component and time of every restart: from events, and from the runtime's counters."""
    for event in view.events("component_restarted"):
        yield str(event.data.get("component")), event.t_s
    for component in view.components:
        samples = view.metrics(component, "restarts_total")
        for t_s in samples["t_s"][samples["value"].diff().gt(0)]:
            yield component, float(t_s)


RULES = (
    records_written,
    load_ended_well,
    machine_large_enough,
    run_complete,
    events_readable,
    steady_state_first,
    load_on_schedule,
    load_not_saturated,
    load_at_rate,
    all_sent,
    metrics_without_gaps,
    nobody_restarted,  # before the samples: a restart leaves gaps and makes counters fall, and is their cause
    sampled.everything_sampled,
    possible_samples,
    possible.possible_records,
    possible.silence_kept,
    possible.gateways_logged,
    samples_as_taken,
    probes_alive,
    watchdog_alive,
    faults_proven,
    arrivals_as_planned,
    plan_unchanged,
    phases_as_planned,
    requests_in_their_phase,
    faults_as_planned,
    proofs_in_order,
    faults_stay,
    possible_events,
    records_as_left,
)


def _unproven(view: RunView, phase: str, injected: Event) -> Iterator[str]:
    """What is missing in the proof of one fault."""
    fault = injected.data.get("fault")  # the id of this fault on this target

    def seen(kind: str) -> Event | None:
        return next((e for e in view.events(kind, phase) if e.data.get("fault") == fault), None)

    unproven = seen("fault_unproven")
    if unproven is not None or seen("fault_proven") is None:
        if unproven is None and _aborted(view, phase):
            yield f"the run ended before the effect of {fault} was measured"
            return
        why = unproven.data.get("why", "no reason given") if unproven is not None else "its effect was never measured"
        yield f"the fault had no effect: {fault}: {str(why).removeprefix('the fault had no effect: ')}"
        return
    heal = seen("heal_unproven") or seen("heal_proven")
    if heal is None:
        early = ": the run ended before" if _aborted(view, phase) else ""
        yield f"the heal of {fault} was not proven{early}"
    elif heal.kind == "heal_unproven" and heal.data.get("left") != "":  # «»: service is for the checks to judge
        yield f"the heal of {fault} was not proven: {heal.data.get('left') or 'whether anything was left is unknown'}"


def _aborted(view: RunView, phase: str) -> bool:
    span = view.phase(phase)
    return span is not None and not span.finished


def _lag_limit_ms(view: RunView) -> float:
    """5 % of the tightest latency objective that is a plain number of milliseconds; 40 ms when there is none."""
    limits = []
    for slo in view.slos:
        objective = objectives.parse(slo.objective)
        if objective.unit == "ms" and objective.upper and not objectives.names(objective):
            limits.append(_LAG_SHARE * objectives.evaluate(objective, _no_names).value)
    return min(limits, default=LAG_DEFAULT_MS)


def _no_names(name: str) -> float:
    raise AssertionError(f"{name} in an objective without names")


def _unanswered(view: RunView, component: str, begin: float, end: float) -> tuple[float, float]:
    """Longest time without an answered scrape while the component should be up, and when it began."""
    samples = view.metrics(component, "up")
    times = samples["t_s"][samples["value"].gt(0)].to_numpy(dtype=float)
    return sampled.largest_gap(times, begin, end, sampled.expected_gaps(view, component))
