"""How deep the properties are looked at: quickly in `make test`, more in `make test-trust`, deeply at night.

The draws are the same each time. Other draws: ``FUZZ_SEED=7``. More of them: ``FUZZ_TIMES=10``. A failure prints what
it takes to repeat it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings

SEED = int(os.environ.get("FUZZ_SEED", "0"))
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def depth(quick: int, deep: int) -> pytest.MarkDecorator:
    """Parametrizes a test with the number of its ``examples``: ``trust`` takes a twentieth of the ``night``'s."""
    more, many = max(quick + 1, deep // 20), deep * TIMES
    limit = pytest.mark.timeout(600 * TIMES)
    return pytest.mark.parametrize(
        "examples",
        [
            pytest.param(quick, id="quick"),
            pytest.param(more, id="more", marks=[pytest.mark.trust, limit]),
            pytest.param(many, id="deep", marks=[pytest.mark.night, limit]),
        ],
    )


def draws(examples: int) -> Callable[[Any], Any]:
    """Hypothesis' settings for that many examples, above ``@given``."""
    chosen = settings(
        max_examples=examples,
        derandomize=SEED == 0,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return chosen if SEED == 0 else lambda test: chosen(seed(SEED)(test))
