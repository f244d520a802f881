"""Intervals of differences: against published figures, against the plain way, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from harness.judge import intervals


@pytest.mark.parametrize(
    ("good", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_as_published(good: int, count: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), 857–872, table I, score method without continuity correction."""
    assert intervals.wilson(good, count, 0.05) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((5, 56), (0, 29), -0.0381, 0.1926),
    ],
)
def test_newcombe_is_as_published(one: tuple[int, int], other: tuple[int, int], low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), 873–890, table II, method 10 (for the first less the second)."""
    assert intervals.of_ratios(other, one, 0.05) == pytest.approx((low, high), abs=1e-4)


def test_the_bootstrap_of_a_percentile_is_the_plain_one() -> None:
    """Drawing ranks gives what drawing all values again gives."""
    chance = np.random.default_rng(1)
    first, second = chance.exponential(200, 150), chance.exponential(260, 120)
    drawn = [
        np.sort(chance.choice(values, (intervals.DRAWS, len(values))), axis=1)[:, -(-95 * len(values) // 100) - 1]
        for values in (first, second)
    ]
    plain = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
    spread = plain[1] - plain[0]
    assert intervals.of_percentiles(first, second, 95, 0.05) == pytest.approx(plain, abs=0.05 * spread)


def test_an_interval_is_the_same_each_time() -> None:
    """Its seed is fixed: a page made again says the same."""
    values = np.random.default_rng(2).exponential(200, 100)
    assert intervals.of_percentiles(values, values + 1, 95, 0.05) == intervals.of_percentiles(
        values, values + 1, 95, 0.05
    )


@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("pairs", [60, pytest.param(300, marks=pytest.mark.night)])
def test_samples_of_one_source_seldom_differ(alpha: float, pairs: int) -> None:
    """Of all pairs about as many as ``alpha`` says, for the median, a high percentile, a mean and a ratio."""
    chance, wrong = np.random.default_rng(3), [0, 0, 0, 0]
    for _ in range(pairs):
        first, second = chance.lognormal(5, 0.5, 200), chance.lognormal(5, 0.5, 200)
        counts = chance.geometric(0.8, 200).astype(float), chance.geometric(0.8, 200).astype(float)
        found = (
            intervals.of_percentiles(first, second, 50, alpha),
            intervals.of_percentiles(first, second, 95, alpha),
            intervals.of_means(*counts, alpha),
            intervals.of_ratios(
                (float(chance.binomial(200, 0.97)), 200), (float(chance.binomial(200, 0.97)), 200), alpha
            ),
        )
        wrong = [count + (low > 0 or high < 0) for count, (low, high) in zip(wrong, found, strict=True)]
    assert max(wrong) <= pairs * alpha * 1.7 + 3


def test_a_real_change_is_found() -> None:
    """A fifth slower, 200 requests each, at the level that a hundred intervals need together."""
    chance = np.random.default_rng(4)
    first, second = chance.lognormal(5, 0.2, 200), chance.lognormal(5, 0.2, 200) * 1.2
    low, _ = intervals.of_percentiles(first, second, 50, 0.05 / 100)
    assert low > 0
    assert intervals.of_ratios((200, 200), (150, 200), 0.05 / 100)[1] < 0
    assert intervals.of_means(np.ones(200), np.full(200, 2.0), 0.05 / 100)[0] > 0
