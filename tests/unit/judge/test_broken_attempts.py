"""Attempts that break have a limit in every drill, whatever the tries that follow make up for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.evidence.record import CUT_BY_HEAL
from harness.evidence.view import RunView
from harness.judge import drill
from harness.judge.checks import broken_attempts, recovers_within
from harness.model.verdict import Status
from tests.judge import stories
from tests.judge.defects import ok
from tests.judge.timeout_spike.mutants import as_external, first_streams_break
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict


def _status(run: Run, path: Path) -> Status:
    run.recount()
    return broken_attempts.check().run(RunView(run.write(path))).status


@pytest.mark.parametrize("name", drill.names())
def test_every_first_stream_breaks_in_every_drill(name: str, tmp_path: Path) -> None:
    """Every request succeeds at its second try: red, and green without that."""
    run = stories.healthy(name)
    assert _status(run, tmp_path / "well") is Status.PASS
    first_streams_break(run, pd.Series(True, index=run.requests.index))
    assert _status(run, tmp_path / "broken") is Status.FAIL


@pytest.mark.parametrize(("name", "phase"), [("model-swap", "swap"), ("node-restart", "restart-1"), ("oom", "long")])
def test_what_is_done_in_order_breaks_nothing(name: str, phase: str, tmp_path: Path) -> None:
    """A rollout, a restart in order, other clients: no stream may break from the first moment on."""
    run = stories.healthy(name)
    first_streams_break(run, run.in_phase(phase) & (ok(run).cumsum() % 10).eq(0))
    assert _status(run, tmp_path / "run") is Status.FAIL


@pytest.mark.parametrize(("broken", "status"), [(1, Status.PASS), (2, Status.FAIL)])
def test_one_of_few_tells_nothing(broken: int, status: Status, tmp_path: Path) -> None:
    """In a phase of some forty attempts, with no fault before it, one is more than 1 %."""
    run = stories.healthy("timeout-spike")
    run.requests = run.requests[~run.in_phase("baseline") | run.in_phase("baseline").cumsum().le(44)]
    first_streams_break(run, run.in_phase("baseline") & (ok(run) & run.in_phase("baseline")).cumsum().le(broken))
    assert _status(run, tmp_path / "run") is status


@pytest.mark.parametrize(("drain", "status"), [(True, Status.FAIL), (False, Status.PASS)])
def test_a_restart_under_its_streams_may_break_them(drain: bool, status: Status, tmp_path: Path) -> None:
    """What is in flight when it comes; a restart that drains first may not."""
    run = stories.healthy("node-restart")
    phase = next(p for p in run.plan["scenario"]["phases"] if p["name"] == "restart-1")
    for fault in phase["faults"]:
        fault["options"]["drain"] = drain
    begin, _ = run.span("restart-1")
    first_streams_break(run, run.requests["start_s"].between(begin, begin + 2))
    assert _status(run, tmp_path / "run") is status


def test_streams_in_flight_at_a_kill_may_break(tmp_path: Path) -> None:
    """And what was sent until the gateways have noticed."""
    run = stories.healthy("timeout-spike")
    begin, _ = run.span("one-replica")
    first_streams_break(run, run.requests["start_s"].between(begin, begin + 5))
    assert _status(run, tmp_path / "run") is Status.PASS


@pytest.mark.parametrize(("external", "status"), [(True, Status.PASS), (False, Status.FAIL)])
def test_nobody_is_led_away_from_the_only_link(external: bool, status: Status, tmp_path: Path) -> None:
    """Answers that begin and never come, late in the silence: of an external target's link, and of our own replicas."""
    run = stories.healthy("timeout-spike")
    late = run.in_phase("all-replicas") & run.requests["start_s"].gt(run.span("all-replicas")[1] - 5)
    run.requests.loc[late, ["outcome", "http_status"]] = ["timeout_ttft", 200]
    if external:
        as_external(run)
    assert _status(run, tmp_path / "run") is status


def _late_until(run: Run, seconds: float) -> None:
    """Who asked in the first ``seconds`` of the recovery waited for a first token in vain."""
    begin, _ = run.span("recovery-all")
    late = run.in_phase("recovery-all") & run.requests["start_s"].lt(begin + seconds)
    gone = ["ttft_ms", "ttft_from_schedule_ms", "output_tokens", "finish_reason", "answer_correct", "max_stall_ms"]
    run.requests.loc[late, gone] = None
    run.requests.loc[late, ["outcome", "http_status", "content_events", "e2e_ms"]] = ["timeout_ttft", 200, 0, 5000.0]


