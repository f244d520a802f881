"""What users notice of a fault: nobody waits for ever, errors are honest, and what the stack can hide it does hide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.evidence.attempts import Attempts, Rows, example_ids, tally
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks import fault_window
from harness.judge.checks.fault_window import FaultWindow, broke_later
from harness.judge.checks.recovers_within import GOOD_MIN, REQUESTS_MIN, WINDOW_S, recovery_s
from harness.judge.checks.shapes import asks, none_bad, within
from harness.judge.possible import SILENCE
from harness.judge.slis.goodput import within_limits
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

#: For the client to notice its own deadline on a busy machine.
TOLERANCE_S = 0.5


@asks(
    "no-hang",
    "no hang in {phase}",
    "Does every request of {phase} end within its deadline?",
    "load", "fault:{phase}",
    timing=True, per_request=True,
)  # fmt: skip
def no_hang(view: RunView, phase: str) -> CheckResult:
    """Whether every attempt of ``phase`` ended by itself within the clients' total limit."""
    limit_ms, rows = view.limits.total * 1000, view.attempts(phase)
    rows = rows[~rows["outcome"].isin(["not_sent", "cancelled_intended"])]
    if rows.empty:
        raise NotMeasured(f"there were no attempts in {phase}", 0)
    hung = rows["outcome"].eq("timeout_total") | rows["e2e_ms"].gt(limit_ms + TOLERANCE_S * 1000)
    endless = rows["e2e_ms"].isna()
    longest = float(rows["e2e_ms"].max()) if rows["e2e_ms"].notna().any() else None
    if hung.any():
        status, why = Status.FAIL, f"{int(hung.sum())} of {len(rows)} attempts ran into their total limit"
    elif endless.any():
        status, why = Status.INCONCLUSIVE, f"{int(endless.sum())} attempts have no recorded end"
    else:
        status, why = Status.PASS, f"the longest of {len(rows)} attempts took {longest:.0f} ms"
    margin, bad = None if longest is None else limit_ms - longest, example_ids(rows["request_id"][hung | endless])
    return CheckResult("", status, why, f"≤ {limit_ms:.6g} ms", longest, "ms", margin, len(rows), examples=bad)


# ── errors are honest ──

_PARTS = ("type", "code", "message")
_COMES_BACK = (429, 502, 503, 504)  # statuses that must say when to try again


@asks(
    "honest-errors",
    "honest errors in {phase}",
    "Does every request that fails in {phase} get a JSON error that says what happened and what to do?",
    "load", "gateways", "fault:{phase}",
    timing=False, per_request=True, objective="0 dishonest errors",
)  # fmt: skip
def honest_errors(view: RunView, phase: str) -> CheckResult:
    """Whether every failed attempt of ``phase`` got an honest error; for phases in which the gateways are well.

    Honest: JSON with type, code, message and request id, and Retry-After where it helps.
    """
    failed, later = _failed_before(view.attempts(phase))
    if failed.empty:
        why = f"no attempt failed before its answer in {phase}, so no error could be looked at"
        raise NotMeasured(why, 0, "every error is honest")
    faults = _faults(failed)
    bad = faults[faults.notna()]
    why = f"all {len(failed)} attempts that failed before an answer got a JSON error with their request id"
    if len(bad):
        kinds = ", ".join(f"{count} × {kind}" for kind, count in bad.value_counts().items())
        why = f"{len(bad)} of {len(failed)} attempts that failed before an answer got no honest error: {kinds}"
    details = {str(kind): int(count) for kind, count in bad.value_counts().items()}
    examples = failed["request_id"][bad.index]
    return none_bad(bad, len(failed), "attempts", why + broke_later(later), examples, details=details)


def _failed_before(rows: Attempts) -> tuple[Attempts, int]:
    """Attempts that failed before an answer had begun, and how many broke later: those have had their status.

    One that found no gateway, by DNS or by connecting, is of the first: where it was there to answer, it did not.
    """
    failed = rows[~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])]
    begun = failed["http_status"].eq(200)
    return failed[~begun], int(begun.sum())


def _faults(failed: Attempts) -> pd.Series:
    """What is wrong with each answer, the first thing found; null when nothing is."""
    wrong = pd.Series(None, index=failed.index, dtype=object)

    def mark(where: pd.Series, text: str) -> None:
        wrong[where & wrong.isna()] = text

    no_answer = failed["http_status"].isna()
    for outcome in sorted(failed["outcome"][no_answer].unique()):
        mark(no_answer & failed["outcome"].eq(outcome), f"no answer at all ({outcome})")
    lacking = {part: failed[f"error_{part}"].isna() | failed[f"error_{part}"].eq("") for part in _PARTS}
    none = pd.DataFrame(lacking).all(axis=1)
    for status in sorted(failed["http_status"][none & ~no_answer].unique()):
        mark(none & failed["http_status"].eq(status), f"HTTP {status:.0f} without a JSON error")
    for part, lacks in lacking.items():
        mark(lacks, f"an error without its {part}")
    mark(failed["error_request_id"].isna(), "an error without a request id")
    mark(failed["error_request_id"].ne(failed["request_id"]), "an error with another request's id")
    mark(failed["http_status"].isin(_COMES_BACK) & failed["retry_after_s"].isna(), "an error without Retry-After")
    return wrong


