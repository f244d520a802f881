"""An incident's evidence in a server's history: counters between two scrapes, gauges at each, alerts; no request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from harness.evidence import history
from harness.evidence.history import Asked, HistoryView, Logged
from harness.judge.outside import Counted
from harness.model.alert_rules import E2E_P95_MAX_S, TTFT_P95_MAX_S
from harness.model.incident import Source
from reports.incident import guess, nearest
from reports.incident.case import Entry, Hole, Outcome, Promise, Red, Request, Told, Trigger
from reports.incident.scenario import Again
from reports.panel import number

#: Percent of answers that are good, where nobody says what was promised.
ANSWERS_TARGET = 99.0
#: So many requests that failed with the same status are shown.
REQUESTS_OF_EACH = 3
_ABSENT = "the server has no metric of the known names"
_CLASSES = {"2xx": "good (2xx)", "4xx": "refused as wrong (4xx)", "5xx": "failed (5xx)", "none": "without an answer"}


class HistoryCase:
    """One stretch of history."""

    title = "Incident"

    def __init__(self, view: HistoryView) -> None:
        self._view, self._history = view, view.history
        self.zero_wall_s, self.lasts_s = view.history.from_s, view.lasts_s
        self.made_from: Mapping[str, str] = {
            "server": view.history.server, "from": f"{view.history.from_s:.3f}", "until": f"{view.history.until_s:.3f}",
            "selector": view.history.selector, "folder": view.folder.name,
        }  # fmt: skip
        self.replicas, self.gateways = view.replicas, view.gateways

    @property
    def view(self) -> HistoryView:
        """The folder's series."""
        return self._view

    # ── where things come from ──

    def _asked(self, signal: str, role: str = "") -> Asked | None:
        return next((one for one in self._history.asked if one.signal == signal and role in ("", one.role)), None)

    def source_of(self, signal: str, how: str = "") -> Source:
        """The query that brought the samples."""
        asked = self._asked(signal)
        question = f"none of the known names of {signal} was there" if asked is None else asked.query
        return Source(self._history.server, question, how, self._history.from_s, self._history.until_s)

    def alert_source(self) -> Source:
        """Prometheus' own series of alerts."""
        return self.source_of("ALERTS", "first and last evaluation as firing")

    # ── what users got ──

    def holes(self) -> Sequence[Hole]:
        """Stretches without samples; whether the target was down or the monitoring, ``up`` says."""
        found = [Hole(gap.component, gap.from_s, gap.until_s, self._why(gap.component, gap.from_s, gap.until_s))
                 for gap in self.view.gaps()]  # fmt: skip
        warned = [Hole(one.query, 0.0, self.lasts_s, f"the server warns: {text}")
                  for one in self._history.asked for text in one.warnings]  # fmt: skip
        missing = [Hole(", ".join(self._history.absent), 0.0, self.lasts_s, _ABSENT)] if self._history.absent else []
        return [*sorted(found, key=lambda hole: hole.from_s), *warned, *missing]

    def _why(self, component: str, from_s: float, until_s: float) -> str:
        up = self.view.metrics(component, "up")
        inside = up[up["t_s"].between(from_s, until_s, inclusive="neither")]
        if inside.empty:
            return "no scrape: the monitoring itself has a hole, or the target was not known"
        return "the target did not answer its scrapes (up = 0)" if inside["value"].eq(0).any() else "scrapes without it"

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
        return self.view.logged or ()

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
        edges = sorted({float(text.removeprefix("le=")) for c in of
                        for text in self.view.metrics(c, f"{signal}_bucket")["labels"]})  # fmt: skip
        edge = next((one for one in edges if one >= limit_s), math.inf)
        if not math.isfinite(edge):
            return limit_s, None
        every, within = (self._rises(of, f"{signal}_bucket", f"le={one:g}") for one in (math.inf, edge))
        frame = _frame(every, within)
        late = (frame["total"] - frame["other"]).clip(lower=0)
        return edge, _counted(frame["since"], frame.index, frame["total"], late)

    def _rises(self, components: Sequence[str], metric: str, labels: str | None = None) -> pd.DataFrame:
        """Rises between two scrapes, all components in order of time: columns since, rise; index: until."""
        parts = []
        for component in components:
            samples = self.view.metrics(component, metric, labels)
            for _, one in samples.groupby("labels", sort=False):
                times, values = one["t_s"].to_numpy(dtype=float), one["value"].to_numpy(dtype=float)
                first = self._first_scrape(component)
                since = np.concatenate(([max(first, times[0] - (self.view.scrape_s(component) or 0.0))], times[:-1]))
                parts.append(pd.DataFrame({"since": since, "rise": np.diff(values, prepend=0.0)}, index=times))
        empty = pd.DataFrame({"since": [], "rise": []}, dtype=float)
        return pd.concat(parts).sort_index(kind="stable") if parts else empty

    def _first_scrape(self, component: str) -> float:
        return min((float(self.view.metrics(component, m)["t_s"].iloc[0]) for m in self.view.metrics_of(component)),
                   default=0.0)  # fmt: skip

    def outcomes(self) -> tuple[Sequence[Outcome], Source]:
        """By class of answer, as the gateways counted them; a minute's share of what rose between two scrapes."""
        found = []
        classes = sorted({text for g in self.gateways for text in self.view.metrics(g, "requests_total")["labels"]})
        for text in classes:
            rises = self._rises(self.gateways, "requests_total", text)
            minute = np.floor((self.zero_wall_s + rises.index.to_numpy(dtype=float)) / 60) * 60
            by = rises["rise"].groupby(minute).sum()
            name = _CLASSES.get(text.removeprefix("class="), text.removeprefix("class="))
            minutes = dict(zip(by.index.to_numpy(dtype=float).tolist(), by.to_numpy(dtype=float).tolist(), strict=True))
            found.append(Outcome(name, float(rises["rise"].sum()), minutes))
        found.sort(key=lambda one: (not one.name.startswith("good"), -one.requests))
        return found, self.source_of("requests_total", "rise between scrapes, by the minute of the later one")

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
        """The highest bucket that anything fell into."""
        asked = self._asked("e2e_seconds")
        if asked is None:
            return None
        of = self.replicas if asked.role == "replica" else self.gateways
        rises = self._buckets(of, "e2e_seconds", -math.inf, math.inf)
        used = [place for place, (_, n) in enumerate(rises) if n > 0]
        if not used:
            return None
        low = rises[used[-1] - 1][0] if used[-1] else 0.0
        high = rises[used[-1]][0]
        text = f"more than {low:g} s" if math.isinf(high) else f"{low:g} to {high:g} s"
        return f"{text} from the first byte of the request to the last of the answer", self.source_of("e2e_seconds")

    def _buckets(self, of: Sequence[str], signal: str, from_s: float, until_s: float) -> list[tuple[float, float]]:
        """(edge, how many fell between the edge before and it) of a histogram in a stretch."""
        edges: dict[float, float] = {}
        for component in of:
            samples = self.view.metrics(component, f"{signal}_bucket")
            for text, one in samples.groupby("labels", sort=False):
                inside = one[one["t_s"].between(from_s, until_s)]["value"]
                before = one[one["t_s"] < from_s]["value"]
                begin = float(before.iloc[-1]) if len(before) else 0.0
                edge = float(str(text).removeprefix("le="))
                edges[edge] = edges.get(edge, 0.0) + (float(inside.iloc[-1]) - begin if len(inside) else 0.0)
        ordered = sorted(edges.items())
        return [(edge, n - (ordered[place - 1][1] if place else 0.0)) for place, (edge, n) in enumerate(ordered)]

    def again(self) -> Again | str:
        """The nearest known faults in a scenario of the drill for them."""
        return nearest.again(self, f"runs/{self.view.folder.name}")

    def first_token_p95(self, replica: str, from_s: float, until_s: float) -> str | None:
        """Between two edges of the engine's histogram."""
        buckets = self._buckets((replica,), "ttft_seconds", from_s, until_s)
        total, seen, low = sum(n for _, n in buckets), 0.0, 0.0
        if total < 20:
            return None
        for edge, n in buckets:
            seen += n
            if seen >= 0.95 * total:
                bounds = (
                    f"more than {low:g} s"
                    if math.isinf(edge)
                    else f"{number(1000 * low)} to {number(1000 * edge, 'ms')}"
                )
                return f"{bounds} (n = {total:.0f})"
            low = edge
        return None

    def share(self, replica: str, from_s: float, until_s: float) -> float | None:
        """By the gateways' counters of sessions, or by the tokens that each replica made."""
        signal = "server_sessions_total"
        if self._asked(signal):
            rises = {one: self._rises(self.gateways, signal, f"server={one}") for one in self.replicas}
        else:
            rises = {one: self._rises((one,), "generation_tokens_total") for one in self.replicas}
        inside = {one: float(f[(f.index > from_s) & (f.index <= until_s)]["rise"].sum()) for one, f in rises.items()}
        every = sum(inside.values())
        return inside[replica] / every if every else None

    # ── what happened ──

    def entries(self) -> Sequence[Entry]:
        """Who stopped and began to answer scrapes, whom gateways took out, and which processes were started anew."""
        found = [
            *(entry for one in self.view.components for entry in self._up(one)),
            *(entry for one in self.gateways for entry in self._servers(one)),
            *(entry for one in self.view.components for entry in self._starts(one)),
        ]
        return sorted(found, key=lambda entry: entry.at_s)

    def _up(self, component: str) -> Iterator[Entry]:
        source = self.source_of("up")
        for at_s, within_s, value in _turns(self.view.metrics(component, "up")):
            text = "answers its scrapes again" if value else "does not answer its scrapes"
            yield Entry(at_s, f"{component} {text}", source, within_s)

    def _servers(self, gateway: str) -> Iterator[Entry]:
        source, samples = self.source_of("server_up"), self.view.metrics(gateway, "server_up")
        looks = np.unique(samples["t_s"].to_numpy(dtype=float))
        for text, own in samples.groupby("labels", sort=False):
            server = str(text).removeprefix("server=")
            for at_s, within_s, value in _turns(own):
                yield Entry(at_s, f"{gateway} {'readmits' if value else 'takes out'} {server}", source, within_s)
            # Where the gateway told of others and not of this one, it does not have it.
            known = np.isin(looks, own["t_s"].to_numpy(dtype=float)).astype(int)
            for place in np.flatnonzero(np.diff(known)) + 1:
                what = "knows" if known[place] else "no longer knows"
                again = " again" if known[place] else ""
                within_s = float(looks[place] - looks[place - 1])
                yield Entry(float(looks[place]), f"{gateway} {what} {server}{again}", source, within_s)

    def _starts(self, component: str) -> Iterator[Entry]:
        samples = self.view.metrics(component, "started_s")
        for value in samples["value"][samples["value"].diff().abs().gt(1.0)]:
            at_s = float(value) - self.zero_wall_s
            yield Entry(at_s, f"{component} is started anew", self.source_of("started_s", "its own clock"))

    def alerts(self) -> Sequence[Told]:
        """As Prometheus evaluated them."""
        return [Told(one.name, one.severity, one.labels, one.fired_s, one.cleared_s, one.since_before)
                for one in self.view.alerts]  # fmt: skip

    def silent(self) -> Sequence[str]:
        """Rules that the server has and that did not fire."""
        fired = {one.name for one in self.view.alerts}
        return [name for name in self._history.rules if name not in fired]

    def reds(self) -> Sequence[Red]:
        """None: no drill was judged."""
        return ()

    def trigger(self) -> Trigger:
        """The nearest fault that Drillyard knows."""
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
        outs = [entry for entry in self.entries() if " takes out " in entry.what]
        known = self._asked("server_up") is not None
        source = self.source_of("server_up", "turns to 0")
        what = "times that a gateway took a replica out of the rotation"
        return [*found, ("ejections", what, float(len(outs)) if known else None, source)]

    def configuration(self) -> Sequence[tuple[str, str]]:
        """Not in metrics."""
        return ()

    def versions(self) -> Sequence[tuple[str, str]]:
        """What the server told of itself, and which systems' metrics it has."""
        systems = sorted({one.system for one in self._history.asked if one.role})
        return [("metrics of", ", ".join(systems)), *((name, text) for name, text in self._history.about.items())]

    def requests(self) -> Sequence[Request]:
        """The first that failed with each status, from the gateways' logs; none without logs."""
        shown: dict[int | None, list[Request]] = {}
        for one in (one for one in self._logged if one.failed):
            of = shown.setdefault(one.status, [])
            if len(of) < REQUESTS_OF_EACH:
                what = "without an answer" if one.status is None else f"HTTP {one.status}"
                of.append(Request(one.request_id, what, (f"{one.gateway}: {one.line}",)))
        return [request for of in shown.values() for request in of]


def _turns(samples: pd.DataFrame) -> Iterator[tuple[float, float, bool]]:
    """(time, how uncertain, new value) of each change between 0 and not 0."""
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float) > 0
    for place in np.flatnonzero(np.diff(values.astype(int))) + 1:
        yield float(times[place]), float(times[place] - times[place - 1]), bool(values[place])


def _frame(total: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Rises by the later scrape: of all, and of the others (0 where they had none)."""
    grouped = pd.DataFrame(
        {"since": total["since"].groupby(level=0).min(), "total": total["rise"].groupby(level=0).sum()}
    )
    return grouped.assign(other=other["rise"].groupby(level=0).sum()).fillna({"other": 0.0})


def _merged(total: pd.DataFrame, bad: pd.DataFrame) -> Counted:
    frame = _frame(total, bad)
    return _counted(frame["since"], frame.index, frame["total"], frame["other"])


def _counted(since: pd.Series, at_s: pd.Index, total: pd.Series, bad: pd.Series) -> Counted:
    columns = (since, at_s, total, bad)
    return Counted(*(np.asarray(column, dtype=float) for column in columns))
