"""Mutations of events and of JSON objects: by kind or by the path of a field, lists as if they were one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from tests.mutation.mutation import SHIFT_S, Mutation
from tests.mutation.stored import Data, Row
from tests.mutation.values import Change, changes

#: Of an event, what tells it from others of its kind.
_NAMES = ("fault", "alert", "phase", "component", "name")
#: Of the plan, what a verdict is computed from. The rest says what was run, for people.
_JUDGED = ("alerts", "dns_policy", "gateway_policy", "scenario")
#: Sentences for people.
_PROSE = ("why", "text", "before", "during", "after")
Path = tuple[str, ...]
ITEM = "[]"


def of_events(data: Data) -> Iterator[Mutation]:
    """Of each kind, of the events of one name among them, and of the fields of a kind."""
    kinds: dict[str, list[int]] = {}
    for index, event in enumerate(data.events):
        kinds.setdefault(event["kind"], []).append(index)
    for kind, where in sorted(kinds.items()):
        yield from _of_some(f"events {kind}", where)
        yield Mutation(f"relabel events {kind}", _events(_each(where, lambda e: {**e, "kind": f"not {e['kind']}"})))
        named: dict[str, list[int]] = {}
        for index in where:
            named.setdefault(_event_name(data.events[index]), []).append(index)
        if len(named) > 1:
            for name, those in sorted(named.items()):
                yield from _of_some(f"events {kind} {name}", those)
        fields = sorted({field for index in where for field in data.events[index]} - {"kind", *_PROSE})
        for field in fields:
            yield from _of_field(f"events.{kind}.{field}", field, where, data.events)


def of_documents(data: Data) -> Iterator[Mutation]:
    """Of each field of the plan that is judged, and of all that generator, waves and rollout have recorded."""
    for name, document in data.documents.items():
        for path in sorted(_paths(document)):
            if (name == "plan.json" and path[0] not in _JUDGED) or path[-1] in _PROSE:
                continue
            yield from _of_path(name, path, document)


def _event_name(event: Row) -> str:
    labels = event.get("labels") or {}
    told = [str(event[key]) for key in _NAMES if key in event][:1]
    return " ".join([*told, *(f"{key}={value}" for key, value in sorted(labels.items()))])


def _events(edit: Callable[[tuple[Row, ...]], list[Row]]) -> Callable[[Data], Data]:
    return lambda data: dataclasses.replace(data, events=tuple(edit(data.events)))


def _each(where: list[int], change: Callable[[Row], Row]) -> Callable[[tuple[Row, ...]], list[Row]]:
    chosen = frozenset(where)
    return lambda events: [change(event) if index in chosen else event for index, event in enumerate(events)]


def _of_some(name: str, where: list[int]) -> Iterator[Mutation]:
    lost, half = frozenset(where), frozenset(where[::2])
    yield Mutation(f"drop {name}", _events(lambda es: [e for i, e in enumerate(es) if i not in lost]))
    if len(where) > 1:
        yield Mutation(f"half {name}", _events(lambda es: [e for i, e in enumerate(es) if i not in half]))
    yield Mutation(
        f"duplicate {name}", _events(lambda es: [e for i, one in enumerate(es) for e in [one] * (1 + (i in lost))])
    )
    yield Mutation(f"shift {name}", _events(lambda es: _in_order(_each(where, _later)(es))))


def _later(event: Row) -> Row:
    return {**event, "t_s": event["t_s"] + SHIFT_S}


def _in_order(events: list[Row]) -> list[Row]:
    return sorted(events, key=lambda event: event["t_s"])


def _of_field(name: str, field: str, where: list[int], events: tuple[Row, ...]) -> Iterator[Mutation]:
    having = [index for index in where if field in events[index]]
    yield Mutation(f"drop {name}", _events(_each(having, lambda e: {k: v for k, v in e.items() if k != field})))
    values = pd.Series([events[index][field] for index in having], dtype=object)
    if values.map(lambda value: isinstance(value, list | dict)).any():
        return
    for kind, change in changes(values):
        yield Mutation(f"{kind} {name}", _events(lambda es, g=change: _with(es, having, field, g)))


def _with(events: tuple[Row, ...], where: list[int], field: str, change: Change) -> list[Row]:
    changed = change(pd.Series([events[index][field] for index in where], dtype=object)).tolist()
    new = dict(zip(where, changed, strict=True))
    return [{**event, field: new[index]} if index in new else event for index, event in enumerate(events)]


def _paths(value: Any, path: Path = ()) -> set[Path]:
    """The paths of all fields below ``value``; those of all items of a list are one."""
    if isinstance(value, dict):
        return {p for key, below in value.items() for p in ({(*path, key)} | _paths(below, (*path, key)))}
    if isinstance(value, list):
        return {p for below in value for p in _paths(below, (*path, ITEM))}
    return set()


def _holders(value: Any, path: Path) -> Iterator[Row]:
    """The objects below ``value`` that have the last field of ``path``."""
    if isinstance(value, list):
        rest = path[1:] if path[0] == ITEM else path
        for below in value:
            yield from _holders(below, rest)
    elif isinstance(value, dict) and path[0] in value:
        if len(path) == 1:
            yield value
        else:
            yield from _holders(value[path[0]], path[1:])


def _of_path(file: str, path: Path, document: Row) -> Iterator[Mutation]:
    name, key = f"{file} {'.'.join(path).replace('.[]', '[]')}", path[-1]
    yield Mutation(f"drop {name}", _document(file, path, lambda holders: [h.pop(key) for h in holders]))
    values = [holder[key] for holder in _holders(document, path)]
    lists = [value for value in values if isinstance(value, list)]
    if any(lists):
        yield Mutation(f"half {name}", _document(file, path, lambda hs: [h.update({key: h[key][1::2]}) for h in hs]))
        yield Mutation(f"duplicate {name}", _document(file, path, lambda hs: [h.update({key: h[key] * 2}) for h in hs]))
    if not lists and not any(isinstance(value, dict) for value in values):
        for kind, change in changes(pd.Series(values, dtype=object)):
            yield Mutation(f"{kind} {name}", _document(file, path, lambda hs, g=change: _assign(hs, key, g)))


def _assign(holders: list[Row], key: str, change: Change) -> None:
    changed = change(pd.Series([holder[key] for holder in holders], dtype=object)).tolist()
    for holder, value in zip(holders, changed, strict=True):
        holder[key] = value


def _document(file: str, path: Path, edit: Callable[[list[Row]], object]) -> Callable[[Data], Data]:
    def apply(data: Data) -> Data:
        document = copy.deepcopy(data.documents[file])
        edit(list(_holders(document, path)))
        return dataclasses.replace(data, documents={**data.documents, file: document})

    return apply
