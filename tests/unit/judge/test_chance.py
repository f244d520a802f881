"""Probabilities as they are published, and at the ends."""

from __future__ import annotations

import math

import pytest

from harness.judge import chance


@pytest.mark.parametrize(("freedom", "t"), [(1, 636.619), (4, 8.610), (10, 4.587), (30, 3.646), (120, 3.373)])
def test_the_tail_of_the_t_distribution_is_that_of_the_tables(freedom: int, t: float) -> None:
    """Two-sided, at p = 0.001; all of it is beyond 0, and nothing beyond infinity."""
    assert chance.t_beyond(t, freedom) == pytest.approx(0.001, rel=2e-3)
    assert chance.t_beyond(-t, freedom) == chance.t_beyond(t, freedom)
    assert (chance.t_beyond(0.0, freedom), chance.t_beyond(math.inf, freedom)) == (1.0, 0.0)


def test_the_middle_of_the_t_distribution() -> None:
    """With one degree of freedom it is Cauchy's, whose quartiles are at 1."""
    assert chance.t_beyond(1.0, 1) == pytest.approx(0.5)
    assert chance.t_beyond(0.5, 30) == pytest.approx(0.62072, abs=1e-5)


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (2, 4.303), (8, 2.306), (30, 2.042), (10**6, 1.960)])
def test_the_points_of_the_t_distribution_are_those_of_the_tables(freedom: int, t: float) -> None:
    """Two-sided, at 95 %."""
    assert chance.t_within(0.95, freedom) == pytest.approx(t, abs=5e-4)


def test_exactly_binomial() -> None:
    """Against sums that can be done by hand, and what is certain."""
    assert chance.at_most(0, 3, 0.5) == pytest.approx(1 / 8)
    assert chance.at_most(2, 3, 0.5) == pytest.approx(7 / 8)
    assert chance.at_most(3, 3, 0.5) == pytest.approx(1.0)
    assert (chance.at_most(2, 3, 1.0), chance.at_most(0, 3, 0.0)) == (0.0, 1.0)


def test_far_tails_are_no_rounding() -> None:
    """One in 2 to the 500 is not 0, and what is left of it is not 1."""
    assert chance.at_most(0, 500, 0.5) == pytest.approx(0.5**500, rel=1e-9)
    assert 0.0 < chance.at_most(400, 1000, 0.5) < 1e-9