@pytest.mark.parametrize(
    ("after_s", "status"), [(0.0, Status.PASS), (6.0, Status.FAIL)], ids=["none later", "more later"]
)
def test_who_is_not_yet_served_again_breaks_no_promise(after_s: float, status: Status, tmp_path: Path) -> None:
    """The recovery has a limit of its own; once users are served again, one in a hundred may break."""
    run = stories.healthy("timeout-spike")
    _late_until(run, 4.0)
    begin, end = run.span("recovery-all")
    if after_s:
        later = run.requests["start_s"].between(begin + after_s, end) & (ok(run).cumsum() % 30).eq(0)
        first_streams_break(run, later)
    assert _status(run, tmp_path / "run") is status


def _first_tries_end_as(run: Run, where: pd.Series, outcome: str, status: int | None) -> None:
    """Each of these requests was tried once before, in vain, and then served."""
    first_streams_break(run, where)
    broke = run.requests["outcome"].eq("broken_stream") & run.requests["final"].eq(False)
    run.requests.loc[broke, ["outcome", "http_status", "subtype"]] = [outcome, status, None]


@pytest.mark.parametrize(
    ("outcome", "http_status", "status"),
    [
        ("http_5xx", 500, Status.FAIL),
        ("connect_error", None, Status.FAIL),
        ("shed_503", 503, Status.PASS),  # a refusal is an answer; availability counts those
    ],
)
def test_every_first_try_ends_in_an_error(
    outcome: str, http_status: int | None, status: Status, tmp_path: Path
) -> None:
    """The second one is served, so no request is lost; the attempts are."""
    run = stories.healthy("timeout-spike")
    _first_tries_end_as(run, run.in_phase("baseline"), outcome, http_status)
    assert _status(run, tmp_path / "run") is status


@pytest.mark.parametrize(
    ("outage_s", "status"), [(1.0, Status.PASS), (5.0, Status.PASS), (9.0, Status.PASS), (12.0, Status.FAIL)]
)
def test_an_outage_after_the_heal_may_last_as_long_as_a_recovery(
    outage_s: float, status: Status, tmp_path: Path
) -> None:
    """Each first try fails at once and the second one is served, so users never notice: for ten seconds at most."""
    run = stories.healthy("timeout-spike")
    begin, _ = run.span("recovery-all")
    met = run.in_phase("recovery-all") & run.requests["start_s"].lt(begin + outage_s)
    _first_tries_end_as(run, met, "connect_error", None)
    assert _status(run, tmp_path / "run") is status


@pytest.mark.parametrize(
    ("options", "outcome", "http_status", "status"),
    [
        ({"latency": "800ms"}, "broken_stream", 200, Status.FAIL),
        ({"latency": "800ms"}, "http_5xx", 500, Status.FAIL),
        ({"latency": "800ms"}, "connect_error", None, Status.FAIL),
        ({"latency": "800ms"}, "timeout_ttft", None, Status.FAIL),
        ({"latency": "600ms", "jitter": "500ms"}, "timeout_ttft", None, Status.FAIL),
        ({"latency": "1700ms", "jitter": "500ms"}, "timeout_ttft", None, Status.PASS),
        ({"latency": "20s"}, "timeout_stall", 200, Status.FAIL),  # what flows is late, and has no longer gaps
        ({"latency": "20s", "jitter": "10s"}, "timeout_stall", 200, Status.PASS),
        ({"latency": "2s"}, "timeout_total", 200, Status.FAIL),
        ({"latency": "20s"}, "timeout_total", 200, Status.PASS),
        ({"latency": "20s"}, "broken_stream", 200, Status.FAIL),
    ],
)
def test_a_delay_of_the_only_link_breaks_nothing(
    options: dict[str, str], outcome: str, http_status: int | None, status: Status, tmp_path: Path
) -> None:
    """From its injection on: nobody has to notice it. Time-outs are its own where it can reach their limit alone."""
    run = stories.healthy("timeout-spike")
    begin, _ = run.span("one-replica")
    _first_tries_end_as(run, run.requests["start_s"].between(begin + 0.1, begin + 9), outcome, http_status)
    as_external(run)
    run.plan["scenario"]["load"]["limits"]["connect"] = 3.0
    of_fault(run, "slow-link")["options"] = options
    assert _status(run, tmp_path / "run") is status


