"""The steady state gate: the SLOs kept, no page, every replica up; and what the load generator counts for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.adapters.load import Window, parse_window
from harness.judge import request_limits
from harness.load.window import Window as Live
from harness.load.window import merged
from harness.model import sparse
from harness.model.scenario import RequestLimits
from harness.run import steady
from tests import runs

LIMITS = {"chat": RequestLimits(ttft_ms=800, e2e_ms=8000)}
UP = {("gateway-a", "server_up", f"server=replica-{n}"): 1.0 for n in (1, 2)} | {("gateway-a", "up", ""): 1.0}
STACK = steady.Stack(["gateway-a"], ["replica-1", "replica-2"], UP)
GOOD = Window(1.0, 40, 2, 40, 40, 0, 100.0, 1.0, {"ok": 40}, within=40)


def live(late: int = 0, failed: int = 0, cancelled: int = 0, of: int = 40, **limits: float) -> Live:
    """What a generator counted: ``of`` requests, so many of them late, failed, or cancelled by their clients."""
    window = Live(in_flight=36)
    allowed = RequestLimits(**{"ttft_ms": 800.0, **limits})
    for number in range(of):
        bad = number < failed + cancelled
        outcome = "ok" if not bad else "shed_503" if number < failed else "cancelled_intended"
        window.finished(outcome, 1500.0 if number >= of - late else 200.0, 3000.0, allowed)
    return window


def told(window: Live) -> Window:
    """The same as the harness reads it."""
    return parse_window(window.line(1.0))


def test_steady_when_all_is_well() -> None:
    """Enough requests, all good and in time, no page, both replicas up."""
    found = steady.judge([GOOD], LIMITS, STACK)
    assert found.reached
    assert "40 of 40" in found.why


def test_not_steady_without_enough_requests() -> None:
    """Nothing measured is not steady."""
    assert not steady.judge([], LIMITS, STACK).reached
    found = steady.judge([replace(GOOD, ok=39, within=39, outcomes={"ok": 39})], LIMITS, STACK)
    assert not found.reached
    assert "only 39 requests ended, 40 are needed" in found.why


def test_not_steady_while_users_wait_too_long() -> None:
    """All were answered, three of forty too late: what is missing, with numbers; two of forty are 5 %."""
    found = steady.judge([told(live(late=3))], LIMITS, STACK, machine="the machine was 97 % busy, 41 % by others")
    assert not found.reached
    assert found.why == ("TTFT p95 1.5 s, limit 0.8 s; 36 in flight; the machine was 97 % busy, 41 % by others")
    assert steady.judge([told(live(late=2))], LIMITS, STACK).reached


def test_lateness_and_failures_add_up() -> None:
    """Neither alone is too much, both are."""
    found = steady.judge([told(live(late=1, failed=2))], LIMITS, STACK)
    assert not found.reached
    assert "1 of 38 good requests with a TTFT above 0.8 s; 2 of 40 requests failed, mostly shed_503" in found.why
    for alone in (live(late=1), live(failed=2)):
        assert steady.judge([told(alone)], LIMITS, STACK).reached


def test_end_to_end_counts_as_well() -> None:
    """Three seconds for a whole answer break a limit of two."""
    found = steady.judge([told(live(e2e_ms=2000.0))], {"chat": RequestLimits(e2e_ms=2000)}, STACK)
    assert not found.reached
    assert "end-to-end p95 3 s, limit 2 s" in found.why


def test_a_client_that_hangs_up_is_no_failure() -> None:
    """A cohort that cancels on purpose: those requests count neither for nor against."""
    assert steady.judge([told(live(cancelled=20, of=60))], LIMITS, STACK).reached
    found = steady.judge([told(live(cancelled=21, of=60))], LIMITS, STACK)
    assert "only 39 requests ended" in found.why


def test_not_steady_while_a_page_is_firing() -> None:
    """Users are well; somebody is woken all the same."""
    found = steady.judge([GOOD], LIMITS, replace(STACK, pages=["FailuresHighSlow"]))
    assert not found.reached
    assert "FailuresHighSlow is firing" in found.why


@pytest.mark.parametrize(
    ("latest", "why"),
    [
        (UP | {("gateway-a", "server_up", "server=replica-2"): 0.0}, "gateway-a sees replica-2 down"),
        ({k: v for k, v in UP.items() if "replica-2" not in k[2]}, "gateway-a has not reported replica-2"),
        (UP | {("gateway-a", "up", ""): 0.0}, "gateway-a does not answer"),
        ({}, "gateway-a does not answer"),
    ],
)
def test_not_steady_while_a_replica_is_not_ready(latest: dict[tuple[str, str, str], float], why: str) -> None:
    """At every gateway, as that says itself; what nobody has reported is not up."""
    found = steady.judge([GOOD], LIMITS, replace(STACK, latest=latest))
    assert not found.reached
    assert why in found.why


def test_a_target_of_somebody_elses_has_only_users() -> None:
    """No gateways to ask, no pages."""
    assert steady.judge([GOOD], LIMITS, steady.Stack()).reached


@pytest.mark.parametrize(("per_window", "windows"), [(10, 20), (1, 40), (0.1, 120)])
def test_the_stretch_follows_from_the_rate(per_window: float, windows: int) -> None:
    """Ten seconds, longer until 40 requests have ended, at most a minute."""
    told_so_far = [
        replace(GOOD, t_s=n / 2, ok=(count := int((n + 1) * per_window) - int(n * per_window)), outcomes={"ok": count})
        for n in range(1, 241)
    ]
    assert abs(len(steady.stretch(told_so_far, 120.0, 0.0)) - windows) <= 1


def test_the_warm_up_is_no_part_of_the_stretch() -> None:
    """Cold answers say nothing of the steady state."""
    windows = [replace(GOOD, t_s=n / 2) for n in range(40)]
    assert min(w.t_s for w in steady.stretch(windows, 20.0, 15.0)) > 15.0


def test_patience_is_bounded_and_covers_a_page() -> None:
    """A slow rate needs longer; a page needs its rule's window to pass; neither goes on for ever."""
    assert steady.patience_s(5.0, pages=False) == 2 * steady.STRETCH_S
    assert steady.patience_s(5.0, pages=True) == steady.PAGES_CLEAR_S > steady.patience_s(5.0, pages=False)
    assert steady.patience_s(0.01, pages=True) == 2 * steady.STRETCH_MAX_S


