"""Whether every attempt can have been as it is recorded: what is impossible was not measured, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype

from harness.evidence.attempts import Rows, numbers, of_retried
from harness.evidence.record import CUT_BY_HEAL, REQUEST_COLUMNS, RETRYABLE
from harness.evidence.view import RunView
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.model.stream import GIVEN_UP_REASONS
from harness.model.topology import CLIENT

#: Two readings of one clock that are stored in a different order differ by less: a token and the end in one read.
_SAME_MOMENT_MS = 1.0
_NOT_SENT = "not_sent"
SILENCE = "no answers over silenced links"
_NUMBERS = [
    field.name for field in REQUEST_COLUMNS if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
]
#: Where nothing can have taken no time at all.
_TIMES = ("e2e_ms", "ttft_ms", "headers_ms", "e2e_from_schedule_ms", "ttft_from_schedule_ms")
#: Columns that an attempt which ended well always has.
_OF_ANSWER = ("http_status", "headers_ms", "e2e_ms", "e2e_from_schedule_ms", "gateway", "first_byte_sent_s")
#: Each of these comes no later than the next: start, first byte sent, headers, first token, end.
_ORDER = (
    ("sent_ms", "headers_ms"), ("sent_ms", "ttft_ms"), ("sent_ms", "e2e_ms"), ("headers_ms", "ttft_ms"),
    ("ttft_ms", "e2e_ms"), ("headers_ms", "e2e_ms"),
)  # fmt: skip
#: The lowest and the highest status that an outcome can have, and whether it can have none (docs/metrics.md).
_STATUS = {
    **dict.fromkeys(("ok", "broken_stream", "inband_error", "empty", "wrong_model"), (200, 200, False)),
    **dict.fromkeys(("timeout_ttft", "timeout_stall", "timeout_total"), (200, 200, True)),
    "shed_429": (429, 429, False),
    "shed_503": (503, 503, False),
    "http_4xx": (400, 499, False),
    "http_5xx": (500, 599, False),
}
#: Those that are before any answer.
_NO_STATUS = ("dns_error", "connect_error", "tls_error")
#: Subtypes of those outcomes that have none from a server, a resolver or a library (harness/load/exchange.py).
_SUBTYPES = {
    "connect_error": ("refused", "no_answer", "unreachable", "reset", "failed", "reset_before_response",
                      "eof_before_response", "eof_in_handshake", CUT_BY_HEAL),
    "broken_stream": ("fin", "reset", "unfinished_line", "truncated", CUT_BY_HEAL),
    "timeout_ttft": ("no_headers", "no_token"),
    "timeout_stall": (),
    "timeout_total": (),
    "cancelled_intended": (),
    "cancelled_drain": ("in_flight",),
}  # fmt: skip


def possible_records(view: RunView) -> Iterator[Finding]:
    """Can every attempt have been as it is recorded?"""
    name, rows = "attempts plausible", view.requests
    for what, who in impossible(view, rows):
        yield bad(name, f"{len(who)} of {len(rows)} attempts are impossible: {what} ({who[0]})", EVERYTHING)
        return
    yield good(name, f"all {len(rows)} attempts are physically possible", samples=len(rows))


def impossible(view: RunView, rows: Rows) -> Iterator[tuple[str, list[str]]]:
    """What is impossible in these attempts (columns of ``record.REQUEST_COLUMNS``), and the ids of their requests."""
    for what, wrong in chain.from_iterable(each(view, rows) for each in _WRONG):
        if wrong.any():
            yield what, rows["request_id"][wrong].tolist()


#: Sentences, and the attempts that each is true of.
_Wrong = Iterator[tuple[str, pd.Series | npt.NDArray[np.bool_]]]


def _numbers(view: RunView, rows: Rows) -> _Wrong:
    for column in _NUMBERS:
        recorded = rows[column]
        if is_numeric_dtype(recorded):
            values = recorded.to_numpy(dtype=float, na_value=np.nan)
            yield f"{column} is negative or infinite", (values < 0) | np.isinf(values)
    for column in _TIMES:
        yield f"{column} is 0", rows[column].astype(float).eq(0)


def _times(view: RunView, rows: Rows) -> _Wrong:
    """Within an attempt."""
    sent_ms = (rows["first_byte_sent_s"] - rows["start_s"]).astype(float) * 1000
    yield "its first byte was sent before its start", sent_ms.lt(0)
    for earlier, later in _ORDER:
        first_ms = sent_ms if earlier == "sent_ms" else rows[earlier].astype(float)
        after = first_ms > rows[later].astype(float) + _SAME_MOMENT_MS
        yield f"{earlier} is after {later}", after
    before = rows["dns_ms"].astype(float).fillna(0) + rows["connect_ms"].astype(float).fillna(0)
    yield "DNS and connect took longer than until its first byte", before > sent_ms + _SAME_MOMENT_MS
    ended = [event.t_s for event in view.events("load_stopped")]
    yield "it ended after the load generator had", rows["end_s"].gt(max(ended, default=np.inf))


def _retries(view: RunView, rows: Rows) -> _Wrong:
    """From one attempt of a request to the next."""
    again = rows["attempt"].gt(1)
    yield "its retry delay is missing, or it has one and is no retry", again != rows["retry_delay_ms"].notna()
    several = rows[of_retried(rows)]  # of others nothing came before
    tries = several[["attempt", "retry_delay_ms", "end_s"]].sort_values("attempt")
    before_s = tries["end_s"].groupby(numbers(several)).shift()
    soonest_s = (before_s + (tries["retry_delay_ms"].astype(float) - _SAME_MOMENT_MS) / 1000).reindex(rows.index)
    yield "it started before the attempt before it had ended", again & rows["start_s"].lt(soonest_s)


def _schedule(view: RunView, rows: Rows) -> _Wrong:
    sent = rows["outcome"].ne(_NOT_SENT)
    yield "it has no start", sent & rows["start_s"].isna()
    yield "it has no intended start", rows["intended_start_s"].isna()
    yield "it started before it was meant to", rows["start_s"] < rows["intended_start_s"] - _SAME_MOMENT_MS / 1000
    late_ms = (rows["start_s"] - rows["intended_start_s"]) * 1000
    lag = rows["schedule_lag_ms"].astype(float)
    yield "its schedule lag is missing", sent & rows["attempt"].eq(1) & lag.isna()
    yield "its schedule lag is not start − intended start", sent & (lag - late_ms).abs().gt(_SAME_MOMENT_MS)
    for column, whole in (("e2e_from_schedule_ms", "e2e_ms"), ("ttft_from_schedule_ms", "ttft_ms")):
        off = (rows[column].astype(float) - rows[whole].astype(float) - late_ms).abs()
        yield f"{column} is not {whole} from the intended start", sent & off.gt(_SAME_MOMENT_MS)
        yield f"{column} or {whole} is missing", rows[column].isna() != rows[whole].isna()


def _answers(view: RunView, rows: Rows) -> _Wrong:
    """What an answer consists of: status and headers, tokens and the gaps between them."""
    ok, streams = rows["outcome"].eq("ok"), view.of_streams(rows)
    for column in _OF_ANSWER:
        yield f"it ended well without {column}", ok & rows[column].isna()
    yield "it ended well without a first token", ok & streams & rows["ttft_ms"].isna()
    given_up = rows["finish_reason"].isna() | rows["finish_reason"].isin(GIVEN_UP_REASONS)
    yield "it ended well, but its finish_reason says otherwise", ok & given_up
    yield (
        "it has a status without headers, or headers without a status",
        (rows["http_status"].isna() != rows["headers_ms"].isna()),
    )
    events, ttft = rows["content_events"].astype(float).fillna(0), rows["ttft_ms"].astype(float)
    yield "it has tokens without a first one, or a first one without any", events.gt(0) != ttft.notna()
    stall, generated = rows["max_stall_ms"].astype(float), rows["e2e_ms"].astype(float) - ttft
    yield "its longest stall is longer than its stream", stall.notna() & ~(stall <= generated + _SAME_MOMENT_MS)
    yield "it has several tokens without a gap between them", events.gt(1) & stall.isna()
    many = ok & events.gt(1)
    if view.target is None and generated[many].median() <= _SAME_MOMENT_MS:  # a buffer in between may hold a few back
        yield "most streams had all their tokens in one moment", many & generated.le(_SAME_MOMENT_MS)


def _outcomes(view: RunView, rows: Rows) -> _Wrong:
    """How it ended, with what goes with that."""
    status, seen = rows["http_status"].astype(float), frozenset(rows["outcome"].unique())
    for outcome, (low, high, none) in ((one, allowed) for one, allowed in _STATUS.items() if one in seen):
        fits = status.between(low, high) | (status.isna() & none)
        yield f"{outcome} does not go with its status", rows["outcome"].eq(outcome) & ~fits
    yield "it has no answer, but a status", rows["outcome"].isin(_NO_STATUS) & status.notna()
    for outcome, subtypes in ((one, known) for one, known in _SUBTYPES.items() if one in seen):
        unknown = rows["subtype"].notna() & ~rows["subtype"].isin(subtypes)
        yield f"{outcome} of an unknown kind", rows["outcome"].eq(outcome) & unknown
    yield (
        "it was retried, although clients do not retry this outcome",
        ~rows["final"].eq(True) & ~rows["outcome"].isin(RETRYABLE),
    )
    cancels_ms = {one.name: one.cancel_after * 1000 for one in view.scenario.load.cohorts if one.cancel_after}
    cancelled = rows["outcome"].eq("cancelled_intended")
    patience_ms = rows["cohort"][cancelled].map(cancels_ms).astype(float) - _SAME_MOMENT_MS
    in_time = rows["e2e_ms"].ge(patience_ms.reindex(rows.index))
    yield "it was cancelled on purpose, but not when its cohort cancels", cancelled & ~in_time
    drained = rows["outcome"].eq("cancelled_drain")
    yield (
        "it was cut as if the load had ended, and later requests were still sent",
        drained & rows["end_s"].lt(rows["intended_start_s"].max()),
    )


_WRONG = (_numbers, _times, _retries, _schedule, _answers, _outcomes)


def silence_kept(view: RunView) -> Iterator[Finding]:
    """Did no whole answer come from or over what a fault had silenced, from the injection to the heal?

    An attempt counts that was begun and ended in between, by the gateway and the replica that it names.
    """
    name, planned = SILENCE, view.plan.get("faults") or ()
    silenced = [one for one in planned if one.get("silences")]
    rows = view.requests[view.requests["outcome"].eq("ok")] if view.target is None else view.requests.head(0)
    for one in silenced:
        begins, ends = (
            [e.t_s for e in view.events(kind) if e.data.get("fault") == one["fault"]]
            for kind in ("fault_injected", "fault_healing")
        )
        within = rows["start_s"].gt(max(begins, default=np.inf))
        within &= rows["end_s"].lt(min(ends, default=-np.inf))
        heard = rows[within & _through(view, rows, str(one["on"]))]
        if len(heard):
            why = f"{len(heard)} answers came through {one['on']} while {one['fault']} had silenced it"
            yield bad(name, f"{why} ({heard['request_id'].iloc[0]})", EVERYTHING)
            return
    why = f"no answer came through what {len(silenced)} faults had silenced"
    yield good(name, why if silenced else "no fault of this run silences a link or a component", samples=len(rows))


def _through(view: RunView, rows: Rows, on: str) -> pd.Series:
    """Marks the attempts that went through the component or link ``on``; none for those that requests do not take."""
    links = {link.name: (link.source, link.target) for link in view.topology.links}
    ends = [end for end in links.get(on, (on,)) if end != CLIENT]
    replica = rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"])
    each = [rows["gateway"].eq(view.address_of(end)) if end in view.gateways else replica.eq(end) for end in ends]
    return pd.concat(each, axis=1).all(axis=1)


def gateways_logged(view: RunView) -> Iterator[Finding]:
    """Does a gateway's log say of every answer which replica gave it, and as the answer itself does?

    A gateway that a fault ends or freezes may lose lines of its log, and lines are matched to a request's attempts in
    order: requests that tried one are left out.
    """
    name, rows = "replica from the gateways' logs", view.requests
    if view.target is not None:
        yield good(name, "the gateways of an external target, if any, are not Drillyard's")
        return
    lost = {view.address_of(gateway) for gateway in _may_lack_lines(view)}
    tried = rows["request_id"][rows["gateway"].isin(lost)]
    rows = rows[rows["http_status"].notna() & ~rows["request_id"].isin(tried)]
    unknown = rows["gateway_replica"].isna()
    other = rows["replica"].notna() & ~unknown & rows["replica"].ne(rows["gateway_replica"])
    if unknown.any():
        why = f"{int(unknown.sum())} of {len(rows)} answered attempts are in no gateway's log"
        yield bad(name, why, "gateways", samples=len(rows))
    elif other.any():
        why = f"{int(other.sum())} of {len(rows)} answers name another replica than the gateway's log"
        yield bad(name, why, "gateways", samples=len(rows))
    else:
        why = f"all {len(rows)} answered attempts are in a gateway's log" if len(rows) else "no attempt was answered"
        yield good(name, why, samples=len(rows))


def _may_lack_lines(view: RunView) -> set[str]:
    """Gateways of which requests may have no line: they were ended or frozen, or their users' link was broken."""
    begun = view.events("fault_injecting")
    ended = {e.data.get("on") for e in begun if "gaps" in e.data.get("expected_disruptions", ())}
    links = {e.data.get("on") for e in begun}
    return {gateway for gateway in view.gateways if gateway in ended or f"client-to-{gateway}" in links}
