"""A stored run as judges and reports see it: read-only, built from the run folder and nothing else."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
from pydantic import ValidationError

from harness.evidence import memory, phases
from harness.evidence.attempts import ROWS_AT_ONCE, Attempts, Rows
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import CUT_BY_HEAL, CUT_OUTCOMES, NOT_OF_THE_SERVICE, Event, RunFolder
from harness.model.artifacts import Artifact
from harness.model.errors import RunFolderError
from harness.model.scenario import SLO, ClientLimits, Retries, Scenario
from harness.model.topology import CLIENT
from stack import stacks

#: The component as which the metrics of a service that Drillyard did not start are recorded.
TARGET = "target"
T = TypeVar("T")


class RunView:
    """Read access to one run. Raises RunFolderError when the plan or a table cannot be read.

    ``requests``, ``final`` and ``attempts`` have one more column than the file: ``judged_phase``, the phase that a
    request is judged with, which is ``straddles`` where that is set, else ``phase``.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        #: Without some of its requests: of those left even too few for a percentile may show that it is broken.
        self.partial = False
        self.plan: dict[str, Any] = folder.plan()
        try:
            self.scenario = Scenario.stored(self.plan["scenario"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RunFolderError(f"{folder.path / 'plan.json'}: scenario: {where}: {first['msg']}") from None
        try:
            self.topology = stacks.restored(self.plan.get("topology"))
        except ValueError as error:
            raise RunFolderError(f"{folder.path / 'plan.json'}: topology: {error}") from None
        self._events = tuple(folder.events())
        self._metrics_by_labels: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._artifacts: dict[str, Any] = {}

    @cached_property
    def phases(self) -> tuple[PhaseSpan, ...]:
        """Phases that were started, in order."""
        return phases.spans(self._events, {p["name"]: p["kind"] for p in self.planned_phases})

    @cached_property
    def planned_phases(self) -> tuple[dict[str, Any], ...]:
        """Phases of the scenario as data: name, kind, duration in seconds, faults."""
        return tuple(self.scenario.model_dump(mode="json")["phases"])

    @cached_property
    def target(self) -> dict[str, Any] | None:
        """The service that was drilled, as data, when Drillyard had not started it (``Target``)."""
        topology = self.plan.get("topology")
        target = topology.get("target") if isinstance(topology, dict) else None
        return target if isinstance(target, dict) else None

    @property
    def replicas(self) -> tuple[str, ...]:
        """Names of the replicas that the run had, in order; none of a service that Drillyard did not start."""
        return self.topology.replicas

    @property
    def gateways(self) -> tuple[str, ...]:
        """Names of the gateways that the run had, in order; none of a service that Drillyard did not start."""
        return self.topology.gateways

    @cached_property
    def scraped(self) -> tuple[str, ...]:
        """Components whose own metrics the run depended on."""
        if self.target is None:
            return (*self.replicas, *self.gateways)
        return (TARGET,) if self.target.get("metrics") else ()

    @cached_property
    def slos(self) -> tuple[SLO, ...]:
        """Objectives of the scenario."""
        return self.scenario.slos

    @cached_property
    def limits(self) -> ClientLimits:
        """How long the clients waited, in seconds."""
        return self.scenario.load.limits

    @cached_property
    def retries(self) -> Retries:
        """The clients' retry policy, in seconds."""
        return self.scenario.load.retries

    @cached_property
    def gateway_policy(self) -> dict[str, float]:
        """Numbers of the gateways' policy under the names of ``harness.model.topology.GatewayPolicy``."""
        return self.policy("gateway")

    def policy(self, owner: str) -> dict[str, float]:
        """Numbers of one of ``harness.model.topology.POLICIES`` as the plan has them; empty when it has none."""
        return {k: float(v) for k, v in self.plan.get(f"{owner}_policy", {}).items()}

    def address_of(self, gateway: str) -> str:
        """The address that DNS hands to clients for ``gateway``, which attempts carry as theirs."""
        return self.topology.link_between(CLIENT, gateway).listen_address

    @cached_property
    def requests(self) -> Attempts:
        """All attempts, columns of ``record.REQUEST_COLUMNS`` and ``judged_phase``."""
        rows = Attempts.of(self.folder)
        # A run that was cut off before save 1 has them empty; the events say the same. In any other they were lost.
        if self.interrupted and rows["phase"].isna().all():
            assigned = phases.assign(rows, self.phases)
            rows = rows.assign(phase=assigned["phase"], straddles=assigned["straddles"])
        straddles, phase = rows["straddles"], rows["phase"]
        if straddles.dtype != phase.dtype:
            straddles, phase = straddles.astype(object), phase.astype(object)
        judged = straddles.where(straddles.notna(), phase).astype("category")
        return rows.assign(judged_phase=judged.cat.remove_unused_categories())

    def give_back(self) -> None:
        """Return the memory that the last question needed, where a run is so large that it is much."""
        requests = self.__dict__.get("requests")
        if requests is not None and len(requests) > ROWS_AT_ONCE:
            memory.give_back()

    @cached_property
    def _by_phase(self) -> dict[str, Attempts]:
        judged = self.requests["judged_phase"]
        return {str(phase): self.requests[judged.eq(phase)] for phase in judged.cat.categories}

    @cached_property
    def final(self) -> Attempts:
        """One row per request: its last attempt."""
        return self.requests[self.requests["final"].eq(True)]

    def without(self, request_ids: Collection[str]) -> RunView:
        """The same run as if these requests had never been."""
        view = copy.copy(self)
        for cached in ("final", "_by_phase"):
            view.__dict__.pop(cached, None)
        view.partial = True
        view.__dict__["requests"] = self.requests[~self.requests["request_id"].isin(list(request_ids))]
        return view

    def of_streams(self, requests: Rows) -> pd.Series:
        """Marks the attempts that asked for a stream: an answer in one piece has no first token and no gaps."""
        whole = [cohort.name for cohort in self.scenario.load.cohorts if not cohort.stream]
        return ~requests["cohort"].isin(whole)

    def attempts(self, phase: str) -> Attempts:
        """The attempts of the requests that are judged with ``phase``."""
        return self._by_phase.get(phase, self.requests.head(0))

    @cached_property
    def cut_by_heal(self) -> frozenset[str]:
        """Ids of the requests with an attempt that a heal cut, by recreating the proxy of a link."""
        cut = self.requests["subtype"].eq(CUT_BY_HEAL) & self.requests["outcome"].isin(CUT_OUTCOMES)
        return frozenset(self.requests["request_id"][cut])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """All samples by time, columns of ``record.METRIC_COLUMNS``, words as categories."""
        words = dict.fromkeys(("component", "metric", "labels"), "category")
        return self.folder.metrics().astype(words).sort_values("t_s", kind="stable")

    @cached_property
    def _metrics_by_name(self) -> dict[tuple[str, str], pd.DataFrame]:
        grouped = self.samples.groupby(["component", "metric"], sort=False)
        return {(str(key[0]), str(key[1])): frame for key, frame in grouped}

    def metrics(self, component: str, metric: str, labels: str | None = None, phase: str | None = None) -> pd.DataFrame:
        """Samples of one metric by time. ``labels`` are all that a sample must carry (``"server=replica-1"``).

        With ``phase`` only samples between its start and its end. Empty when there are none.
        """
        if labels is None:
            frame = self._metrics_by_name.get((component, metric), self.samples.iloc[:0])
        else:
            frame = self._labelled(component, metric, labels)
        if phase is not None:
            span = self.phase(phase)
            if span is None:
                return frame.iloc[:0]
            frame = frame[frame["t_s"].between(span.start_s, math.inf if span.end_s is None else span.end_s)]
        return frame

    def _labelled(self, component: str, metric: str, labels: str) -> pd.DataFrame:
        """The samples that carry these labels, looked for once however many rules and checks ask for them."""
        series = (component, metric, labels)
        if series not in self._metrics_by_labels:
            frame, wanted = self.metrics(component, metric), set(labels.split(","))
            matching = [text for text in frame["labels"].unique() if wanted <= set(str(text).split(","))]
            self._metrics_by_labels[series] = frame[frame["labels"].isin(matching)]
        return self._metrics_by_labels[series]

    def metrics_of(self, component: str) -> tuple[str, ...]:
        """Names of the metrics with samples of ``component``, sorted."""
        return tuple(sorted(metric for of, metric in self._metrics_by_name if of == component))

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Components of which there are samples, sorted."""
        return tuple(sorted({component for component, _ in self._metrics_by_name}))

    def events(self, kind: str | None = None, phase: str | None = None) -> tuple[Event, ...]:
        """Events in order, of one kind and one phase when asked for."""
        found = self._events if kind is None else self._events_by_kind.get(kind, ())
        return found if phase is None else tuple(e for e in found if e.data.get("phase") == phase)

    @cached_property
    def _events_by_kind(self) -> dict[str, tuple[Event, ...]]:
        found: dict[str, list[Event]] = {}
        for event in self._events:
            found.setdefault(event.kind, []).append(event)
        return {kind: tuple(events) for kind, events in found.items()}

    def phase(self, name: str) -> PhaseSpan | None:
        """The phase called ``name``; None when it never started."""
        return next((p for p in self.phases if p.name == name), None)

    @cached_property
    def baseline(self) -> str | None:
        """Name of the first phase of kind baseline in the plan."""
        return next((p["name"] for p in self.planned_phases if p["kind"] == "baseline"), None)

    @cached_property
    def fault_phases(self) -> tuple[str, ...]:
        """Names of the planned phases that inject something."""
        return tuple(p["name"] for p in self.planned_phases if p.get("faults"))

    def before_first_fault(self, phase: str) -> bool:
        """Whether that phase comes before everything that is injected; never, where nothing is to be injected."""
        names = [p["name"] for p in self.planned_phases]
        return bool(self.fault_phases) and phase in names[: names.index(self.fault_phases[0])]

    def artifact(self, kind: Artifact[T]) -> T:
        """What the file of that kind says, read once; ``kind.absent`` when there is none that can be read."""
        if kind.file not in self._artifacts:
            try:
                self._artifacts[kind.file] = kind.read(self.folder.read_json(kind.file))
            except (RunFolderError, KeyError, TypeError):
                self._artifacts[kind.file] = kind.absent
        found: T = self._artifacts[kind.file]
        return found

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """What the load generator said of itself (load-summary.json); None when it left nothing."""
        try:
            return self.folder.read_json("load-summary.json")
        except RunFolderError:
            return None

    def _rolled_back(self, since_s: float) -> str:
        """What became of the faults that were in place at that time, in words."""
        begun = {e.data.get("fault") for kind in ("fault_injecting", "fault_stays") for e in self.events(kind)}
        healed = {e.data.get("fault"): e for e in self.events("fault_healed")}
        after = [healed[fault] for fault in begun & healed.keys() if healed[fault].t_s >= since_s]
        if left := begun - healed.keys():
            return f"no rollback of {', '.join(sorted(map(str, left)))} is recorded"
        if not after:
            return "no fault was in place"
        who = " and ".join(sorted({str(e.data["by"]) for e in after if "by" in e.data})) or "whoever cleaned up"
        what = "1 fault was" if len(after) == 1 else f"{len(after)} faults were"
        return f"{what} rolled back by {who} within {max(e.t_s for e in after) - since_s:.1f} s"

    def _commonest_failure(self, until_s: float) -> str:
        """What most attempts that failed within 30 s before then ended with, for a sentence; "" where none did."""
        rows = Attempts.of(self.folder)  # ``requests`` asks whether the run was interrupted
        rows = rows[rows["start_s"].between(until_s - 30, until_s) & ~rows["outcome"].isin(("ok", *NOT_OF_THE_SERVICE))]
        ended = rows[["outcome", "http_status", "error_code"]].astype({"outcome": "str", "error_code": "str"})
        told = ended.value_counts(dropna=False)
        if told.empty:
            return ""
        known = [one for one in told.index[0][1:] if pd.notna(one)]
        words = [f"{one:.0f}" if isinstance(one, float) else str(one) for one in known]
        return f"; most attempts that failed: {told.iloc[0]} × {' '.join([told.index[0][0], *words])}"

    @property
    def interrupted(self) -> str | None:
        """Why the run is no complete one, or None."""
        for event in self.events("interrupted"):
            who = event.data.get("signal", "unknown signal")
            phase = next((f"in phase {p.name} " for p in reversed(self.phases) if p.start_s <= event.t_s), "")
            return f"the run was interrupted ({who}) {phase}after {event.t_s:.1f} s; {self._rolled_back(event.t_s)}"
        for event in self.events("aborted"):
            return f"the run ended early: {event.data.get('why', 'no reason given')}"
        for event in self.events("stop_condition"):
            why = f"{event.data.get('why')}{self._commonest_failure(event.t_s)}"
            lost = [f"; before that, at {one.t_s:.1f} s: {one.data.get('why')}" for one in self.events("fault_lost")]
            return f"the run ended early: a stop condition was met after {event.t_s:.1f} s, {why}{''.join(lost[:1])}"
        open_phases = [p.name for p in self.phases if not p.finished]
        if open_phases:
            return f"the run broke off in phase {open_phases[0]}"
        missing = [p["name"] for p in self.planned_phases if self.phase(p["name"]) is None]
        return f"phase {missing[0]} never started" if missing else None
