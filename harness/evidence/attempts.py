"""The attempts of a run, or some of them, a column at a time: what nobody asks for is never read.

A million attempts of 47 columns are gigabytes as one frame, and each condition on it would copy them all. Here a
condition only remembers which rows it keeps; a column is read, and taken for those rows, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.record import REQUEST_COLUMNS, RunFolder

#: So many columns are kept as they were read, those that were asked for last: most rules read the same few.
COLUMNS_KEPT = 12
#: The column that no file has.
END = "end_s"
#: Up to so many attempts are read whole: each reading of a file costs more than all columns of a few thousand.
ROWS_AT_ONCE = 50_000


class Attempts:
    """Rows of requests.parquet. ``rows["outcome"]`` is a Series, ``rows[["user_id", "outcome"]]`` a DataFrame, and
    ``rows[rows["outcome"].eq("ok")]`` those attempts. The index is the place of each attempt in the file.

    ``rows["end_s"]`` is computed (see the function): in the file it could disagree with what it follows from, and
    runs without it would have other digests. A request ends with its last attempt, the row that is ``final``.
    """

    def __init__(self, column: Callable[[str], pd.Series], rows: pd.Index, whole: bool = False) -> None:
        self._column, self.index, self._whole = column, rows, whole

    @classmethod
    def of(cls, folder: RunFolder) -> Attempts:
        """All attempts of a run."""
        whole = folder.requests().reset_index(drop=True) if folder.attempts_count() <= ROWS_AT_ONCE else None

        @lru_cache(COLUMNS_KEPT)
        def column(name: str) -> pd.Series:
            if name == END:
                return end_s(Attempts(column, column("attempt").index, whole=True))
            return folder.requests([name])[name].reset_index(drop=True) if whole is None else whole[name]

        return cls(column, column("attempt").index, whole=True)

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

    def head(self, n: int) -> Attempts:
        """The first of them."""
        return Attempts(self._column, self.index[:n])

    def sort_values(self, by: str, kind: Literal["stable"]) -> Attempts:
        """By a column of numbers; those without one come last."""
        return Attempts(self._column, self.index[np.argsort(self[by].to_numpy(dtype=float), kind=kind)])

    def frame(self) -> pd.DataFrame:
        """All columns of them."""
        return self[list(REQUEST_COLUMNS.names)]

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


def end_s(rows: Rows) -> pd.Series:
    """When each attempt ended, in seconds of the run: its start and what it took.

    Without a measured duration it ended as it began, and without a start it began when it was meant to. Null where
    that is not known either.
    """
    begun = rows["start_s"].astype(float)
    if begun.hasnans:
        begun = begun.fillna(rows["intended_start_s"].astype(float))
    return begun + rows["e2e_ms"].astype(float).fillna(0) / 1000


#: So many requests are named as examples.
EXAMPLES = 5


def example_ids(request_ids: pd.Series) -> tuple[str, ...]:
    """The first few different ones: a request that failed at several attempts is named once."""
    return tuple(map(str, request_ids.drop_duplicates().head(EXAMPLES)))


def of_retried(rows: Rows) -> npt.NDArray[np.bool_]:
    """Marks all attempts of the requests of which one attempt was a retry."""
    numbers, _ = pd.factorize(rows["request_id"])
    retried = np.zeros(numbers.max(initial=-1) + 1, dtype=bool)
    known = numbers >= 0
    retried[numbers[known & rows["attempt"].gt(1).to_numpy(dtype=bool, na_value=False)]] = True
    return known & retried[numbers] if len(retried) else known
