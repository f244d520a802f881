"""The attempts of a run, or some of them, a column at a time: what nobody asks for is never read.

A million attempts of 47 columns are gigabytes as one frame, and each condition on it would copy them all. Here a
condition only remembers which rows it keeps; a column is read, and taken for those rows, when it is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence import memory
from harness.evidence.record import REQUEST_COLUMNS, WORDS, RunFolder

#: Besides the columns that are kept for good, so many bytes of others are kept as they were read: the latest ones.
BYTES_KEPT = 48_000_000
#: Up to so many attempts are read whole: each reading of a file costs more than all columns of a few thousand.
ROWS_AT_ONCE = 50_000


class _Columns:
    """The columns of a run as they were read: those of words and ``_FOR_GOOD`` for good, of others ``BYTES_KEPT``."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._kept = folder, OrderedDict[str, pd.Series]()
        self._made: dict[str, pd.Series] = {}
        self.index = pd.RangeIndex(folder.attempts_count())

    def column(self, name: str) -> pd.Series:
        """One of ``REQUEST_COLUMNS`` or of those that are computed. KeyError for any other."""
        if name in self._words:
            return self._words[name]
        if name in _FOR_GOOD:
            if name not in self._made:
                self._made[name] = self._computed(name) if name in _COMPUTED else self._read(name)
            return self._made[name]
        if name not in self._kept:
            self._kept[name] = self._read(name)
            self._forget()
        self._kept.move_to_end(name)
        return self._kept[name]

    def _forget(self) -> None:
        """Let go of those that were asked for longest ago, until the others are few enough."""
        before = len(self._kept)
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > BYTES_KEPT:
            self._kept.popitem(last=False)
        if len(self._kept) < before:
            memory.give_back()

    def _computed(self, name: str) -> pd.Series:
        return _COMPUTED[name](Attempts(self.column, self.index, whole=True))

    def _read(self, name: str) -> pd.Series:
        return self._folder.requests([name])[name] if self._whole is None else self._whole[name]

    @cached_property
    def _whole(self) -> pd.DataFrame | None:
        """All columns of a small file: each reading of it costs more than all columns of a few thousand rows."""
        return self._folder.requests(categories=WORDS) if len(self.index) <= ROWS_AT_ONCE else None

    @cached_property
    def _words(self) -> Mapping[str, pd.Series]:
        names = sorted(WORDS)
        if self._whole is None:  # one after the other: decoding needs many times what a column of codes does
            found = pd.DataFrame({name: self._folder.requests([name], categories=WORDS)[name] for name in names})
        else:
            found = self._whole[names]
        coded = [name for name in names if isinstance(found[name].dtype, pd.CategoricalDtype)]
        known = pd.CategoricalDtype(sorted({"", *(word for name in coded for word in found[name].cat.categories)}))
        return {name: found[name].astype(known) if name in coded else found[name] for name in names}


class Attempts:
    """Rows of requests.parquet. ``rows["outcome"]`` is a Series, ``rows[["user_id", "outcome"]]`` a DataFrame, and
    ``rows[rows["outcome"].eq("ok")]`` those attempts. The index is the place of each attempt in the file.

    Columns of ``record.WORDS`` are categories, all of one dtype, which has "" too: they can be compared with each
    other, and one filled in from another; ``tally`` counts the words of one.

    ``rows["end_s"]`` is computed (see the function), and ``rows["request"]``, a number for each request id, −1 for
    none: in the file it could disagree with what it follows from, and
    runs without it would have other digests. A request ends with its last attempt, the row that is ``final``.
    """

    def __init__(self, column: Callable[[str], pd.Series], rows: pd.Index, whole: bool = False) -> None:
        self._column, self.index, self._whole = column, rows, whole

    @classmethod
    def of(cls, folder: RunFolder) -> Attempts:
        """All attempts of a run."""
        columns = _Columns(folder)
        return cls(columns.column, columns.index, whole=True)

    def assign(self, **columns: pd.Series) -> Attempts:
        """All attempts of a run with further columns, or others in the place of theirs."""
        assert self._whole
        read = self._column
        return Attempts(lambda name: columns[name] if name in columns else read(name), self.index, whole=True)

    @overload
    def __getitem__(self, key: str) -> pd.Series: ...
    @overload
    def __getitem__(self, key: list[str]) -> pd.DataFrame: ...
    @overload
    def __getitem__(self, key: pd.Series | npt.NDArray[np.bool_]) -> Attempts: ...
    def __getitem__(self, key: Any) -> pd.Series | pd.DataFrame | Attempts:
        """A column, several, or the rows that are marked, as a DataFrame does it."""
        if isinstance(key, str):
            return self._taken(key)
        if isinstance(key, list):
            return pd.DataFrame({name: self._taken(name) for name in key}, index=self.index, copy=False)
        kept = key.to_numpy(dtype=bool, na_value=False) if isinstance(key, pd.Series) else key
        return self if kept.all() else Attempts(self._column, self.index[kept])

    def __len__(self) -> int:
        """How many they are."""
        return len(self.index)

    @property
    def empty(self) -> bool:
        """Whether there are none."""
        return not len(self.index)

    def at(self, places: npt.NDArray[np.intp]) -> Attempts:
        """Those at these places, in this order."""
        return Attempts(self._column, self.index[places])

    def head(self, n: int) -> Attempts:
        """The first of them."""
        return Attempts(self._column, self.index[:n])

    def sort_values(self, by: str, kind: Literal["stable"]) -> Attempts:
        """By a column of numbers; those without one come last."""
        return Attempts(self._column, self.index[np.argsort(self[by].to_numpy(dtype=float), kind=kind)])

    def frame(self) -> pd.DataFrame:
        """All columns of the file, words as texts."""
        frame = self[list(REQUEST_COLUMNS.names)]
        coded = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
        return frame.astype(dict.fromkeys(coded, "str"))

    @staticmethod
    def concat(parts: Sequence[Attempts]) -> Attempts:
        """Those of all parts, of one run, one after the other."""
        return Attempts(parts[0]._column, pd.Index(np.concatenate([part.index for part in parts])))

    def _taken(self, name: str) -> pd.Series:
        column = self._column(name)
        if self._whole:
            return column.copy(deep=False)  # the one that is kept stays as it was read
        return pd.Series(column.array.take(self.index.to_numpy()), self.index, name=name)


