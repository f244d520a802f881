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
from harness.evidence.record import RunFolder
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
    found = hashlib.sha256()
    for field, parts in folder.requests_by_column():
        for data in _of_texts(parts) if pa.types.is_string(field.type) else map(_of_numbers, parts):
            found.update(data)
    return folder.attempts_count(), found.hexdigest()


def _of_numbers(column: pa.Array) -> memoryview:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(dtype="<f8", na_value=math.nan)
    return np.ascontiguousarray(numbers, dtype="<f8").data


def _of_texts(parts: Iterator[pa.Array]) -> Iterator[memoryview]:
    """The lengths of all parts, then the texts of all parts: no Python object is made of any."""
    texts: list[pa.Array] = []
    for column in parts:
        found = _as_texts(column)
        lengths: npt.NDArray[np.int64] = pc.fill_null(pc.utf8_length(found), -1).to_numpy().astype("<i8")
        yield lengths.data
        texts.append(found.drop_null())
    for known in filter(len, texts):
        _, offsets, data = known.buffers()
        begins = np.frombuffer(offsets, dtype=np.int64)
        yield memoryview(data)[begins[known.offset] : begins[known.offset + len(known)]]


def _as_texts(column: pa.Array) -> pa.Array:
    """A column of texts; what is none is a gap."""
    words = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(words) or pa.types.is_large_string(words)):
        return pa.nulls(len(column), pa.large_string())
    return column.cast(words).cast(pa.large_string())


def _there(folder: RunFolder, name: str) -> bool:
    try:
        folder.read_json(name)
    except RunFolderError:
        return False
    return True
