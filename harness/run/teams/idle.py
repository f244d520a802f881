"""The team that looks and does nothing: what a game gives whoever only waits."""

from __future__ import annotations

from harness.run.teams.seat import Seat

SUMMARY = "looks at the status page, and does nothing"


def play(seat: Seat) -> None:
    """Until the game is over."""
    for _ in seat.looks():
        pass