# ── what can be hidden is ──

ATTEMPTS_MIN = 20


@asks(
    "failures-hidden",
    "failures hidden in {phase}",
    "Do the gateways keep the fault in {phase} from their clients by trying elsewhere?",
    "load", "gateways", "fault:{phase}",
    timing=True, per_request=True, objective="≤ {at_most_percent:.6g} %",
)  # fmt: skip
def failures_hidden(view: RunView, phase: str, at_most_percent: float = 1.0) -> CheckResult:
    """Whether the gateways hide the fault of ``phase``: client attempts that they refuse or leave without answer.

    Availability cannot tell: it counts requests, and a client that tries again makes good what a gateway should have
    done. Streams that had begun are left out: nobody can repeat those for the user.
    """
    span = view.phase(phase)
    if span is None or span.fault_start_s is None or span.fault_end_s is None:
        raise NotMeasured(f"{phase} was not injected and healed")
    rows = view.attempts(phase)
    rows = rows[rows["start_s"].between(span.fault_start_s, span.fault_end_s)]
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    if len(rows) < ATTEMPTS_MIN:
        raise NotMeasured(f"{len(rows)} attempts in {phase} are too few, {ATTEMPTS_MIN} are needed", len(rows))
    failed = rows["outcome"].ne("ok")
    shown = failed & ~rows["http_status"].eq(200)
    later = broke_later(int(failed.sum() - shown.sum()))
    kinds = tally(rows["outcome"][shown])
    what = "" if kinds.empty else ": " + ", ".join(f"{n} × {outcome}" for outcome, n in sorted(kinds.items()))
    why = f"{int(shown.sum())} of {len(rows)} attempts were refused or left without an answer{what}{later}"
    examples = example_ids(rows["request_id"][shown])
    return within(100.0 * float(shown.mean()), at_most_percent, why, len(rows), "%", examples=examples)


# ── whoever comes later is not hit ──