def test_several_workers_count_as_one() -> None:
    """What workers send to their master arrives as what one process would have counted."""
    parts = [Live(**json.loads(json.dumps(live(late=n, failed=n).message()))) for n in (1, 2)]
    total = merged(parts)
    assert total.within == sum(part.within for part in parts) == 80 - 6
    assert total.late == {"ttft": 3}
    assert told(total).within == total.within


def test_a_line_stays_shorter_than_a_pipe_takes_at_once() -> None:
    """A window of ten thousand requests, whatever they took."""
    window = Live()
    for number in range(10_000):
        window.finished("ok", 1.2 ** (number % 60), 1.2 ** (number % 60), LIMITS["chat"])
    assert len(window.line(1.0)) < 4096


def test_sparse_counts_keep_quantiles() -> None:
    """Exact to 2.5 %, of nothing as of much."""
    values = [float(n) for n in range(1, 1001)]
    for q in (0.5, 0.95):
        assert sparse.quantile_ms(sparse.counts(values), q) == pytest.approx(1000 * q, rel=0.03)
    assert sparse.quantile_ms({}, 0.95) is None


def test_limits_come_from_the_baselines_objectives_else_from_the_promises() -> None:
    """A p95 with an absolute limit is one for each request; a median is not, and neither is a fault phase's."""
    practised = runs.scenario()
    assert request_limits.of(practised) == {"chat": RequestLimits(ttft_ms=800, e2e_ms=8000)}
    assert request_limits.of(practised.model_copy(update={"slos": ()})) == {"chat": request_limits.DEFAULT}
    changed = tuple(
        slo.model_copy(update={"objective": "<= 3 s" if slo.sli == "ttft_p95_ms" else slo.objective})
        for slo in practised.slos
    )
    assert request_limits.of(practised.model_copy(update={"slos": changed}))["chat"].ttft_ms == 3000


def test_long_prompts_have_no_promise_about_the_first_token() -> None:
    """It is for short prompts; an objective of their own limits them, and nobody else."""
    practised = runs.scenario()
    long = practised.load.cohorts[0].model_copy(update={"name": "readers", "prompts": "long"})
    load = practised.load.model_copy(update={"cohorts": (*practised.load.cohorts, long)})
    without = practised.model_copy(update={"load": load, "slos": ()})
    assert request_limits.of(without)["readers"] == with_limits(request_limits.DEFAULT, ttft_ms=None)
    own = practised.slos[1].model_copy(update={"cohort": "readers", "objective": "<= 6 s"})
    found = request_limits.of(without.model_copy(update={"slos": (own,)}))
    assert (found["readers"].ttft_ms, found["chat"].ttft_ms) == (6000, 800)


def with_limits(limits: RequestLimits, **changes: float | None) -> RequestLimits:
    """A copy with other values."""
    return limits.model_copy(update=changes)
