"""The two clocks of a game: that on the wall, and that of its timeline, which goes faster while nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: What is waited for is looked at so often.
LOOK_EVERY_S = 0.2


class GameClock:
    """``speed`` shortens the waits between injects. An inject, once it has begun, lasts as long as it lasts."""

    def __init__(self, now_s: Callable[[], float], speed: float = 1.0) -> None:
        self.now_s, self.speed = now_s, speed  # seconds since the run's zero
        self.start_s: float | None = None  # of the game, since the run's zero
        self._gained_s = 0.0

    def begin(self) -> None:
        """The game starts now."""
        self.start_s = self.now_s()

    def clock_s(self) -> float:
        """Seconds since the start of the game on the wall; 0 before it."""
        return 0.0 if self.start_s is None else self.now_s() - self.start_s

    def game_s(self) -> float:
        """The time of the game's own timeline, which its file speaks of."""
        return self.clock_s() + self._gained_s

    def on_wall_s(self, game_s: float) -> float:
        """When a moment of the timeline that is waited for comes on the wall, since the start of the game."""
        return self.clock_s() + (game_s - self.game_s()) / self.speed

    async def pass_on(self) -> None:
        """Wait a little, between two injects."""
        began_s = self.now_s()
        await asyncio.sleep(LOOK_EVERY_S / self.speed)
        self._gained_s += (self.now_s() - began_s) * (self.speed - 1.0)
