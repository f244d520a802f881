"""Waves of streams that are cancelled on purpose: what was done to each stream, as ``waves.json`` of a run holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model.artifacts import Artifact

FILE = "waves.json"


@dataclass
class Stream:
    """One stream of a wave. Times are seconds since the run's zero; None: it never came to that."""

    request_id: str
    entrypoint: str  # the gateway or replica that was asked
    ending: str  # fin | rst
    sent_s: float | None = None  # the last byte of the request was handed over
    first_token_s: float | None = None
    tokens: int = 0  # events with content that arrived before the cancel
    paused_s: float | None = None  # it stopped reading
    cancelled_s: float | None = None
    replica: str | None = None  # as the answer's headers said
    status: int | None = None
    ended: str | None = None  # why it was over before it was cancelled

    @property
    def cut(self) -> bool:
        """Whether it was running, as far as its client knew, when it was cancelled."""
        return self.cancelled_s is not None and self.ended is None


@dataclass
class Canary:
    """A question with one right answer, asked of a replica directly after a wave."""

    replica: str
    right: bool
    why: str
    took_s: float


@dataclass
class Wave:
    """One wave: its streams are sent together and cancelled together."""

    fault: str
    phase: str
    number: int
    moment: str
    began_s: float
    reached: bool = False
    why: str = ""  # how the moment was known to be reached, or why not
    watched_until_s: float | None = None
    unseen_s: float = 0.0  # the longest time after the cancel in which an engine did not show its figures, or new ones
    streams: list[Stream] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)
    rss_bytes: dict[str, float] = field(default_factory=dict)  # by replica, after the wave

    @property
    def cancelled_s(self) -> float | None:
        """When the last of its streams was cancelled."""
        return max((s.cancelled_s for s in self.streams if s.cancelled_s is not None), default=None)


def as_data(waves: Iterable[Wave]) -> dict[str, Any]:
    """What waves.json holds."""
    return {"waves": [dataclasses.asdict(wave) for wave in waves]}


def from_data(data: Mapping[str, Any]) -> tuple[Wave, ...]:
    """The waves in it. KeyError or TypeError when it is something else."""
    return tuple(
        Wave(
            **{
                **wave,
                "streams": [Stream(**stream) for stream in wave["streams"]],
                "canaries": [Canary(**canary) for canary in wave["canaries"]],
            }
        )
        for wave in data["waves"]
    )


ARTIFACT = Artifact[tuple[Wave, ...]](FILE, from_data, ())
