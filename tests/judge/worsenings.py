"""What makes the samples of a run worse, whatever drill it is of: one function each, found by its name.

A request is made worse once only: one that fails after it was slow would take its slowness back.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from harness.evidence.record import NOT_OF_THE_SERVICE, OUTCOMES
from harness.judge import drill
from harness.model.alert_rules import RULES
from harness.model.artifacts import rollout, waves
from harness.model.scenario import Scenario
from tests import runs
from tests.judge import defects
from tests.runs import Run

#: How a request can fail: in each way that is the service's.
FAILURES = tuple(outcome for outcome in OUTCOMES if outcome not in ("ok", *NOT_OF_THE_SERVICE))
_STATUSES = {"shed_429": 429.0, "shed_503": 503.0, "http_4xx": 400.0, "http_5xx": 500.0}
#: Those of an answer that had begun.
_BEGUN = ("timeout_stall", "timeout_total", "broken_stream", "inband_error", "wrong_model")
_LIMITS = {"timeout_ttft": "first_token", "timeout_stall": "idle", "timeout_total": "total"}
_FLOATS = (
    "http_status", "headers_ms", "ttft_ms", "ttft_from_schedule_ms", "e2e_ms", "e2e_from_schedule_ms", "max_stall_ms",
    "output_tokens", "content_events", "gateway_retries", "schedule_lag_ms", "retry_delay_ms", "retry_after_s",
)  # fmt: skip
_ERRORS = ("error_type", "error_code", "error_message", "error_request_id")
_OBJECTS = ("outcome", "finish_reason", "answer_correct", "served_version", *_ERRORS)


@dataclass
class Worse:
    """A run that gets worse from ``begin_s`` on, when its first fault comes: limits are made of what was before."""

    run: Run
    rng: random.Random
    begin_s: float
    touched: set[str] = field(default_factory=set)  # ids of requests

    @classmethod
    def of(cls, run: Run, rng: random.Random) -> Worse:
        """A run that is as its drill wants it."""
        first = next(phase["name"] for phase in run.plan["scenario"]["phases"] if phase["kind"] == "fault")
        types = {**dict.fromkeys(_FLOATS, "float64"), **dict.fromkeys(_OBJECTS, object)}
        run.requests = run.requests.astype(types)  # type: ignore[arg-type]
        return cls(run, rng, run.span(first)[0])

    def some(self, among: pd.Series) -> pd.Series:
        """Marks a few of these attempts, all where there are few, that no worsening has touched; from now on it has."""
        requests = self.run.requests
        fresh = among & requests["intended_start_s"].gt(self.begin_s) & ~requests["request_id"].isin(self.touched)
        ids = list(requests["request_id"][fresh].drop_duplicates())
        chosen = self.rng.sample(ids, min(len(ids), self.rng.choice((1, 2, 5, 20, 100))))
        self.touched.update(chosen)
        return fresh & requests["request_id"].isin(chosen)

    def good(self) -> pd.Series:
        """Marks the answers."""
        return self.run.requests["outcome"].eq("ok") & self.run.requests["final"].eq(True)

    def refused(self) -> pd.Series:
        """Marks attempts that were refused."""
        return self.run.requests["outcome"].isin(["shed_503", "http_5xx"])

    def moment(self) -> float:
        """Some time after the first fault, seconds."""
        return self.rng.uniform(self.begin_s, float(self.run.metrics["t_s"].max()))


Worsening = Callable[[Worse], None]


# ── requests ──


def fail(worse: Worse) -> None:
    """Good requests fail, with an honest error."""
    defects.fail(worse.run, worse.some(worse.good()))


def fail_somehow(worse: Worse) -> None:
    """Good requests end in some other way that is the service's fault."""
    _end(worse, worse.some(worse.good()), worse.rng.choice(FAILURES))


def _end(worse: Worse, rows: pd.Series, outcome: str) -> None:
    requests = worse.run.requests
    requests.loc[rows, "outcome"] = outcome
    requests.loc[rows, ["finish_reason", "output_tokens", "answer_correct"]] = None
    requests.loc[rows, "http_status"] = _STATUSES.get(outcome, 200.0)
    if outcome not in _BEGUN:
        requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms", "served_version"]] = None
    if outcome in _LIMITS:
        limit_s: float = getattr(Scenario.stored(worse.run.plan["scenario"]).load.limits, _LIMITS[outcome])
        requests.loc[rows, "e2e_ms"] = requests.loc[rows, "ttft_ms"].fillna(0) + 1000 * limit_s


