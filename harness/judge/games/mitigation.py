"""Whether users were well again by the players' doing, and stayed so: by the objectives that were watched live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.evidence.record import Event
from harness.judge.games.times import Times
from harness.model.game import Game, Inject

NOTHING_DONE = "players did nothing to the stack"
NOT_AGAIN = "after what players did, the objectives were not kept again before it was healed"


@dataclass(frozen=True)
class Mitigation:
    """``broken_s`` is when the first objective was missed, ``at_s`` when all were kept again after players had acted:
    the first time that stayed well, or the last of all.

    ``stays_well`` is None where nothing can be said of it. ``why`` says what there is no value of.
    """

    broken_s: float | None = None
    at_s: float | None = None
    stays_well: bool | None = None
    why: str = ""


def of(game: Game, inject: Inject, times: Times, events: Sequence[Event]) -> Mitigation:
    """Of one inject. Nothing is said where the objectives were never missed, or not looked at."""
    looks = _looks([slo.name for slo in game.slos], events)
    before = [kept for at, kept in looks if at <= times.begun_s]
    if not before:
        return Mitigation(why="the objectives were not watched before it began")
    if not before[-1]:
        return Mitigation(why="an objective was missed before it began already")
    until_s = float("inf") if times.over_s is None else times.over_s
    broken_s = next((at for at, kept in looks if times.begun_s <= at <= until_s and not kept), None)
    if broken_s is None:
        return Mitigation(why="users never felt it: every objective was kept")
    tries = list(_recoveries(times, until_s, events, looks))
    if not tries:
        acted = any(times.during(events, "ops"))
        return Mitigation(broken_s, why=NOT_AGAIN if acted else NOTHING_DONE)
    found = [Mitigation(broken_s, at, *_stays_well(game, inject, at, until_s, events, looks)) for at in tries]
    return next((one for one in found if one.stays_well), found[-1])


def _recoveries(
    times: Times, until_s: float, events: Sequence[Event], looks: Sequence[tuple[float, bool]]
) -> Iterator[float]:
    """When all objectives were kept again, each time that players had done something since they were missed."""
    acts = [event.t_s for event in times.during(events, "ops")]
    for (missed_s, _), (at, kept) in pairwise(looks):  # they take turns: missed, kept, missed …
        if kept and times.begun_s <= missed_s and at < until_s and any(missed_s <= act <= at for act in acts):
            yield at


def _looks(names: Sequence[str], events: Sequence[Event]) -> list[tuple[float, bool]]:
    """From when on all objectives were kept, or not all of them; from the moment on at which each was looked at."""
    state: dict[str, bool] = {}
    found: list[tuple[float, bool]] = []
    for event in events:
        if event.kind == "slo":
            state[event.data["name"]] = event.data["kept"]
            if set(names) <= state.keys() and (not found or found[-1][1] is not all(state.values())):
                found.append((event.t_s, all(state.values())))
    return found


def _stays_well(
    game: Game,
    inject: Inject,
    at_s: float,
    until_s: float,
    events: Sequence[Event],
    looks: Sequence[tuple[float, bool]],
) -> tuple[bool | None, str]:
    """Whether every objective was kept for long enough from then on, the replay of the trigger included."""
    watched_until_s = at_s + game.stays_well_for
    missed_s = next((at for at, kept in looks if at_s < at <= min(watched_until_s, until_s) and not kept), None)
    if missed_s is not None:
        return False, f"an objective was missed again {missed_s - at_s:.0f} s after it had been mitigated"
    if watched_until_s > until_s:
        return None, f"it was healed {until_s - at_s:.0f} s after it had been mitigated: watched for too short a time"
    if inject.replay is not None and not _replayed(inject.id, at_s, watched_until_s, events):
        return None, "the trigger did not come again while it was watched"
    return True, ""


def _replayed(inject: str, from_s: float, until_s: float, events: Sequence[Event]) -> bool:
    begun, over = (
        [e.t_s for e in events if e.kind == kind and e.data["inject"] == inject and from_s <= e.t_s <= until_s]
        for kind in ("replay_begun", "replay_over")
    )
    return bool(begun and over and begun[0] < over[-1])
