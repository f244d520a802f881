"""What validity rules have found, remembered by what they looked at.

A mutant changes one part of a run, and each rule that looks at other parts finds what it found before. So a rule is
asked on a view of its own, which notes what the rule reads: columns of the attempts, the samples, files. Where a later
run has all of that alike, the rule is not asked again. The plan, the events and the names of the files always count.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import pandas as pd
import pyarrow as pa

from harness.evidence import record, records_kept
from harness.evidence.attempts import Attempts
from harness.evidence.record import METRICS_PART, REQUEST_COLUMNS, Event, RunFolder
from harness.evidence.view import RunView
from harness.judge import validity
from harness.judge.finding import Finding

Rule = Callable[[RunView], Iterator[Finding]]
_PLAIN, _READ, _SUMMED = validity.of_rule, RunFolder._table, records_kept._of_requests
_COUNT, _EVERYTHING = "requests", "*"
_REQUESTS, _METRICS = "requests.parquet", "metrics.parquet"


class Content:
    """What a run consists of, as digests of its parts, each computed when it is asked for."""

    def __init__(self, view: RunView) -> None:
        self._of, self._known = ref(view), dict[str, str]()  # a view is not kept for what is known of it

    def of(self, part: str) -> str:
        """The digest of a file, of a column of the attempts (``requests/NAME``), of their count, or of everything."""
        if part not in self._known:
            self._known[part] = self._digest(part)
        return self._known[part]

    def of_all(self, parts: Collection[str]) -> str | None:
        """The digest of several parts; None where one of them cannot be read."""
        try:
            return "".join(map(self.of, sorted(parts)))
        except (OSError, pa.lib.ArrowException):
            return None

    @cached_property
    def always(self) -> str:
        """The digest of what each rule may look at unseen."""
        return "".join([*self._names, self.of("plan.json"), self.of("events.jsonl")])

    @property
    def _view(self) -> RunView:
        view = self._of()
        assert view is not None
        return view

    @property
    def _names(self) -> list[str]:
        return sorted(path.name for path in self._view.folder.path.iterdir())

    def _digest(self, part: str) -> str:
        if part == _EVERYTHING:
            return "".join(map(self.of, self._names))
        if part == _COUNT:
            return str(len(self._view.requests))
        if part.startswith(f"{_COUNT}/"):
            return _of_column(self._view.requests[part.removeprefix(f"{_COUNT}/")])
        return _of_file(self._view.folder.path / part)


def _of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"


def _of_column(column: pd.Series) -> str:
    numbers = pd.api.types.is_numeric_dtype(column.dtype)
    data = column.to_numpy().tobytes() if numbers else pickle.dumps(column.tolist())
    return f"{column.dtype} {hashlib.sha256(data).hexdigest()}"


class _NotingFolder(RunFolder):
    """A folder that notes which of its files are read."""

    def __init__(self, folder: RunFolder, notes: set[str]) -> None:
        self._plain, self._notes = folder, notes

    @property
    def path(self) -> Path:  # type: ignore[override]
        """Whoever asks for it may read anything."""
        self._notes.add(_EVERYTHING)
        return self._plain.path

    def read_json(self, name: str) -> dict[str, Any]:
        self._notes.add(name)
        return self._plain.read_json(name)

    def plan(self) -> dict[str, Any]:
        return self._plain.plan()

    def events(self) -> list[Event]:
        return self._plain.events()

    def unreadable_events(self) -> int:
        return self._plain.unreadable_events()

    def requests(self, *columns: Any, **named: Any) -> pd.DataFrame:
        self._notes.add(_REQUESTS)
        return self._plain.requests(*columns, **named)

    def requests_by_column(self) -> Iterator[tuple[pa.Field, Iterator[pa.Array]]]:
        self._notes.add(_REQUESTS)
        return self._plain.requests_by_column()

    def attempts_count(self) -> int:
        self._notes.add(_REQUESTS)
        return self._plain.attempts_count()

    def metrics(self) -> pd.DataFrame:
        self._notes.add(_EVERYTHING)  # of a harness that was killed, they are in another file
        return self._plain.metrics()


class _NotingView(RunView):
    """A view of the same run that notes what is looked at, with nothing that another rule has computed."""

    def __init__(self, view: RunView, notes: set[str]) -> None:
        self._shown, self._notes = view, notes
        self.folder, self.partial = _NotingFolder(view.folder, notes), view.partial
        self.plan, self.scenario, self.topology, self._events = view.plan, view.scenario, view.topology, view._events
        self._metrics_by_labels, self._artifacts = {}, {}

    @cached_property
    def requests(self) -> Attempts:
        """All attempts, whose columns are noted."""
        self._notes.add(_COUNT)
        return Attempts(self._column, self._shown.requests.index, whole=True)

    def _column(self, name: str) -> pd.Series:
        of_file = name in REQUEST_COLUMNS.names
        self._notes.add(f"{_COUNT}/{name}" if of_file else _REQUESTS)  # others are computed, perhaps of any
        return self._shown.requests[name]

    @cached_property
    def samples(self) -> pd.DataFrame:
        """All samples."""
        self._notes.add(_METRICS)
        return self._shown.samples

    @cached_property
    def _metrics_by_name(self) -> dict[tuple[str, str], pd.DataFrame]:
        self._notes.add(_METRICS)
        return self._shown._metrics_by_name


_CONTENT: WeakKeyDictionary[RunView, Content] = WeakKeyDictionary()
_FOUND: dict[tuple[Rule, str], dict[frozenset[str], dict[str | None, list[Finding]]]] = defaultdict(dict)


def of_rule(rule: Rule, view: RunView) -> list[Finding]:
    """``validity.of_rule``."""
    if type(view) is not RunView or view.partial or (view.folder.path / METRICS_PART).exists():
        return _PLAIN(rule, view)
    content = _CONTENT.setdefault(view, Content(view))
    known = _FOUND[rule, content.always]
    for parts, by_content in known.items():
        found = by_content.get(content.of_all(parts))
        if found is not None:
            return found
    notes = set[str]()
    found = _PLAIN(rule, _NotingView(view, notes))
    if (looked_at := content.of_all(notes)) is not None:
        known.setdefault(frozenset(notes), {})[looked_at] = found
    return found


_TABLES: OrderedDict[tuple[object, ...], pd.DataFrame] = OrderedDict()
_SUMS: dict[tuple[str, int], tuple[int, str]] = {}
_TABLES_KEPT = 16


def table(
    folder: RunFolder, name: str, schema: pa.Schema, columns: Sequence[str], categories: Collection[str] = ()
) -> pd.DataFrame:
    """``RunFolder._table``: a file that is as one of the latest ones is not read again."""
    key = (_of_file(folder.path / name), name, tuple(columns), frozenset(categories))
    if key not in _TABLES:
        _TABLES[key] = _READ(folder, name, schema, columns, categories)
        if len(_TABLES) > _TABLES_KEPT:
            _TABLES.popitem(last=False)
    _TABLES.move_to_end(key)
    return _TABLES[key].copy(deep=False)


def of_requests(folder: RunFolder) -> tuple[int, str]:
    """``records_kept._of_requests``: the attempts of a file are not summed up again."""
    key = (_of_file(folder.path / "requests.parquet"), record.GROUP_ROWS)
    if key not in _SUMS:
        _SUMS[key] = _SUMMED(folder)
    return _SUMS[key]
