"""The columns of requests.parquet that only are known when load is off, some from the gateways' logs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.evidence import phases
from harness.evidence.record import CUT_BY_HEAL, CUT_OUTCOMES, REQUEST_COLUMNS, Event, RunFolder, replacing
from harness.model.scenario import Scenario
from stack import stacks

#: The generator notices a closed connection at once, unless it is busy.
_NOTICED_WITHIN_S = 0.5
#: HAProxy's word for «no server was tried».
NO_SERVER = "<NOSRV>"


def finish_requests(folder: RunFolder, scenario: Scenario) -> None:
    """Fill in the columns of requests.parquet that only now are known. RecordError when they cannot be written."""
    path = folder.path / "requests.parquet"
    if not path.exists():
        return
    frame = phases.assign(folder.requests(), phases.spans(folder.events(), {p.name: p.kind for p in scenario.phases}))
    gateways = stacks.restored(folder.plan().get("topology")).gateways
    logs = [folder.path / "logs" / f"{gateway}.log" for gateway in gateways]
    frame = cut_by_heal(frame.assign(**from_gateways(frame, logs)), folder.events())
    table = pa.Table.from_pandas(frame, schema=REQUEST_COLUMNS, preserve_index=False)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def cut_by_heal(frame: pd.DataFrame, events: Iterable[Event]) -> pd.DataFrame:
    """The same attempts; the subtype of those that a heal cut is ``CUT_BY_HEAL``.

    They were in flight over a link while its proxy was recreated, and ended then.
    """
    begin = frame["start_s"].astype(float)
    end = begin + frame["e2e_ms"].astype(float) / 1000
    cut = pd.Series(False, frame.index)
    for event in (event for event in events if event.kind == "link_cut"):
        since_s, until_s = event.t_s - float(event.data["took_s"]), event.t_s + _NOTICED_WITHIN_S
        over = frame["gateway"].isin([str(address) for address in event.data["addresses"]])
        cut |= over & begin.le(event.t_s) & end.between(since_s, until_s) & frame["outcome"].isin(CUT_OUTCOMES)
    return frame.assign(subtype=frame["subtype"].astype(object).mask(cut, CUT_BY_HEAL))


class _Line(NamedTuple):
    """What an access log line says of one attempt."""

    t_ms: float
    queue_ms: float
    replica: str  # "" when the gateway tried none
    retries: int


def from_gateways(frame: pd.DataFrame, logs: Iterable[Path]) -> dict[str, pd.Series]:
    """The columns that only the gateways' access logs know, per attempt; null where they do not tell, or are missing.

    Attempts share their request's id, so the n-th line of an id belongs to its n-th attempt that a gateway saw:
    that is only certain when there are as many lines as attempts.
    """
    lines: dict[str, list[_Line]] = defaultdict(list)
    for path in filter(Path.exists, logs):
        for text in path.read_text(errors="replace").splitlines():
            entry = _access_entry(text)
            if entry is not None:
                lines[entry[0]].append(entry[1])
    sent = frame[frame["first_byte_sent_s"].notna()]
    order = sent.sort_values("attempt").groupby("request_id")["attempt"]
    nth, count = order.cumcount().reindex(frame.index), order.transform("size").reindex(frame.index)
    found: list[_Line | None] = []
    for request_id, position, attempts in zip(frame["request_id"], nth, count, strict=True):
        seen = sorted(lines.get(request_id, ()))
        found.append(seen[int(position)] if len(seen) == attempts else None)  # NaN, where nothing was sent, equals none
    columns = (
        ("queue_gateway_ms", "queue_ms", "float64"), ("gateway_replica", "replica", "object"),
        ("gateway_retries", "retries", "Int16"),
    )  # fmt: skip
    return {
        name: pd.Series([None if line is None else getattr(line, field) for line in found], frame.index, dtype=dtype)
        for name, field, dtype in columns
    }


def _access_entry(text: str) -> tuple[str, _Line] | None:
    """Request id and facts of an access log line; None for any other line."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        data = json.loads(text[start:])
        replica = str(data["replica"])
        line = _Line(
            float(data["t_ms"]),
            max(float(data["queue_ms"]), 0.0),
            "" if replica == NO_SERVER else replica,
            int(str(data["retries"]).lstrip("+")),  # «+2»: the last one went to another replica
        )
        return str(data["request_id"]), line
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
