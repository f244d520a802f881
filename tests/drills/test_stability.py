"""A healthy stack passes, every time: a verdict that is red for no reason is soon believed by nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import TALLY
from tests.trust.stability import LANES, Drilled, passed, stability, summary, unjudged


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("times", [pytest.param(3, marks=pytest.mark.trust), pytest.param(20, marks=pytest.mark.night)])
def test_a_healthy_stack_passes_every_time(times: int, record_property: Callable[[str, object], None]) -> None:
    """As many seeds, all PASS. What did not pass is printed, with its reason; repeated where it was not judged."""
    drilled = stability(range(1, times + 1), LANES, _told_nothing)
    record_property(TALLY, summary(drilled))
    assert not any(one.flake for one in drilled), summary(drilled)
    if unjudged(drilled):
        pytest.skip(summary(drilled))
    assert passed(drilled) == times, summary(drilled)


def _told_nothing(one: Drilled) -> None:
    pass
