"""What cannot have been is no evidence: each rule of what is possible, broken once, and kept where it seems broken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.evidence.record import EVENT_KINDS
from harness.evidence.view import RunView
from harness.judge import possible
from harness.judge.finding import Finding
from harness.judge.possible_events import possible_events
from harness.judge.possible_samples import possible_samples
from harness.model.server_error import ServerError, outcome_of_status
from harness.model.verdict import Status
from tests import runs
from tests.runs import Run

ROOT = Path(__file__).resolve().parents[3]
Rule = Callable[[RunView], Iterator[Finding]]
SILENCE = "all-replicas/timeout/gateway-a-to-replica-1"


def judged(rule: Rule, run: Run, folder: Path) -> tuple[Status, str]:
    """What the rule alone says of that run."""
    [found] = rule(RunView(run.write(folder)))
    return found.result.status, found.result.why


def an_answer(**changed: Any) -> Callable[[Run], None]:
    """One attempt that ended well is recorded otherwise."""

    def edit(run: Run) -> None:
        one = run.requests.index[run.requests["outcome"].eq("ok")][40]
        for column, value in changed.items():
            run.requests[column] = run.requests[column].astype(object)
            run.requests.loc[one, column] = value
        run.requests = run.requests.infer_objects()

    return edit


def a_failure(outcome: str, **changed: Any) -> Callable[[Run], None]:
    """One attempt ended so, without an answer."""
    none = dict.fromkeys(
        ("ttft_ms", "ttft_from_schedule_ms", "headers_ms", "http_status", "max_stall_ms", "content_events")
    )
    return an_answer(outcome=outcome, **(none | changed))


def _sooner(run: Run) -> None:
    """A second attempt began before its delay was over."""
    later = run.requests.index[run.requests["attempt"].gt(1)][3]
    run.requests.loc[later, ["start_s", "first_byte_sent_s"]] -= 0.5


def _no_delay(run: Run) -> None:
    run.requests["retry_delay_ms"] = None


def _sent_before_its_start(run: Run) -> None:
    run.requests["first_byte_sent_s"] = run.requests["start_s"] - 0.5


def _after_the_end(run: Run) -> None:
    next(e for e in run.events if e["kind"] == "load_stopped")["t_s"] -= 2.5


def _all_in_one_moment(run: Run) -> None:
    """48 tokens in three microseconds, in every stream, and told consistently."""
    run.requests["e2e_ms"] = run.requests["ttft_ms"].fillna(run.requests["e2e_ms"]) + 0.003
    run.requests["max_stall_ms"] = run.requests["max_stall_ms"].mask(run.requests["max_stall_ms"].notna(), 0.002)
    run.recount()


def _a_burst(run: Run) -> None:
    """A stream that a network had held back: all that it had, at once."""
    one = run.requests.index[run.requests["outcome"].eq("ok")][40]
    run.requests.loc[one, ["e2e_ms", "max_stall_ms"]] = [run.requests.loc[one, "ttft_ms"], 0.0]
    run.recount()


def _cancels(run: Run, e2e_ms: float) -> None:
    run.plan["scenario"]["load"]["cohorts"][0]["cancel_after"] = 0.5
    cohort = run.plan["scenario"]["load"]["cohorts"][0]["name"]
    an_answer(outcome="cancelled_intended", cohort=cohort, e2e_ms=e2e_ms, max_stall_ms=30.0)(run)
    run.recount()


def _drained(run: Run, which: int) -> None:
    rows = run.requests.index[run.requests["outcome"].eq("ok")]
    run.requests.loc[rows[which], ["outcome", "subtype"]] = ["cancelled_drain", "in_flight"]


ATTEMPTS: list[tuple[str, Callable[[Run], None]]] = [
    ("does not go with its status", an_answer(http_status=503)),
    ("does not go with its status", an_answer(outcome="shed_503", http_status=500)),
    ("does not go with its status", an_answer(outcome="http_4xx", http_status=500)),
    ("does not go with its status", an_answer(outcome="timeout_stall", http_status=503)),
    ("no answer, but a status", an_answer(outcome="dns_error")),
    ("of an unknown kind", a_failure("connect_error", subtype="it rained")),
    ("of an unknown kind", an_answer(outcome="broken_stream", subtype="it rained")),
    ("its finish_reason says otherwise", an_answer(finish_reason="abort")),
    ("its finish_reason says otherwise", an_answer(finish_reason=None)),
    ("without headers", an_answer(outcome="timeout_ttft", headers_ms=None)),
    ("without gateway", an_answer(gateway=None)),
    ("without first_byte_sent_s", an_answer(first_byte_sent_s=None)),
    ("tokens without a first one", an_answer(content_events=0)),
    ("tokens without a first one", a_failure("connect_error", content_events=3)),
    ("stall is longer than its stream", an_answer(max_stall_ms=5000.0)),
    ("stall is longer than its stream", a_failure("connect_error", max_stall_ms=3.0)),
    ("without a gap", an_answer(max_stall_ms=None)),
    ("all their tokens in one moment", _all_in_one_moment),
    ("sent before its start", _sent_before_its_start),
    ("sent_ms is after headers_ms", an_answer(first_byte_sent_s=1e6)),
    ("DNS and connect took longer", an_answer(dns_ms=4.0, connect_ms=4.0)),
    ("after the load generator had", _after_the_end),
    ("before the attempt before", _sooner),
    ("retry delay is missing", _no_delay),
    ("is no retry", an_answer(retry_delay_ms=3.0)),
    ("clients do not retry this outcome", an_answer(final=False)),
    ("not when its cohort cancels", an_answer(outcome="cancelled_intended")),
    ("not when its cohort cancels", lambda run: _cancels(run, 300.0)),
    ("as if the load had ended", lambda run: _drained(run, 40)),
]


@pytest.mark.parametrize(("sentence", "defect"), ATTEMPTS)
def test_an_impossible_attempt_is_noticed(sentence: str, defect: Callable[[Run], None], tmp_path: Path) -> None:
    """By one attempt of hundreds, with a sentence that says why it cannot be."""
    run = runs.healthy()
    defect(run)
    status, why = judged(possible.possible_records, run, tmp_path / "run")
    assert status is Status.INCONCLUSIVE
    assert sentence in why


@pytest.mark.parametrize(
    "what",
    [
        a_failure("connect_error", subtype="refused"),
        a_failure("timeout_ttft", subtype="no_headers"),
        an_answer(outcome="timeout_stall"),
        an_answer(outcome="broken_stream", subtype="fin"),
        an_answer(content_events=1, max_stall_ms=None),
        an_answer(dns_ms=0.4, connect_ms=0.5),
        _a_burst,
        lambda run: _cancels(run, 600.0),
        lambda run: _drained(run, -1),
    ],
)
def test_a_possible_attempt_is_none(what: Callable[[Run], None], tmp_path: Path) -> None:
    """What happens in healthy runs, and in those with failures."""
    run = runs.healthy()
    what(run)
    status, why = judged(possible.possible_records, run, tmp_path / "run")
    assert status is Status.PASS, why


def test_statuses_go_with_outcomes_as_clients_take_them() -> None:
    """The table of statuses is that of the reader of answers."""
    for status in range(400, 600):
        for error in (ServerError(type="overloaded_error"), ServerError(type="other")):
            outcome, _ = outcome_of_status(status, error)
            low, high, _ = possible._STATUS[outcome]
            assert low <= status <= high


# ── silence ──


def _an_answer_at(run: Run, begin_s: float, gateway: str, replica: str, e2e_ms: float = 700.0) -> None:
    address = runs.TOPOLOGY.link(f"client-to-{gateway}").listen_address
    one = run.requests[run.requests["outcome"].eq("ok")].iloc[40].to_dict()
    one |= {"start_s": begin_s, "gateway": address, "replica": replica, "gateway_replica": replica, "e2e_ms": e2e_ms}
    run.requests = pd.concat([run.requests, pd.DataFrame([one])], ignore_index=True)


@pytest.mark.parametrize(
    ("gateway", "replica", "after_s", "e2e_ms", "status"),
    [
        ("gateway-a", "replica-1", 5.0, 700.0, Status.INCONCLUSIVE),
        ("gateway-a", "replica-1", -0.2, 700.0, Status.PASS),  # it had begun before
        ("gateway-a", "replica-1", 5.0, 60_000.0, Status.PASS),  # it ended after the heal
    ],
)
def test_no_answer_comes_through_silence(
    gateway: str, replica: str, after_s: float, e2e_ms: float, status: Status, tmp_path: Path
) -> None:
    """A whole answer over a dead link, from begin to end while it was dead."""
    run = runs.healthy()
    dead_s = next(e["t_s"] for e in run.events if e["kind"] == "fault_injected" and e["fault"] == SILENCE)
    _an_answer_at(run, dead_s + after_s, gateway, replica, e2e_ms)
    assert judged(possible.silence_kept, run, tmp_path / "run")[0] is status


@pytest.mark.parametrize(
    ("on", "gateway", "replica", "status"),
    [
        ("gateway-a", "gateway-a", "replica-2", Status.INCONCLUSIVE),
        ("gateway-a", "gateway-b", "replica-2", Status.PASS),
        ("replica-2", "gateway-b", "replica-2", Status.INCONCLUSIVE),
        ("replica-2", "gateway-b", "replica-1", Status.PASS),
        ("client-to-gateway-b", "gateway-b", "replica-1", Status.INCONCLUSIVE),
        ("client-to-gateway-b", "gateway-a", "replica-1", Status.PASS),
        ("gateway-a-to-replica-1", "gateway-a", "replica-2", Status.PASS),
        ("gateway-a-to-replica-1", "gateway-b", "replica-1", Status.PASS),
        ("dns", "gateway-a", "replica-1", Status.PASS),  # no answer goes through it
    ],
)
def test_silence_is_of_what_the_fault_is_on(
    on: str, gateway: str, replica: str, status: Status, tmp_path: Path
) -> None:
    """Answers over the other gateway, or of the other replica, are what the service is for."""
    run = runs.healthy()
    run.plan["faults"] = [one | {"on": on, "silences": one["fault"] == SILENCE} for one in run.plan["faults"]]
    dead_s = next(e["t_s"] for e in run.events if e["kind"] == "fault_injected" and e["fault"] == SILENCE)
    _an_answer_at(run, dead_s + 5, gateway, replica)
    assert judged(possible.silence_kept, run, tmp_path / "run")[0] is status


@pytest.mark.parametrize(
    ("on", "gateway", "status"),
    [
        ("client-to-gateway-b", "gateway-b", Status.PASS),
        ("client-to-gateway-b", "gateway-a", Status.INCONCLUSIVE),
        ("gateway-b-to-replica-1", "gateway-b", Status.INCONCLUSIVE),
    ],
)
def test_a_broken_link_to_a_gateway_leaves_attempts_without_a_line(
    on: str, gateway: str, status: Status, tmp_path: Path
) -> None:
    """The first attempt never reached it, so whose line is whose cannot be told; any other answer has its line."""
    run = runs.healthy()
    next(e for e in run.events if e["kind"] == "fault_injecting" and e["fault"] == SILENCE)["on"] = on
    _an_answer_at(run, 50.0, gateway, "replica-1")
    run.requests.loc[len(run.requests) - 1, "request_id"] = "tried-through-it"
    run.requests.loc[len(run.requests) - 1, "gateway_replica"] = None
    assert judged(possible.gateways_logged, run, tmp_path / "run")[0] is status


# ── samples ──


def _samples(component: str, metric: str, labels: str = "") -> Callable[[Run], pd.Series]:
    def where(run: Run) -> pd.Series:
        of = run.metrics["component"].eq(component) & run.metrics["metric"].eq(metric)
        return of & run.metrics["labels"].eq(labels)

    return where


def _value(value: float, component: str, metric: str, labels: str = "") -> Callable[[Run], None]:
    """All samples of a series but the first have that value."""

    def edit(run: Run) -> None:
        rows = run.metrics.index[_samples(component, metric, labels)(run)]
        run.metrics.loc[rows[1:], "value"] = value

    return edit


def _taken_twice(run: Run) -> None:
    rows = run.metrics[_samples("replica-1", "running")(run)]
    run.metrics = pd.concat([run.metrics, rows.iloc[[7]].assign(value=1.0)], ignore_index=True)


def _moved(by_s: float) -> Callable[[Run], None]:
    def edit(run: Run) -> None:
        row = run.metrics.index[_samples("replica-1", "running")(run)][7]
        run.metrics.loc[row, "t_s"] += by_s

    return edit


def _fell(run: Run) -> None:
    rows = run.metrics.index[_samples("replica-2", "generation_tokens_total")(run)]
    run.metrics.loc[rows[len(rows) // 2 :], "value"] -= 20.0


def _time_fell(run: Run) -> None:
    """A histogram's sum only grows, too."""
    rows = run.metrics[_samples("replica-2", "generation_tokens_total")(run)]
    rows = rows.assign(metric="request_decode_time_seconds_sum")
    rows.loc[rows.index[len(rows) // 2 :], "value"] -= 20.0
    run.metrics = pd.concat([run.metrics, rows], ignore_index=True)


def _fell_after_a_restart(run: Run) -> None:
    """As the counters of a process that a fault has ended and started again."""
    for event in run.events:
        if str(event.get("fault", "")).startswith("one-replica/"):
            event |= {"on": "replica-2", "expected_disruptions": ["gaps", "restarts"]}
    of = _samples("replica-2", "generation_tokens_total")(run)
    rows = run.metrics[of & run.metrics["t_s"].gt(run.span("one-replica")[0] + 10)]
    run.metrics.loc[rows.index, "value"] -= rows["value"].iloc[0]


def _never_up(run: Run) -> None:
    for gateway in ("gateway-a", "gateway-b"):
        _value(0.0, gateway, "server_up", "server=replica-1")(run)
        run.metrics.loc[run.metrics.index[_samples(gateway, "server_up", "server=replica-1")(run)][:1], "value"] = 0.0


def _never_ready(run: Run) -> None:
    run.metrics.loc[run.metrics["metric"].eq("ready"), "value"] = 0.0


SAMPLES: list[tuple[str, Callable[[Run], None]]] = [
    ("not finite, or negative", _value(-1.0, "replica-1", "waiting")),
    ("neither 0 nor 1", _value(2.0, "gateway-a", "ready")),
    ("neither 0 nor 1", _value(0.5, "dns", "answered")),
    ("more than the whole", _value(1.5, "replica-1", "kv_usage_ratio")),
    ("before the start", _moved(-1000.0)),
    ("after the end", _moved(1000.0)),
    ("taken twice", _taken_twice),
    ("a counter fell", _fell),
    ("a counter fell", _time_fell),
    ("never saw it up", _never_up),
    ("never ready", _never_ready),
]


@pytest.mark.parametrize(("sentence", "defect"), SAMPLES)
def test_an_impossible_sample_is_noticed(sentence: str, defect: Callable[[Run], None], tmp_path: Path) -> None:
    """By one of thousands where one is enough."""
    run = runs.healthy()
    defect(run)
    status, why = judged(possible_samples, run, tmp_path / "run")
    assert status is Status.INCONCLUSIVE
    assert sentence in why


@pytest.mark.parametrize("what", [_fell_after_a_restart, _value(1.0, "replica-1", "kv_usage_ratio")])
def test_a_possible_sample_is_none(what: Callable[[Run], None], tmp_path: Path) -> None:
    """A counter begins anew where a fault has restarted who counts, and a cache may be full."""
    run = runs.healthy()
    what(run)
    status, why = judged(possible_samples, run, tmp_path / "run")
    assert status is Status.PASS, why


# ── events ──


def _changed(of: str, **changed: Any) -> Callable[[Run], None]:
    def edit(run: Run) -> None:
        next(e for e in run.events if e["kind"] == of).update(changed)

    return edit


def _once_more(run: Run) -> None:
    one = next(e for e in run.events if e["kind"] == "fault_injected")
    run.events.insert(run.events.index(one) + 1, {**one, "t_s": one["t_s"] + 1})


def _healed_only(run: Run) -> None:
    run.drop_events("fault_injecting", "fault_injected", fault=SILENCE)


EVENTS: list[tuple[str, Callable[[Run], None]]] = [
    ("no run records an event", _changed("load_started", kind="load_was_there")),
    ("which is not in the plan", _changed("fault_injected", fault="one-replica/earthquake/gateway-a")),
    ("says that it is earthquake", _changed("fault_proven", type="earthquake")),
    ("expects gaps, which latency does not", _changed("fault_injecting", expected_disruptions=["gaps"])),
    ("although it was still active", _once_more),
    ("healed at", _healed_only),
    ("injection was not requested", lambda run: run.drop_events("fault_injecting", fault=SILENCE)),
]


@pytest.mark.parametrize(("sentence", "defect"), EVENTS)
def test_an_impossible_event_is_noticed(sentence: str, defect: Callable[[Run], None], tmp_path: Path) -> None:
    """One is enough."""
    run = runs.healthy()
    defect(run)
    status, why = judged(possible_events, run, tmp_path / "run")
    assert status is Status.INCONCLUSIVE
    assert sentence in why


def _healed_twice(run: Run) -> None:
    """By the harness, and by its watchdog, who did not know it."""
    one = next(e for e in run.events if e["kind"] == "fault_healed")
    again = {"t_s": one["t_s"] + 1, "kind": "fault_healed", "fault": one["fault"], "phase": one["phase"]}
    run.events.append(again | {"on_exit": True})


def _stays(run: Run) -> None:
    one = next(e for e in run.events if e["kind"] == "fault_healing")
    left = {"fault": f"{one['fault']}/version", "on": one["on"], "type": one["type"]}
    run.events += [{"t_s": 140.0, "kind": "fault_stays", **left}, {"t_s": 141.0, "kind": "fault_healed", **left}]


def _asked(run: Run) -> None:
    """What an answer's error is called is no type of a fault."""
    run.events.append({"t_s": 50.0, "kind": "ask", "fault": SILENCE, "type": "invalid_request_error"})


def _switched_back(run: Run) -> None:
    """A switch of the simulator is rolled back like a fault, and is none of the plan's."""
    run.events.append({"t_s": 150.0, "kind": "fault_healed", "fault": "defects/replica-1", "phase": "defects"})


@pytest.mark.parametrize("what", [_healed_twice, _stays, _asked, _switched_back])
def test_a_possible_event_is_none(what: Callable[[Run], None], tmp_path: Path) -> None:
    """Whatever a fault tells, and whoever heals it once more."""
    run = runs.healthy()
    what(run)
    status, why = judged(possible_events, run, tmp_path / "run")
    assert status is Status.PASS, why


def test_every_kind_of_event_that_is_recorded_is_known() -> None:
    """Each literal with which the harness records an event stands in the list, and nothing else does."""
    text = "".join(path.read_text() for path in (ROOT / "harness").rglob("*.py") if path.name != "record.py")
    said = set(re.findall(r'(?:log\.add|tell|_evidence|_log|record)\(\s*"([a-z_]+)"', text))
    assert said <= EVENT_KINDS
    assert not [kind for kind in EVENT_KINDS if f'"{kind}"' not in text]
