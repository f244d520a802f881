"""A stretch of a Prometheus server's history, fetched into a folder (``harness.evidence.history``).

What the server has under the names of the known systems is asked for, series by series, and put under Drillyard's own
names. Nothing is sent to anything but that server, and its Alertmanager where one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from harness.adapters.alertmanager import Alertmanager
from harness.adapters.prometheus import Answered, Floats, Prometheus, Series
from harness.evidence import history
from harness.evidence.history import Asked, Fired, History
from harness.evidence.record import METRIC_COLUMNS
from harness.model import redact
from harness.model.alertmanager import Managed
from harness.model.errors import UsageError
from harness.model.mapping import BY_CLASS, BY_SERVER, SIGNALS, Kind, Mapping, Signal
from harness.run import log_lines

_BUCKET = "_bucket"
#: A server's own series of alerts, and of whether it could scrape a target.
_ALERTS, _UP = "ALERTS", "up"
#: What ``up`` is called here of a target that is not the component itself: an exporter that tells of a gateway.
_SCRAPED = "scraped"
_Target = tuple[str, str]


@dataclass(frozen=True)
class Wanted:
    """What to fetch: from ``from_s`` to ``until_s`` (Unix seconds), narrowed down by ``selector`` (``ns="prod"``).

    ``logs`` is a folder with the gateways' logs, or None.
    """

    from_s: float
    until_s: float
    selector: str
    mappings: Sequence[Mapping]
    logs: Path | None = None


@dataclass(frozen=True)
class _Chosen:
    """A signal of a role as one system has it under the name ``metric``."""

    role: str
    name: str
    kind: Kind
    mapping: Mapping
    signal: Signal
    metric: str


@dataclass
class _Found:
    """What has come so far. A target is a (job, instance); ``up`` has each one's series of that name.

    ``sources``: component → signal → the target that tells it. ``own``: (component, target) where the target is the
    component itself, and not an exporter that tells of several.
    """

    asked: list[Asked] = field(default_factory=list)
    frames: list[pd.DataFrame] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    up: dict[_Target, Series] = field(default_factory=dict)
    sources: dict[str, dict[str, _Target]] = field(default_factory=dict)
    own: set[tuple[str, _Target]] = field(default_factory=set)
    resets: list[tuple[str, str, float]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def fetch(
    server: Prometheus,
    wanted: Wanted,
    folder: Path,
    say: Callable[[str], object],
    alertmanager: Alertmanager | None = None,
) -> None:
    """Fill ``folder``. UsageError where the server has nothing that a report could be made of."""
    managed = None
    if alertmanager is not None:
        say("what Alertmanager has, and who silenced what")
        managed = Managed(redact.text(alertmanager.url), alertmanager.alerts(), alertmanager.silences())
    offset_s, within_s = server.clock_offset_s()
    known = server.names(wanted.from_s, wanted.until_s)
    found = _Found()
    say("who could be scraped")
    _scrapes(server, wanted, found)
    for one in _chosen(wanted.mappings, known):
        say(f"{one.name} of every {one.role}: {one.metric}")
        _signal(server, wanted, found, one)
    if not found.frames:
        systems = ", ".join(mapping.system for mapping in wanted.mappings)
        raise UsageError(
            f"{server.url} has no sample of {systems} between FROM and TO; found {len(known)} metrics there. "
            "Check FROM, TO and SELECTOR, or name your metrics in MAPPING=file (docs/incidents.md)"
        )
    _up(wanted, found)
    say("which alerts fired")
    asked, alerts = _alerts(server, wanted, found.up.values())
    found.asked.append(asked)
    signals = {one.signal for one in found.asked}
    found.absent += sorted(set(SIGNALS) - signals)
    sources = {
        component: {name: _named(target) for name, target in own.items()} for component, own in found.sources.items()
    }
    about = History(
        redact.text(server.url), wanted.from_s, wanted.until_s, wanted.selector, tuple(found.asked), found.roles,
        sources, tuple(sorted(found.resets, key=lambda one: one[2])), offset_s, within_s, tuple(found.absent),
        server.rules(), server.build(),
    )  # fmt: skip
    logs = None if wanted.logs is None else log_lines.read(wanted.logs, wanted.from_s, wanted.until_s)
    history.write(folder, about, pd.concat(found.frames, ignore_index=True), alerts, logs, managed)


def _chosen(mappings: Sequence[Mapping], known: frozenset[str]) -> Iterator[_Chosen]:
    """All that the server has, each signal of a role once."""
    ranked = sorted(mappings, key=lambda mapping: mapping.rank)
    for role in ("replica", "gateway"):
        for name, kind in SIGNALS.items():
            ending = _BUCKET if kind == "histogram" else ""
            for mapping in (one for one in ranked if one.role == role and name in one.signals):
                signal = mapping.signals[name]
                metric = next((one + ending for one in signal.names if one + ending in known), None)
                if metric is not None:
                    yield _Chosen(role, name, kind, mapping, signal, metric)
                    break


def _signal(server: Prometheus, wanted: Wanted, found: _Found, one: _Chosen) -> None:
    query = one.signal.selector(one.metric, wanted.selector)
    answered = server.samples(query, wanted.from_s, wanted.until_s)
    found.asked.append(_asked(one.role, one.name, one.mapping.system, query, answered))
    # Every process says when it started: of interest are those that are known by what else they say.
    known = {target for of in found.sources.values() for target in of.values()}
    series = [s for s in answered.series if len(s.at_s) and (one.name != "started_s" or _target(s) in known)]
    for component, own in _by_component(series, one.mapping.component).items():
        found.roles.setdefault(component, one.role)
        found.sources.setdefault(component, {})[one.name] = _target(own[0])
        found.own |= {(component, _target(s)) for s in own if _is_itself(s, found.up, one.mapping.component)}
        if one.kind != "gauge":
            gone = {at_s for s in own for at_s in _vanished(s, found.up.get(_target(s)))}
            found.resets += [(component, one.name, at_s - wanted.from_s) for at_s in sorted(gone)]
            own = [_with_zeros(s, found.up.get(_target(s))) for s in own]
        began_s = min(s.at_s[0] for s in own)
        alike: dict[str, list[Series]] = {}
        for s in own:
            alike.setdefault(_kept(one.name, one.signal, s), []).append(s)
        for label, together in alike.items():
            values, resets = _made(one, together, began_s)
            found.resets += [(component, one.name, at_s - wanted.from_s) for at_s in resets]
            metric = one.name + (_BUCKET if one.kind == "histogram" else "")
            found.frames.append(_rows(values, component, metric, label, wanted.from_s))


def _made(one: _Chosen, together: Sequence[Series], began_s: float) -> tuple[pd.Series, list[float]]:
    """Series of one component as one, in our unit, and when counters among them began anew."""
    if one.kind == "gauge":
        return _together(together, one.signal.together) * one.signal.scale, []
    values, resets = _risen(together, began_s)
    return values * (one.signal.scale if one.kind == "counter" else 1.0), resets


def _by_component(series: Iterable[Series], labels: Sequence[str]) -> dict[str, list[Series]]:
    """The series of each component. Two targets that call themselves the same are told apart by their instance."""
    named: dict[str, list[Series]] = {}
    for one in series:
        name = next((one.labels[label] for label in labels if one.labels.get(label)), "")
        named.setdefault(name or "unnamed", []).append(one)
    found: dict[str, list[Series]] = {}
    for name, own in named.items():
        several = len({_target(one) for one in own}) > 1
        for one in own:
            full = (
                f"{name} ({one.labels.get('instance', '')})" if several and one.labels.get("instance") != name else name
            )
            found.setdefault(full, []).append(one)
    return found


def _target(one: Series) -> _Target:
    return one.labels.get("job", ""), one.labels.get("instance", "")


def _named(target: _Target) -> str:
    job, instance = target
    return f"{instance or 'a target without a name'}{f' (job {job})' if job else ''}"


def _is_itself(one: Series, up: dict[_Target, Series], names: Sequence[str]) -> bool:
    """Whether the target has the component's name itself, or only some of the series that it tells."""
    label = next((label for label in names if one.labels.get(label)), "")
    target = up.get(_target(one))
    return target is not None and target.labels.get(label) == one.labels.get(label)


