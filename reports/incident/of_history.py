"""An incident's evidence in a server's history: counters between two scrapes, gauges at each, alerts; no request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pandas as pd

from harness.evidence import history
from harness.evidence.history import Asked, Gap, HistoryView, Logged
from harness.judge.outside import Counted
from harness.judge.sli import samples_needed
from harness.model.alert_rules import E2E_P95_MAX_S, TTFT_P95_MAX_S
from harness.model.alertmanager import Matcher
from harness.model.incident import Figure, Source, Text, said
from reports.incident import guess, nearest
from reports.incident.case import (
    ANSWERS,
    EJECTED,
    FORGOTTEN,
    KNOWN,
    READMITTED,
    RESTARTED,
    SILENT,
    Entry,
    FiredAlert,
    Hole,
    Outcome,
    Promise,
    Red,
    Request,
    Silenced,
    Trigger,
    utc,
)
from reports.incident.scenario import Again
from reports.panel import number

#: Percent of answers that are good, where nobody says what was promised.
ANSWERS_TARGET = 99.0
#: So many requests that failed with the same status are shown.
REQUESTS_OF_EACH = 3
_ABSENT = "the server has no sample of a metric of the known names"
_NOT_COUNTED = (
    "A request that reached no gateway, and one that a gateway dropped without a record of it (it was killed), is in "
    "no count; where the client tried again, each attempt is counted. What became of an answer on its way to the "
    "client is not known."
)
#: A status says how an answer began: how it ended, only a gateway that counts failures tells.
_BEGAN_WELL, _FAILED = "status 2xx", "failed, with 5xx or after a good beginning"
_CLASSES = {"2xx": _BEGAN_WELL, "4xx": "refused as wrong (4xx)", "5xx": "failed (5xx)", "none": "without an answer"}
#: One condition of SELECTOR, which is PromQL: name, sign, value in quotes.
_CONDITION = re.compile(r"""([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(["'])((?:\\.|(?!\3)[^\\])*)\3""")


class HistoryCase:
    """One stretch of history. ``written_to`` names the report's folder in commands, if that is not where runs are;
    ``mapping`` is the file of the user's own names that it was asked with.
    """

    def __init__(self, view: HistoryView, written_to: str = "", mapping: str = "") -> None:
        self._view, self._history, self._written_to = view, view.history, written_to
        self.zero_wall_s, self.lasts_s = view.history.from_s, view.lasts_s
        self.title = f"Incident, {_minute(view.history.from_s)} to {_minute(view.history.until_s)} UTC"
        self.made_from: Mapping[str, str] = {
            "server": view.history.server, "from": f"{view.history.from_s:.3f}", "until": f"{view.history.until_s:.3f}",
            "selector": view.history.selector, "folder": view.folder.name,
            **({"alertmanager": view.managed.server} if view.managed else {}),
            **({"mapping": mapping} if mapping else {}),
        }  # fmt: skip
        self.replicas, self.gateways = view.replicas, view.gateways

    @property
    def view(self) -> HistoryView:
        """The folder's series."""
        return self._view

    # ── where things come from ──

    def _asked(self, signal: str, role: str = "") -> Asked | None:
        """Of a signal that gateways and replicas have, the gateways': they know what users got."""
        asked = (one for one in self._history.asked if one.series or not one.role)
        found = [one for one in asked if one.signal == signal and role in ("", one.role)]
        return min(found, key=lambda one: one.role != "gateway", default=None)

    def source_of(self, signal: str, how: str = "", role: str = "") -> Source:
        """The query that brought the samples."""
        asked = self._asked(signal, role)
        question = f"none of the known names of {signal} was there" if asked is None else asked.query
        return Source(self._history.server, question, how, self._history.from_s, self._history.until_s)

    def alert_source(self) -> Source:
        """Prometheus' own series of alerts."""
        return self.source_of("ALERTS", "first and last evaluation as firing")

    # ── what users got ──

    def holes(self) -> Sequence[Hole]:
        """Stretches without samples; whether the target was down or the monitoring, ``up`` says."""
        found = [Hole(gap.component, gap.from_s, gap.until_s, self._why(gap), gap.signals) for gap in self.view.gaps()]
        warned = [Hole(one.query, 0.0, self.lasts_s, f"the server warns: {text}")
                  for one in self._history.asked for text in one.warnings]  # fmt: skip
        missing = [Hole(", ".join(self._history.absent), 0.0, self.lasts_s, _ABSENT)] if self._history.absent else []
        unread = [Hole(one.file, 0.0, self.lasts_s, f"{one.lines:,} of its records could not be read, of whatever time")
                  for one in (self.view.logs.unread if self.view.logs else ())]  # fmt: skip
        return [*sorted(found, key=lambda hole: hole.from_s), *warned, *missing, *unread]

    def _why(self, gap: Gap) -> str:
        of = f" of {gap.target}, which tells its {', '.join(gap.signals)}" if gap.signals else ""
        for metric in ("up", "scraped"):
            up = self.view.metrics(gap.component, metric)
            up = up[up["labels"].eq(f"target={gap.target}")]
            inside = up[up["t_s"].between(gap.from_s, gap.until_s, inclusive="neither")]
            if not inside.empty:
                return f"scrapes{of} were not answered (up = 0)"
        return f"no scrape{of}: the monitoring itself has a hole, or the target was not known"

    def promises(self) -> Sequence[Promise]:
        """Answers; first token and end in time, as far as buckets tell."""
        found = [
            Promise(
                "answers", f"{ANSWERS_TARGET:g} % of requests are answered", ANSWERS_TARGET, self._answers,
                self.source_of("failures_total" if self._asked("failures_total") else "requests_total",
                               "rise between scrapes"),
            ),
        ]  # fmt: skip
        for signal, name, limit_s in (
            ("ttft_seconds", "first token", TTFT_P95_MAX_S),
            ("e2e_seconds", "answer", E2E_P95_MAX_S),
        ):
            edge, counted = self._late(signal, limit_s)
            if counted is not None:
                text = f"95 % of requests have their {name} within {edge:g} s"
                source = self.source_of(signal, f"rise of all minus rise of le={edge:g}")
                found.append(Promise(signal.removesuffix("_seconds"), text, 95.0, counted, source))
        return found

    @property
    def _logged(self) -> Sequence[Logged]:
        return self.view.logs.requests if self.view.logs else ()

    def _of_logs(self, question: str) -> Source:
        return Source(history.LOGS, question, "counted", self._history.from_s, self._history.until_s)

    @cached_property
    def _answers(self) -> Counted:
        total = self._rises(self.gateways, "requests_total")
        if self._asked("failures_total"):
            return _merged(total, self._rises(self.gateways, "failures_total"))
        return _merged(total, self._rises(self.gateways, "requests_total", "class=5xx"))

    def _late(self, signal: str, limit_s: float) -> tuple[float, Counted | None]:
        """Of a histogram: how many took longer than its first edge from the limit on, and that edge."""
        asked = self._asked(signal)
        if asked is None:
            return limit_s, None
        of = self.replicas if asked.role == "replica" else self.gateways
        edges = [found for c in of if (found := self._edges(c, signal))]
        # Who lacks an edge cannot tell how many were below it, and without the last one not how many there were.
        common = set.intersection(*edges) if edges else set()
        edge = min((one for one in common if one >= limit_s), default=math.inf)
        if not math.isfinite(edge) or math.inf not in common:
            return limit_s, None
        every, within = (self._rises(of, f"{signal}_bucket", f"le={one:g}") for one in (math.inf, edge))
        frame = _frame(every, within)
        late = (frame["total"] - frame["other"]).clip(lower=0)
        return edge, _counted(frame["since"], frame.index, frame["total"], late)

    def _edges(self, component: str, signal: str) -> set[float]:
        texts = self.view.metrics(component, f"{signal}_bucket")["labels"].unique()
        return {float(str(text).removeprefix("le=")) for text in texts}

    def _rises(self, components: Sequence[str], metric: str, labels: str | None = None) -> pd.DataFrame:
        """Rises between two scrapes, all components in order of time: columns since, rise; index: until."""
        parts = []
        for component in components:
            samples = self.view.metrics(component, metric, labels)
            looks = self.view.looks(component, metric.removesuffix("_bucket"))
            for _, one in samples.groupby("labels", sort=False):
                times, values = one["t_s"].to_numpy(dtype=float), one["value"].to_numpy(dtype=float)
                earlier = looks[looks < times[0]]
                since = np.concatenate((earlier[-1:] if len(earlier) else times[:1], times[:-1]))
                parts.append(pd.DataFrame({"since": since, "rise": np.diff(values, prepend=0.0)}, index=times))
        empty = pd.DataFrame({"since": [], "rise": []}, index=pd.Index([], dtype=float), dtype=float)
        return pd.concat(parts).sort_index(kind="stable") if parts else empty

    def outcomes(self) -> tuple[Sequence[Outcome], Source]:
        """By class of answer, as the gateways counted them; a minute's share of what rose between two scrapes."""
        found = []
        classes = sorted({text for g in self.gateways for text in self.view.metrics(g, "requests_total")["labels"]})
        for text in classes:
            name = _CLASSES.get(text.removeprefix("class="), text.removeprefix("class="))
            found.append(self._outcome(name, self._rises(self.gateways, "requests_total", text)))
        if self._asked("failures_total"):
            found.append(self._outcome(_FAILED, self._rises(self.gateways, "failures_total")))
        found.sort(key=lambda one: (one.name != _BEGAN_WELL, -one.requests))
        return found, self.source_of("requests_total", "rise between scrapes, by the minute of the later one")

    def _outcome(self, name: str, rises: pd.DataFrame) -> Outcome:
        minute = np.floor((self.zero_wall_s + rises.index.to_numpy(dtype=float)) / 60) * 60
        by = rises["rise"].groupby(minute).sum()
        minutes = dict(zip(by.index.to_numpy(dtype=float).tolist(), by.to_numpy(dtype=float).tolist(), strict=True))
        return Outcome(name, name != _BEGAN_WELL, float(rises["rise"].sum()), minutes)

    def limits(self) -> Sequence[Text]:
        """Between which scrapes each gateway was asked, and what no counter holds."""
        found = []
        source = self.source_of("requests_total", "first and last scrape")
        for place, gateway in enumerate(self.gateways, 1):
            looks = self.view.looks(gateway, "requests_total")
            if len(looks):
                span = utc(self, float(looks[-1]), float(looks[-1] - looks[0]))
                counted = Figure(f"impact.counted.{place}", span, source)
                found.append(said(f"Requests that {gateway} counted: ", counted, "."))
        if not found:
            return ()
        again = {(at_s, c) for c, signal, at_s in self._history.resets if signal == "requests_total"}
        for at_s, gateway in sorted(again):
            looks = self.view.looks(gateway, "requests_total")
            within_s = at_s - float(looks[looks < at_s][-1])
            when = utc(self, at_s, within_s)
            what = f"{gateway} was counted from 0 again at {when}, or not told for once"
            found.append(said(f"{what}: of what came then a part may be in no count."))
        return (*found, said(_NOT_COUNTED))

    def users(self) -> tuple[int, int, Source] | None:
        """By the keys in the gateways' logs; metrics do not tell users apart."""
        known = [one for one in self._logged if one.user not in ("", "-")]
        if not known:
            return None
        hit = {one.user for one in known if one.failed}
        return len(hit), len({one.user for one in known}), self._of_logs("key_id of requests that failed")

    def tokens(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """What engines made; whether anybody got it, they do not know."""
        made = self._rises(self.replicas, "generation_tokens_total")["rise"].sum()
        source = self.source_of("generation_tokens_total", "rise, all replicas")
        known = self._asked("generation_tokens_total") is not None
        return [
            ("made", "tokens that replicas made", float(made) if known else None, source),
            ("lost", "tokens lost or abandoned", None, source),
        ]

    def slowest(self) -> tuple[str, Source] | None:
        """The highest bucket that anything fell into, of any component; None where one does not tell its last."""
        asked = self._asked("e2e_seconds")
        if asked is None:
            return None
        of = self.replicas if asked.role == "replica" else self.gateways
        edges = [(component, found) for component in of if (found := self._edges(component, "e2e_seconds"))]
        if not all(math.inf in found for _, found in edges):
            return None
        highest: tuple[float, float] | None = None
        for component, _ in edges:
            low = 0.0
            for edge, n in self._buckets(component, "e2e_seconds", -math.inf, math.inf):
                highest = max((edge, low), highest or (0.0, 0.0)) if n > 0 else highest
                low = edge
        if highest is None:
            return None
        high, low = highest
        text = f"more than {low:g} s" if math.isinf(high) else f"{low:g} to {high:g} s"
        return f"{text} from the first byte of the request to the last of the answer", self.source_of("e2e_seconds")

    def _buckets(self, component: str, signal: str, from_s: float, until_s: float) -> list[tuple[float, float]]:
        """(edge, how many fell between the edge before and it) of a histogram in (``from_s``, ``until_s``]; none where
        the last edge is not there, so that nobody knows how many were beyond the others.
        """
        edges: dict[float, float] = {}
        samples = self.view.metrics(component, f"{signal}_bucket")
        for text, one in samples.groupby("labels", sort=False):
            inside = one[one["t_s"].gt(from_s) & one["t_s"].le(until_s)]["value"]
            before = one[one["t_s"].le(from_s)]["value"]
            begin = float(before.iloc[-1]) if len(before) else 0.0
            edges[float(str(text).removeprefix("le="))] = float(inside.iloc[-1]) - begin if len(inside) else 0.0
        ordered = sorted(edges.items())
        if not ordered or math.isfinite(ordered[-1][0]):
            return []
        return [(edge, n - (ordered[place - 1][1] if place else 0.0)) for place, (edge, n) in enumerate(ordered)]

    def again(self) -> Again | str:
        """The nearest known faults in a scenario of the drill for them."""
        return nearest.again(self, self._written_to or f"runs/{self.view.folder.name}")

    def first_token_p95(self, replica: str, from_s: float, until_s: float) -> tuple[str | None, Source]:
        """Between two edges of the engine's histogram."""
        source = self.source_of("ttft_seconds", f"bucket of the p95 of {replica}", "replica")
        return self._first_token_p95(replica, from_s, until_s), source

    def _first_token_p95(self, replica: str, from_s: float, until_s: float) -> str | None:
        buckets = self._buckets(replica, "ttft_seconds", from_s, until_s)
        total, seen, low = sum(n for _, n in buckets), 0.0, 0.0
        if total < samples_needed(95):
            return None
        for edge, n in buckets:
            seen += n
            if seen >= 0.95 * total:
                bounds = (
                    f"more than {low:g} s"
                    if math.isinf(edge)
                    else f"{number(1000 * low)} to {number(1000 * edge, 'ms')}"
                )
                return f"{bounds} (n = {total:,.0f})"
            low = edge
        return None

    def share(self, replica: str, from_s: float, until_s: float) -> tuple[float | None, Source]:
        """By the gateways' counters of sessions, or by the tokens that each replica made where the gateways call a
        replica something else.
        """
        sessions, tokens = "server_sessions_total", "generation_tokens_total"
        rises = {one: self._rises(self.gateways, sessions, f"server={one}") for one in self.replicas}
        signal = sessions if not any(one.empty for one in rises.values()) else tokens
        if signal == tokens:
            rises = {one: self._rises((one,), tokens) for one in self.replicas}
        inside = {one: float(f[(f.index > from_s) & (f.index <= until_s)]["rise"].sum()) for one, f in rises.items()}
        every = sum(inside.values())
        source = self.source_of(signal, f"rise of {replica} / rise of all")
        return inside[replica] / every if every else None, source

    # ── what happened ──

    def entries(self) -> Sequence[Entry]:
        """Who stopped and began to answer scrapes, whom gateways ejected, and which processes were restarted."""
        return self._entries

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        found = [
            *(entry for one in self.view.components for entry in self._up(one)),
            *(entry for one in self.gateways for entry in self._servers(one)),
            *(entry for one in self.view.components for entry in self._starts(one)),
            *self._managed(),
        ]
        return sorted((one for one in found if 0.0 <= one.at_s <= self.lasts_s), key=lambda entry: entry.at_s)

    def _up(self, component: str) -> Iterator[Entry]:
        source = self.source_of("up")
        for _, own in self.view.metrics(component, "up").groupby("labels", sort=False):
            if _is_down_at_first(own):
                first_s = float(own["t_s"].iloc[0])
                text = f"{component} does not answer its scrapes, from the first one on"
                yield Entry(first_s, text, source, first_s, SILENT, component)
            for at_s, within_s, value in _turns(own):
                text = "answers its scrapes again" if value else "does not answer its scrapes"
                yield Entry(at_s, f"{component} {text}", source, within_s, ANSWERS if value else SILENT, component)

    def _servers(self, gateway: str) -> Iterator[Entry]:
        source, samples = self.source_of("server_up"), self.view.metrics(gateway, "server_up")
        looks = np.unique(samples["t_s"].to_numpy(dtype=float))
        for text, own in samples.groupby("labels", sort=False):
            server = str(text).removeprefix("server=")
            for at_s, within_s, value in _turns(own):
                what, kind = ("readmits", READMITTED) if value else ("ejects", EJECTED)
                yield Entry(at_s, f"{gateway} {what} {server}", source, within_s, kind, server, gateway)
            # Where the gateway told of others and not of this one, it does not have it.
            known = np.isin(looks, own["t_s"].to_numpy(dtype=float)).astype(int)
            for place in np.flatnonzero(np.diff(known)) + 1:
                what = f"knows {server} again" if known[place] else f"no longer knows {server}"
                kind = KNOWN if known[place] else FORGOTTEN
                within_s = float(looks[place] - looks[place - 1])
                yield Entry(float(looks[place]), f"{gateway} {what}", source, within_s, kind, server, gateway)

    def _starts(self, component: str) -> Iterator[Entry]:
        samples = self.view.metrics(component, "started_s")
        for value in samples["value"][samples["value"].diff().abs().gt(1.0)]:
            at_s = float(value) - self.zero_wall_s
            source = self.source_of("started_s", "its own clock", self._history.roles[component])
            yield Entry(at_s, f"{component} restarted", source, 0.0, RESTARTED, component)

    def _managed(self) -> Iterator[Entry]:
        """Silences and their ends, and the alerts that Alertmanager still had when it was asked."""
        if (managed := self.view.managed) is None:
            return
        for silence in managed.silences:
            if self._selects and not any(silence.covers(labels) for _, labels, _ in self._fired()):
                continue
            said = f": {silence.comment}" if silence.comment else ""
            source = self._of_manager(f"silences, id = {silence.id}")
            yield Entry(self._since(silence.starts_s), f"{silence.by} silences {silence}{said}", source)
            yield Entry(self._since(silence.ends_s), f"the silence of {silence} by {silence.by} ends", source)
        for one in (one for one in managed.alerts if self._is_ours(one.labels)):
            to = f", for {', '.join(one.receivers)}" if one.receivers else ""
            text = f"Alertmanager has {one.name} ({_labels(one.labels)}) from here on, {one.state}{to}"
            yield Entry(self._since(one.starts_s), text, self._of_manager("alerts"))

    def _since(self, wall_s: float) -> float:
        return wall_s - self.zero_wall_s

    def _of_manager(self, question: str) -> Source:
        assert self.view.managed is not None
        return Source(self.view.managed.server, f"/api/v2/{question}", "its own clock")

    @cached_property
    def _selects(self) -> tuple[Matcher, ...]:
        """SELECTOR's conditions."""
        return tuple(
            Matcher(name, re.sub(r"\\(.)", r"\1", value), sign.endswith("~"), not sign.startswith("!"))
            for name, sign, _, value in _CONDITION.findall(self._history.selector)
        )

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert has the labels that SELECTOR asks for, or one that names a component."""
        known = {*self.replicas, *self.gateways}
        return all(one.holds(labels) for one in self._selects) or not known.isdisjoint(labels.values())

    def alerts(self) -> Sequence[FiredAlert]:
        """Those that SELECTOR leaves, or that name a component."""
        return [alert for alert in self._all_alerts if self._is_ours(alert.labels)]

    def others(self) -> Sequence[FiredAlert]:
        """Those of whoever else the server watches."""
        return [alert for alert in self._all_alerts if not alert.before and not self._is_ours(alert.labels)]

    @cached_property
    def _all_alerts(self) -> Sequence[FiredAlert]:
        """As Prometheus evaluated them; of those that it does not know, what Alertmanager still has."""
        found = [FiredAlert(one.name, one.severity, one.labels, one.fired_s, one.cleared_s, one.since_before)
                 for one in self.view.alerts]  # fmt: skip
        for one in self.view.managed.alerts if self.view.managed else ():
            at_s = self._since(one.starts_s)
            # It has labels that only Alertmanager gets: of which Prometheus it came.
            known = (alert for alert in found if alert.name == one.name and alert.labels.items() <= one.labels.items())
            if at_s <= self.lasts_s and not any(known):
                labels = {name: value for name, value in one.labels.items() if name not in ("alertname", "severity")}
                severity, source = one.labels.get("severity", ""), self._of_manager("alerts")
                found.append(FiredAlert(one.name, severity, labels, at_s, None, at_s <= 0.0, source))
        return sorted(found, key=lambda alert: alert.fired_s)

    def silenced(self) -> Sequence[Silenced] | None:
        """By Alertmanager's silences that began when one of their alerts had fired. None where it was not asked."""
        if (managed := self.view.managed) is None:
            return None
        found = []
        for silence in managed.silences:
            at_s = self._since(silence.starts_s)
            hit = [name for name, labels, fired_s in self._fired() if fired_s <= at_s and silence.covers(labels)]
            if hit and at_s <= self.lasts_s:
                found.append(Silenced(at_s, silence.by, hit[0], self._of_manager(f"silences, id = {silence.id}")))
        return found

    def _fired(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """(name, all labels, when) of alerts. Those that Alertmanager has may have labels that only it gets."""
        for alert in self.alerts():
            severity = {"severity": alert.severity} if alert.severity else {}
            yield alert.name, {"alertname": alert.name, **severity, **alert.labels}, alert.fired_s
        for one in self.view.managed.alerts if self.view.managed else ():
            if self._is_ours(one.labels):
                yield one.name, one.labels, self._since(one.starts_s)

    def silent(self) -> Sequence[str] | None:
        """Rules that the server has and that did not fire."""
        fired = {one.name for one in self.view.alerts}
        return None if self._history.rules is None else [one for one in self._history.rules if one not in fired]

    def reds(self) -> Sequence[Red]:
        """None: no drill was judged."""
        return ()

    def trigger(self) -> Trigger:
        """The nearest fault that Drillyard knows."""
        return self._trigger

    @cached_property
    def _trigger(self) -> Trigger:
        return guess.trigger(self)

    def by_design(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """As the gateways counted."""
        found: list[tuple[str, str, float | None, Source]] = []
        for signal, id_, what in (
            ("retries_total", "gateway-retries", "further attempts by gateways"),
            ("redispatches_total", "redispatches", "attempts that a gateway gave to another replica"),
        ):
            known = self._asked(signal) is not None
            value = float(self._rises(self.gateways, signal)["rise"].sum()) if known else None
            found.append((id_, what, value, self.source_of(signal, "rise, all gateways")))
        outs = [entry for entry in self.entries() if entry.kind == EJECTED]
        known = self._asked("server_up") is not None
        source = self.source_of("server_up", "turns to 0")
        what = "times that a gateway ejected a replica"
        return [*found, ("ejections", what, float(len(outs)) if known else None, source)]

    def configuration(self) -> Sequence[tuple[str, str]]:
        """Not in metrics."""
        return ()

    def versions(self) -> Sequence[tuple[str, str]]:
        """What the server told of itself and of its clock, and which systems' metrics it has."""
        systems = sorted({one.system for one in self._history.asked if one.role and one.series})
        about = [*self._history.about.items()]
        offset_s, within_s = self._history.offset_s, self._history.offset_within_s
        if offset_s is not None and within_s is not None:
            ahead = "ahead of" if offset_s >= 0 else "behind"
            clock = f"{number(abs(offset_s), 's')} {ahead} that of the machine that asked, ± {number(within_s, 's')}"
            about.append(("clock of the server", clock))
        return [("metrics of", ", ".join(systems)), *about]

    def requests(self) -> Sequence[Request]:
        """The first that failed with each status, from the gateways' logs; none without logs."""
        shown: dict[int | None, list[Request]] = {}
        for one in (one for one in self._logged if one.failed):
            of = shown.setdefault(one.status, [])
            if len(of) < REQUESTS_OF_EACH:
                what = "without an answer" if one.status is None else f"HTTP {one.status}"
                of.append(Request(one.request_id, what, (f"{one.gateway}: {one.line}",)))
        return [request for of in shown.values() for request in of]


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname")


def _turns(samples: pd.DataFrame) -> Iterator[tuple[float, float, bool]]:
    """(time, how uncertain, new value) of each change between 0 and not 0."""
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float) > 0
    for place in np.flatnonzero(np.diff(values.astype(int))) + 1:
        yield float(times[place]), float(times[place] - times[place - 1]), bool(values[place])


def _is_down_at_first(up: pd.DataFrame) -> bool:
    """Whether it did not answer when the stretch began; one that came later was only starting."""
    times = up["t_s"].to_numpy(dtype=float)
    return bool(len(times) > 1 and up["value"].iloc[0] == 0 and times[0] <= history.MISSED * np.median(np.diff(times)))


def _frame(total: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Rises by the later scrape of either: of all, and of the others (0 where one had none)."""
    both = pd.concat([total.assign(other=0.0), other.assign(other=other["rise"], rise=0.0)])
    grouped = both.rename(columns={"rise": "total"}).groupby(level=0)  # others may be told by another target
    return grouped.agg({"since": "min", "total": "sum", "other": "sum"}).sort_index()


def _merged(total: pd.DataFrame, bad: pd.DataFrame) -> Counted:
    frame = _frame(total, bad)
    return _counted(frame["since"], frame.index, frame["total"], frame["other"])


def _counted(since: pd.Series, at_s: pd.Index, total: pd.Series, bad: pd.Series) -> Counted:
    columns = (since, at_s, total, bad)
    return Counted(*(np.asarray(column, dtype=float) for column in columns))


def _minute(wall_s: float) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d %H:%M}"
