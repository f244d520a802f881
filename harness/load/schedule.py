"""The schedule: who asks what when. A pure function of the seed, the same for any number of workers."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.load.job import Job
from harness.load.prompts import Prompt, Prompts
from harness.scenario import Cohort


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to be. ``offset_s`` is the intended start in seconds since the load began.

    ``rng`` belongs to this request alone and is derived from the seed and the request's number, so what a request
    draws (retry delays, …) depends neither on the other requests nor on the number of workers.
    """

    request_id: str
    offset_s: float
    cohort: Cohort
    user_id: str
    prompt: Prompt = field(repr=False)  # tracebacks and stack dumps are no place for it
    rng: random.Random


class Schedule:
    """Arrivals of one job: endless, seeded, sliced over workers."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._prompts = Prompts(job.questions)
        self._users = cohort_users(job)
        # Ids differ between runs with one seed: a warm stack keeps logs by request id, and a key that promises
        # idempotency must never come twice.
        self._prefix = hashlib.blake2s(f"{job.folder.name}/{job.seed}".encode(), digest_size=4).hexdigest()

    def arrivals(self, worker: int = 0, workers: int = 1) -> Iterator[Arrival]:
        """Open model: arrivals ``worker``, ``worker + workers``, … of the endless schedule."""
        load = self._job.load
        rate = load.per_s
        gaps = random.Random(f"{self._job.seed}/arrivals")
        shares = [cohort.share for cohort in load.cohorts]
        offset_s = 0.0
        for number in itertools.count():
            offset_s = number / rate if load.arrivals == "constant" else offset_s + gaps.expovariate(rate)
            if number % workers == worker:
                rng = random.Random(f"{self._job.seed}/request/{number}")
                cohort = rng.choices(load.cohorts, shares)[0]
                user_id = rng.choice(self._users[cohort.name])
                yield self._arrival(f"{number:07d}", offset_s, cohort, user_id, rng)

    def visitors(self, worker: int = 0, workers: int = 1) -> Iterator[tuple[Cohort, str]]:
        """Closed model: the users that this worker plays, with their cohorts."""
        everybody = ((cohort, user) for cohort in self._job.load.cohorts for user in self._users[cohort.name])
        return itertools.islice(everybody, worker, None, workers)

    def visit(self, cohort: Cohort, user_id: str, number: int) -> tuple[float, Arrival]:
        """Closed model: how long ``user_id`` thinks before its request ``number`` (s), and that request."""
        load = self._job.load
        rng = random.Random(f"{self._job.seed}/{cohort.name}/{user_id}/{number}")
        think_s = 1 / load.per_s if load.arrivals == "constant" else rng.expovariate(load.per_s)
        return think_s, self._arrival(f"{cohort.name}-{user_id}-{number:05d}", 0.0, cohort, user_id, rng)

    def _arrival(self, name: str, offset_s: float, cohort: Cohort, user_id: str, rng: random.Random) -> Arrival:
        prompt = self._prompts.draw(cohort, rng)
        return Arrival(f"{self._prefix}-{name}", offset_s, cohort, user_id, prompt, rng)


def cohort_users(job: Job) -> Mapping[str, tuple[str, ...]]:
    """User ids of each cohort: disjoint as long as the keys last, then from the beginning again."""
    endless = itertools.cycle(job.users)
    return {cohort.name: tuple(itertools.islice(endless, cohort.users)) for cohort in job.load.cohorts}
