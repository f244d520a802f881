"""The engines, looked at closely while a wave of cancelled streams is on, and the ledger of all waves of a run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

from harness import waves
from harness.probes.base import Row
from harness.probes.engine import parse
from harness.waves import Wave
from stack.topology import Component

#: What is looked at; recorded with this before its name, apart from the steady samples of harness/probes/engine.py.
PREFIX = "wave_"
WANTED = ("running", "waiting", "kv_usage_ratio", "generation_tokens_total")


class Look(NamedTuple):
    """An engine's own figures, asked for at ``asked_s``."""

    asked_s: float
    values: Mapping[str, float]


class Waves:
    """The waves of one run, and the probe that samples the engines 30 times a second while ``watching``."""

    name, period_s = "engines during waves", 0.033

    def __init__(
        self, replicas: Iterable[Component], zero_mono_s: float, save: Callable[[dict[str, Any]], None]
    ) -> None:
        self._urls = {replica.name: replica.url(path="/metrics") for replica in replicas}
        self._zero_mono_s, self._save = zero_mono_s, save
        self._client = httpx.AsyncClient(timeout=1.0, verify=False, trust_env=False)
        self._watching = 0
        self._all: list[Wave] = []
        self.latest: dict[str, Look] = {}

    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return time.monotonic() - self._zero_mono_s

    def add(self, wave: Wave) -> None:
        """Keep ``wave``, as it is by now, in the run folder."""
        self._all.append(wave)
        self._save(waves.as_data(self._all))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, the engines are sampled."""
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    async def sample(self) -> Sequence[Row]:
        """Nothing while no wave is on; of an engine that does not answer within a second nothing, either."""
        if not self._watching:
            return []
        found = await asyncio.gather(*(self._look(replica, url) for replica, url in self._urls.items()))
        return [row for rows in found for row in rows]

    async def _look(self, replica: str, url: str) -> list[Row]:
        asked_s = self.now_s()
        try:
            response = await self._client.get(url)
        except httpx.HTTPError:
            return []
        if response.status_code != 200:
            return []
        values = {metric: value for (metric, _), value in parse(response.text).items() if metric in WANTED}
        self.latest[replica] = Look(asked_s, values)
        return [Row(replica, PREFIX + metric, "", value) for metric, value in values.items()]
