"""Confidence intervals of the difference between two samples: second − first, at ``1 − alpha``. Pure.

They are about the samples: how far the difference could be due to which requests happened to be made. What else changes
from run to run, such as a busy machine, is not in them.

- ratios: Newcombe (1998), method 10, a hybrid of two Wilson score intervals;
- percentiles: bootstrap. Of n values drawn with replacement from n, the k-th smallest is the value at rank ⌈n·U⌉ with U
  of a Beta(k, n − k + 1): drawing U instead of n values gives the same distribution, for a million as fast as for ten;
- means: bootstrap, as a multinomial draw over the distinct values.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

#: Of each bootstrap: with a hundred intervals that shall hold together, five draws lie beyond either end.
DRAWS = 20_000
_SEED = 20_261_128


def wilson(good: float, count: int, alpha: float) -> Interval:
    """The score interval of a share, 0–1."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    share, more = good / count, z * z / count
    middle = (share + more / 2) / (1 + more)
    half = z * math.sqrt(share * (1 - share) / count + more / (4 * count)) / (1 + more)
    return max(0.0, middle - half), min(1.0, middle + half)


def of_ratios(first: tuple[float, int], second: tuple[float, int], alpha: float) -> Interval:
    """Of two shares, each as (good, count), 0–1."""
    (p1, (low1, high1)), (p2, (low2, high2)) = ((good / n, wilson(good, n, alpha)) for good, n in (first, second))
    change = p2 - p1
    return change - math.hypot(p2 - low2, high1 - p1), change + math.hypot(high2 - p2, p1 - low1)


def of_percentiles(first: Floats, second: Floats, percent: int, alpha: float) -> Interval:
    """Of two percentiles (nearest rank) of values in any order."""
    chance = np.random.default_rng(_SEED)
    before, after = (_percentiles(np.sort(values), percent, chance) for values in (first, second))
    return _ends(after - before, alpha)


def _percentiles(values: Floats, percent: int, chance: np.random.Generator) -> Floats:
    count = len(values)
    rank = max(1, -(-percent * count // 100))
    drawn = np.ceil(count * chance.beta(rank, count - rank + 1, DRAWS)).astype(int)
    picked: Floats = values[np.clip(drawn, 1, count) - 1]
    return picked


def of_means(first: Floats, second: Floats, alpha: float) -> Interval:
    """Of two means of values of which few are distinct, such as counts."""
    chance = np.random.default_rng(_SEED)
    before, after = (_means(values, chance) for values in (first, second))
    return _ends(after - before, alpha)


def _means(values: Floats, chance: np.random.Generator) -> Floats:
    distinct, counts = np.unique(values, return_counts=True)
    drawn = chance.multinomial(len(values), counts / len(values), DRAWS)
    means: Floats = drawn @ distinct / len(values)
    return means


def _ends(differences: Floats, alpha: float) -> Interval:
    low, high = np.quantile(differences, (alpha / 2, 1 - alpha / 2))
    return float(low), float(high)
