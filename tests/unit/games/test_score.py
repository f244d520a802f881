"""The score of a game from hand-made events: who plays well, who restarts everything, who does nothing; and each rule
in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.evidence.record import Event
from harness.judge.games import diagnosis, mitigation, score, times
from harness.judge.games.score import InjectScore, Part
from harness.model.game import Game, Inject
from harness.model.sealed import Drawn, Sealed
from harness.model.topology import Topology
from harness.plan import games
from stack.stacks.vllm_haproxy import STACK

#: How far apart the teams are, in points of 100.
WELL_ABOVE_RESTARTS, RESTARTS_ABOVE_IDLE = 40.0, 5.0


def loaded(name: str) -> tuple[Game, Sealed]:
    """A shipped game and one of its draws."""
    game = games.load(games.find(name))
    return game, games.drawn(game, Topology(STACK), 11)


def slo(game: Game, at_s: float, kept: bool) -> list[Event]:
    """Every objective is missed, or kept, from then on."""
    return [Event(at_s, "slo", {"name": one.name, "kept": kept}) for one in game.slos]


def said(at_s: float, what: str, **data: Any) -> Event:
    """The players' word."""
    return Event(at_s, "said", {"what": what, **data})


def told(at_s: float, drawn: Drawn, since_s: float, **other: str) -> Event:
    """A diagnosis: the right one, but for ``other``."""
    answer = {"component": drawn.components[0], "mechanism": drawn.mechanism, **other}
    return said(at_s, "diagnosed", **answer, since_s=since_s)


def broken(game: Game, inject: Inject, at_s: float) -> list[Event]:
    """What everybody sees: it begins, it has its effect, users feel it, an alert comes."""
    return [
        Event(at_s, "inject_begun", {"inject": inject.id}),
        Event(at_s + 3, "inject_proven", {"inject": inject.id}),
        *slo(game, at_s + 15, False),
        Event(at_s + 20, "alert_fired", {"alert": "ReplicaDown"}),
    ]


def healed(inject: Inject, at_s: float) -> Event:
    """It is over."""
    return Event(at_s, "inject_over", {"inject": inject.id})


def replayed(game: Game, inject: Inject, at_s: float) -> list[Event]:
    """The trigger comes again, where it does."""
    if inject.replay is None:
        return []
    moments = {"replay_begun": at_s, "replay_over": at_s + inject.replay}
    return [Event(at, kind, {"inject": inject.id}) for kind, at in moments.items()]


def well(game: Game, inject: Inject, drawn: Drawn, at_s: float) -> list[Event]:
    """Found, acknowledged, diagnosed, mitigated within par; it stays well."""
    par, over_s = game.par, at_s + game.par.mitigated + game.stays_well_for + 5
    return [
        *broken(game, inject, at_s),
        said(at_s + 40, "found"),
        said(at_s + 50, "acknowledged"),
        *(said(at_s + after_s, "status") for after_s in range(60, int(par.mitigated), int(game.status_every) - 60)),
        told(at_s + par.diagnosed - 1, drawn, at_s),
        Event(at_s + par.diagnosed, "ops", {"verb": "restart"}),
        *slo(game, at_s + par.mitigated - 1, True),
        *replayed(game, inject, at_s + par.mitigated),
        healed(inject, over_s),
    ]


def restarts(game: Game, inject: Inject, drawn: Drawn, at_s: float) -> list[Event]:
    """All replicas in turn, without a diagnosis; for a while users are well, and then no more."""
    over_s = at_s + inject.lasts_at_most
    return [
        *broken(game, inject, at_s),
        said(at_s + 60, "acknowledged"),
        *(Event(at_s + 70 + 60 * n, "ops", {"verb": "restart"}) for n in range(4)),
        told(at_s + 280, drawn, at_s, mechanism="who knows"),
        *slo(game, over_s - 90, True),
        *slo(game, over_s - 70, False),
        healed(inject, over_s),
        *slo(game, over_s + 10, True),
    ]


def idle(game: Game, inject: Inject, drawn: Drawn, at_s: float) -> list[Event]:
    """Nobody does anything until it is healed."""
    over_s = at_s + inject.lasts_at_most
    return [*broken(game, inject, at_s), healed(inject, over_s), *slo(game, over_s + 10, True)]


