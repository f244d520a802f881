"""Whether the records of a run are those that it wrote: none lost, doubled, moved or changed since then.

A run that has ended writes ``records.json``: how many events and attempts there are, the SHA-256 of each of the two in
their order, of the undo journal, and of each JSON document which the judge reads. Samples have a document of their
own. What was damaged, cut off or edited later is no evidence. Whoever changes a file and ``records.json`` alike is not
found out here, but by the rules that compare the records with each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.lib import ArrowException

from harness.evidence import samples_kept
from harness.evidence.attempts import ROWS_AT_ONCE
from harness.evidence.record import REQUEST_COLUMNS, RunFolder
from harness.model import artifacts, digest
from harness.model.errors import RunFolderError

FILE = "records.json"
JOURNAL = "undo.jsonl"
#: Objects that judge and report read; a run has those that its drill makes.
DOCUMENTS = ("plan.json", "load-summary.json", samples_kept.FILE, *artifacts.files())


def seal(folder: RunFolder) -> None:
    """Write ``FILE``, once nothing more is recorded. RecordError when it cannot be written."""
    folder.write_json(FILE, summary(folder))


def summary(folder: RunFolder) -> dict[str, Any]:
    """What ``FILE`` holds of the records that are there."""
    events = [[event.t_s, event.kind, event.data] for event in folder.events()]
    there = (name for name in DOCUMENTS if _there(folder, name))
    documents = {name: digest.of(folder.read_json(name)) for name in there}
    told = {
        "events": len(events),
        "events_sha256": digest.of(events),
        "undo_sha256": _of_journal(folder.path / JOURNAL),
        "documents": documents,
    }
    try:
        count, sha256 = _of_requests(folder)
    except (OSError, ArrowException):  # a torn file is no evidence, even if the run itself left it so
        return told
    return {**told, "requests": count, "requests_sha256": sha256}


def difference(folder: RunFolder) -> str | None:
    """How the records differ from those that the run left; None when they do not."""
    try:
        left, found = folder.read_json(FILE), summary(folder)
    except RunFolderError as error:
        return f"what the run left is not recorded: {error}"
    for file, what, rows in (("events.jsonl", "events", "events"), ("requests.parquet", "requests", "attempts")):
        if what not in found:
            return f"{file} cannot be read"
        if what not in left:
            return f"{FILE} does not count the {rows}: what the run left of them is not recorded"
        if left.get(what) != found[what]:
            return f"{file} has {found[what]} {rows}, and the run left {left.get(what)}"
        if left.get(f"{what}_sha256") != found[f"{what}_sha256"]:
            return f"{file} is not as the run left it"
    if left.get("undo_sha256") != found["undo_sha256"]:
        return f"{JOURNAL} is not as the run left it"
    before, now = left.get("documents"), found["documents"]
    changed = sorted(name for name in DOCUMENTS if not isinstance(before, dict) or before.get(name) != now.get(name))
    return f"{', '.join(changed)}: not as the run left it" if changed else None


def _of_journal(path: Path) -> str | None:
    """SHA-256 of the undo journal; None where the run has none that can be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except OSError:
        return None


def _of_requests(folder: RunFolder) -> tuple[int, str]:
    """How many attempts there are, and the SHA-256 of them in their order, column by column.

    It is the same whatever types a reader gives the columns: numbers and truth values count as 64-bit floats, gaps as
    NaN; texts with their lengths, −1 for a gap.
    """
    found, count = hashlib.sha256(), folder.attempts_count()
    whole = folder.requests() if count <= ROWS_AT_ONCE else None
    for field in REQUEST_COLUMNS:
        parts = folder.requests_by_group(field.name) if whole is None else iter([whole[field.name]])
        for data in _of_texts(parts) if pa.types.is_string(field.type) else map(_of_numbers, parts):
            found.update(data)
    return count, found.hexdigest()


#: What a digest is made of.
_Bytes = bytes | memoryview


def _of_numbers(column: pd.Series) -> _Bytes:
    numbers = pd.to_numeric(column, errors="coerce")
    return np.ascontiguousarray(numbers.to_numpy(dtype="<f8", na_value=math.nan)).data


def _of_texts(parts: Iterator[pd.Series]) -> Iterator[_Bytes]:
    """The lengths of all parts, then the texts of all parts."""
    texts: list[list[_Bytes]] = []
    for column in parts:
        stored = isinstance(column.dtype, pd.StringDtype)
        length, *data = _as_stored(pa.array(column).cast(pa.large_string())) if stored else _as_objects(column)
        yield length
        texts.append(data)
    for data in texts:
        yield from data


def _as_objects(column: pd.Series) -> Iterator[_Bytes]:
    texts = [one if isinstance(one, str) else None for one in column.tolist()]
    yield np.array([-1 if text is None else len(text) for text in texts], dtype="<i8").data
    yield "".join(filter(None, texts)).encode(errors="surrogatepass")


def _as_stored(texts: pa.Array | pa.ChunkedArray) -> Iterator[_Bytes]:
    """The same of texts whose bytes stand one after the other: no Python object is made of any."""
    lengths: npt.NDArray[np.int64] = pc.fill_null(pc.utf8_length(texts), -1).to_numpy().astype("<i8")
    yield lengths.data
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        known = chunk.drop_null()
        _, offsets, data = known.buffers()
        if len(known):
            begins = np.frombuffer(offsets, dtype=np.int64)
            yield memoryview(data)[begins[known.offset] : begins[known.offset + len(known)]]


def _there(folder: RunFolder, name: str) -> bool:
    try:
        folder.read_json(name)
    except RunFolderError:
        return False
    return True
