"""Whether every number of the records can be true at all: what is impossible was not measured, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from harness.finding import EVERYTHING, Finding, bad, good
from harness.view import RunView
from stack.topology import GATEWAYS

#: Two readings of one clock that are stored in a different order differ by less: a token and the end in one read.
_SAME_MOMENT_MS = 1.0
_NOT_SENT = "not_sent"
#: Where nothing can have taken no time at all.
_TIMES = ("e2e_ms", "ttft_ms", "headers_ms", "e2e_from_schedule_ms", "ttft_from_schedule_ms")
#: Columns that an attempt which ended well always has.
_OF_ANSWER = ("http_status", "headers_ms", "e2e_ms", "e2e_from_schedule_ms")
#: No more than these can come before the one after it: start, headers, first token, end.
_ORDER = (("headers_ms", "ttft_ms"), ("ttft_ms", "e2e_ms"), ("headers_ms", "e2e_ms"))


def possible_samples(view: RunView) -> Iterator[Finding]:
    """Is every sample a finite number that is not negative, at a finite time?"""
    name, frame = "samples possible", view.samples
    values, times = frame["value"].to_numpy(dtype=float), frame["t_s"].to_numpy(dtype=float)
    wrong = ~np.isfinite(values) | (values < 0) | ~np.isfinite(times)
    if wrong.any():
        first = frame[wrong].iloc[0]
        why = f"{first['metric']} of {first['component']} was {first['value']} at {first['t_s']:.1f} s"
        yield bad(name, f"{int(wrong.sum())} of {len(frame)} samples are impossible: {why}", EVERYTHING)
    else:
        yield good(name, f"all {len(frame)} samples are finite and not negative", samples=len(frame))


def possible_records(view: RunView) -> Iterator[Finding]:
    """Can every attempt have been as it is recorded?"""
    name, rows = "records possible", view.requests
    for what, wrong in _wrong(view, rows):
        if wrong.any():
            who = rows["request_id"][wrong].iloc[0]
            yield bad(name, f"{int(wrong.sum())} of {len(rows)} attempts are impossible: {what} ({who})", EVERYTHING)
            return
    yield good(name, f"all {len(rows)} attempts can have been so", samples=len(rows))


def _wrong(view: RunView, rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Sentences, and the attempts that each is true of."""
    for column in rows.columns:
        if is_numeric_dtype(rows[column]) and rows[column].dtype != bool:
            values = rows[column].astype(float)
            yield f"{column} is negative or infinite", values.lt(0) | np.isinf(values)
    for column in _TIMES:
        yield f"{column} is 0", rows[column].astype(float).eq(0)
    for earlier, later in _ORDER:
        after = rows[earlier].astype(float) > rows[later].astype(float) + _SAME_MOMENT_MS
        yield f"{earlier} is after {later}", after
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
    ok = rows["outcome"].eq("ok")
    for column in _OF_ANSWER:
        yield f"it ended well without {column}", ok & rows[column].isna()
    yield "it ended well without a first token", ok & view.of_streams(rows) & rows["ttft_ms"].isna()


def gateways_logged(view: RunView) -> Iterator[Finding]:
    """Does a gateway's log say of every answer which replica gave it, and as the answer itself does?

    A gateway that a fault ends or freezes may lose lines of its log, and lines are matched to a request's attempts in
    order: requests that tried one are left out.
    """
    name, rows = "replica from the gateways' logs", view.requests
    if view.target is not None:
        yield good(name, "the gateways of an external target, if any, are not Drillyard's")
        return
    lost = {view.address_of(gateway) for gateway in _ended(view)}
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
        yield good(name, f"all {len(rows)} answered attempts are in a gateway's log", samples=len(rows))


def _ended(view: RunView) -> set[str]:
    """Gateways that a fault was on which excuses gaps: they were ended or frozen."""
    ended = {e.data.get("on") for e in view.events("fault_injecting") if "gaps" in e.data.get("excuses", ())}
    return {gateway for gateway in GATEWAYS if gateway in ended}