def played(team: Any, game: Game, sealed: Sealed) -> list[Event]:
    """The whole game by one team, in order."""
    events, at_s = slo(game, 0.0, True), 300.0
    for inject, drawn in zip(game.injects, sealed.injects, strict=True):
        events += team(game, inject, drawn, at_s)
        at_s = events[-1].t_s + 60
    return sorted(events, key=lambda event: event.t_s)


def part(one: InjectScore, name: str) -> Part:
    """That part of its score."""
    return next(part for part in one.parts if part.name == name)


@pytest.mark.parametrize("name", games.names())
def test_teams_are_ordered(name: str) -> None:
    """Well above restart-everything above idle, in each shipped game; nobody but the first stays well."""
    game, sealed = loaded(name)
    scores = {team: score.of(game, sealed, played(team, game, sealed)) for team in (well, restarts, idle)}
    points = [one.points for one in scores.values()]
    assert None not in points
    assert points[0] == pytest.approx(100.0)
    assert (points[0] or 0) - (points[1] or 0) > WELL_ABOVE_RESTARTS
    assert (points[1] or 0) - (points[2] or 0) > RESTARTS_ABOVE_IDLE
    for one in scores[idle].injects:
        assert [part(one, name).points for name in ("mitigated", "stays_well", "diagnosed")] == [0.0, 0.0, 0.0]
        assert one.points == 0.0
    for one in scores[restarts].injects:
        assert part(one, "stays_well").points == 0.0
        assert (part(one, "mitigated").points or 0) > 0
    for one in scores[well].injects:
        assert sum(each.of for each in one.parts) == 100


@pytest.fixture
def night() -> tuple[Game, Inject, Drawn]:
    """A game whose first inject is played, and what is drawn of that."""
    game, sealed = loaded("bad-night")
    return game, game.injects[0], sealed.injects[0]


def scored(game: Game, drawn: Sequence[Drawn], events: Sequence[Event]) -> InjectScore:
    """Of the first inject alone."""
    one = game.model_copy(update={"injects": game.injects[: len(drawn)]})
    ordered = sorted([*slo(game, 0.0, True), *events], key=lambda event: event.t_s)
    return score.of(one, Sealed(game.name, 1, tuple(drawn)), ordered).injects[0]


def test_points_fall_after_par(night: tuple[Game, Inject, Drawn]) -> None:
    """All until par, half in the middle between it and the end of the inject, none then."""
    game, inject, drawn = night
    par, last = game.par.acknowledged, inject.lasts_at_most
    for took_s, share in ((par, 1.0), ((par + last) / 2, 0.5), (last, 0.0)):
        events = [*broken(game, inject, 300), said(300 + took_s, "acknowledged"), healed(inject, 300 + last)]
        found = part(scored(game, [drawn], events), "acknowledged")
        assert found.points == pytest.approx(share * game.weights.acknowledged)


def test_an_alert_that_nobody_takes_up_is_no_detection(night: tuple[Game, Inject, Drawn]) -> None:
    """Once somebody acknowledges it, its time counts, and so does an earlier word."""
    game, inject, drawn = night
    events = [*broken(game, inject, 300), healed(inject, 900)]
    assert part(scored(game, [drawn], events), "detected").points == 0.0
    taken = [*events, said(800, "acknowledged")]
    assert part(scored(game, [drawn], taken), "detected").points == game.weights.detected
    assert times.of(inject.id, taken).detected_s == 320  # type: ignore[union-attr]
    earlier = [*taken, said(310, "found")]
    assert times.of(inject.id, earlier).detected_s == 310  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("other", "since_s", "says"),
    [
        ({}, 300.0, "right"),
        ({}, 420.0, "right"),
        ({}, 421.0, "wrong: since when"),
        ({"component": "dns"}, 300.0, "wrong: component"),
        ({"mechanism": "the customer's own network is slow"}, 300.0, "wrong: mechanism"),
        ({"component": "dns", "mechanism": "x"}, 0.0, "wrong: component, mechanism, since when"),
    ],
)
def test_a_diagnosis_is_right_in_all_its_parts(
    night: tuple[Game, Inject, Drawn], other: dict[str, str], since_s: float, says: str
) -> None:
    """Component, mechanism, and since when within the game's tolerance."""
    game, inject, drawn = night
    events = [*broken(game, inject, 300), told(400, drawn, since_s, **other), healed(inject, 900)]
    found = times.of(inject.id, events)
    assert found is not None
    assert [str(one) for one in diagnosis.of(drawn, found, game.since_within, events)] == [says]
    assert (part(scored(game, [drawn], events), "diagnosed").points == game.weights.diagnosed) is (says == "right")


