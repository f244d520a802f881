"""The steady state gate."""

from __future__ import annotations

from dataclasses import replace

from harness import steady
from harness.adapters.load import Window

GOOD = Window(1.0, 40, 2, 40, 40, 0, 100.0, 1.0, {"ok": 40})
UP = {("gateway-a", "server_up", "server=replica-1"): 1.0, ("gateway-a", "server_up", "server=replica-2"): 1.0}


def test_steady_when_all_is_well() -> None:
    """Enough good requests, all replicas up."""
    assert steady.judge([GOOD], UP).reached


def test_not_steady_without_enough_requests() -> None:
    """Nothing measured is not steady."""
    assert not steady.judge([], UP).reached
    assert not steady.judge([replace(GOOD, ok=steady.REQUESTS_MIN - 1)], UP).reached


def test_not_steady_with_failures_and_says_which() -> None:
    """One failure in twenty is too many, and the commonest outcome is named."""
    found = steady.judge([replace(GOOD, ok=38, failed=2, outcomes={"ok": 38, "shed_503": 2})], UP)
    assert not found.reached
    assert "shed_503" in found.why


def test_not_steady_while_a_gateway_sees_a_replica_down_or_tells_nothing() -> None:
    """Users may not notice yet, but the next fault would hit a stack that is already hurt."""
    found = steady.judge([GOOD], UP | {("gateway-a", "server_up", "server=replica-2"): 0.0})
    assert not found.reached
    assert "replica-2 down" in found.why
    assert not steady.judge([GOOD], {}).reached
