"""A run in memory, as the judge reads it: what a mutation takes and returns."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from harness.evidence import records_kept, samples_kept
from harness.evidence.record import METRIC_COLUMNS, REQUEST_COLUMNS, RunFolder
from harness.model import digest
from harness.model.errors import RunFolderError

#: JSON objects of a run folder that the judge reads; a run has those that its drill makes.
DOCUMENTS = (*records_kept.DOCUMENTS, records_kept.FILE)
Row = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """What is recorded of one run. Mutations replace parts of it and change none in place."""

    requests: pd.DataFrame
    metrics: pd.DataFrame
    events: tuple[Row, ...]
    documents: dict[str, Row]

    def resealed(self, path: Path) -> Data:
        """As if a recorder had written it so: digests and counts are those of this very data."""
        documents = copy.deepcopy(self.documents)
        documents[samples_kept.FILE] = samples_kept.summary(self.metrics)
        begun = {"digest": digest.of_plan(documents["plan.json"])}
        events = tuple({**one, **begun} if one.get("kind") == "planned" else one for one in self.events)
        data = replace(self, events=events, documents=documents)
        documents[records_kept.FILE] = records_kept.summary(Stored(path, data))
        return data

    def same_as(self, other: Data) -> bool:
        """Whether the judge would read the same."""
        return (
            _same(self.requests, other.requests)
            and _same(self.metrics, other.metrics)
            and _text(self.events) == _text(other.events)
            and _text(self.documents) == _text(other.documents)
        )


class Stored(RunFolder):
    """A run folder with the records of ``data`` in place of its own."""

    def __init__(self, path: Path, data: Data) -> None:
        super().__init__(path)
        self._data = data

    def read_json(self, name: str) -> dict[str, Any]:
        """A fresh copy of the object, as from a file. RunFolderError when there is none."""
        if name not in self._data.documents:
            raise RunFolderError(f"{name}: no such object in this run")
        return copy.deepcopy(self._data.documents[name])

    def requests(
        self, columns: Sequence[str] = REQUEST_COLUMNS.names, categories: Collection[str] = ()
    ) -> pd.DataFrame:
        """The attempts; columns that were dropped are null, as in a run that did not record them."""
        found = self._data.requests.reindex(columns=list(columns))
        texts = [name for name in columns if name in categories and not pd.api.types.is_numeric_dtype(found[name])]
        return found.astype(dict.fromkeys(texts, "category"))

    def requests_by_column(self) -> Iterator[tuple[pa.Field, Iterator[pa.Array]]]:
        """Each of ``REQUEST_COLUMNS`` in one piece; one that was dropped is null."""
        found = self._data.requests.reindex(columns=REQUEST_COLUMNS.names)
        for field in REQUEST_COLUMNS:
            yield field, iter([pa.Array.from_pandas(found[field.name])])

    def attempts_count(self) -> int:
        """How many attempts ``data`` has."""
        return len(self._data.requests)

    def metrics(self) -> pd.DataFrame:
        """The samples."""
        return _whole(self._data.metrics, METRIC_COLUMNS.names)

    def _event_lines(self) -> list[bytes]:
        return [json.dumps(event).encode() for event in self._data.events]


def load(path: Path) -> Data:
    """The records of a run folder. RunFolderError when it has no readable plan."""
    folder = RunFolder(path)
    events = tuple(json.loads(line) for line in (path / "events.jsonl").read_bytes().splitlines())
    documents = {name: folder.read_json(name) for name in DOCUMENTS if (path / name).exists()}
    return Data(folder.requests(), folder.metrics(), events, documents)


def _whole(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return frame.reindex(columns=[*frame.columns, *(name for name in names if name not in frame)])


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal, where a column that is missing is one that is null, whatever its type."""
    if one is other:
        return True
    return len(one) == len(other) and all(
        _equal(one[name], other[name]) if name in one and name in other else _null(one, name) and _null(other, name)
        for name in {*one.columns, *other.columns}
    )


def _equal(one: pd.Series, other: pd.Series) -> bool:
    """The same values and the same gaps, whatever the types: a 0 is a 0.0."""
    if one.dtype == other.dtype:
        return one.equals(other)
    return one.isna().equals(other.isna()) and one.dropna().tolist() == other.dropna().tolist()


def _null(frame: pd.DataFrame, name: str) -> bool:
    return name not in frame or bool(frame[name].isna().all())


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
