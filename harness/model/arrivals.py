"""The arrival schedule: who asks when. A pure function of seed, load and user ids, the same for any number of workers.

The load generator sends it, and the judge computes it again: what was recorded has to be this and nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.model import mersenne
from harness.model.scenario import Cohort, LoadSpec

Places = npt.NDArray[np.intp]
#: So many are drawn at once; each draws its user so often at most, half of the times or more with success.
_TOGETHER, _TRIES = 8192, 12
#: So many users have keys of their own, or share one.
USERS = 64
#: Of a request's number in its id, at least.
DIGITS = 7


@dataclass(frozen=True, slots=True)
class Draw:
    """One request to be. ``offset_s`` is the intended start in seconds since the load began; of a visit the think time.

    ``rng`` belongs to this request alone and is derived from the seed and the request's number, so what a request
    draws (its prompt, retry delays, …) depends neither on the other requests nor on the number of workers.
    """

    request_id: str
    offset_s: float
    cohort: Cohort
    user_id: str
    rng: random.Random


def prefix(run_id: str, seed: int) -> str:
    """What the ids of a run's requests begin with.

    They differ between runs with one seed: a warm stack keeps logs by request id, and a key that promises idempotency
    must never come twice.
    """
    return hashlib.blake2s(f"{run_id}/{seed}".encode(), digest_size=4).hexdigest()


def cohort_users(load: LoadSpec, users: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """User ids of each cohort: disjoint as long as there are enough, then from the beginning again."""
    endless = itertools.cycle(users)
    return {cohort.name: tuple(itertools.islice(endless, cohort.users)) for cohort in load.cohorts}


def arrivals(run_id: str, seed: int, load: LoadSpec, users: Sequence[str], step: slice = slice(None)) -> Iterator[Draw]:
    """Open model: the endless schedule, or every so many of it."""
    of_cohort, begins = cohort_users(load, users), prefix(run_id, seed)
    shares = [cohort.share for cohort in load.cohorts]
    for number, offset_s in itertools.islice(enumerate(offsets(seed, load)), step.start, step.stop, step.step):
        rng = random.Random(f"{seed}/request/{number}")
        cohort = rng.choices(load.cohorts, shares)[0]
        user_id = rng.choice(of_cohort[cohort.name])
        yield Draw(f"{begins}-{number:0{DIGITS}d}", offset_s, cohort, user_id, rng)


def drawn(seed: int, load: LoadSpec, users: Sequence[str], count: int) -> tuple[Places, Places]:
    """Whom the first ``count`` of ``arrivals`` draw: the place of each one's cohort in the load, of its user in that.

    The judge draws all requests of a run again, so they are drawn by thousands (harness/model/mersenne.py).
    """
    sizes = [len(found) for found in cohort_users(load, users).values()]
    shares = np.array(list(itertools.accumulate(cohort.share for cohort in load.cohorts)))
    cohorts, places = np.empty(count, np.intp), np.empty(count, np.intp)
    begin, unused = 0, 2 if len(sizes) == 1 else 0  # whoever is of the only cohort was not drawn by chance
    while begin < count:
        end = min(begin + _TOGETHER, count, 10 ** len(str(begin)))  # numbers with as many digits
        texts = [f"{seed}/request/{number}" for number in range(begin, end)]
        found = mersenne.words(texts, unused, 2 + _TRIES)
        # As ``Random.random``, ``choices`` and ``choice`` make it of these words.
        of = np.zeros(len(texts), np.intp)
        if len(sizes) > 1:
            chance = ((found[0] >> 5) * 67108864.0 + (found[1] >> 6)) * (1.0 / 9007199254740992.0)
            of = np.searchsorted(shares[:-1], chance * (shares[-1] + 0.0), side="right")
        size = np.array(sizes)[of]
        tries = found[-_TRIES:] >> np.array([32 - size.bit_length() for size in sizes], np.uint32)[of]
        first = (tries < size).argmax(axis=0)
        chosen = tries[first, np.arange(len(texts))].astype(np.intp)
        for place in np.flatnonzero(chosen >= size):  # none of the tries was one of the users
            rng = random.Random(texts[place])
            rng.random()
            chosen[place] = rng.choice(range(size[place]))
        cohorts[begin:end], places[begin:end] = of, chosen
        begin = end
    return cohorts, places


def offsets(seed: int, load: LoadSpec) -> Iterator[float]:
    """Open model: when each request of the endless schedule is due, in seconds since the load began."""
    rate, gaps, offset_s = load.per_s, random.Random(f"{seed}/arrivals"), 0.0
    for number in itertools.count():
        offset_s = number / rate if load.arrivals == "constant" else offset_s + gaps.expovariate(rate)
        yield offset_s


def first_offsets(seed: int, load: LoadSpec, count: int) -> npt.NDArray[np.float64]:
    """The first ``count`` of ``offsets``."""
    if load.arrivals == "constant":
        return np.arange(count) / load.per_s
    return np.fromiter(itertools.islice(offsets(seed, load), count), float, count)


def visitors(load: LoadSpec, users: Sequence[str]) -> Iterator[tuple[Cohort, str]]:
    """Closed model: all users, with their cohorts."""
    of_cohort = cohort_users(load, users)
    return ((cohort, user) for cohort in load.cohorts for user in of_cohort[cohort.name])


def visit(run_id: str, seed: int, load: LoadSpec, cohort: Cohort, user_id: str, number: int) -> Draw:
    """Closed model: request ``number`` of ``user_id``, and how long the user thinks before it."""
    rng = random.Random(f"{seed}/{cohort.name}/{user_id}/{number}")
    think_s = 1 / load.per_s if load.arrivals == "constant" else rng.expovariate(load.per_s)
    return Draw(f"{prefix(run_id, seed)}-{cohort.name}-{user_id}-{number:05d}", think_s, cohort, user_id, rng)


def default_users() -> tuple[str, ...]:
    """Ids of the users where nobody has given them other ones."""
    return tuple(f"user-{number:03d}" for number in range(1, USERS + 1))
