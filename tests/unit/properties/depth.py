"""How deep the properties are looked at: quickly in `make test`, deeply in `make test-trust`; the same draws each time.

Other draws: ``FUZZ_SEED=7``. More of them: ``FUZZ_TIMES=10``. A failure prints what it takes to repeat it.
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
    """Parametrizes a test with the number of its ``examples``; the deep one is marked ``trust``."""
    many = [pytest.mark.trust, pytest.mark.timeout(600 * TIMES)]
    return pytest.mark.parametrize(
        "examples", [pytest.param(quick, id="quick"), pytest.param(deep * TIMES, id="deep", marks=many)]
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
