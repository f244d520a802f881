"""A Prometheus server's history, as it was scraped: each sample with its own time, nothing filled in.

A range query repeats the last sample for five minutes wherever there is none, so that an outage of the monitoring looks
like a service that stood still. Here raw samples are asked for (``metric{…}[3600s]``, an instant query), a stretch at a
time: below the 11,000 points that a server sends of one series at once, and shorter where it refuses as too large.

Reading changes nothing at the server: it needs no permission of the kind that load needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.adapters.json_server import Access, JsonServer, line, shown
from harness.model.errors import AdapterError, UsageError
from stack import bounded

#: What a server sends of one series at once, at most; and so long a stretch is asked for first: at one sample a second,
#: which is faster than anybody scrapes, a third of that.
POINTS_MAX, STRETCH_S = 11_000, 3_600.0
#: Where a shorter stretch is still too large, there are too many series, not too many samples of each.
STRETCH_MIN_S = 15.0
DEADLINE_S = 30.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """The samples of one series: its labels without the name, times in Unix seconds (rising), and values."""

    name: str
    labels: Mapping[str, str]
    at_s: Floats
    values: Floats


@dataclass(frozen=True)
class Answered:
    """What a server had: its series, and what it said against its own answer (of a store that did not answer, …)."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...]


class _TooLarge(Exception):
    """The server, or the limit on an answer, refuses a stretch as too large; the text says who and why."""


