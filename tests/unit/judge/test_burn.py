"""The error budget that a run burns, and when its burn rate would have paged."""

from __future__ import annotations

import numpy as np
import pytest

from harness.judge import burn


def run(
    bad_from_s: float, bad_to_s: float, share: float = 1.0, lasts_s: float = 120.0, per_s: float = 10.0
) -> burn.Burned:
    """One of ``lasts_s`` with so many requests per second, of which a share fails between two moments."""
    times = np.arange(int(lasts_s * per_s)) / per_s
    every = max(1, round(1 / share)) if share else 1
    inside = (times >= bad_from_s) & (times < bad_to_s) & (np.arange(len(times)) % every == 0)
    return burn.replay(times, inside if share else np.zeros(len(times), dtype=bool), 0.0, lasts_s, 99.0)


def test_a_run_without_failures_burns_nothing() -> None:
    """Neither budget nor pager."""
    found = run(0, 0)
    assert (found.bad, found.spent, found.of_period) == (0, 0.0, 0.0)
    assert [page.at_s for page in found.pages] == [None] * 4
    assert burn.first(found.pages) is None


def test_the_budget_is_what_the_objective_allows() -> None:
    """12 of 1200 requests are what 99 % allow: all of it, and of 30 days as much as 2 minutes are of them."""
    found = run(60, 61.2)
    assert (found.requests, found.bad) == (1200, 12)
    assert found.spent == pytest.approx(1.0)
    assert found.of_period == pytest.approx(120 / burn.PERIOD_S)


def test_an_outage_of_minutes_pages_and_one_of_a_second_does_not() -> None:
    """14.4× of 1 % over an hour is 518 s of failures at one rate; over five minutes it is 43 s. Both have to hold."""
    assert run(60, 61, lasts_s=900).pages[0].at_s is None
    assert run(60, 110, lasts_s=900).pages[0].at_s is None  # the short window alone
    paged = run(60, 660, lasts_s=900).pages[0].at_s
    assert paged == pytest.approx(60 + 518.4, abs=0.3)


def test_slow_burning_pages_by_a_longer_window() -> None:
    """A tenth of the requests failing burns 10×: too slow for 14.4×, and 6× over six hours takes 3.6 hours of it."""
    found = run(0, 20_000, share=0.1, lasts_s=20_000, per_s=1.0)
    assert found.pages[0].at_s is None
    assert found.pages[1].at_s == pytest.approx(0.6 * 21_600, abs=30)
    assert burn.first(found.pages) == found.pages[1]


def test_what_was_not_measured_is_no_zero() -> None:
    """A run without requests has burned an unknown part."""
    found = burn.replay(np.array([]), np.array([], dtype=bool), 0.0, 10.0, 99.0)
    assert (found.spent, found.of_period, burn.first(found.pages)) == (None, None, None)


def test_an_objective_without_a_budget_is_refused() -> None:
    """100 % allow nothing: that is an invariant."""
    with pytest.raises(ValueError, match="no error budget"):
        burn.replay(np.array([1.0]), np.array([True]), 0.0, 10.0, 100.0)


def test_rules_are_named_as_in_the_docs() -> None:
    """By rate and both windows."""
    assert [str(rule) for rule in burn.RULES] == [
        "14.4× over 1 h and 5 min",
        "6× over 6 h and 30 min",
        "3× over 1 d and 2 h",
        "1× over 3 d and 6 h",
    ]