def of_fault(run: Run, phase: str) -> dict[str, Any]:
    """What the run's scenario says of the fault in that phase."""
    found: dict[str, Any] = next(one for one in run.plan["scenario"]["phases"] if one["name"] == phase)["faults"][0]
    return found


@pytest.mark.parametrize(
    ("kind", "outcome", "http_status", "status"),
    [
        ("bandwidth", "broken_stream", 200, Status.FAIL),
        ("bandwidth", "timeout_stall", 200, Status.PASS),
        ("slicer", "broken_stream", 200, Status.FAIL),
        ("slow_close", "timeout_ttft", None, Status.FAIL),
    ],
)
def test_what_only_slows_the_link_breaks_no_stream(
    kind: str, outcome: str, http_status: int | None, status: Status, tmp_path: Path
) -> None:
    """How long it delays an answer depends on the answer; a hang-up that is heard late delays none."""
    run = stories.healthy("timeout-spike")
    begin, _ = run.span("one-replica")
    _first_tries_end_as(run, run.requests["start_s"].between(begin + 0.1, begin + 9), outcome, http_status)
    as_external(run)
    of_fault(run, "slow-link").update(type=kind, options={})
    assert _status(run, tmp_path / "run") is status


def test_a_reset_of_the_only_link_breaks_streams(tmp_path: Path) -> None:
    """Until its heal."""
    run = stories.healthy("timeout-spike")
    late = run.in_phase("all-replicas") & run.requests["start_s"].gt(run.span("all-replicas")[1] - 5)
    run.requests.loc[late, ["outcome", "http_status"]] = ["broken_stream", 200]
    as_external(run)
    of_fault(run, "silent-link")["type"] = "reset"
    assert _status(run, tmp_path / "run") is Status.PASS


def test_a_phase_in_which_everything_is_explained_is_not_judged(tmp_path: Path) -> None:
    """Nobody connects over a link that is slower than the clients' limit: whether the service is well, nobody sees."""
    run = stories.healthy("timeout-spike")
    met = run.in_phase("one-replica")
    run.requests.loc[met, ["outcome", "subtype", "http_status"]] = ["connect_error", "no_answer", None]
    as_external(run)
    of_fault(run, "slow-link")["options"] = {"latency": "20s"}
    assert _status(run, tmp_path / "run") is Status.INCONCLUSIVE


def test_too_few_to_tell_are_no_fail(tmp_path: Path) -> None:
    """With not one window of requests nobody knows since when users are served again."""
    run = stories.healthy("timeout-spike")
    begin, _ = run.span("recovery-all")
    after = run.requests["start_s"].ge(begin)
    run.requests = run.requests[~after | after.cumsum().le(15)]
    _late_until(run, 1.0)
    assert _status(run, tmp_path / "run") is Status.PASS


def test_a_recovery_that_nobody_asks_for_excuses_nothing(tmp_path: Path) -> None:
    """Nor one that did not come."""
    run = stories.healthy("timeout-spike")
    _late_until(run, 4.0)
    del run.plan["checks"]["users-recover/all-replicas"]
    assert _status(run, tmp_path / "run") is Status.FAIL
    run = stories.healthy("timeout-spike")
    _late_until(run, 99.0)
    assert _status(run, tmp_path / "never") is Status.FAIL


def test_what_a_heal_has_cut_is_no_fault_of_the_service(tmp_path: Path) -> None:
    """Drillyard did that: INCONCLUSIVE, once the recovery is due."""
    run = stories.healthy("timeout-spike")
    begin = run.span("recovery-one")[0] + recovers_within.WITHIN_S
    first_streams_break(run, run.requests["start_s"].between(begin + 1, begin + 3))
    broke = (
        run.requests["outcome"].eq("broken_stream")
        & run.requests["final"].eq(False)
        & run.requests["start_s"].gt(begin)
    )
    run.requests.loc[broke & run.requests["start_s"].lt(begin + 4), "subtype"] = CUT_BY_HEAL
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert next(c for c in verdict.checks if c.name == broken_attempts.NAME).status is Status.INCONCLUSIVE
