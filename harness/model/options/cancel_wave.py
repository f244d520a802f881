"""Options of the workload ``cancel_wave``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """The streams of a wave are cancelled together once ``moment`` is reached, or after ``give_up``.

    ``demand`` is their number as a multiple of the requests that the target replicas decode side by side; ``lasts`` is
    how long one stream alone would take, at the speed measured before. ``streams`` (a number) overrides ``demand``,
    ``max_tokens`` (per stream) overrides ``lasts``.
    """

    moment: Literal["queued", "prefill", "early", "late", "half-read"]
    demand: float = Field(default=0.25, gt=0, le=8)
    streams: int | None = Field(default=None, ge=2, le=256)
    waves: int = Field(default=1, ge=1, le=100)
    pause: Seconds = 0.0  # between two waves
    lasts: Seconds = Field(default=6.0, gt=0, le=60)
    max_tokens: int | None = Field(default=None, ge=8, le=4096)
    words: int = Field(default=30, ge=1, le=2000)  # of each prompt; no two prompts are the same
    give_up: Seconds = 10.0
    watch: Seconds = Field(default=1.5, ge=0.8, le=5.0)  # how long the engines are looked at after the cancel, at least
