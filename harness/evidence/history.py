"""A stretch of a Prometheus server's history, kept in a folder, as judges and reports see it.

The folder holds what was answered, so that a report can be made again when the server has long forgotten:

history.json     where it was asked, for which stretch, what was asked and what came (``History``)
series.parquet   the samples under Drillyard's own names (``harness.model.mapping``), ``record.METRIC_COLUMNS``
alerts.json      every alert that fired, from the server's own series ``ALERTS``
logs.jsonl       the requests in gateways' logs (``Logged``), and how many lines of each file could not be read
                 (``Unread``), where logs were given
alertmanager.json
                 what Alertmanager told, where one was asked (``harness.model.alertmanager.Managed``)

Times are seconds since the stretch began. Counters begin at 0 and only rise: a restart does not take back what was
counted before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.evidence.attempts import Attempts
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import METRIC_COLUMNS, Event, replacing
from harness.model.alertmanager import Delivered, Managed, Matcher, Silence
from harness.model.errors import RunFolderError

HISTORY, SERIES, ALERTS, LOGS = "history.json", "series.parquet", "alerts.json", "logs.jsonl"
MANAGED = "alertmanager.json"
SCHEMA = 1
#: So many scrapes in a row must be missing before a series has a gap: one may be late or fail.
MISSED = 2.5


@dataclass(frozen=True)
class Asked:
    """One question: its PromQL, the signal and the system that it is about, and what came."""

    role: str
    signal: str
    system: str
    query: str
    series: int
    samples: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fired:
    """One alert, from its first to its last evaluation as firing; ``cleared_s`` None where it was when the stretch
    ended. Seconds since the stretch began; it may have fired before (``since_before``).
    """

    name: str
    severity: str
    labels: Mapping[str, str]
    fired_s: float
    cleared_s: float | None
    since_before: bool


@dataclass(frozen=True)
class Logged:
    """One request as a gateway logged it, at Unix second ``at_s`` by that gateway's clock; ``line`` without secrets.

    ``status`` is None where the client left before any answer.
    """

    at_s: float
    gateway: str
    request_id: str
    user: str
    status: int | None
    failed: bool
    line: str


@dataclass(frozen=True)
class Unread:
    """Records of requests in a log that cannot be read: ``lines`` of ``file``, whenever they were written."""

    file: str
    lines: int


@dataclass(frozen=True)
class Logs:
    """What was found in gateways' logs: requests by time, and what could not be read."""

    requests: tuple[Logged, ...]
    unread: tuple[Unread, ...] = ()


@dataclass(frozen=True)
class Gap:
    """A stretch in which ``target``, which tells these signals of a component, could not be asked; ``until_s`` is when
    it answered again. All of its signals where there is no other target.
    """

    component: str
    from_s: float
    until_s: float
    target: str = ""
    signals: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """What was asked of which server. ``from_s`` and ``until_s`` in Unix seconds, as the server's clock has them.

    ``offset_s`` is how far that clock was ahead of this machine's, ± ``offset_within_s``; None where it was not told.
    ``roles``: component → replica or gateway. ``sources``: component → signal → the target that told it.
    ``resets``: (component, signal, seconds since the beginning).
    ``absent``: signals of which the server has no known name. ``rules``: its alert rules, None where it does not tell
    them. ``about``: what it is.
    """

    server: str
    from_s: float
    until_s: float
    selector: str
    asked: tuple[Asked, ...]
    roles: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    resets: tuple[tuple[str, str, float], ...] = ()
    offset_s: float | None = None
    offset_within_s: float | None = None
    absent: tuple[str, ...] = ()
    rules: tuple[str, ...] | None = ()
    about: Mapping[str, str] = field(default_factory=dict)


