"""The schedule of a load: drawn by thousands it is the one that is drawn one by one."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from harness.model import arrivals, mersenne
from harness.model.scenario import LoadSpec, Scenario
from tests import runs


def load(*cohorts: tuple[float, int]) -> LoadSpec:
    """An open load with cohorts of that share and that many users."""
    data = runs.scenario().load.model_dump(mode="json")
    one = data["cohorts"][0]
    data["cohorts"] = [
        {**one, "name": f"c{n}", "share": share, "users": users} for n, (share, users) in enumerate(cohorts)
    ]
    return Scenario.stored({**runs.scenario().model_dump(mode="json"), "load": data}).load


@pytest.mark.parametrize("seed", [0, 1, 2026112619, -3])
@pytest.mark.parametrize("cohorts", [((1.0, 20),), ((0.7, 1), (0.1, 33), (0.2, 64)), ((1.0, 3), (3.0, 100))])
def test_drawn_together_is_drawn_alone(seed: int, cohorts: tuple[tuple[float, int], ...]) -> None:
    """Cohort and user of each, over numbers of one digit to four, with a user in the load once or several times."""
    spec, users = load(*cohorts), arrivals.default_users()
    of_cohort = arrivals.cohort_users(spec, users)
    alone = arrivals.arrivals("run", seed, spec, users, slice(2100))
    found = [
        (spec.cohorts[cohort].name, user) for cohort, user in zip(*arrivals.drawn(seed, spec, users, 2100), strict=True)
    ]
    assert [(draw.cohort.name, draw.user_id) for draw in alone] == [(name, of_cohort[name][at]) for name, at in found]


def test_who_is_seldom_hit_is_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no try was one of the users, the generator goes on as long as Python's does."""
    monkeypatch.setattr(arrivals, "_TRIES", 1)
    test_drawn_together_is_drawn_alone(1, ((1.0, 33),))


def test_words_are_those_of_the_generator() -> None:
    """Of each text, all that the first state gives, or some of them."""
    texts = [f"a text {n}" for n in range(10)]
    every = np.array([[rng.getrandbits(32) for _ in range(mersenne.WORDS_MAX)] for rng in map(random.Random, texts)]).T
    for first, end in ((0, mersenne.WORDS_MAX), (1, 2), (2, 3), (2, 14), (100, mersenne.WORDS_MAX)):
        assert (mersenne.words(texts, first, end) == every[first:end]).all()


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_the_first_offsets_are_those_of_the_schedule(kind: str) -> None:
    """All at once or one by one, to the last bit."""
    spec = load((1.0, 20)).model_copy(update={"arrivals": kind, "rate": 714.2857142857143})
    found = arrivals.first_offsets(7, spec, 1000)
    assert found.tolist() == list(itertools.islice(arrivals.offsets(7, spec), 1000))
