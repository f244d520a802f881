"""The schedule of one job: ``harness/model/arrivals.py`` with the prompts of the job's questions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.load.job import Job
from harness.load.prompts import Prompt, Prompts
from harness.model import arrivals
from harness.model.arrivals import Draw
from harness.model.scenario import Cohort


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to be, as drawn (``harness.model.arrivals.Draw``), with its prompt."""

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
        self._users = tuple(job.users)

    def arrivals(self, worker: int = 0, workers: int = 1) -> Iterator[Arrival]:
        """Open model: arrivals ``worker``, ``worker + workers``, … of the endless schedule."""
        job, mine = self._job, slice(worker, None, workers)
        return map(self._arrival, arrivals.arrivals(job.folder.name, job.seed, job.load, self._users, mine))

    def visitors(self, worker: int = 0, workers: int = 1) -> Iterator[tuple[Cohort, str]]:
        """Closed model: the users that this worker plays, with their cohorts."""
        return itertools.islice(arrivals.visitors(self._job.load, self._users), worker, None, workers)

    def visit(self, cohort: Cohort, user_id: str, number: int) -> tuple[float, Arrival]:
        """Closed model: how long ``user_id`` thinks before its request ``number`` (s), and that request."""
        job = self._job
        draw = arrivals.visit(job.folder.name, job.seed, job.load, cohort, user_id, number)
        return draw.offset_s, self._arrival(draw)

    def _arrival(self, draw: Draw) -> Arrival:
        prompt = self._prompts.draw(draw.cohort, draw.rng)
        return Arrival(draw.request_id, draw.offset_s, draw.cohort, draw.user_id, prompt, draw.rng)
