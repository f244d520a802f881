"""The schedule: seeded, endless, independent of the number of workers."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import Any

from harness.load.job import Job
from harness.load.prompts import LONG_WORDS, OPEN_WORDS
from harness.load.schedule import Arrival, Schedule
from harness.model.arrivals import cohort_users
from tests.unit.load.jobs import make_job


def head(job: Job, count: int, worker: int = 0, workers: int = 1) -> list[Arrival]:
    """The first ``count`` arrivals."""
    return list(itertools.islice(Schedule(job).arrivals(worker, workers), count))


def facts(arrival: Arrival) -> tuple[Any, ...]:
    """Everything about an arrival, and what its own randomness will draw."""
    return (
        arrival.request_id, arrival.offset_s, arrival.cohort.name, arrival.user_id, arrival.prompt, arrival.rng.random()
    )  # fmt: skip


COHORTS = {
    "cohorts": [
        {"name": "chat", "share": 6, "users": 5},
        {"name": "batch", "prompts": "long", "users": 5},
        {"name": "writers", "prompts": "open", "users": 5},
    ]
}


def test_same_seed_same_schedule(tmp_path: Path) -> None:
    """Two processes with one seed agree on everything; another seed is another schedule."""
    first, second = (make_job(tmp_path / name / "run", COHORTS) for name in "ab")
    assert [facts(a) for a in head(first, 200)] == [facts(a) for a in head(second, 200)]
    other = make_job(tmp_path / "c" / "run", COHORTS, seed=8)
    assert [a.offset_s for a in head(other, 200)] != [a.offset_s for a in head(first, 200)]


def test_workers_share_one_schedule(tmp_path: Path) -> None:
    """The slices of three workers together are the schedule of one."""
    job = make_job(tmp_path / "run", COHORTS)
    slices = [facts(a) for worker in range(3) for a in head(job, 40, worker, 3)]
    assert sorted(slices) == sorted(facts(a) for a in head(job, 120))


def test_ids_differ_between_runs(tmp_path: Path) -> None:
    """An idempotency key never comes twice, though the seed does."""
    one, two = (make_job(tmp_path / name) for name in ("run-1", "run-2"))
    assert not {a.request_id for a in head(one, 50)} & {a.request_id for a in head(two, 50)}


def test_poisson_and_constant_keep_the_rate(tmp_path: Path) -> None:
    """Both reach 20/s; constant arrivals are evenly spaced, Poisson gaps vary as much as their mean."""
    poisson = [a.offset_s for a in head(make_job(tmp_path / "p"), 4000)]
    constant = [a.offset_s for a in head(make_job(tmp_path / "c", {"arrivals": "constant"}), 100)]
    gaps = [b - a for a, b in itertools.pairwise(poisson)]
    assert 0.9 < 4000 / poisson[-1] / 20 < 1.1
    assert 0.9 < statistics.stdev(gaps) / statistics.mean(gaps) < 1.1
    assert all(abs((b - a) * 20 - 1) < 1e-6 for a, b in itertools.pairwise(constant))


def test_shares_users_and_prompts(tmp_path: Path) -> None:
    """Arrivals divide by share; every user belongs to one cohort and comes; prompts are the cohort's."""
    job = make_job(tmp_path / "run", COHORTS)
    arrivals = head(job, 2000)
    chat = [a for a in arrivals if a.cohort.name == "chat"]
    assert 0.70 < len(chat) / 2000 < 0.80
    users = cohort_users(job.load, tuple(job.users))
    assert not set(users["chat"]) & set(users["batch"])
    assert {a.user_id for a in chat} == set(users["chat"])
    assert chat[0].prompt.answer == "right answer"
    long = next(a for a in arrivals if a.cohort.name == "batch")
    assert (len(long.prompt.text.split()), long.prompt.answer, long.prompt.endless) == (LONG_WORDS, None, False)
    short = next(a for a in arrivals if a.cohort.name == "writers")
    assert (len(short.prompt.text.split()), short.prompt.answer, short.prompt.endless) == (OPEN_WORDS, None, True)


def test_closed_model_slices_users(tmp_path: Path) -> None:
    """Closed model: each user is played by exactly one worker, and thinks 1/rate on average."""
    job = make_job(tmp_path / "run", {"model": "closed", **COHORTS})
    schedule = Schedule(job)
    slices = [set(schedule.visitors(worker, 3)) for worker in range(3)]
    assert sum(map(len, slices)) == len(set.union(*slices)) == 15
    thinks = [schedule.visit(job.load.cohorts[0], "user-001", n)[0] for n in range(2000)]
    assert 0.9 < statistics.mean(thinks) * 20 < 1.1
