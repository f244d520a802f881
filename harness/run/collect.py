"""The columns of requests.parquet that only are known when load is off, some from the gateways' logs."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.adapters.gateway import AccessRecord, kind_of
from harness.evidence import phases
from harness.evidence.attempts import end_s
from harness.evidence.record import CUT_BY_HEAL, CUT_OUTCOMES, REQUEST_COLUMNS, Event, RunFolder, replacing
from harness.model.scenario import Scenario
from stack import stacks

#: The generator notices a closed connection at once, unless it is busy.
_NOTICED_WITHIN_S = 0.5
_FILLED_IN = ("phase", "straddles", "subtype", "queue_gateway_ms", "gateway_replica", "gateway_retries")
#: What they follow from.
_NEEDED = [*phases.NEEDS, "attempt", "gateway", "first_byte_sent_s", "outcome", "subtype"]


def finish_requests(folder: RunFolder, scenario: Scenario) -> None:
    """Fill in the columns of requests.parquet that only now are known. RecordError when they cannot be written.

    The other columns stay as they are in the file and never become Python objects.
    """
    path = folder.path / "requests.parquet"
    if not path.exists():
        return
    table, events = pq.read_table(path, page_checksum_verification=True), folder.events()
    before: pd.DataFrame = table.select(_NEEDED).to_pandas()
    spans = phases.spans(events, {p.name: p.kind for p in scenario.phases})
    frame = before.assign(**phases.assign(before, spans).astype(object))
    topology = stacks.restored(folder.plan().get("topology"))
    gateways = map(topology.component, topology.gateways)
    logs = [(folder.path / "logs" / f"{gateway.name}.log", kind_of(gateway).access_record) for gateway in gateways]
    frame = cut_by_heal(frame.assign(**from_gateways(frame, logs)), events)
    for column in (REQUEST_COLUMNS.field(name) for name in _FILLED_IN):
        values = pa.Array.from_pandas(frame[column.name], type=column.type)
        table = table.set_column(table.schema.get_field_index(column.name), column, values)
    with replacing(path) as temporary:
        pq.write_table(table.cast(REQUEST_COLUMNS), temporary, compression="zstd", write_page_checksum=True)


def cut_by_heal(frame: pd.DataFrame, events: Iterable[Event]) -> pd.DataFrame:
    """The same attempts; the subtype of those that a heal cut is ``CUT_BY_HEAL``.

    They were in flight over a link while its proxy was recreated, and ended then.
    """
    begin, end = frame["start_s"].astype(float), end_s(frame)
    cut = pd.Series(False, frame.index)
    for event in (event for event in events if event.kind == "link_cut"):
        since_s, until_s = event.t_s - float(event.data["took_s"]), event.t_s + _NOTICED_WITHIN_S
        over = frame["gateway"].isin([str(address) for address in event.data["addresses"]])
        cut |= over & begin.le(event.t_s) & end.between(since_s, until_s) & frame["outcome"].isin(CUT_OUTCOMES)
    return frame.assign(subtype=frame["subtype"].astype(object).mask(cut, CUT_BY_HEAL))


#: Reads a line of an access log.
Reader = Callable[[str], AccessRecord | None]
_NUMBERS = ("t_ms", "queue_ms", "retries")


def from_gateways(frame: pd.DataFrame, logs: Iterable[tuple[Path, Reader]]) -> dict[str, pd.Series]:
    """The columns that only the gateways' access logs know, per attempt; null where they do not tell, or are missing.

    Attempts share their request's id, so the n-th line of an id belongs to its n-th attempt that a gateway saw:
    that is only certain when there are as many lines as attempts.
    """
    lines = _lines(logs).sort_values(list(AccessRecord._fields), kind="stable", ignore_index=True)
    of_id = lines.groupby("request_id", sort=False)["t_ms"]
    lines = lines.assign(nth=of_id.cumcount(), seen=of_id.transform("size"))
    sent = frame.loc[frame["first_byte_sent_s"].notna(), ["request_id", "attempt"]].sort_values("attempt")
    of_id = sent.groupby("request_id")["attempt"]
    sent = sent.assign(nth=of_id.cumcount(), seen=of_id.transform("size"), row=sent.index)
    found = sent.merge(lines, on=["request_id", "nth", "seen"]).set_index("row").reindex(frame.index)
    return {
        "queue_gateway_ms": found["queue_ms"].astype("float64"),
        "gateway_replica": found["replica"].astype(object).where(found["replica"].notna(), None),
        "gateway_retries": found["retries"].astype("Int16"),
    }


def _lines(logs: Iterable[tuple[Path, Reader]]) -> pd.DataFrame:
    """What all access logs say, in no order: the fields of ``AccessRecord``. Read line by line."""
    ids: list[str] = []
    numbers: dict[str, array[float]] = {name: array("d") for name in _NUMBERS}
    replicas: list[str] = []
    for path, read in logs:
        if not path.exists():
            continue
        with path.open(errors="replace") as file:
            for record in filter(None, map(read, file)):
                ids.append(record.request_id)
                replicas.append(sys.intern(record.replica))
                for name, values in numbers.items():
                    values.append(getattr(record, name))
    texts = {"request_id": pd.Series(ids, dtype="str"), "replica": pd.Series(replicas, dtype="str")}
    return pd.DataFrame({**texts, **{name: np.asarray(values) for name, values in numbers.items()}})
