"""How probable something is by chance: Student's t and the binomial distribution, from scipy. Pure.

``scipy.special`` takes half a second to import, so that it is only imported when it is asked (docs/adr/0023).
"""

from __future__ import annotations


def t_beyond(t: float, freedom: int) -> float:
    """The probability that Student's t, with so many degrees of freedom, is further from 0 than ``t``."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))


def t_within(confidence: float, freedom: int) -> float:
    """How far from 0 Student's t is at most with that confidence (0–1), with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def at_most(hits: int, count: int, share: float) -> float:
    """The probability of ``hits`` or fewer of ``count`` when each hits with the probability ``share`` (0–1)."""
    from scipy.special import bdtr

    return float(bdtr(hits, count, share))