def write(
    folder: Path,
    history: History,
    series: pd.DataFrame,
    alerts: Iterable[Fired],
    logs: Logs | None = None,
    managed: Managed | None = None,
) -> None:
    """Make the folder, or fill it anew. ``series`` has the columns of ``METRIC_COLUMNS``.

    ``logs`` is None where none were given, ``managed`` where no Alertmanager was asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (LOGS, MANAGED):
        (folder / name).unlink(missing_ok=True)
    with replacing(folder / SERIES) as temporary:
        pq.write_table(pa.Table.from_pandas(series, METRIC_COLUMNS, preserve_index=False), temporary)
    if logs is not None:
        told = [*map(asdict, logs.unread), *map(asdict, logs.requests)]
        lines = "".join(f"{json.dumps(one)}\n" for one in told)
        with replacing(folder / LOGS) as temporary:
            temporary.write_text(lines, encoding="utf-8")
    if managed is not None:
        with replacing(folder / MANAGED) as temporary:
            temporary.write_text(json.dumps(asdict(managed), indent=1), encoding="utf-8")
    for name, data in ((ALERTS, [asdict(one) for one in alerts]), (HISTORY, {"schema": SCHEMA, **asdict(history)})):
        with replacing(folder / name) as temporary:
            temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")


class HistoryView:
    """Read access to such a folder: ``Evidence`` without phases and requests. RunFolderError where it is none."""

    phases: tuple[PhaseSpan, ...] = ()
    requests: Attempts | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._looked: dict[tuple[str, str], np.ndarray] = {}
        try:
            data = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
            if data.pop("schema") != SCHEMA:
                raise RunFolderError(f"{folder / HISTORY}: another version of Drillyard made it: make the report anew")
            asked = tuple(Asked(**{**one, "warnings": tuple(one["warnings"])}) for one in data.pop("asked"))
            resets = tuple((str(c), str(s), float(at)) for c, s, at in data.pop("resets"))
            self.history = History(
                asked=asked,
                resets=resets,
                **{**data, "absent": tuple(data["absent"]), "rules": _rules(data["rules"])},
            )
            self.alerts = tuple(Fired(**one) for one in json.loads((folder / ALERTS).read_text(encoding="utf-8")))
            self._series = pq.read_table(folder / SERIES, schema=METRIC_COLUMNS).to_pandas()
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
            raise RunFolderError(f"{folder}: is no history of a Prometheus server: {error}") from error

    @cached_property
    def logs(self) -> Logs | None:
        """What was found in the gateways' logs; None where none were given."""
        path = self.folder / LOGS
        if not path.exists():
            return None
        told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return Logs(
            tuple(Logged(**one) for one in told if "file" not in one),
            tuple(Unread(**one) for one in told if "file" in one),
        )

    @cached_property
    def managed(self) -> Managed | None:
        """What Alertmanager told; None where none was asked. RunFolderError where that cannot be read."""
        path = self.folder / MANAGED
        if not path.exists():
            return None
        try:
            return _managed(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{path}: holds no answers of an Alertmanager: {error!r}") from error

    @property
    def lasts_s(self) -> float:
        """The length of the stretch."""
        return self.history.until_s - self.history.from_s

    @property
    def replicas(self) -> tuple[str, ...]:
        """Names of what serves the model, sorted."""
        return tuple(sorted(name for name, role in self.history.roles.items() if role == "replica"))

    @property
    def gateways(self) -> tuple[str, ...]:
        """Names of what stands in front of it, sorted."""
        return tuple(sorted(name for name, role in self.history.roles.items() if role == "gateway"))

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of what there are series of, sorted."""
        return tuple(sorted({component for component, _ in self._by_name}))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], pd.DataFrame]:
        grouped = self._series.sort_values("t_s", kind="stable").groupby(["component", "metric"], sort=False)
        return {(str(key[0]), str(key[1])): frame for key, frame in grouped}

    def metrics_of(self, component: str) -> tuple[str, ...]:
        """Names of the series of ``component``, sorted."""
        return tuple(sorted(metric for of, metric in self._by_name if of == component))

    def metrics(self, component: str, metric: str, labels: str | None = None, phase: str | None = None) -> pd.DataFrame:
        """As ``Evidence.metrics``; there are no phases."""
        frame: pd.DataFrame = self._by_name.get((component, metric), self._series.iloc[:0])
        if phase is not None:
            return frame.iloc[:0]
        if labels is not None:
            wanted = set(labels.split(","))
            frame = frame[[wanted <= set(str(text).split(",")) for text in frame["labels"]]]
        return frame

    def events(self, kind: str | None = None, phase: str | None = None) -> tuple[Event, ...]:
        """The alerts, as a run's events have them."""
        found = tuple(sorted(self._alert_events(), key=lambda event: event.t_s)) if phase is None else ()
        return found if kind is None else tuple(event for event in found if event.kind == kind)

    def _alert_events(self) -> Iterator[Event]:
        for one in self.alerts:
            data: dict[str, Any] = {"alert": one.name, "severity": one.severity, "labels": dict(one.labels)}
            yield Event(one.fired_s, "alert_before" if one.since_before else "alert_fired", data)
            if one.cleared_s is not None:
                yield Event(one.cleared_s, "alert_cleared", data)

    def phase(self, name: str) -> PhaseSpan | None:
        """None: nothing divides a history."""
        return None

    def looks(self, component: str, signal: str) -> np.ndarray:
        """When it was known what a signal of a component was, rising: at each answered scrape of what tells it.

        A counter that has no sample at one of them had counted nothing yet.
        """
        return self._looks(component, self.history.sources.get(component, {}).get(signal, ""))

    def _looks(self, component: str, target: str) -> np.ndarray:
        found = self._looked.get((component, target))
        if found is None:
            told = [name for name, by in self.history.sources.get(component, {}).items() if by == target]
            frames = [self.metrics(component, metric) for name in told for metric in (name, f"{name}_bucket")]
            for scrapes in (self.metrics(component, metric) for metric in ("up", "scraped")):
                frames.append(scrapes[scrapes["labels"].eq(f"target={target}") & scrapes["value"].gt(0)])
            times = [frame["t_s"].to_numpy(dtype=float) for frame in frames]
            found = self._looked[component, target] = np.unique(np.concatenate(times))
        return found

    def gaps(self) -> tuple[Gap, ...]:
        """Where a target that tells of a component was not asked for more than ``MISSED`` of its own scrapes, in order
        of time.
        """
        found = [gap for component in self.components for gap in self._gaps(component)]
        return tuple(sorted(found, key=lambda gap: (gap.from_s, gap.component)))

    def _gaps(self, component: str) -> Iterator[Gap]:
        sources = self.history.sources.get(component, {})
        targets = tuple(dict.fromkeys(sources.values()))
        for target in targets:
            signals = tuple(name for name, by in sources.items() if by == target) if len(targets) > 1 else ()
            looks = self._looks(component, target)
            if len(looks) < 2:
                yield Gap(component, 0.0, self.lasts_s, target, signals)
                continue
            usual = float(np.median(np.diff(looks)))
            # The stretch may begin or end between two scrapes.
            marks = np.concatenate(([min(0.0, looks[0])], looks, [max(self.lasts_s, looks[-1])]))
            for before, after in pairwise(marks):
                if after - before > MISSED * usual:
                    yield Gap(component, float(before), float(after), target, signals)


def wall_s(history: History, t_s: float) -> float:
    """Unix seconds of a time in the stretch, by the server's clock; infinite stays infinite."""
    return history.from_s + t_s if math.isfinite(t_s) else t_s


def _managed(told: dict[str, Any]) -> Managed:
    return Managed(
        told["server"],
        tuple(Delivered(**{**one, "receivers": tuple(one["receivers"])}) for one in told["alerts"]),
        tuple(
            Silence(**{**one, "matchers": tuple(Matcher(**matcher) for matcher in one["matchers"])})
            for one in told["silences"]
        ),
    )


def _rules(told: list[str] | None) -> tuple[str, ...] | None:
    return None if told is None else tuple(told)
