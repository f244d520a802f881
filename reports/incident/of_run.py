"""An incident's evidence in a run folder: every request is known, and when it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from harness.evidence import logs
from harness.evidence.attempts import Attempts
from harness.evidence.record import NOT_OF_THE_SERVICE, RunFolder
from harness.evidence.view import RunView
from harness.judge import alert_times, alerts, drill, families, sli, verdicts
from harness.judge.outside import Counted
from harness.model.alert_rules import E2E_P95_MAX_S, TTFT_P95_MAX_S
from harness.model.incident import Source, Text
from harness.model.scenario import Share, parse_load
from harness.model.topology import POLICIES
from harness.model.verdict import Status, Verdict
from reports import moments
from reports.incident.case import Entry, FiredAlert, Hole, Outcome, Promise, Red, Request, Trigger
from reports.incident.scenario import Again
from reports.panel import number
from reports.panels.recovery import availability_target

#: What the time of a request is in an objective.
_TIMED = "by when it was due; it may have failed later"
#: So many requests that failed are shown with what was logged about them.
REQUESTS = 6
#: A hole in the samples of a component that is worth a line, in seconds.
_HOLE_S = 5.0
_NAMES = {"ok": "good", "cancelled_intended": "cancelled by the client", "cancelled_drain": "cut by the run's end"}


class RunCase:
    """One run. RunFolderError where it cannot be read. ``written_to`` names the report's folder in commands, if that is
    not where runs are.
    """

    def __init__(self, folder: RunFolder, written_to: str = "") -> None:
        self._folder, self._written_to = folder, written_to
        self._view = RunView(folder)
        self._verdict: Verdict = verdicts.read(folder)
        self.zero_wall_s = folder.zero_wall_s()
        self.made_from: Mapping[str, str] = {"run": str(self.view.plan["run_id"])}
        day = datetime.fromtimestamp(self.zero_wall_s, UTC)
        self.title = f"{self.view.plan.get('title') or self.view.plan['drill']}, {day:%Y-%m-%d}"
        self.replicas, self.gateways = self.view.replicas, self.view.gateways

    @property
    def view(self) -> RunView:
        """The run."""
        return self._view

    @property
    def lasts_s(self) -> float:
        """To the last thing that is recorded."""
        return max((event.t_s for event in self.view.events()), default=0.0)

    # ── where things come from ──

    def _rows(self, question: str, how: str = "counted") -> Source:
        return Source("requests.parquet", question, how)

    def _event(self, kind: str, t_s: float) -> Source:
        return Source("events.jsonl", f"kind = {kind}, t_s = {t_s:.3f}")

    def _samples(self, component: str, metric: str, how: str = "") -> Source:
        return Source("metrics.parquet", f"component = {component}, metric = {metric}", how)

    def alert_source(self) -> Source:
        """Deliveries, which are events."""
        return Source("events.jsonl", "kind = alert_fired or alert_cleared", "times of delivery")

    def source_of(self, signal: str, how: str = "") -> Source:
        """Samples of all components."""
        return Source("metrics.parquet", f"metric = {signal}", how)

    # ── what users got ──

    @cached_property
    def _final(self) -> Attempts:
        """One row per request that the service could be judged by."""
        return self.view.final[~self.view.final["outcome"].isin(NOT_OF_THE_SERVICE)]

    def holes(self) -> Sequence[Hole]:
        """Where no component's samples say anything, though nothing was done to it."""
        found = [hole for component in (*self.replicas, *self.gateways) for hole in self._holes(component)]
        return sorted(found, key=lambda hole: hole.from_s)

    def _holes(self, component: str) -> Iterator[Hole]:
        times = self.view.metrics(component, "up")["t_s"].to_numpy(dtype=float)
        if len(times) == 0:
            yield Hole(component, 0.0, self.lasts_s, "never sampled")
        for at in np.flatnonzero(np.diff(times) > _HOLE_S):
            yield Hole(component, float(times[at]), float(times[at + 1]), "not sampled")

    def promises(self) -> Sequence[Promise]:
        """Answers; and of the good ones, the first token and the end in time."""
        good = self._final["outcome"].eq("ok")
        target = availability_target(self.view)
        found = [
            Promise(
                "answers", f"{target:g} % of requests are answered", target,
                self._counted(self._final, ~good), self._rows("final, outcome ≠ ok", "by the time they were due"),
                _TIMED,
            ),
        ]  # fmt: skip
        for name, column, limit_s in (("first token", "ttft_ms", TTFT_P95_MAX_S), ("answer", "e2e_ms", E2E_P95_MAX_S)):
            rows = self._final[good]
            late = rows[column].gt(1000 * limit_s)
            text = f"95 % of good requests have their {name} within {limit_s:g} s"
            source = self._rows(f"final, outcome = ok, {column} > {1000 * limit_s:g}", "by the time they were due")
            found.append(Promise(column.removesuffix("_ms"), text, 95.0, self._counted(rows, late), source, _TIMED))
        return found

    @staticmethod
    def _counted(rows: Attempts, bad: pd.Series) -> Counted:
        due = rows["intended_start_s"].to_numpy(dtype=float)
        order = np.argsort(due, kind="stable")
        at_s = due[order]
        return Counted(at_s, at_s, np.ones(len(at_s)), bad.to_numpy(dtype=float)[order])

    def outcomes(self) -> tuple[Sequence[Outcome], Source]:
        """As the clients recorded them."""
        rows = self.view.final
        minute = np.floor((self.zero_wall_s + rows["end_s"].to_numpy(dtype=float)) / 60) * 60
        frame = pd.DataFrame({"outcome": rows["outcome"].astype(str).to_numpy(), "minute": minute})
        found = []
        for name, of in frame.groupby("outcome"):
            at, n = np.unique(of["minute"], return_counts=True)
            shown = _NAMES.get(str(name), str(name).replace("_", " "))
            minutes = dict(zip(at.tolist(), n.astype(float).tolist(), strict=True))
            found.append(Outcome(shown, name not in ("ok", *NOT_OF_THE_SERVICE), float(len(of)), minutes))
        found.sort(key=lambda one: (one.name != "good", -one.requests))
        return found, self._rows("final, by outcome and by the minute of end_s")

    def limits(self) -> Sequence[Text]:
        """None: each request is in the records."""
        return ()

    def users(self) -> tuple[int, int, Source] | None:
        """By their ids."""
        known = self._final[self._final["user_id"].notna()]
        if len(known) == 0:
            return None
        hit = known[known["outcome"].ne("ok")]["user_id"].astype(str).nunique()
        return int(hit), int(known["user_id"].astype(str).nunique()), self._rows("final, user_id of outcome ≠ ok")

    def tokens(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """What was answered in full, what broke off, and what nobody waited for any more."""
        rows = self.view.requests
        good, left = rows["outcome"].eq("ok"), rows["outcome"].isin(("cancelled_intended", "cancelled_drain"))
        begun = rows["ttft_ms"].notna()
        return [
            ("good", "tokens in good answers", _sum(rows[good]["output_tokens"]),
             self._rows("outcome = ok", "sum of output_tokens")),
            ("lost", "tokens in answers that broke off (events of their streams)",
             _sum(rows[~good & ~left & begun]["content_events"]),
             self._rows("outcome not ok, not cancelled; ttft_ms known", "sum of content_events")),
            ("abandoned", "tokens in answers whose client had left (events of their streams)",
             _sum(rows[left & begun]["content_events"]), self._rows("outcome cancelled", "sum of content_events")),
        ]  # fmt: skip

    def slowest(self) -> tuple[str, Source] | None:
        """The good answer that took longest."""
        took = self._final[self._final["outcome"].eq("ok")]["e2e_from_schedule_ms"].dropna()
        if took.empty:
            return None
        source = self._rows("final, outcome = ok", "largest e2e_from_schedule_ms")
        return f"{number(float(took.max()) / 1000, 's')} from schedule to the last byte", source

    def first_token_p95(self, replica: str, from_s: float, until_s: float) -> tuple[str | None, Source]:
        """Of the good answers that it gave."""
        rows = self._final
        mine = rows[rows["replica"].eq(replica) & rows["end_s"].between(from_s, until_s)]
        found = sli.find("ttft_p95_ms").measure(mine, self.view)
        shown = None if found.value is None else f"{number(found.value, found.unit)} (n = {found.samples:,})"
        return shown, self._rows(f"final, outcome = ok, replica = {replica}", "p95 of ttft_ms, by end_s")

    def share(self, replica: str, from_s: float, until_s: float) -> tuple[float | None, Source]:
        """By the gateways' own counters of sessions."""

        def rise(server: str) -> float:
            return sum(_rise(self.view.metrics(g, "server_sessions_total", f"server={server}"), from_s, until_s)
                       for g in self.gateways)  # fmt: skip

        every = sum(rise(one) for one in self.replicas)
        source = self._samples("each gateway", "server_sessions_total", f"rise of server={replica} / rise of all")
        return rise(replica) / every if every else None, source

    # ── what happened ──

    def entries(self) -> Sequence[Entry]:
        """Phases, faults, steps, ejections and outages, as the drill report has them."""
        found = [entry for bar in moments.bars(self.view, self._verdict) for entry in self._entries(bar)]
        return sorted(found, key=lambda entry: entry.at_s)

    def _entries(self, bar: moments.Bar) -> Iterator[Entry]:
        match bar.row:
            case "phase":
                yield Entry(bar.begin_s, f"phase {bar.name} begins", self._event("phase_started", bar.begin_s))
            case "fault":
                source = self._event("fault_injecting", bar.begin_s)
                phase = bar.more.removeprefix("in ")
                yield Entry(bar.begin_s, f"injected: {bar.name} (in phase {phase})", source)
                if math.isfinite(bar.end_s):
                    yield Entry(bar.end_s, f"healed: {bar.name}", self._event("fault_healed", bar.end_s))
            case "step":
                more = f" ({bar.more})" if bar.more else ""
                yield Entry(bar.begin_s, f"step: {bar.name}{more}", self._event("fault_step", bar.begin_s))
            case "ejected":
                source = self._samples("each gateway", "server_up", f"server={bar.name}")
                yield Entry(bar.begin_s, f"{bar.name} ejected {bar.more}", source)
                if math.isfinite(bar.end_s):
                    yield Entry(bar.end_s, f"{bar.name} readmitted", source)
            case "down":
                source = self._samples(bar.name, "up")
                yield Entry(bar.begin_s, f"{bar.name} down ({bar.more})", source)
                if bar.lasts and math.isfinite(bar.end_s):
                    yield Entry(bar.end_s, f"{bar.name} up again", source)

    def silenced(self) -> None:
        """A drill's alerts are for nobody to take on."""
        return

    def alerts(self) -> Sequence[FiredAlert]:
        """As they were delivered."""
        return [
            FiredAlert(one.name, one.severity, one.labels, one.fired_s, one.cleared_s, one.before)
            for one in alerts.seen(self.view)
        ]

    def others(self) -> Sequence[FiredAlert]:
        """None: nothing else is watched."""
        return ()

    def silent(self) -> Sequence[str]:
        """Alerts that the drill expects, and that had the time to fire."""
        scale = alerts.scale(self.view)
        if scale is None:
            return []
        missing = [
            one for one in alerts.declared(self.view)
            if one.fires and alert_times.can_fire(one, self.view.scenario.phases, scale)
            if not any(alert.is_for(one) for alert in alerts.of_fault(self.view, one.phase))
        ]  # fmt: skip
        return [f"{one} in phase {one.phase}" for one in missing]

    def reds(self) -> Sequence[Red]:
        """In the order of the verdict."""
        return [
            Red(check.id, check.name, check.why, check.phase or "", families.of(check.id))
            for check in self._verdict.checks
            if check.status is Status.FAIL
        ]

    def trigger(self) -> Trigger:
        """What the drill injected."""
        faults = [event.data for event in self.view.events("fault_injecting")]
        spans = [phase for phase in self.view.phases if phase.fault_start_s is not None]
        if not faults:
            return Trigger("Nothing was injected: what set it off is not known.", (), None, None, ())
        names = [f"{one.get('type')} on {one.get('on')} in phase {one.get('phase')}" for one in faults]
        ends = [phase.fault_end_s for phase in spans]
        return Trigger(
            f"A drill injected {'; '.join(dict.fromkeys(names))}.",
            tuple(dict.fromkeys(self._hit(str(one.get("on", ""))) for one in faults)),
            min(phase.fault_start_s for phase in spans if phase.fault_start_s is not None),
            None if any(end is None for end in ends) else max(end for end in ends if end is not None),
            (Source("events.jsonl", "kind = fault_injecting, fault_healed"), Source("plan.json", "faults")),
        )

    def again(self) -> Again | str:
        """The run's own scenario: the same faults, phases, users and objectives, judged by the same drill."""
        plan, run = self.view.plan, self.made_from["run"]
        name = str(plan["drill"])
        if name not in drill.names():
            return f"No scenario brings it about again: there is no drill {name} here any more."
        practised, rate = self.view.scenario, self._rate_asked()
        said = [
            f"The scenario of the run {run}, whose verdict was {self._verdict.status.value}: {self._verdict.reason}",
            "Faults, phases, users, limits and objectives are the run's. Not as it was: the machine, its neighbours, "
            "and what chance brings beside the seed.",
        ]
        if rate is not None:
            recorded = f"there {practised.load.per_s:.6g}/s"
            said.append(f"The load is the share of capacity that was asked for, which was {recorded}.")
            practised = practised.model_copy(update={"load": practised.load.model_copy(update={"rate": rate})})
        settings = [f"ENGINE={plan['engine']}", f"RUNTIME={plan['runtime']}", f"SEED={plan['seed']}"]
        if (plan.get("topology") or {}).get("target"):
            said.append("It was of an external target: name yours with ARGS='--target URL' (docs/external.md).")
        defects = tuple(sorted(plan.get("defects") or {}))
        folder = self._written_to or f"runs/{run}"
        return Again(name, practised, folder, tuple(settings), defects, tuple(said))

    def _rate_asked(self) -> Share | None:
        """The share of capacity that the load was asked to be; None where it was a rate."""
        try:
            asked = parse_load((self.view.plan.get("capacity") or {}).get("asked", ""))
        except ValueError:
            return None
        return asked if isinstance(asked, Share) else None

    def _hit(self, target: str) -> str:
        """The replica or gateway that a fault is on: a link's fault hits what it leads to."""
        known = (*self.replicas, *self.gateways)
        return next((one for one in known if target == one or target.endswith(f"-to-{one}")), target)

    def by_design(self) -> Sequence[tuple[str, str, float | None, Source]]:
        """Retries of clients and gateways, refusals, ejections."""
        rows = self.view.requests
        retries = rows["gateway_retries"].dropna()
        refused = rows[rows["outcome"].isin(("shed_429", "shed_503"))]
        ejections = [bar for bar in moments.bars(self.view, self._verdict) if bar.row == "ejected"]
        return [
            ("client-retries", "attempts by clients after the first", float(len(rows) - len(self.view.final)),
             self._rows("final = false")),
            ("gateway-retries", "further attempts by gateways", None if retries.empty else float(retries.sum()),
             self._rows("gateway_retries", "sum")),
            ("refused", "attempts that were refused, with 429 or 503 and a reason", float(len(refused)),
             self._rows("outcome = shed_429 or shed_503")),
            ("ejections", "times that gateways ejected a replica", float(len(ejections)),
             self._samples("each gateway", "server_up", "stretches of 0")),
        ]  # fmt: skip

    def configuration(self) -> Sequence[tuple[str, str]]:
        """Defects that were switched on, then the policy of gateways and DNS."""
        defects = self.view.plan.get("defects") or {}
        policy = [(f"{owner}.{name}", f"{value:g}") for owner in POLICIES
                  for name, value in sorted(self.view.policy(owner).items())]  # fmt: skip
        return [*((f"defect of {name}", str(value)) for name, value in sorted(defects.items())), *policy]

    def versions(self) -> Sequence[tuple[str, str]]:
        """As the plan and the engines told."""
        plan = self.view.plan
        git = plan.get("git", {})
        commit = f"{git.get('commit') or 'unknown'}{' with changes' if git.get('dirty') else ''}"
        engines = [("engine version", str(event.data.get("text", ""))) for event in self.view.events("engine_version")]
        told = [(str(name), str(version)) for name, version in sorted(plan.get("versions", {}).items())]
        machine = [(f"machine {name}", str(value)) for name, value in sorted(plan.get("machine", {}).items())]
        return [("commit", commit), ("engine", str(plan["engine"])), ("runtime", str(plan["runtime"])),
                *engines, *told, *machine]  # fmt: skip

    def requests(self) -> Sequence[Request]:
        """Of each kind of failure the first, until there are ``REQUESTS``."""
        bad = self._final[self._final["outcome"].ne("ok")][["request_id", "outcome", "subtype", "http_status", "end_s"]]
        kinds = bad.sort_values("end_s", kind="stable").astype({"outcome": "str", "subtype": "str"})
        some = kinds.groupby(["outcome", "subtype"], sort=False).head(2).head(REQUESTS)
        ids = [str(one) for one in some["request_id"]]
        said = logs.about(self._folder, ids, (*self.gateways, *self.replicas))
        return [
            Request(
                str(row.request_id),
                _outcome(row.outcome, row.subtype, row.http_status),
                tuple(f"{line.component}: {line.text}" for line in said.get(str(row.request_id), ())),
            )
            for row in some.itertuples()
        ]


def _outcome(outcome: object, subtype: object, status: Any) -> str:
    parts = [str(outcome).replace("_", " ")]
    if isinstance(subtype, str) and subtype not in ("", "nan", "None", "<NA>"):
        parts.append(f"({subtype.replace('_', ' ')})")
    if status is not None and not pd.isna(status):
        parts.append(f"HTTP {int(status)}")
    return " ".join(parts)


def _sum(column: pd.Series) -> float | None:
    known = column.dropna()
    return None if len(column) and known.empty else float(known.sum())


def _rise(samples: pd.DataFrame, from_s: float, until_s: float) -> float:
    """How far a counter rose between two times, from 0 where it began again."""
    values = samples[samples["t_s"].between(from_s, until_s)]["value"].to_numpy(dtype=float)
    steps = np.diff(values)
    return float(np.where(steps < 0, values[1:], steps).sum())
