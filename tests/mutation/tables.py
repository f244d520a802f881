"""Mutations of the attempts and of the samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from tests.mutation.mutation import SHIFT_S, Mutation
from tests.mutation.stored import Data
from tests.mutation.values import Change, changes

_TIMES = ("intended_start_s", "start_s", "first_byte_sent_s")
_GROUPS = ("phase", "cohort", "gateway", "replica", "deployment", "outcome")
#: Whose samples a mislabelled component's would be taken for.
_TWINS = {"replica-1": "replica-2", "replica-2": "replica-1", "gateway-a": "gateway-b", "gateway-b": "gateway-a"}
Apply = Callable[[Data], Data]
Whole = Callable[[pd.DataFrame], pd.DataFrame]
Edit = Callable[[pd.DataFrame, np.ndarray], pd.DataFrame]


def of_requests(data: Data) -> Iterator[Mutation]:
    """Of each column, and of the rows that have something in common."""
    yield from _of_columns("requests", data.requests, _requests)
    everything = np.ones(len(data.requests), bool)
    yield from _of_rows("requests", everything)
    for group in _GROUPS:
        values = data.requests[group]
        for value in sorted(values.dropna().unique()):
            yield from _of_rows(f"requests of {group} {value}", values.eq(value).to_numpy(bool))


def of_metrics(data: Data) -> Iterator[Mutation]:
    """Of each column, component, component in a phase, and series."""
    frame = data.metrics
    yield from _of_columns("metrics", frame, _metrics)
    rows = {str(key): where for key, where in frame.groupby("component").indices.items()}
    spans = list(_spans(data))
    for component, where in rows.items():
        yield from _of_samples(f"samples of {component}", where, component, frame)
        for phase, begin, end in spans:
            within = where[frame["t_s"].iloc[where].between(begin, end).to_numpy()]
            yield _without(f"drop samples of {component} in {phase}", within)
    for (component, metric, labels), where in frame.groupby(["component", "metric", "labels"]).indices.items():
        name = f"series {component} {metric}" + (f" {labels}" if labels else "")
        yield from _of_samples(name, where, str(component), frame)
        for phase, begin, end in spans:
            within = where[frame["t_s"].iloc[where].between(begin, end).to_numpy()]
            yield _without(f"drop {name} in {phase}", within)


def _of_columns(table: str, frame: pd.DataFrame, on: Callable[[Whole], Apply]) -> Iterator[Mutation]:
    for column in frame.columns:
        yield Mutation(f"drop column {table}.{column}", on(lambda f, c=column: f.drop(columns=c)))
        for name, change in changes(frame[column]):
            edit = on(lambda f, c=column, g=change: f.assign(**{c: g(f[c])}))
            yield Mutation(f"{name} {table}.{column}", edit)


def _requests(edit: Whole) -> Apply:
    return lambda data: dataclasses.replace(data, requests=edit(data.requests))


def _requests_where(edit: Edit, where: np.ndarray) -> Apply:
    return lambda data: dataclasses.replace(data, requests=edit(data.requests, where))


def _metrics(edit: Whole) -> Apply:
    return lambda data: dataclasses.replace(data, metrics=edit(data.metrics))


def _of_rows(name: str, where: np.ndarray) -> Iterator[Mutation]:
    """Attempts that are lost, half lost, there twice, or later."""
    yield Mutation(f"drop {name}", _requests_where(lambda f, w: f[~w], where))
    yield Mutation(f"half {name}", _requests_where(lambda f, w: f[~_every_other(w)], where))
    yield Mutation(f"duplicate {name}", _requests_where(lambda f, w: pd.concat([f, f[w]], ignore_index=True), where))
    yield Mutation(f"shift {name}", _requests_where(_later, where))


def _every_other(where: np.ndarray) -> np.ndarray:
    return where & (np.cumsum(where) % 2 == 0)


def _later(frame: pd.DataFrame, where: np.ndarray) -> pd.DataFrame:
    return frame.assign(**{time: frame[time] + where * SHIFT_S for time in _TIMES})


def _of_samples(name: str, where: np.ndarray, component: str, frame: pd.DataFrame) -> Iterator[Mutation]:
    """Samples that are lost, half lost, there twice, later, somebody else's, or have impossible values."""
    yield _without(f"drop {name}", where)
    yield _without(f"half {name}", where[::2])
    yield Mutation(f"duplicate {name}", _metrics(lambda f: pd.concat([f, f.iloc[where]], ignore_index=True)))
    yield Mutation(f"shift {name}", _metrics(lambda f: _set(f, "t_s", where, lambda t: t + SHIFT_S)))
    if component in _TWINS:
        twin = _TWINS[component]
        yield Mutation(
            f"relabel {name}", _metrics(lambda f: _set(f, "component", where, lambda c: c.map(lambda _: twin)))
        )
    for kind, change in changes(frame["value"].iloc[where]):
        if kind != "shift":
            yield Mutation(f"{kind} {name}", _metrics(lambda f, g=change: _set(f, "value", where, g)))


def _without(name: str, where: np.ndarray) -> Mutation:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        keep = np.ones(len(frame), bool)
        keep[where] = False
        return frame[keep]

    return Mutation(name, _metrics(edit))


def _set(frame: pd.DataFrame, column: str, where: np.ndarray, change: Change) -> pd.DataFrame:
    values = frame[column].to_numpy(copy=True)
    values[where] = change(frame[column].iloc[where]).to_numpy()
    return frame.assign(**{column: pd.Series(values, index=frame.index, dtype=frame[column].dtype)})


def _spans(data: Data) -> Iterator[tuple[str, float, float]]:
    """Name, begin and end of each phase that was started and ended, in seconds."""
    ends = {event["phase"]: event["t_s"] for event in data.events if event["kind"] == "phase_ended"}
    for event in data.events:
        if event["kind"] == "phase_started" and event["phase"] in ends:
            yield event["phase"], event["t_s"], ends[event["phase"]]