def _with_zeros(one: Series, up: Series | None) -> Series:
    """A counter, with a 0 for each scrape that was answered before it was there: nothing had been counted yet."""
    answered = _answered(one, up)
    earlier = answered[answered < one.at_s[0]]
    at_s, values = np.concatenate((earlier, one.at_s)), np.concatenate((np.zeros(len(earlier)), one.values))
    return Series(one.name, one.labels, at_s, values)


def _vanished(one: Series, up: Series | None) -> list[float]:
    """When a counter was no longer there, though its target answered: it was begun anew, or not told for once."""
    answered = _answered(one, up)
    looks = np.union1d(one.at_s, answered[answered > one.at_s[0]])
    there = np.isin(looks, one.at_s).astype(int)
    return [float(at) for at in looks[1:][np.diff(there) < 0]]


def _answered(one: Series, up: Series | None) -> Floats:
    """The scrapes of a series' target that were answered; none where its samples have other times than the scrapes:
    those of a store that took them over from elsewhere.
    """
    if up is None or not np.isin(one.at_s, up.at_s).all():
        return one.at_s[:0]
    return up.at_s[up.values > 0]


def _kept(name: str, signal: Signal, one: Series) -> str:
    """The label that tells the series of a signal apart, as records have it; "" where nothing does."""
    if SIGNALS[name] == "histogram":
        return f"le={float(one.labels.get('le', 'nan')) * signal.scale:g}"
    value = one.labels.get(signal.label, "") if signal.label else ""
    if name in BY_CLASS:
        return f"class={f'{value[0]}xx' if value[:1].isdigit() else value or 'none'}"
    return f"server={value}" if name in BY_SERVER else ""


