"""The team that restarts everything, one component after the other, whatever is wrong, and asks no question."""

from __future__ import annotations

from harness.run.teams.seat import Seat, View, names, unwell, users_well

SUMMARY = "restarts everything, one component after the other, and diagnoses nothing"
#: Between two restarts, and before everything is restarted once more.
BETWEEN_S, AGAIN_S = 5.0, 60.0


def play(seat: Seat) -> None:
    """Until the game is over."""
    ill, next_round_s = False, 0.0
    for view in seat.looks():
        if not ill and unwell(view):
            ill, next_round_s = True, view["clock_s"]
            seat.say("found")
            seat.say("acknowledged")
        if ill and users_well(view) and not unwell(view):
            ill = False
            seat.say("fixed")
        if ill and view["clock_s"] >= next_round_s:
            restart_all(seat, view)
            next_round_s = view["clock_s"] + AGAIN_S


def restart_all(seat: Seat, view: View) -> None:
    """Every replica, then every gateway."""
    for component in [*names(view, "replica"), *names(view, "gateway")]:
        seat.ops("restart", component)
        seat.sleep(BETWEEN_S)