#: What indicators and checks look at.
Rows: TypeAlias = pd.DataFrame | Attempts


class Ids(Protocol):
    """The request ids of some attempts, by their places among these."""

    def __getitem__(self, places: Any, /) -> Iterable[Any]:
        """Those at these places."""


@dataclass(frozen=True)
class _Unread:
    """Of so many attempts that an id of each would cost more than what is to be known of them."""

    rows: Attempts

    def __getitem__(self, places: npt.NDArray[np.intp]) -> pd.Series:
        return self.rows.at(places)["request_id"]


def ids_of(rows: Rows) -> Ids:
    """Their request ids, read where they are asked for."""
    return _Unread(rows) if isinstance(rows, Attempts) else rows["request_id"].array


def end_s(rows: Rows) -> pd.Series:
    """When each attempt ended, in seconds of the run: its start and what it took.

    Without a measured duration it ended as it began, and without a start it began when it was meant to. Null where
    that is not known either.
    """
    begun = rows["start_s"].astype(float)
    if begun.hasnans:
        begun = begun.fillna(rows["intended_start_s"].astype(float))
    return begun + rows["e2e_ms"].astype(float).fillna(0) / 1000


def request_numbers(rows: Rows) -> pd.Series:
    """A number from 0 for each request, the same for all its attempts; −1 where an id is missing."""
    return pd.Series(pd.factorize(rows["request_id"])[0].astype(np.int32), rows.index)


#: Columns that no file has.
_COMPUTED: Mapping[str, Callable[[Rows], pd.Series]] = {"end_s": end_s, "request": request_numbers}
#: Columns that are dear and asked for by every other rule: one reading of the ids costs as much as three of numbers.
_FOR_GOOD = frozenset({*_COMPUTED, "request_id"})

#: So many requests are named as examples.
EXAMPLES = 5


def example_ids(request_ids: pd.Series) -> tuple[str, ...]:
    """The first few different ones: a request that failed at several attempts is named once."""
    return tuple(map(str, request_ids.drop_duplicates().head(EXAMPLES)))


def tally(column: pd.Series) -> pd.Series:
    """How often each word is there, the most frequent first, of equal ones the one that came first."""
    codes, words = pd.factorize(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    return pd.Series(counts, words.astype("str")).sort_values(ascending=False, kind="stable")


def numbers(rows: Rows) -> pd.Series:
    """The column ``request`` of attempts, computed where they are a frame."""
    return rows["request"] if isinstance(rows, Attempts) else request_numbers(rows)


def of_retried(rows: Rows) -> npt.NDArray[np.bool_]:
    """Marks all attempts of the requests of which one attempt was a retry."""
    request = numbers(rows).to_numpy()
    retried = np.zeros(request.max(initial=-1) + 1, dtype=bool)
    known = request >= 0
    retried[request[known & rows["attempt"].gt(1).to_numpy(dtype=bool, na_value=False)]] = True
    return known & retried[request] if len(retried) else known