@asks(
    "impact-window-bounded",
    "impact window bounded in {phase}",
    "Is nobody who comes {within_s:g} s after the fault in {phase} or later hit by it?",
    "load", "gateways", "fault:{phase}",
    timing=True, per_request=True, objective="≤ {within_s:.6g} s",
)  # fmt: skip
def impact_bounded(view: RunView, phase: str, within_s: float) -> CheckResult:
    """Whether no attempt begun later than ``within_s`` after the fault of ``phase`` fails or waits for the heal."""
    fault, rows = FaultWindow.of(view, phase), view.requests
    rows = rows[rows["start_s"].between(fault.begin_s, fault.end_s) & ~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    later = rows[rows["start_s"].gt(fault.begin_s + within_s)]
    if len(later) < REQUESTS_MIN:
        why = f"only {len(later)} attempts were begun after {within_s:g} s, {REQUESTS_MIN} are needed"
        raise NotMeasured(why, len(later))
    hit = rows[~fault.served(rows, view)]
    last = 0.0 if hit.empty else float(hit["start_s"].max()) - fault.begin_s
    waited = 0.0 if hit.empty else float(hit["e2e_ms"].max()) / 1000
    users = hit["user_id"].nunique()
    why = f"{len(hit)} attempts of {users} users were hit, the last one begun {last:.1f} s after the fault"
    why += f"; the longest waited {waited:.1f} s" if len(hit) else ""
    examples = tuple(map(str, hit["request_id"].drop_duplicates().tail(5)))
    details = {"hit": len(hit), "users": users, "longest_wait_s": waited}
    return within(last, within_s, why, len(rows), examples=examples, details=details)


# ── they are served elsewhere ──


@asks(
    "users-move",
    "users fail over in {phase}",
    "Are users served at the first try again soon after the fault in {phase}, which is still in place?",
    "load", "fault:{phase}",
    timing=True, per_request=True, objective="≤ {within}",
)  # fmt: skip
def fail_over(view: RunView, phase: str, within: str) -> CheckResult:
    """Whether requests are good at their first attempt from ``within`` (an expression) after the injection on.

    At the first: a client that tries again in vain until it gets through has not recovered, it only copes.
    And before the heal: whom only the heal has freed was not served elsewhere.
    """
    target, fault = fault_window.limit(view, within), FaultWindow.of(view, phase)
    rows = view.final[view.final["intended_start_s"].between(fault.begin_s, fault.end_s)]
    rows = rows[rows["outcome"].ne("cancelled_intended")].sort_values("intended_start_s", kind="stable")
    problems = _problems(rows, view, fault)
    good = problems.isna().to_numpy(dtype=bool)
    starts = rows["intended_start_s"].to_numpy(dtype=np.float64) - fault.begin_s
    seconds, windows = recovery_s(starts, good, fault.end_s - fault.begin_s)
    if windows == 0:
        why = f"only {len(rows)} requests while the fault was in place: not one window of {REQUESTS_MIN}"
        raise NotMeasured(why, len(rows), target.text)
    why = f"from {{s}} after the fault on at least {GOOD_MIN:.0%} of the requests were good at the first try"
    last = problems[(fault.end_s - rows["intended_start_s"]).le(WINDOW_S)]
    never = "users were not served at the first try again before the fault was healed"
    never += f"; of {len(last)} requests in the last {WINDOW_S:g} s "
    never += ", ".join(f"{count} {problem}" for problem, count in last.value_counts().items())
    return fault_window.judged(target, None if seconds is None else 1000 * seconds, why, never, len(rows))


def _problems(rows: Attempts, view: RunView, fault: FaultWindow) -> pd.Series:
    """Per request, what was wrong with it; None where it was good at its first try."""
    found = pd.Series(None, index=rows.index, dtype=object)
    found[~fault.served(rows, view)] = "were only answered after the heal"
    found[rows["attempt"].gt(1)] = "took another try"
    found[~within_limits(rows, view)] = "failed or took longer than clients wait"
    return found


# ── what a dead gateway had is asked for again ──

#: What had left the gateway before the fault may be read by its client so much later.
ON_ITS_WAY_S = 0.5


@asks(
    "broken-requests-retried",
    "broken visibly and retried through {gateway} in {phase}",
    "Does what was on its way through {gateway} in {phase} break visibly, and is it asked for again?",
    "load", "gateways", "fault:{phase}",
    timing=False, subject="gateway", objective="0 requests lost or falsely ok",
    despite=frozenset({SILENCE}),  # an answer of the dead is what it fails on
)  # fmt: skip
def broken_and_retried(view: RunView, gateway: str, phase: str) -> CheckResult:
    """Whether no attempt through ``gateway`` ended ok while that was dead, and each that died there was made good.

    Made good: a later attempt ended ok, or the user was told the truth in the end, by a JSON error with a status.
    """
    fault = FaultWindow.of(view, phase)
    rows = view.requests[view.requests["gateway"].eq(view.address_of(gateway))]
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    ends = rows["end_s"]
    rows = rows[rows["start_s"].le(fault.end_s) & ends.ge(fault.ordered_s)]
    ok = rows["outcome"].eq("ok")
    false = rows[ok & ends[rows.index].between(fault.begin_s + ON_ITS_WAY_S, fault.end_s, inclusive="neither")]
    died = rows[~ok]
    lost = died[died["request_id"].isin(_lost(view, died))]
    if died.empty and false.empty:
        raise NotMeasured(f"nothing was on its way through {gateway} when it died, so nothing could break", 0)
    bad = list(dict.fromkeys([*false["request_id"], *lost["request_id"]]))
    kinds = {str(kind): int(count) for kind, count in tally(died["outcome"]).sort_index().items()}
    why, examples = _what_died(gateway, died, false, lost), tuple(str(i) for i in bad[:5])
    return none_bad(bad, len(died) + len(false), "requests", why, examples, details=kinds)


def _lost(view: RunView, died: Rows) -> pd.Series:
    """Request ids whose last word is neither an answer nor an honest refusal."""
    final = view.final[view.final["request_id"].isin(died["request_id"])]
    told = final["http_status"].ge(400) & final["error_type"].notna() & final["error_request_id"].notna()
    ended = final["request_id"][final["outcome"].eq("ok") | told]
    return died["request_id"][~died["request_id"].isin(ended)]


def _what_died(gateway: str, died: Rows, false: Rows, lost: Rows) -> str:
    if len(false):
        return f"{len(false)} attempts through {gateway} ended ok while it could not have finished them"
    streams = int(died["http_status"].eq(200).sum())
    seen = f"{len(died)} attempts died at {gateway}, {streams} of them in mid-stream"
    if len(lost):
        return f"{seen}; {lost['request_id'].nunique()} requests of these were never answered, nor honestly refused"
    return f"{seen}; every one of them was asked for again, and answered or honestly refused"
