"""Stop conditions: met when they held for their time, by what the generator tells; nothing seen decides nothing."""

from __future__ import annotations

import pytest

from harness.adapters.load import Window
from harness.model.scenario import StopCondition
from harness.plan.stop_conditions import Watch


def window(t_s: float, ok: int = 0, failed: int = 0, cancelled: int = 0, ttft: float | None = None) -> Window:
    """Half a second of load; cancelled requests count among the failed ones of the generator's line."""
    outcomes = {"ok": ok, "http_5xx": failed, "cancelled_intended": cancelled}
    return Window(t_s, 0, 0, 0, ok, failed + cancelled, ttft, None, outcomes)


def met_at(condition: StopCondition, windows: list[Window]) -> float | None:
    """When the condition is met, looking after each window."""
    watch = Watch(condition)
    for i, latest in enumerate(windows):
        if watch.look(latest.t_s, windows[: i + 1]) is not None:
            return latest.t_s
    return None


def condition(sli: str, objective: str) -> StopCondition:
    """For three seconds."""
    return StopCondition.model_validate({"sli": sli, "objective": objective, "for": "3s"})


ERRORS = condition("error_ratio", "> 50 %")


def test_met_when_it_held_for_its_time() -> None:
    """Three seconds after more than half of the last two seconds' requests have failed, and not before."""
    windows = [window(t / 2, ok=5) for t in range(1, 9)] + [window(t / 2, failed=5) for t in range(9, 40)]
    assert met_at(ERRORS, windows) == pytest.approx(5.5 + 3)  # over half of (3.5, 5.5] failed at 5.5 first


def test_an_interruption_begins_the_time_anew() -> None:
    """Two bad stretches of two seconds with a good one between them are not three bad seconds."""
    bad, good = range(1, 5), range(5, 11)
    windows = [window(t / 2, failed=5) for t in bad] + [window(t / 2, ok=50) for t in good]
    windows += [window(t / 2, failed=5) for t in range(11, 15)]
    assert met_at(ERRORS, windows) is None


def test_nothing_seen_is_no_reason_to_stop() -> None:
    """No request ended, or only those that users cancelled on purpose: no condition is met."""
    assert met_at(ERRORS, [window(t / 2) for t in range(1, 40)]) is None
    assert met_at(ERRORS, [window(t / 2, cancelled=5) for t in range(1, 40)]) is None


def test_a_gap_in_what_is_seen_does_not_interrupt() -> None:
    """A service that hangs between its failures is no better for it."""
    windows = [window(1.0, failed=9)] + [window(1 + t / 2) for t in range(1, 9)] + [window(5.5, failed=9)]
    assert met_at(ERRORS, windows) == 5.5


@pytest.mark.parametrize(
    ("sli", "objective", "is_met"),
    [
        ("availability", "< 40 %", True),
        ("availability", "< 20 %", False),
        ("error_ratio", ">= 75 %", True),
        ("ttft_p95_ms", "> 800 ms", True),
        ("ttft_p95_ms", "> 1 s", False),  # known to lie between 900 and 1,100 ms: not certainly above
        ("ttft_p95_ms", "> 2 s", False),
    ],
)
def test_each_indicator(sli: str, objective: str, is_met: bool) -> None:
    """A quarter of the requests ends well, with first tokens after about a second."""
    windows = [window(t / 2, ok=5, failed=15, ttft=1000.0 + 100 * (-1) ** t) for t in range(1, 40)]
    assert (met_at(condition(sli, objective), windows) is not None) is is_met