def slower(worse: Worse) -> None:
    """Answers take longer, from the first token on."""
    rows, extra = worse.some(worse.good()), worse.rng.choice((1.0, 50.0, 500.0, 4000.0, 20000.0))
    for column in ("ttft_ms", "e2e_ms"):
        worse.run.requests.loc[rows, column] += extra


def stall(worse: Worse) -> None:
    """Streams stand still for a while."""
    rows, extra = worse.some(worse.good()), worse.rng.choice((100.0, 3000.0, 13000.0))
    for column in ("max_stall_ms", "e2e_ms"):
        worse.run.requests.loc[rows, column] += extra


def cut(worse: Worse) -> None:
    """Answers end without a finish reason and pass for whole ones."""
    worse.run.requests.loc[worse.some(worse.good()), "finish_reason"] = None


def lose_usage(worse: Worse) -> None:
    """Answers do not say how many tokens they have."""
    worse.run.requests.loc[worse.some(worse.good()), "output_tokens"] = None


def answer_wrongly(worse: Worse) -> None:
    """Answers with one right answer are others."""
    rows = worse.some(worse.good() & worse.run.requests["answer_correct"].eq(True))
    worse.run.requests.loc[rows, "answer_correct"] = False


def tell_less(worse: Worse) -> None:
    """Refusals leave out what they should say."""
    rows = worse.some(worse.refused() & worse.run.requests["final"].eq(True))
    worse.run.requests.loc[rows, worse.rng.choice((*_ERRORS, "retry_after_s"))] = None


def hang(worse: Worse) -> None:
    """Refusals become requests that nobody answers until the client gives up."""
    rows = worse.some(worse.refused() & worse.run.requests["final"].eq(True))
    _end(worse, rows, "timeout_total")
    worse.run.requests.loc[rows, "http_status"] = None


def try_again(worse: Worse) -> None:
    """What was answered at once is answered at the second attempt: the first one is refused."""
    requests = worse.run.requests
    rows = worse.some(worse.good() & requests["attempt"].eq(1))
    first = requests[rows].assign(final=False, e2e_ms=20.0, headers_ms=20.0, max_stall_ms=None)
    requests.loc[rows, "attempt"] = 2
    requests.loc[rows, "schedule_lag_ms"] = None
    requests.loc[rows, "retry_delay_ms"] = 300.0
    worse.run.requests = pd.concat([requests, first.astype(requests.dtypes)], ignore_index=True)
    _end(worse, worse.run.requests.index >= len(requests), "shed_503")  # type: ignore[arg-type]


def take_more_tries(worse: Worse) -> None:
    """Gateways try answers at more replicas."""
    worse.run.requests.loc[worse.some(worse.good()), "gateway_retries"] += 1


# ── replicas and gateways ──


def busy_longer(worse: Worse) -> None:
    """A replica works for nobody."""
    m, begin = worse.run.metrics, worse.moment()
    metric, more = worse.rng.choice((("running", 2.0), ("waiting", 2.0), ("kv_usage_ratio", 0.2)))
    these = m["metric"].isin([metric, f"wave_{metric}"]) & m["t_s"].between(begin, begin + worse.rng.uniform(0, 5))
    replicas = sorted(m["component"][these].unique())
    if replicas:
        worse.run.metrics.loc[these & m["component"].eq(worse.rng.choice(replicas)), "value"] += more


def grow(worse: Worse) -> None:
    """A replica's memory grows all the time."""
    m, per_s = worse.run.metrics, worse.rng.choice((1e4, 1e6, 1e8))
    replicas = sorted(m["component"][m["metric"].eq("rss_bytes")].unique())
    if not replicas:
        return
    replica = worse.rng.choice(replicas)
    mine = m["metric"].eq("rss_bytes") & m["component"].eq(replica) & m["t_s"].gt(worse.begin_s)
    worse.run.metrics.loc[mine, "value"] += per_s * (m["t_s"][mine] - worse.begin_s)
    for wave in worse.run.files.get(waves.FILE, {"waves": ()})["waves"]:
        wave["rss_bytes"][replica] += per_s * (wave["began_s"] - worse.begin_s)


