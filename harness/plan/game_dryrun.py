"""A game as text, for whoever runs it: the master event list that ``game-day --dry-run`` prints. Nothing is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.model.game import POINTS, Game, Inject, Variant, begins, clock, described, length, windows
from harness.model.sealed import Drawn, Sealed, possibilities
from harness.model.topology import Topology
from harness.plan import dryrun, games


@dataclass(frozen=True)
class Answers:
    """What was drawn, and the salt that its digest was made with."""

    sealed: Sealed
    salt: str


def text(game: Game, topology: Topology, answers: Answers | None = None) -> str:
    """The whole game. Without ``answers`` it says what may be drawn, and nothing of what was."""
    return "\n".join(
        [
            f"dry run of the game {game.name}: {game.title}",
            "nothing is touched: no run folder, no process, no connection",
            "",
            f"lasts       {length(game.lasts)}; set-up {length(game.around.set_up)} and briefing "
            f"{length(game.around.briefing)} before it, hot wash {length(game.around.hot_wash)} after it",
            *_seal(answers),
            *dryrun.load_lines(game.load, length(game.lasts)),
            *(f"objective   {slo.name}: {slo.sli} {slo.objective} for {slo.hold:g} s" for slo in game.slos),
            f"stops when  {'; '.join(map(str, game.stop_when))}",
            "",
            "briefing",
            *_listed((game.briefing,)),
            "",
            "roles",
            *(_role(role.name, role.how_many, role.side, role.may_stop, role.duty) for role in game.roles),
            "",
            "master event list (for the facilitator)",
            *_events(game, topology, answers.sealed if answers else None),
            "",
            "a diagnosis says which component, since when, and one of",
            *_listed(game.mechanisms, "  - "),
            "",
            "score of each inject",
            *_score(game),
        ]
    )


def _seal(answers: Answers | None) -> Iterator[str]:
    if answers is None:
        yield "answers     drawn from the seed; --show-answers prints them"
        return
    yield f"seed        {answers.sealed.seed}"
    yield f"seal        sha256 {answers.sealed.digest(answers.salt)}"
    yield f"            of the draw with the salt {answers.salt}"


def _role(name: str, how_many: int, side: str, may_stop: bool, duty: str) -> str:
    stop = ", may stop the game" if may_stop else ""
    return f"  {how_many} × {name} ({side}{stop}): {_folded(duty)}"


def _events(game: Game, topology: Topology, sealed: Sealed | None) -> Iterator[str]:
    drawn = {one.inject: one for one in sealed.injects} if sealed else {}
    for inject in game.injects:
        window = windows(game)[inject.id]
        yield f"  {inject.id}: {_folded(inject.title)}"
        yield f"      begins    {begins(inject.when)}: from {clock(window.earliest_s)} to {clock(window.latest_s)}"
        yield (
            f"      lasts     {length(inject.lasts_at_most)} at most, then it is healed; over by {clock(window.over_s)}"
        )
        yield f"      replay    {_replay(game, inject)}"
        one = drawn.get(inject.id)
        yield from _possible(inject, topology) if one is None else _answer(inject, one)
        yield "      expected"
        yield from _listed(inject.expected, "        - ")
        yield "      watch for"
        yield from _listed(inject.watch, "        - ")
        yield "      hints"
        target = one.target if one else "{target}"
        hints = (f"{hint.text.format(target=target)} ({hint.price} points)" for hint in inject.hints)
        yield from _listed(hints, "        - ")
        if inject.stop_when:
            yield f"      stop when {'; '.join(map(str, inject.stop_when))}"


def _replay(game: Game, inject: Inject) -> str:
    well = f"the objectives have to hold for {length(game.stays_well_for)} after the mitigation"
    if inject.replay is None:
        return f"none; {well}"
    return f"the trigger comes again for {length(inject.replay)}; {well}"


def _possible(inject: Inject, topology: Topology) -> Iterator[str]:
    yield f"      one of    {possibilities(inject, games.targets(topology))} possibilities"
    yield from _listed((_variant(variant) for variant in inject.variants), "        - ")
    yield "      decoy     one of"
    yield from _listed((decoy.says for decoy in inject.decoys), "        - ")


def _variant(variant: Variant) -> str:
    return f"{variant.mechanism}: {', '.join(map(described, variant.faults))}"


def _answer(inject: Inject, drawn: Drawn) -> Iterator[str]:
    yield f"      drawn     {', '.join(map(described, drawn.faults))}"
    if inject.when.spread:
        yield f"      begins    {clock(drawn.later_s)} later than at the earliest"
    yield "      answer"
    yield from _listed((f"{' or '.join(drawn.components)}: {drawn.mechanism}",), "        ")
    yield "      symptoms"
    yield from _listed((inject.variants[drawn.variant].symptoms,), "        ")
    yield f"      decoy     sent {clock(drawn.decoy_after_s)} after the inject"
    yield from _listed((inject.decoys[drawn.decoy].says,), "        ")


def _score(game: Game) -> Iterator[str]:
    par = dict(game.par)
    for part, points in game.weights:
        within = f", all of them within {length(par[part])}" if part in par else ""
        yield f"  {part.replace('_', ' ')}: {points} of {POINTS} points{within}"


def _listed(texts: Iterable[str], mark: str = "  ") -> Iterator[str]:
    yield from (f"{mark}{_folded(one)}" for one in texts)


def _folded(words: str) -> str:
    """On one line: what a file says in several."""
    return " ".join(words.split())