def _frame(alike: Sequence[Series]) -> pd.DataFrame:
    """One column per series, one row per time at which any of them has a sample."""
    columns = [pd.Series(one.values, index=one.at_s, name=number) for number, one in enumerate(alike)]
    return pd.concat(columns, axis=1).sort_index()


def _together(alike: Sequence[Series], how: str) -> pd.Series:
    frame = _frame(alike)
    made: pd.Series = frame.max(axis=1) if how == "max" else frame.sum(axis=1, min_count=1)
    return made.dropna()


def _risen(alike: Sequence[Series], began_s: float) -> tuple[pd.Series, list[float]]:
    """How far counters have risen since the beginning, all together, and when any began anew.

    A series that appears when its component was already known had been 0: what it counts first has risen.
    """
    columns, resets = [], list[float]()
    for number, one in enumerate(alike):
        rises = np.diff(one.values, prepend=0.0 if len(one.at_s) and one.at_s[0] > began_s else one.values[:1])
        anew = rises < 0
        rises[anew] = one.values[anew]
        resets += one.at_s[anew].tolist()
        columns.append(pd.Series(np.cumsum(np.nan_to_num(rises)), index=one.at_s, name=number))
    frame = pd.concat(columns, axis=1).sort_index().ffill().fillna(0.0)
    return frame.sum(axis=1), resets


def _rows(values: pd.Series, component: str, metric: str, label: str, from_s: float) -> pd.DataFrame:
    columns = {
        "t_s": values.index.to_numpy(dtype=float) - from_s, "component": component, "metric": metric, "labels": label,
        "value": values.to_numpy(dtype=float),
    }  # fmt: skip
    return pd.DataFrame(columns, columns=METRIC_COLUMNS.names)


def _scrapes(server: Prometheus, wanted: Wanted, found: _Found) -> None:
    """Whether targets could be scraped: 0 is one that did not answer, no sample a hole."""
    query = f"{_UP}{{{wanted.selector}}}"
    answered = server.samples(query, wanted.from_s, wanted.until_s)
    found.asked.append(_asked("", _UP, "Prometheus", query, answered))
    found.up |= {_target(one): one for one in answered.series}


def _up(wanted: Wanted, found: _Found) -> None:
    """The scrapes of all targets that tell of a component."""
    for component, signals in found.sources.items():
        for target in dict.fromkeys(signals.values()):
            if (one := found.up.get(target)) is not None:
                metric = _UP if (component, target) in found.own else _SCRAPED
                values = pd.Series(one.values, index=one.at_s)
                found.frames.append(_rows(values, component, metric, f"target={_named(target)}", wanted.from_s))


def _alerts(server: Prometheus, wanted: Wanted, up: Iterable[Series]) -> tuple[Asked, list[Fired]]:
    """When each alert fired. One that was firing at the first evaluation fired before the stretch."""
    query = f'{_ALERTS}{{alertstate="firing"}}'
    answered = server.samples(query, wanted.from_s, wanted.until_s)
    apart = np.concatenate([np.zeros(0), *(np.diff(one.at_s) for one in answered.series)])
    usual = float(apart.min()) if len(apart) else min(_scraped_every_s(up), default=60.0)
    found = [fired for one in answered.series for fired in _stretches(one, wanted, usual)]
    return _asked("", _ALERTS, "Prometheus", query, answered), sorted(found, key=lambda one: one.fired_s)


def _scraped_every_s(up: Iterable[Series]) -> list[float]:
    """Of each target that was scraped more than once: rules are looked at about as often."""
    return [float(np.median(np.diff(one.at_s))) for one in up if len(one.at_s) > 1]


def _stretches(one: Series, wanted: Wanted, usual: float) -> Iterator[Fired]:
    """``usual`` is how often rules are looked at, for one that fired once."""
    labels = {name: value for name, value in one.labels.items() if name not in ("alertname", "alertstate", "severity")}
    if len(one.at_s) == 0:
        return
    usual = float(min(np.diff(one.at_s), default=usual))
    apart = np.flatnonzero(np.diff(one.at_s) > history.MISSED * usual)
    begins, ends = np.concatenate(([0], apart + 1)), np.concatenate((apart, [len(one.at_s) - 1]))
    for begin, end in zip(begins, ends, strict=True):
        first, last = float(one.at_s[begin]), float(one.at_s[end])
        still = wanted.until_s - last <= history.MISSED * usual
        yield Fired(
            one.labels.get("alertname", "an alert without a name"), one.labels.get("severity", ""), labels,
            first - wanted.from_s, None if still else last - wanted.from_s,
            first - wanted.from_s <= usual,
        )  # fmt: skip


def _asked(role: str, signal: str, system: str, query: str, answered: Answered) -> Asked:
    samples = sum(len(one.at_s) for one in answered.series)
    return Asked(role, signal, system, query, len(answered.series), samples, answered.warnings)