def test_wrong_answers_halve_the_right_one(night: tuple[Game, Inject, Drawn]) -> None:
    """Those before it; later ones change nothing, and those of another inject neither."""
    game, inject, drawn = night
    wrong = [told(350 + n, drawn, 300, component="dns") for n in range(2)]
    events = [*broken(game, inject, 300), told(400, drawn, 300), healed(inject, 900)]
    full = game.weights.diagnosed
    assert part(scored(game, [drawn], [*events, *wrong]), "diagnosed").points == full / 4
    late = [told(800, drawn, 300, component="dns"), told(200, drawn, 300, component="dns")]
    assert part(scored(game, [drawn], [*events, *late]), "diagnosed").points == full


def test_hints_cost_what_the_file_says(night: tuple[Game, Inject, Drawn]) -> None:
    """Each once, of their own inject alone, and never below nothing."""
    game, inject, drawn = night
    hint = Event(400, "hint", {"inject": inject.id, "hint": 1})
    events = well(game, inject, drawn, 300)
    assert scored(game, [drawn], [*events, hint, hint]).points == 100 - inject.hints[1].price
    other = Event(400, "hint", {"inject": "cancel-storm", "hint": 2})
    assert scored(game, [drawn], [*events, other]).points == 100
    assert scored(game, [drawn], [*idle(game, inject, drawn, 300), hint]).points == 0.0


def test_what_heals_by_itself_is_no_mitigation(night: tuple[Game, Inject, Drawn]) -> None:
    """Users are well again, and players have done nothing to the stack, or only afterwards; or users never felt it."""
    game, inject, drawn = night
    events = [*broken(game, inject, 300), *slo(game, 400, True), healed(inject, 900)]
    assert part(scored(game, [drawn], events), "mitigated") == Part(
        "mitigated", 0.0, game.weights.mitigated, mitigation.NOTHING_DONE
    )
    for too_early_or_late_s in (312, 500):  # before the objectives were missed, and after they were kept again
        other = [*events, Event(too_early_or_late_s, "ops", {"verb": "restart"})]
        assert part(scored(game, [drawn], other), "mitigated").why == mitigation.NOT_AGAIN
    early = [*events, Event(390, "ops", {"verb": "restart"})]
    assert part(scored(game, [drawn], early), "mitigated").points == game.weights.mitigated
    unfelt = [event for event in early if event.kind != "slo"]
    assert part(scored(game, [drawn], unfelt), "mitigated").points is None
    assert "users never felt it" in part(scored(game, [drawn], unfelt), "stays_well").why


def test_what_was_not_watched_is_no_value(night: tuple[Game, Inject, Drawn]) -> None:
    """An objective without a look before the inject, or missed before it, says nothing of a mitigation."""
    game, inject, drawn = night
    found = times.of(inject.id, events := well(game, inject, drawn, 300))
    assert found is not None
    assert mitigation.of(game, inject, found, events).why == "the objectives were not watched before it began"
    assert mitigation.of(game, inject, found, [*slo(game, 0, False), *events]).why.startswith("an objective was missed")
    one_only = [slo(game, 0, True)[0], *events]
    assert mitigation.of(game, inject, found, one_only).why == "the objectives were not watched before it began"
    assert mitigation.of(game, inject, found, [*slo(game, 0, True), *events]).stays_well is True


