"""Stretches outside an objective: begun by the first bad request, over with the last, never by one alone."""

from __future__ import annotations

import numpy as np

from harness.judge.outside import WINDOW_S, Counted, stretches


def single(bad: list[float], every_s: float = 0.5, lasts_s: float = 600.0) -> Counted:
    """A request every so often, bad at the times given."""
    at_s = np.sort(np.concatenate((np.arange(0.0, lasts_s, every_s), np.array(bad, dtype=float))))
    return Counted(at_s, at_s, np.ones(len(at_s)), np.isin(at_s, bad).astype(float))


def test_the_first_and_the_last_bad_request_bound_it() -> None:
    """Known to the request."""
    (found,) = stretches(single([100.1, 101.1, 102.1, 103.1, 140.1]), 99.0)
    assert (found.from_s, found.until_s, found.within_s, found.bad) == (100.1, 140.1, 0.0, 5.0)


def test_a_few_bad_ones_are_no_stretch() -> None:
    """Four in a minute, whatever their share; five far apart."""
    assert stretches(single([100.1, 101.1, 102.1, 103.1]), 99.0) == ()
    assert stretches(single([100.1, 200.1, 300.1, 400.1, 500.1]), 99.0) == ()


def test_many_bad_ones_of_very_many_are_within_the_objective() -> None:
    """Ten of 1,200 a minute are less than one percent."""
    bad = [100.01 + place for place in range(10)]
    assert stretches(single(bad, every_s=0.05), 99.0) == ()
    assert stretches(single(bad, every_s=0.5), 99.0) != ()


def test_two_that_are_far_apart_are_two() -> None:
    """And two that are not, one."""
    first, second = [100.1 + place for place in range(6)], [400.1 + place for place in range(6)]
    assert [one.from_s for one in stretches(single([*first, *second]), 99.0)] == [100.1, 400.1]
    near = [100.1 + WINDOW_S + place for place in range(6)]
    assert len(stretches(single([*first, *near]), 99.0)) == 1


def test_between_two_scrapes_a_time_is_as_uncertain_as_they_lie_apart() -> None:
    """Counters: 20 bad ones between the second 300 and 315."""
    at_s = np.arange(15.0, 901.0, 15.0)
    bad = np.where(at_s == 315.0, 20.0, 0.0)
    (found,) = stretches(Counted(at_s - 15.0, at_s, np.full(len(at_s), 150.0), bad), 99.0)
    assert (found.from_s, found.until_s, found.within_s) == (315.0, 315.0, 15.0)


def test_rare_scrapes_widen_the_window() -> None:
    """With a scrape a minute a window of a minute would see one of them."""
    at_s = np.arange(60.0, 3_601.0, 60.0)
    bad = np.where((at_s >= 600.0) & (at_s <= 720.0), 2.0, 0.0)
    (found,) = stretches(Counted(at_s - 60.0, at_s, np.full(len(at_s), 100.0), bad), 99.0)
    assert (found.from_s, found.until_s) == (600.0, 720.0)


def test_nothing_counted_is_no_stretch() -> None:
    """No request, no claim."""
    empty = np.array([])
    assert stretches(Counted(empty, empty, empty, empty), 99.0) == ()
