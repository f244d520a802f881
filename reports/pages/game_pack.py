"""What people hold in their hands on a game day: the facilitator pack and the player brief, as pages to print.

Both are made from the game's file alone. The brief has nothing of the injects; the pack has all of them, and nothing
of what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from harness.evidence.record import replacing
from harness.model.game import POINTS, Game, Inject, Role, Variant, begins, clock, described, length, windows
from reports import panel

#: What each expected action and each objective is given by an observer: performed, with some challenges, with major
#: challenges, unable to be performed.
RATINGS = ("P", "S", "M", "U")


def write(game: Game, folder: Path) -> list[Path]:
    """Write both pages into the folder, which is made. RecordError when that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"facilitator-pack": facilitator_pack(game), "player-brief": player_brief(game)}
    written = []
    for kind, page in pages.items():
        path = folder / f"{game.name}-{kind}.html"
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
        written.append(path)
    return written


def facilitator_pack(game: Game) -> str:
    """The page for those who run the game."""
    return page(
        "game_pack.html.j2",
        game,
        schedule=panel.table(("from", "to", "what", "at (clock)"), _schedule(game)),
        roles=panel.table(("role", "side", "duty", "name"), map(_role, game.roles)),
        events=panel.table(("inject", "begins", "between", "lasts at most", "over by"), _events(game)),
        injects=[(inject, _inject(game, inject)) for inject in game.injects],
        objectives=rated(game.objectives, "objective"),
        score=_score(game),
    )


def player_brief(game: Game) -> str:
    """The page for those who play. It knows the game's frame alone."""
    roles = ((_people(role), role.duty) for role in game.of_side("players"))
    return page(
        "player_brief.html.j2",
        game,
        roles=panel.table(("role", "duty"), roles),
        slos=panel.table(("objective", "indicator", "limit", "held for"), _slos(game)),
        score=_score(game),
    )


def page(template: str, game: Game, **parts: object) -> str:
    """A page about a game, from a template of reports/templates/."""
    style = "".join((panel.TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "game.css"))
    stoppers = [role.name for role in game.roles if role.may_stop]
    return panel.template(template).render(game=game, stoppers=stoppers, length=length, style=Markup(style), **parts)


def _people(role: Role) -> str:
    return role.name if role.how_many == 1 else f"{role.how_many} × {role.name}"


def _role(role: Role) -> tuple[object, ...]:
    side = f"{role.side}, may stop the game" if role.may_stop else role.side
    return _people(role), side, role.duty, _blank()


def _schedule(game: Game) -> Iterator[tuple[object, ...]]:
    """Rows of minutes before and after the start of the game, and what is done in them."""
    around, begin = game.around, -(game.around.set_up + game.around.briefing)
    parts = (
        (around.set_up, "Set-up: room, screens, stack, roles. Players are not there."),
        (around.briefing, "Briefing: the brief is read aloud, roles are given, the word that stops the game is tried."),
        (game.lasts, "Game: injects by the master event list below."),
        (around.hot_wash, "Hot wash: everybody, at once, before anybody looks at the score."),
    )
    for lasts, what in parts:
        yield _minutes(begin), _minutes(begin + lasts), what, _blank()
        begin += lasts


def _minutes(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{abs(seconds) / 60:.3g} min" if seconds else "start"


def _events(game: Game) -> Iterator[tuple[str, ...]]:
    for inject in game.injects:
        window = windows(game)[inject.id]
        between = f"{clock(window.earliest_s)} and {clock(window.latest_s)}"
        yield inject.id, begins(inject.when), between, length(inject.lasts_at_most), clock(window.over_s)


def _slos(game: Game) -> Iterator[tuple[str, ...]]:
    yield from ((slo.name, slo.sli, slo.objective, length(slo.hold)) for slo in game.slos)


def _score(game: Game) -> Markup:
    par = dict(game.par)
    within = {
        **{part: f"all of them within {length(seconds)}, later fewer" for part, seconds in par.items()},
        "stays_well": f"the objectives hold for {length(game.stays_well_for)} after the mitigation",
        "communicated": f"while something is wrong, users hear at least every {length(game.status_every)}",
    }
    rows = [(part.replace("_", " "), f"{points} of {POINTS}", within[part]) for part, points in game.weights]
    return panel.table(("part", "points", "for"), rows)


def _inject(game: Game, inject: Inject) -> dict[str, Markup]:
    """Heading → what the pack says of it."""
    well = f"The objectives have to hold for {length(game.stays_well_for)} after the mitigation."
    replay = "" if inject.replay is None else f"The trigger comes again for {length(inject.replay)} then. "
    parts = {
        "What may happen (one is drawn)": panel.table(
            ("mechanism", "what is done", "symptoms"), map(_variant, inject.variants)
        ),
        "Decoys (one is sent)": panel.table(
            ("message", "suggests"), ((decoy.says, decoy.mechanism) for decoy in inject.decoys)
        ),
        "Expected actions": rated(inject.expected, "action"),
        "Watch for": _items(inject.watch),
        "Hints, in this order": panel.table(
            ("hint", "price", "given at"), ((hint.text, f"{hint.price} points", _blank()) for hint in inject.hints)
        ),
        "After the mitigation": Markup("<p>{}{}</p>").format(replay, well),
    }
    if inject.stop_when:
        parts["Stop the game when"] = _items(map(str, inject.stop_when))
    return parts


def _variant(variant: Variant) -> tuple[str, str, str]:
    return variant.mechanism, "; ".join(map(described, variant.faults)), variant.symptoms


def rated(texts: Sequence[str], what: str) -> Markup:
    """A table to fill in: what was seen, when, and how well it went."""
    box = Markup('<span class="box"></span>')
    boxes = Markup(" ").join(Markup("{} {}").format(box, rating) for rating in RATINGS)
    return panel.table((what, "seen at", "rating"), ((text, _blank(), boxes) for text in texts), "rated")


def _items(texts: Iterable[str]) -> Markup:
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(text) for text in texts))


def _blank() -> Markup:
    """A place to write by hand."""
    return Markup('<span class="write"></span>')
