"""The charts beside a game's figures: what the stack's Prometheus has scraped since the game's start.

They are what an on-call would have in Grafana, and name no inject. Only what is new is asked for, now and then; a
server that does not answer leaves a hole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Floats, Prometheus
from harness.model.errors import AdapterError, UsageError
from reports.charts import Chart, Series

#: How often the server is asked, how long it may take, and after which time it has what was scraped.
EVERY_S, DEADLINE_S, LAG_S = 5.0, 5.0, 3.0
#: Asked for at first, before the start of the game is known.
FIRST_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """One chart: a curve for each series of ``metric``, named by these labels; of a ``counter`` its rate."""

    id: str
    title: str
    unit: str
    metric: str
    labels: tuple[str, ...]
    counter: bool = False


CHARTS = (
    Wanted("requests", "Answers by class", "per second", "drillyard_gateway_requests_total",
           ("gateway", "status_class"), counter=True),
    Wanted("failures", "Failed requests", "per second", "drillyard_gateway_failures_total", ("gateway",), counter=True),
    Wanted("synthetic", "TTFT of synthetic generations", "s", "drillyard_synthetic_ttft_seconds", ("replica",)),
    Wanted("running", "Requests that a replica works on", "requests", "vllm:num_requests_running", ("component",)),
    Wanted("waiting", "Requests that wait in a replica", "requests", "vllm:num_requests_waiting", ("component",)),
    Wanted("kv-cache", "KV cache in use", "share", "vllm:kv_cache_usage_perc", ("component",)),
)  # fmt: skip
#: Chart and name of the curve → times in Unix seconds, and values.
Samples = Mapping[tuple[str, str], tuple[Floats, Floats]]


class Curves:
    """The charts as they are now. ``clock_s``: seconds since the game's start."""

    def __init__(self, prometheus: Prometheus, clock_s: Callable[[], float]) -> None:
        self._prometheus, self._clock_s = prometheus, clock_s
        self._samples: dict[tuple[str, str], tuple[Floats, Floats]] = {}
        self._asked_s = 0.0

    @classmethod
    def of(cls, url: str, clock_s: Callable[[], float]) -> Curves:
        """From the server at that address."""
        return cls(Prometheus(Access(url), DEADLINE_S), clock_s)

    def close(self) -> None:
        """End the connection."""
        self._prometheus.close()

    async def keep(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask once for what is new; what could not be had is asked for the next time."""
        until_s = time.time() - LAG_S
        since_s = self._asked_s or until_s - FIRST_S
        with suppress(AdapterError, UsageError):
            found = await asyncio.to_thread(self._new, since_s, until_s)
            for key, (at_s, values) in found.items():
                known = self._samples.get(key, (at_s[:0], values[:0]))
                self._samples[key] = np.concatenate([known[0], at_s]), np.concatenate([known[1], values])
            self._asked_s = until_s

    def charts(self) -> Sequence[Chart]:
        """All of them, in seconds since the game's start."""
        began_s = time.time() - self._clock_s()
        return [Chart(one.id, one.title, one.unit, list(self._curves(one, began_s))) for one in CHARTS]

    def _new(self, since_s: float, until_s: float) -> Samples:
        return {
            (wanted.id, " ".join(one.labels.get(label, "") for label in wanted.labels)): (one.at_s, one.values)
            for wanted in CHARTS
            for one in self._prometheus.samples(wanted.metric, since_s, until_s).series
        }

    def _curves(self, wanted: Wanted, began_s: float) -> Iterator[Series]:
        for (chart, name), (at_s, values) in sorted(self._samples.items(), key=lambda item: item[0]):
            if chart == wanted.id:
                at_s, values = _rate(at_s, values) if wanted.counter else (at_s, values)
                yield Series(name, at_s - began_s, values)


def _rate(at_s: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The increase per second from each sample to the next; not known where a counter began again."""
    grown, apart = np.diff(values), np.diff(at_s)
    return at_s[1:], np.where(grown < 0, np.nan, grown / apart)