def test_staying_well_takes_time_and_the_trigger() -> None:
    """It is False where an objective is missed again, None where it was healed too soon or the trigger did not come."""
    game, sealed = loaded("bad-night")
    inject, drawn = game.injects[1], sealed.injects[1]
    assert inject.replay
    events = [*slo(game, 0, True), *well(game, inject, drawn, 300)]
    found = times.of(inject.id, events)
    assert found is not None
    assert mitigation.of(game, inject, found, events).stays_well is True
    without = [event for event in events if not event.kind.startswith("replay")]
    assert mitigation.of(game, inject, found, without).stays_well is None
    assert "did not come again" in mitigation.of(game, inject, found, without).why
    again_s = 300 + game.par.mitigated + 30
    missed = sorted([*events, *slo(game, again_s, False)], key=lambda event: event.t_s)
    assert mitigation.of(game, inject, found, missed).stays_well is False
    short = [e if e.kind != "inject_over" else healed(inject, again_s) for e in events]
    soon = times.of(inject.id, short)
    assert soon is not None
    assert mitigation.of(game, inject, soon, short).stays_well is None


def test_a_second_try_counts_by_its_own_time(night: tuple[Game, Inject, Drawn]) -> None:
    """What did not last is no mitigation where a later one did; where none did, the last is what there is."""
    game, inject, _ = night
    begun = [*slo(game, 0, True), *broken(game, inject, 300)]
    first = [Event(330, "ops", {"verb": "restart"}), *slo(game, 340, True), *slo(game, 360, False)]
    second = [Event(500, "ops", {"verb": "drain"}), *slo(game, 520, True)]
    lasting, failed = [*begun, *first, *second, healed(inject, 900)], [*begun, *first, healed(inject, 900)]
    found = times.of(inject.id, lasting)
    assert found is not None
    last = mitigation.of(game, inject, found, lasting)
    assert (last.broken_s, last.at_s, last.stays_well) == (315, 520, True)
    assert "missed again 20 s after" in (none := mitigation.of(game, inject, found, failed)).why
    assert (none.at_s, none.stays_well) == (340, False)


def test_users_want_to_hear_in_time(night: tuple[Game, Inject, Drawn]) -> None:
    """No message earns nothing; one in time all; a long silence its share; one after the end is none."""
    game, inject, drawn = night
    of, every_s = game.weights.communicated, game.status_every
    until_s = 300 + inject.lasts_at_most
    base = [*broken(game, inject, 300), healed(inject, until_s)]

    def points(*at_s: float) -> float | None:
        return part(scored(game, [drawn], [*base, *(said(at, "status") for at in at_s)]), "communicated").points

    assert points() == 0.0
    assert points(until_s + 1) == 0.0
    assert points(300 + every_s, until_s - 1) == of
    silent_s = inject.lasts_at_most - every_s - 10
    assert points(310) == pytest.approx(of * (1 - silent_s / inject.lasts_at_most))


@pytest.mark.parametrize("kind", ["interrupted", "game_stopped", "aborted", "stop_condition", "inject_stopped"])
def test_what_was_cut_short_has_no_score(night: tuple[Game, Inject, Drawn], kind: str) -> None:
    """Who was stopped after a minute did not fail to mend it; what came after its end changes nothing."""
    game, inject, drawn = night
    events = idle(game, inject, drawn, 300)
    assert scored(game, [drawn], [*events, Event(360, kind, {"inject": inject.id})]).points is None
    after_s = 300 + inject.lasts_at_most + 5
    assert scored(game, [drawn], [*events, Event(after_s, kind, {"inject": inject.id})]).points == 0
    if kind == "inject_stopped":
        assert scored(game, [drawn], [*events, Event(360, kind, {"inject": "another"})]).points == 0


def test_an_inject_without_effect_has_no_score(night: tuple[Game, Inject, Drawn]) -> None:
    """Nor has one that never began; the game's score is the mean of the others, and none without any."""
    game, sealed = loaded("bad-night")
    events = played(well, game, sealed)
    first, second = game.injects[0].id, game.injects[1].id
    left = [e for e in events if not (e.kind == "inject_proven" and e.data["inject"] == first)]
    left = [e for e in left if e.data.get("inject") != second]
    found = score.of(game, sealed, left)
    assert [one.unscored for one in found.injects] == ["its effect was not proven", "it never began", ""]
    assert found.injects[0].points is None
    assert found.points == pytest.approx(100.0)
    assert score.of(game, sealed, slo(game, 0, True)).points is None
