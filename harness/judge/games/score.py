"""The score of a game: of each inject the parts with their points and reasons, less what hints have cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence.record import Event
from harness.judge.games import diagnosis, mitigation
from harness.judge.games import times as moments
from harness.judge.games.mitigation import Mitigation
from harness.judge.games.times import Times
from harness.model.game import POINTS, Game, Inject, length
from harness.model.sealed import Drawn, Sealed


@dataclass(frozen=True)
class Part:
    """Points ``of`` so many, and why. None: not measured, so that the part counts neither way."""

    name: str
    points: float | None
    of: int
    why: str


@dataclass(frozen=True)
class InjectScore:
    """One inject. ``unscored`` says why it has no score, "" where it has one."""

    inject: str
    parts: tuple[Part, ...] = ()
    hints: int = 0  # what they have cost
    unscored: str = ""

    @property
    def points(self) -> float | None:
        """Of ``POINTS``: the parts that were measured, scaled to all of them, less the hints; never below 0."""
        measured = [(part.points, part.of) for part in self.parts if part.points is not None]
        possible = sum(of for _, of in measured)
        if self.unscored or not possible:
            return None
        return max(0.0, POINTS * sum(points for points, _ in measured) / possible - self.hints)


@dataclass(frozen=True)
class Score:
    """A whole game."""

    injects: tuple[InjectScore, ...]

    @property
    def points(self) -> float | None:
        """The mean of the injects that have a score; None where none has."""
        found = [one.points for one in self.injects if one.points is not None]
        return sum(found) / len(found) if found else None


def of(game: Game, sealed: Sealed, events: Sequence[Event]) -> Score:
    """The score of a game that was played so; ``events`` are in the order of their times."""
    return Score(
        tuple(_inject(game, one, drawn, events) for one, drawn in zip(game.injects, sealed.injects, strict=True))
    )


def _inject(game: Game, inject: Inject, drawn: Drawn, events: Sequence[Event]) -> InjectScore:
    times = moments.of(inject.id, events)
    if times is None:
        return InjectScore(inject.id, unscored="it never began")
    if times.proven_s is None:
        return InjectScore(inject.id, unscored="its effect was not proven")
    if times.cut_s is not None:
        after = length(times.cut_s - times.begun_s)
        return InjectScore(inject.id, unscored=f"it was stopped after {after}, before anybody could know its end")
    found = mitigation.of(game, inject, times, events)
    parts = (
        _detected(game, inject, times),
        _timed("acknowledged", game, inject, times, times.acknowledged_s),
        _diagnosed(game, inject, drawn, times, events),
        _mitigated(game, inject, times, found),
        _stays_well(game, found),
        _communicated(game, times, found, events),
    )
    sold = {event.data["hint"] for event in events if event.kind == "hint" and event.data["inject"] == inject.id}
    return InjectScore(inject.id, parts, sum(inject.hints[number].price for number in sold))


def _timed(name: str, game: Game, inject: Inject, times: Times, at_s: float | None) -> Part:
    """All points within par, then fewer, none once the inject is over."""
    of = getattr(game.weights, name)
    if at_s is None:
        return Part(name, 0.0, of, "never")
    took_s, par_s = at_s - times.begun_s, getattr(game.par, name)
    rest_s = inject.lasts_at_most - par_s
    share = 1.0 if took_s <= par_s else max(0.0, (inject.lasts_at_most - took_s) / rest_s) if rest_s else 0.0
    return Part(name, of * share, of, f"after {length(took_s)}")


def _detected(game: Game, inject: Inject, times: Times) -> Part:
    """An alert that was never taken up is no detection by the team."""
    if times.found_s is None and times.acknowledged_s is None:
        alert = "" if times.alerted_s is None else f"; an alert after {length(times.alerted_s - times.begun_s)}"
        return Part("detected", 0.0, game.weights.detected, f"never taken up{alert}")
    seen = times.detected_s if times.detected_s is not None else times.acknowledged_s
    return _timed("detected", game, inject, times, seen)


def _diagnosed(game: Game, inject: Inject, drawn: Drawn, times: Times, events: Sequence[Event]) -> Part:
    """The first right answer; each wrong one before it halves the points, so that trying out the list does not pay."""
    said = diagnosis.of(drawn, times, game.since_within, events)
    right = next((number for number, one in enumerate(said) if one.right), None)
    if right is None:
        why = f"{len(said)} answers, the last {said[-1]}" if said else "never"
        return Part("diagnosed", 0.0, game.weights.diagnosed, why)
    full = _timed("diagnosed", game, inject, times, said[right].at_s)
    wrong = f", {right} wrong before it" if right else ""
    return Part("diagnosed", (full.points or 0.0) / 2**right, full.of, f"right {full.why}{wrong}")


def _mitigated(game: Game, inject: Inject, times: Times, found: Mitigation) -> Part:
    if found.broken_s is None:
        return Part("mitigated", None, game.weights.mitigated, found.why)
    if found.at_s is None:
        return Part("mitigated", 0.0, game.weights.mitigated, found.why)
    return _timed("mitigated", game, inject, times, found.at_s)


def _stays_well(game: Game, found: Mitigation) -> Part:
    of = game.weights.stays_well
    if found.at_s is None:
        return Part("stays_well", None if found.broken_s is None else 0.0, of, found.why)
    if found.stays_well is None:
        return Part("stays_well", None, of, found.why)
    return Part("stays_well", float(of) if found.stays_well else 0.0, of, found.why or "it did")


def _communicated(game: Game, times: Times, found: Mitigation, events: Sequence[Event]) -> Part:
    """The share of the time until users were well, or it was over, in which the last message was recent enough.

    The first may take as long as any other; without one there is nothing to share.
    """
    of, every_s = game.weights.communicated, game.status_every
    ends = (at for at in (found.at_s, times.over_s, events[-1].t_s) if at is not None)
    ends_s = next(ends)
    said = (event for event in times.during(events, "said") if event.data["what"] == "status")
    sent = [event.t_s for event in said if event.t_s <= ends_s]
    if not sent:
        return Part("communicated", 0.0, of, "no status message")
    covered = _covered_s([times.begun_s, *sent], every_s, ends_s)
    whole_s = ends_s - times.begun_s
    share = covered / whole_s if whole_s else 1.0
    return Part("communicated", of * share, of, f"users knew for {share:.0%} of {length(whole_s)}")


def _covered_s(starts: Sequence[float], each_s: float, until_s: float) -> float:
    """Seconds within ``each_s`` after one of ``starts``, which are in order."""
    ends = [*starts[1:], until_s]
    return sum(min(each_s, end - start) for start, end in zip(starts, ends, strict=True))
