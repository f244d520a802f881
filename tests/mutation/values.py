"""What can be wrong with values of one kind: a column, a series, or a field of many objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

Change = Callable[[pd.Series], pd.Series]


def changes(values: pd.Series) -> Iterator[tuple[str, Change]]:
    """The changes that fit what ``values`` hold, each with its name; none for values that are all null."""
    known = values.dropna()
    if known.empty:
        return
    yield "nan", _null
    if _numeric(known):
        yield "inf", lambda v: _where_known(v, lambda x: math.inf)
        yield "zero", lambda v: _where_known(v, lambda x: 0)
        yield "negative", lambda v: _where_known(v, lambda x: -abs(x) if x else -1)
    else:
        yield "relabel", _relabel
    yield "constant", _constant
    yield "shift", _roll


def _numeric(known: pd.Series) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in known.tolist())


def _null(values: pd.Series) -> pd.Series:
    numeric = _numeric(values.dropna())
    return pd.Series(
        [math.nan if numeric else None] * len(values), index=values.index, dtype=float if numeric else object
    )


def _where_known(values: pd.Series, new: Callable[[Any], Any]) -> pd.Series:
    return pd.Series([math.nan if pd.isna(v) else new(v) for v in values], index=values.index, dtype=float)


def _constant(values: pd.Series) -> pd.Series:
    return values.where(values.isna(), values.dropna().iloc[0])


def _relabel(values: pd.Series) -> pd.Series:
    """The two most frequent values change places; one that is alone gets another name."""
    common = [value for value, _ in values.dropna().value_counts().items()][:2]
    if all(isinstance(value, bool) for value in common):
        return values.map(lambda value: value if pd.isna(value) else not value)
    other = dict(zip(common, common[::-1], strict=True)) if len(common) == 2 else {common[0]: f"not {common[0]}"}
    return values.map(lambda value: other.get(value, value))


def _roll(values: pd.Series) -> pd.Series:
    """Each value stands where the next one was: no value is new, but all are somebody else's."""
    rolled = [values.iloc[-1], *values.iloc[:-1]]
    return pd.Series(rolled, index=values.index, dtype=values.dtype)
