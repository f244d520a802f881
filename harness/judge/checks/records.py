"""The records, in every drill: no request vanishes, nothing is left injected, no cut answer passes for a whole one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.evidence.attempts import Attempts, Rows, tally
from harness.evidence.record import OUTCOMES
from harness.evidence.view import RunView
from harness.judge.checks.shapes import asks, none_bad
from harness.judge.slo import NotMeasured
from harness.model.journal import Journal
from harness.model.stream import COMPLETE_REASONS, GIVEN_UP_REASONS
from harness.model.verdict import CheckResult, Status

# ── no request vanishes ──


@asks(
    "requests-conserved",
    "conservation",
    "Is every scheduled request accounted for, once?",
    safety=True, timing=False,
)  # fmt: skip
def conserved(view: RunView) -> CheckResult:
    """Whether scheduled = Σ final outcomes + in flight, in total and per phase, and attempts likewise.

    A safety check: it holds in invalid runs too.
    """
    requests, summary = view.requests, view.summary
    if summary is None:
        why = "the load generator left no summary: nobody knows how many requests were scheduled"
        raise NotMeasured(why, len(view.final))
    scheduled = int(summary["scheduled_requests"])
    if scheduled == 0:
        raise NotMeasured("no request was scheduled", 0)
    if requests.empty:
        raise NotMeasured(f"{scheduled} requests were scheduled, but no attempt at all is recorded", 0)
    if unwritten := int(summary.get("unwritten_attempts", 0)):
        return _unwritten(view, summary, unwritten)
    leaks = [*_totals(view, summary), *_outcomes(requests), *_finals(requests), *_per_phase(requests)]
    missing = scheduled - len(view.final) - int(summary["in_flight_at_end"])
    why = leaks[0] if leaks else f"all {scheduled} scheduled requests and {len(requests)} attempts are accounted for"
    return _unaccounted(missing, scheduled, Status.FAIL if leaks else Status.PASS, why, details={"leaks": leaks})


def _unaccounted(missing: int, scheduled: int, status: Status, why: str, **more: Any) -> CheckResult:
    count = float(abs(missing))
    return CheckResult("", status, why, "0 unaccounted", count, "requests", 0.0 - count, scheduled, **more)


def _unwritten(view: RunView, summary: dict[str, object], attempts: int) -> CheckResult:
    """INCONCLUSIVE for rows that could not be written; FAIL when further requests are missing."""
    scheduled, lost = int(str(summary["scheduled_requests"])), int(str(summary["unwritten_requests"]))
    missing = scheduled - len(view.final) - int(str(summary["in_flight_at_end"])) - lost
    if missing:
        why = f"{abs(missing)} of {scheduled} requests are unaccounted for, besides {lost} that could not be written"
        return _unaccounted(missing, scheduled, Status.FAIL, why)
    why = f"{attempts} attempts could not be written: {summary.get('write_error') or 'no reason given'}"
    return dataclasses.replace(_unaccounted(missing, scheduled, Status.INCONCLUSIVE, why), margin=None)


def _totals(view: RunView, summary: dict[str, object]) -> Iterator[str]:
    in_flight = int(str(summary["in_flight_at_end"]))
    for what, scheduled, counted in (
        ("requests", int(str(summary["scheduled_requests"])), len(view.final) + in_flight),
        ("attempts", int(str(summary["attempts"])), len(view.requests)),
    ):
        if scheduled != counted:
            yield f"{scheduled} {what} by the generator's count, but {counted} are recorded"
    for field, rows in (("outcomes_final", view.final), ("outcomes_attempts", view.requests)):
        said = summary.get(field)
        told = {str(k): int(v) for k, v in said.items() if v} if isinstance(said, dict) else None
        found = {str(k): int(v) for k, v in tally(rows["outcome"]).items()}
        if told is not None and told != found:
            yield f"{field} by the generator's count are {told}, recorded are {found}"


def _outcomes(requests: Attempts) -> Iterator[str]:
    unknown = requests[~requests["outcome"].isin(OUTCOMES)]
    if len(unknown):
        yield f"{len(unknown)} attempts have no known outcome, such as {unknown['outcome'].iloc[0]!r}"


def _finals(requests: Attempts) -> Iterator[str]:
    """Each request has attempts 1, 2, … n, and the n-th is the final one."""
    numbers = requests["request"]
    attempts = pd.DataFrame({"request": numbers, "attempt": requests["attempt"], "final": requests["final"].eq(True)})
    grouped = attempts[numbers.ge(0)].groupby("request")
    finals = grouped["final"].sum()
    if (finals != 1).any():
        example = min(requests["request_id"][numbers.isin(finals.index[finals.ne(1)])])
        yield f"{int((finals != 1).sum())} requests have not exactly one final attempt, such as {example}"
    several = attempts[attempts["request"].duplicated(keep=False)]
    twice = several.duplicated(["request", "attempt"]).any()
    if twice or (grouped["attempt"].max() != grouped["attempt"].size()).any():
        yield "the attempts of a request are not numbered 1, 2, … without gaps"


def _per_phase(requests: Attempts) -> Iterator[str]:
    """What began in a phase has ended as a request of that phase; null is before the first phase."""
    for column in ("phase", "judged_phase"):
        begun = _counted(requests[column][requests["attempt"].eq(1)])
        ended = _counted(requests[column][requests["final"].eq(True)])
        for phase in sorted(begun.keys() | ended.keys()):
            if begun.get(phase, 0) != ended.get(phase, 0):
                yield f"{begun.get(phase, 0)} requests began in {phase}, but {ended.get(phase, 0)} ended as its own"


def _counted(phases: pd.Series) -> dict[str, int]:
    found = {str(phase): int(count) for phase, count in phases.value_counts().items() if count}
    return found | {"(none)": int(phases.isna().sum())}


# ── nothing is left injected ──

#: How harness and watchdog begin their sentence about what they could not heal.
_STILL = "still injected"


@asks(
    "nothing-left-injected",
    "nothing left injected",
    "Is every fault rolled back, and is that proven?",
    safety=True, timing=False, objective="0 left",
)  # fmt: skip
def nothing_left_injected(view: RunView) -> CheckResult:
    """Whether nothing of what was injected is left. A safety check: it holds in interrupted runs too.

    FAIL takes proof: a fault that was never healed, or something of it that is still there by the word of who holds it
    or by measurement on the data path. A service that was not seen to be back in time is no such proof: whether it
    comes back is for the checks of recovery and for the steady state.
    """
    if not view.events():
        raise NotMeasured("the run recorded no events", 0)
    begun = ("fault_injecting", "fault_injected", "fault_stays")
    injected = {str(e.data.get("fault")) for kind in begun for e in view.events(kind)}
    healed, proven, unproven = (_faults(view, kind) for kind in ("fault_healed", "heal_proven", "heal_unproven"))
    never, there = injected - healed, _still_there(view, injected) | _said_so(view, injected)
    if never and not there and "events.jsonl" in view.folder.unwritten():
        status, why = Status.INCONCLUSIVE, f"the events end before the heal of {', '.join(sorted(never))}: not written"
    elif never:
        status, why = Status.FAIL, f"never healed: {', '.join(sorted(never))}"
    elif there:
        found = "; ".join(f"{fault}: {left}" for fault, left in sorted(there.items()))
        status, why = Status.FAIL, f"still there after the heal: {found}"
    elif late := injected & unproven:
        status, why = Status.INCONCLUSIVE, f"healed, but not seen to be over in time: {', '.join(sorted(late))}"
    elif unsure := injected - proven:
        status, why = Status.INCONCLUSIVE, f"healed, but nobody proved it: {', '.join(sorted(unsure))}"
    elif still := [one.id for one in Journal(view.folder.path / "undo.jsonl").open_entries()]:
        status, why = Status.INCONCLUSIVE, f"the undo journal still has open entries: {', '.join(sorted(still))}"
    elif not injected:
        return CheckResult("", Status.PASS, "nothing was injected, so nothing had to be healed", samples=0)
    else:
        were = "the fault was" if len(injected) == 1 else f"all {len(injected)} faults were"
        status, why = Status.PASS, f"{were} healed, and the heal was proven"
    count = float(len(never | there.keys()))
    return CheckResult("", status, why, measured=count, unit="faults", margin=0.0 - count, samples=len(injected))


def _still_there(view: RunView, injected: set[str]) -> dict[str, str]:
    """Fault → what is left of it, of those whose heal was found not to have worked."""
    left = {str(e.data.get("fault")): e.data.get("left") for e in view.events("heal_unproven")}
    return {fault: str(words) for fault, words in left.items() if fault in injected and words}


def _said_so(view: RunView, injected: set[str]) -> dict[str, str]:
    """What whoever cleaned up could not heal, unless each fault was proven to be healed after that."""
    said = [e for e in view.events("cleanup_problem") if str(e.data.get("why", "")).startswith(_STILL)]
    proofs = [(e.t_s, str(e.data.get("fault"))) for e in view.events("heal_proven")]
    unproven = (e for e in said if injected - {fault for t_s, fault in proofs if t_s > e.t_s} or not injected)
    words = "; ".join(str(e.data["why"]) for e in unproven)
    return {"the clean-up says": words} if words else {}


def _faults(view: RunView, kind: str) -> set[str]:
    return {str(e.data.get("fault")) for e in view.events(kind)}


# ── no cut answer passes for a whole one ──


@asks(
    "no-silent-truncation",
    "no silent truncation",
    "Is every stream that ended well really whole?",
    safety=True, timing=False, objective="0 truncated",
)  # fmt: skip
def no_silent_truncation(view: RunView) -> CheckResult:
    """Whether no answer that was cut off passes for a whole one, in the whole run; a safety check.

    Our own engines account for every token, and give one answer to one prompt: usage and events must match, and no
    answer may be shorter than the right one. Other servers may leave usage out, not count reasoning tokens, send more
    events than tokens, or answer the same prompt differently each time: there a stream with finish reason and
    ``[DONE]`` is whole, and the check notes what it did not compare.
    """
    ok = view.requests[view.requests["outcome"].eq("ok")]
    if ok.empty:
        raise NotMeasured("no request ended ok", 0)
    ours, taught = view.target is None, [one.name for one in view.scenario.load.cohorts if one.right]
    short, known = _shorter_than_right(ok), ok["cohort"].isin(taught) & ours
    compared = (_of_our_engines(ok) if ours else {}) | {_TOO_SHORT: short & known}
    not_compared = ({} if ours else _of_our_engines(ok)) | {_TOO_SHORT: short & ~known}
    cut = _first(ok, _unended(ok) | compared)
    bad = cut[cut.notna()]
    kinds = bad.value_counts()
    notes = {text: int(where.sum()) for text, where in not_compared.items() if where.any()}
    why = f"all {len(ok)} streams that ended ok are whole"
    if len(bad):
        why = f"{len(bad)} of {len(ok)} streams that ended ok are not whole; {kinds.iloc[0]} × {kinds.index[0]}"
    if notes:
        why += "; not compared: " + ", ".join(f"{count} × {text}" for text, count in notes.items())
    details = {
        **{str(k): int(v) for k, v in kinds.items()},
        **{f"not compared: {text}": count for text, count in notes.items()},
        # Engines put several tokens into one event when they are behind: suspicious, no proof.
        "fewer_events_than_tokens": int((ok["content_events"] < ok["output_tokens"] - 1).sum()),
    }
    return none_bad(bad, len(ok), "answers", why, ok["request_id"][bad.index], details=details)


def _first(ok: Rows, reasons: dict[str, pd.Series]) -> pd.Series:
    """Why each answer is not whole, the first reason that holds; null when it is."""
    wrong = pd.Series(None, index=ok.index, dtype=object)
    for text, where in ((text, where) for text, where in reasons.items() if where.any()):
        wrong[where & wrong.isna()] = text
    return wrong


def _unended(ok: Rows) -> dict[str, pd.Series]:
    """Answers without the end that the API promises."""
    return {
        "ok without HTTP status 200": ok["http_status"].ne(200),
        "ok without a finish_reason": ok["finish_reason"].isna(),
        "a finish_reason of an answer that its server gave up": ok["finish_reason"].isin(GIVEN_UP_REASONS),
    }


def _of_our_engines(ok: Rows) -> dict[str, pd.Series]:
    """Answers whose usage and events do not match, or whose finish reason vLLM gives to no complete answer."""
    streamed = ok["content_events"].notna()
    return {
        "a finish_reason that is none of a whole answer": ok["finish_reason"].notna()
        & ~ok["finish_reason"].isin(COMPLETE_REASONS),
        "ok without usage": ok["output_tokens"].isna(),
        "tokens in usage, but none was seen": streamed & ok["ttft_ms"].isna() & ok["output_tokens"].gt(0),
        "tokens in usage, but no event with content": ok["content_events"].eq(0) & ok["output_tokens"].gt(1),
        "more events with content than tokens in usage": ok["content_events"].gt(ok["output_tokens"]),
    }


_TOO_SHORT = "an eval answer that ends too early"


def _shorter_than_right(ok: Rows) -> pd.Series:
    """Wrong answers that stopped by themselves, shorter than the right one that others got to the same prompt.

    From the same version: what another one says, a canary perhaps, is not this one's answer cut off.
    """
    wrong = ok["answer_correct"].eq(False) & ok["finish_reason"].eq("stop")
    if not wrong.any():
        return wrong
    version, right = ok["served_version"].fillna("").astype(str), ok["answer_correct"].eq(True)
    whole = ok["answer_chars"].where(right).groupby([ok["prompt_hash"], version]).transform("max")
    return wrong & ok["answer_chars"].lt(whole)