class Prometheus:
    """One server. Every question raises UsageError where the user can mend it (401, 404, no API), else AdapterError."""

    def __init__(self, access: Access, deadline_s: float = DEADLINE_S) -> None:
        where = "before /api/v1, such as http://prometheus:9090"
        self._server = JsonServer(access, deadline_s, "a Prometheus server", where)
        self.url = access.url

    def close(self) -> None:
        """End the connection."""
        self._server.close()

    def samples(self, selector: str, start_s: float, end_s: float) -> Answered:
        """All samples of the series that ``selector`` names, ``start_s`` < time ≤ ``end_s`` (Unix seconds)."""
        start_s, end_s = round(start_s, 3), round(end_s, 3)  # a server's clock has milliseconds
        found: dict[tuple[tuple[str, str], ...], list[tuple[Floats, Floats]]] = {}
        warnings: dict[str, None] = {}
        for answer in self._stretches(selector, start_s, end_s, STRETCH_S):
            warnings |= dict.fromkeys(answer.warnings)
            for one in answer.series:
                labels = tuple(sorted({"__name__": one.name, **one.labels}.items()))
                found.setdefault(labels, []).append((one.at_s, one.values))
        return Answered(tuple(_joined(labels, parts) for labels, parts in sorted(found.items())), tuple(warnings))

    def names(self, start_s: float, end_s: float) -> frozenset[str]:
        """Names of all metrics that had a sample in this time."""
        answer = self._small("/api/v1/label/__name__/values", start=_time(start_s), end=_time(end_s))
        data = answer.get("data")
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            raise AdapterError(f"{self.url} tells no names of metrics: {shown(data)}")
        return frozenset(data)

    def clock_offset_s(self) -> tuple[float, float]:
        """How far the server's clock is ahead of ours, and by how much that may be wrong: half of the round trip."""
        before = time.time()
        answer = self._small("/api/v1/query", query="time()")
        after = time.time()
        try:
            there = float(answer["data"]["result"][1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise AdapterError(f"{self.url} does not tell its time: {shown(answer)}") from error
        return there - (before + after) / 2, (after - before) / 2

    def rules(self) -> tuple[str, ...] | None:
        """Names of its alert rules as they are now, sorted; None where it does not tell (a store without rules)."""
        try:
            groups = self._small("/api/v1/rules", type="alert")["data"]["groups"]
            return tuple(sorted({str(rule["name"]) for group in groups for rule in group["rules"]}))
        except (AdapterError, UsageError, KeyError, TypeError):
            return None

    def build(self) -> dict[str, str]:
        """What it says of itself (version, revision); empty where it does not tell."""
        try:
            told = self._small("/api/v1/status/buildinfo")["data"]
            return {f"Prometheus {name}": line(str(told[name])) for name in ("version", "revision") if told.get(name)}
        except (AdapterError, UsageError, KeyError, TypeError, AttributeError):
            return {}

    def _stretches(self, selector: str, start_s: float, end_s: float, longest_s: float) -> Iterator[Answered]:
        """From the oldest to the newest. A stretch that is too large is asked for in halves."""
        began_s = start_s
        while began_s < end_s:
            until_s = min(began_s + longest_s, end_s)
            try:
                yield self._stretch(selector, began_s, until_s)
            except _TooLarge as error:
                half_s = (until_s - began_s) / 2
                if half_s < STRETCH_MIN_S:
                    why = f"{self.url} has too many series of {selector} even for {until_s - began_s:.0f} s: {error}"
                    raise UsageError(f"{why}; narrow them down with SELECTOR='label=\"value\"'") from None
                yield from self._stretches(selector, began_s, until_s, half_s)
            began_s = until_s

    def _stretch(self, selector: str, start_s: float, end_s: float) -> Answered:
        query = f"{selector}[{math.ceil((end_s - start_s) * 1000)}ms]"
        answer = self._asked("/api/v1/query", query=query, time=_time(end_s))
        data = answer.get("data")
        result = data.get("result") if isinstance(data, dict) and data.get("resultType") == "matrix" else None
        if not isinstance(result, list):
            raise AdapterError(f"{self.url} answered {query!r} with no samples, but {shown(data)}")
        warned = answer.get("warnings")
        try:
            series = tuple(_series(row) for row in result)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise AdapterError(f"{self.url} answered {query!r} with what is no series: {error!r}") from error
        longest = max((len(one.at_s) for one in series), default=0)
        if longest > POINTS_MAX:
            raise _TooLarge(f"{longest} samples of one series")
        return Answered(
            tuple(_after(one, start_s) for one in series),
            tuple(line(str(text)) for text in warned) if isinstance(warned, list) else (),
        )

    def _small(self, path: str, **question: str) -> dict[str, Any]:
        try:
            return self._asked(path, **question)
        except _TooLarge as error:
            raise AdapterError(f"{self.url}{path}: {error}") from error

    def _asked(self, path: str, **question: str) -> dict[str, Any]:
        """The JSON of a good answer. Whatever else came is told in one line."""
        try:
            answer = self._server.ask(path, **question)
        except bounded.TooMuch as error:
            raise _TooLarge(str(error)) from error
        said = answer.said
        if not isinstance(said, dict) or "status" not in said:
            raise self._server.no_api(path, answer)
        if said["status"] != "success":
            why = line(str(said.get("error", "without a reason")))
            if answer.status == 422 or "too many samples" in why:
                raise _TooLarge(why)
            raise AdapterError(f"{self.url}{path}: HTTP {answer.status}: {why}")
        return said


def _series(row: Any) -> Series:
    labels = {str(name): str(value) for name, value in row["metric"].items()}
    at_s = np.array([float(at) for at, _ in row.get("values", ())], dtype=float)
    values = np.array([float(value) for _, value in row.get("values", ())], dtype=float)
    if not np.isfinite(at_s).all() or (np.diff(at_s) <= 0).any():
        raise ValueError("times that do not rise")
    return Series(labels.pop("__name__", ""), labels, at_s, values)


def _after(one: Series, start_s: float) -> Series:
    """Without a sample at the very beginning: until Prometheus 3 a stretch has both its ends."""
    keep = one.at_s > start_s
    return one if keep.all() else Series(one.name, one.labels, one.at_s[keep], one.values[keep])


def _joined(labels: tuple[tuple[str, str], ...], parts: list[tuple[Floats, Floats]]) -> Series:
    names = dict(labels)
    at_s, values = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return Series(names.pop("__name__"), names, at_s, values)


def _time(at_s: float) -> str:
    return f"{at_s:.3f}"