def eject_later(worse: Worse) -> None:
    """A gateway keeps a bad replica in rotation for longer."""
    _hold(worse, "server_up", before=1.0)


def readmit_later(worse: Worse) -> None:
    """A gateway takes a replica that is well again back later."""
    _hold(worse, "server_up", before=0.0)


def ready_later(worse: Worse) -> None:
    """What is well again says so later."""
    _hold(worse, "ready", before=0.0)


def _hold(worse: Worse, metric: str, before: float) -> None:
    """Some change from ``before`` to the other comes later."""
    changes = [found for found in _changes(worse, metric) if found[1] == before]
    if changes:
        series, _, t_s = worse.rng.choice(changes)
        held = series[series["t_s"].between(t_s, t_s + worse.rng.choice((1.0, 3.0, 9.0)))]
        worse.run.metrics.loc[held.index, "value"] = before


def _changes(worse: Worse, metric: str) -> Iterator[tuple[pd.DataFrame, float, float]]:
    """Each change after the first fault: samples of its series, the value before it, and when."""
    m = worse.run.metrics[worse.run.metrics["metric"].eq(metric)]
    for _, series in m.groupby(["component", "labels"]):
        series = series.sort_values("t_s", kind="stable")
        before = series["value"].shift()
        for at in series.index[series["value"].ne(before) & before.notna() & series["t_s"].gt(worse.begin_s)]:
            yield series, float(before[at]), float(series["t_s"][at])


# ── faults and alerts ──


def leave_injected(worse: Worse) -> None:
    """Some fault's heal was found not to have worked; one that was not seen to be over may be seen to be left."""
    proofs = [e for e in worse.run.events if e["kind"] == "heal_proven" or not e.get("left", True)]
    if proofs:
        worse.rng.choice(proofs).update(kind="heal_unproven", left=worse.rng.choice(("", "a toxic")))


def stay_unsteady(worse: Worse) -> None:
    """After a fault the stack is not as it was."""
    after = [e for e in worse.run.events if e["kind"] == "steady_state" and e["t_s"] > worse.begin_s]
    if after:
        worse.rng.choice(after).update(reached=False, why="TTFT p95 is too high")


def alert_later(worse: Worse) -> None:
    """An alert is delivered later."""
    _later(worse, "alert_fired")


def clear_later(worse: Worse) -> None:
    """That an alert is over is delivered later."""
    _later(worse, "alert_cleared")


def _later(worse: Worse, kind: str) -> None:
    told = [event for event in worse.run.events if event["kind"] == kind and event["received_s"] > worse.begin_s]
    if told:
        event, by_s = worse.rng.choice(told), worse.rng.choice((0.5, 3.0, 20.0))
        event.update(t_s=event["t_s"] + by_s, received_s=event["received_s"] + by_s)
        worse.run.events.sort(key=lambda one: float(one["t_s"]))


def page(worse: Worse) -> None:
    """Somebody is paged by a rule that nobody expects to hear of."""
    expected = {one.alert for one in drill.load(worse.run.plan["drill"]).alerts}
    at, rule = worse.moment(), worse.rng.choice([rule for rule in RULES if rule.name not in expected] or list(RULES))
    worse.run.events += runs.alert_told(rule.name, at, at + 2)
    worse.run.events.sort(key=lambda one: float(one["t_s"]))


# ── waves, rollouts ──


def spoil_canaries(worse: Worse) -> None:
    """A replica answers wrongly after a wave of cancelled streams."""
    canaries = [one for wave in worse.run.files.get(waves.FILE, {"waves": ()})["waves"] for one in wave["canaries"]]
    if canaries:
        worse.rng.choice(canaries).update(right=False, why="it said something else")


def roll_back_later(worse: Worse) -> None:
    """What a rollout has decided is carried out later."""
    recorded, by_s = worse.run.files.get(rollout.FILE), worse.rng.choice((0.5, 5.0, 60.0))
    for moment in ("traffic_s", "restored_s"):
        if recorded is not None and recorded[moment] is not None:
            recorded[moment] += by_s


ALL: tuple[Worsening, ...] = tuple(
    found
    for name, found in inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    if found.__module__ == __name__ and not name.startswith("_")
)
