"""The engines, looked at closely while a wave of cancelled streams is on, and the ledger of all waves of a run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.model.artifacts import waves
from harness.model.artifacts.waves import Wave
from harness.model.topology import Component
from harness.probes.base import ProbeSet, Row
from harness.probes.engine import WANTED, page_of, parse
from harness.probes.page import NoAnswer

#: What is looked at; recorded with this before its name, apart from the steady samples of harness/probes/engine.py.
PREFIX = "wave_"
CLOSELY = ("running", "waiting", "kv_usage_ratio", "generation_tokens_total")
#: How often, in seconds: engines have to hear of a cancel within half a second, and when they did lies between looks.
CLOSELY_S = 0.033
_WANTED = {theirs: ours for theirs, ours in WANTED.items() if ours in CLOSELY}


class Look(NamedTuple):
    """An engine's own figures, asked for at ``asked_s`` and there at ``seen_s``."""

    asked_s: float
    seen_s: float
    values: Mapping[str, float]


class Waves:
    """The waves of one run; while ``watching`` its probes, one per replica, look at the engines (``watched``)."""

    def __init__(
        self, replicas: Iterable[Component], zero_mono_s: float, keep: Callable[[str, dict[str, Any]], object]
    ) -> None:
        self._zero_mono_s, self._keep = zero_mono_s, keep
        self._watching = 0
        self.watched = asyncio.Event()
        self._all: list[Wave] = []
        self.probes = tuple(_Closely(self, replica) for replica in replicas)

    @property
    def replicas(self) -> tuple[str, ...]:
        """Names of the replicas that are looked at."""
        return tuple(probe.replica for probe in self.probes)

    @property
    def latest(self) -> dict[str, Look]:
        """The last look at each replica that was looked at since the watch began."""
        return {probe.replica: probe.looks[-1] for probe in self.probes if probe.looks}

    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return time.monotonic() - self._zero_mono_s

    def add(self, wave: Wave) -> None:
        """Keep ``wave``, as it is by now, in the run folder."""
        self._all.append(wave)
        self._keep(waves.FILE, waves.as_data(self._all))

    def queues(self, since_s: float) -> dict[str, int]:
        """How many wait for a place in each engine that has none, by looks that were asked for since then.

        That is so when somebody waits and tokens are made, but nobody is let in. Who waits while others are let in
        waits for the next step only.
        """
        found: dict[str, int] = {}
        for probe in self.probes:
            looks = [look.values for look in probe.looks if look.asked_s >= since_s]
            before = [one for one in looks if one["generation_tokens_total"] < looks[-1]["generation_tokens_total"]]
            if before and _nobody_let_in(before[-1], looks[-1]):
                found[probe.replica] = int(looks[-1]["waiting"])
        return found

    def unseen_s(self, since_s: float) -> float:
        """The longest time from then until now in which some engine did not show its figures.

        Or showed the same ones all the time while it ran something: it was in a step, in which it hears nothing.
        """
        found = 0.0
        for probe in self.probes:
            pairs = itertools.pairwise(probe.looks)
            telling = (now for last, now in pairs if now.values != last.values or now.values.get("running") == 0)
            times = [since_s, *(look.seen_s for look in telling if look.seen_s > since_s), self.now_s()]
            found = max(found, *(right - left for left, right in itertools.pairwise(times)))
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, the engines are sampled; the first looks of a watch are its own."""
        if not self._watching:
            for probe in self.probes:
                probe.looks.clear()
        self._watching += 1
        self.watched.set()
        try:
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                self.watched.clear()


def _nobody_let_in(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    return min(before["waiting"], now["waiting"]) >= 1 and now["running"] <= before["running"]


class _Closely:
    """One engine, often while it is watched."""

    period_s = CLOSELY_S

    def __init__(self, ledger: Waves, replica: Component) -> None:
        self.name, self.replica = f"{replica.name} during waves", replica.name
        self.looks: list[Look] = []
        self._ledger, self._page = ledger, page_of(replica, _WANTED)

    async def sample(self) -> Sequence[Row]:
        """Once a wave is on; of an engine that does not answer within a second nothing."""
        await self._ledger.watched.wait()
        asked_s = self._ledger.now_s()
        try:
            answer = await self._page.get()
        except NoAnswer:
            return []
        if answer.status != 200:
            return []
        values = {metric: value for (metric, _), value in parse(answer.text, _WANTED).items()}
        self.looks.append(Look(asked_s, self._ledger.now_s(), values))
        shown = {"asked_s": asked_s, **values}
        return [Row(self.replica, PREFIX + metric, "", value) for metric, value in shown.items()]

    def close(self) -> None:
        """End its connection."""
        self._page.close()


PROBES = ProbeSet(("replica",), lambda scene, _: scene.waves)
