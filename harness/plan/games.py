"""From a game's YAML file to a ``Game`` that can be played, or to one line with file:line. Nothing is drawn here."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.faults import base as faults
from harness.judge import drill
from harness.model.errors import ScenarioError, UsageError, did_you_mean
from harness.model.game import ACTS, POINTS, TARGET, Game, Inject, Variant, When, Window, window
from harness.model.scenario import short
from harness.model.sealed import Sealed, Targets, candidates, draw, possibilities
from harness.model.topology import Topology
from harness.plan import loading
from stack import stacks

GAMES = drill.SCENARIOS / "games"
#: So long players see the service well before anything breaks: who has not seen what is usual finds no change.
QUIET_S = 60.0

Problem = tuple[tuple[Any, ...], str]


def names() -> list[str]:
    """The names of all games, sorted: one per file in scenarios/games/."""
    return sorted(path.stem for path in GAMES.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of the game called ``name``, or the file that was named. UsageError when no game is called so."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    if name not in names():
        hint = f"{did_you_mean(name, names())} Known games: {', '.join(names())}".lstrip()
        raise UsageError(f"there is no game {name!r}: {hint}")
    return GAMES / f"{name}.yaml"


def load(path: Path, topology: Topology | None = None) -> Game:
    """The game in ``path``, as it can be played on that stack. ScenarioError for anything wrong with it."""
    game, line = loading.strict(path, Game)
    for location, problem in _problems(game, topology or Topology(stacks.find(stacks.DEFAULT))):
        raise ScenarioError(path, line(location), problem)
    return game


def targets(topology: Topology) -> Targets:
    """What each fault may be put on, in that stack."""
    return partial(_targets, topology)


def _targets(topology: Topology, type_name: str, on: str) -> list[str]:
    return faults.matching(type_name, on, topology)


def drawn(game: Game, topology: Topology, seed: int) -> Sealed:
    """The game's answers for that seed, on that stack."""
    return draw(game, targets(topology), seed)


def _problems(game: Game, topology: Topology) -> Iterator[Problem]:
    """Everything that is wrong although each value alone is right, first things first."""
    yield from _twice([role.name for role in game.roles], ("roles",), "roles are")
    yield from _twice([slo.name for slo in game.slos], ("slos",), "objectives are")
    yield from _twice([inject.id for inject in game.injects], ("injects",), "injects are")
    yield from _side_problems(game)
    if game.weights.total != POINTS:
        yield ("weights",), f"weights: found {game.weights.total} points in all, expected {POINTS}"
    yield from loading.load_problems(game.load, topology)
    yield from loading.watch_problems(game.slos, ("slos",))
    yield from loading.watch_problems(game.stop_when, ("stop_when",))
    for i, inject in enumerate(game.injects):
        for place, problem in _inject_problems(game, inject, topology):
            yield ("injects", i, *place), f"inject {inject.id!r}: {problem}"
    yield from _timeline_problems(game)
    yield from _leak_problems(game, topology)


def _twice(found: Sequence[str], place: tuple[Any, ...], what: str) -> Iterator[Problem]:
    for i, name in enumerate(found):
        if name in found[:i]:
            yield (*place, i), f"two {what} called {short(name)}"


def _side_problems(game: Game) -> Iterator[Problem]:
    for side in ("players", "control"):
        if not game.of_side(side):
            yield ("roles",), f"roles: found none of side {side}, expected at least one"
    if not any(role.may_stop for role in game.roles):
        yield ("roles",), "roles: no role may stop the game; give one `may_stop: true`"


# ── the timeline ──


def _timeline_problems(game: Game) -> Iterator[Problem]:
    before: dict[str, Window] = {}
    for i, inject in enumerate(game.injects):
        for place, problem in _when_problems(game, inject.when, before):
            yield ("injects", i, "when", *place), f"inject {inject.id!r}: {problem}"
            return  # what follows counts from it
        before[inject.id] = found = window(game, inject, before)
        if found.earliest_s < QUIET_S:
            yield (
                ("injects", i, "when"),
                f"inject {inject.id!r}: it may begin after {found.earliest_s:g} s, expected {QUIET_S:g} s at least, in "
                "which players see what is usual",
            )
    last, end = list(before.items())[-1]
    if end.over_s > game.lasts:
        yield (
            ("lasts",),
            f"lasts: found {game.lasts:g} s, but inject {last!r} may be over only after {end.over_s:g} s "
            f"(it begins by {end.latest_s:g} s, lasts, and is watched for {game.stays_well_for:g} s)",
        )


def _when_problems(game: Game, when: When, before: Mapping[str, Window]) -> Iterator[Problem]:
    """Of one inject, what its ``when`` says that cannot be."""
    said = [name for name in ("at", "after", "on") if getattr(when, name) is not None]
    if len(said) != 1:
        yield (), f"found {' and '.join(said) or 'none'} of at, after and on, expected one of them"
        return
    if when.at is not None and when.delay:
        yield ("delay",), "delay is of `after` and `on`; with `at` add it to the time"
    if when.on is None and when.at_most is not None:
        yield ("at_most",), "at_most is of `on`: it bounds how long players are waited for"
    if when.on is not None and when.at_most is None:
        yield ("on",), "at_most is missing: players may never do that"
    if when.on is not None and when.on not in ACTS:
        hint = did_you_mean(when.on, ACTS) or f"expected one of {', '.join(ACTS)}"
        yield ("on",), f"no player can do {short(when.on)}; {hint}"
    if when.after is not None:
        yield from _after_problems(game, when.after, before)
    name, over_s = _last(before)
    for key in ("at", "at_most"):
        at_s = getattr(when, key)
        if at_s is not None and at_s < over_s:
            yield (
                (key,),
                f"it would begin at {at_s:g} s, but {name!r} may be over only after {over_s:g} s: two at "
                "once cannot be scored apart",
            )


def _last(before: Mapping[str, Window]) -> tuple[str, float]:
    """The inject before, and when it is over."""
    found = [(name, one.over_s) for name, one in before.items()]
    return found[-1] if found else ("", 0.0)


def _after_problems(game: Game, after: str, before: Mapping[str, Window]) -> Iterator[Problem]:
    every = [inject.id for inject in game.injects]
    if after not in every:
        hint = did_you_mean(after, every) or f"injects are {', '.join(every)}"
        yield ("after",), f"after: there is no inject {short(after)}; {hint}"
    elif after not in before:
        yield ("after",), f"after: {after!r} does not stand before it"


# ── one inject ──


def _inject_problems(game: Game, inject: Inject, topology: Topology) -> Iterator[Problem]:
    known = True
    for i, variant in enumerate(inject.variants):
        for j, spec in enumerate(variant.faults):
            for problem in loading.spec_problems(("variants", i, "faults", j), spec, topology):
                known = False
                yield problem
        yield from _where_problems(variant, ("variants", i, "where"), topology)
    if known:
        yield from _draw_problems(inject, topology)
    yield from loading.watch_problems(inject.stop_when, ("stop_when",))
    yield from _decoy_problems(inject)
    yield from _hint_problems(inject)
    if inject.replay is not None and inject.replay > game.stays_well_for:
        limit = f"stays_well_for, which is {game.stays_well_for:g} s"
        yield ("replay",), f"replay: found {inject.replay:g} s, expected no more than {limit}"
    for part, par_s in game.par:
        if par_s > inject.lasts_at_most:
            lasts = f"the inject lasts {inject.lasts_at_most:g} s at most"
            yield ("lasts_at_most",), f"{lasts}, but par.{part} gives all points until {par_s:g} s"


def _where_problems(variant: Variant, place: tuple[Any, ...], topology: Topology) -> Iterator[Problem]:
    ons = [fault.on for fault in variant.faults]
    known = [*ons, *(one.name for one in topology.components), *(one.name for one in topology.links)]
    for i, name in enumerate(variant.where):
        if name not in known:
            hint = did_you_mean(name, known) or f"expected some of {', '.join(dict.fromkeys(known))}"
            yield (*place, i), f"where: no fault of it is on {short(name)}, and nothing is called so; {hint}"


def _draw_problems(inject: Inject, topology: Topology) -> Iterator[Problem]:
    of_stack = targets(topology)
    for i, variant in enumerate(inject.variants):
        for on, names in candidates(variant, of_stack).items():
            if not names:
                types = " and ".join(one.type for one in variant.faults if one.on == on)
                yield ("variants", i), f"{types} have no target in common among {short(on)}"
                return
    if possibilities(inject, of_stack) < 2:
        yield (
            ("variants",),
            "whoever has read the file knows the answer; give it a second variant, or a target with `*`",
        )


def _decoy_problems(inject: Inject) -> Iterator[Problem]:
    true = [variant.mechanism for variant in inject.variants]
    for i, decoy in enumerate(inject.decoys):
        if decoy.mechanism in true:
            yield ("decoys", i, "mechanism"), f"a decoy is no variant's mechanism, found {short(decoy.mechanism)}"
        if decoy.delay + decoy.spread >= inject.lasts_at_most:
            sent = f"sent up to {decoy.delay + decoy.spread:g} s after the inject"
            yield ("decoys", i), f"a decoy is {sent}, which lasts {inject.lasts_at_most:g} s at most"


def _hint_problems(inject: Inject) -> Iterator[Problem]:
    for i, hint in enumerate(inject.hints):
        if problem := _unknown_place(hint.text):
            yield ("hints", i, "text"), problem
        if i and hint.price < inject.hints[i - 1].price:
            yield ("hints", i, "price"), "a hint is cheaper than the one before it"
    if (total := sum(hint.price for hint in inject.hints)) > POINTS:
        yield ("hints",), f"all hints cost {total} points, more than the {POINTS} that an inject is worth"


def _unknown_place(text: str) -> str | None:
    """What is wrong with the braces in a hint."""
    try:
        found = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text)]
    except ValueError as error:
        return f"hint {short(text)}: {error}"
    wrong = [name for name, spec, conversion in found if name not in (None, TARGET) or spec or conversion]
    return f"hint {short(text)}: only {{{TARGET}}} is put in, found {short(wrong[0])}" if wrong else None


# ── what players read ──


def _leak_problems(game: Game, topology: Topology) -> Iterator[Problem]:
    """A name of an inject, of what it breaks or of how, where players read it."""
    read: dict[tuple[Any, ...], str] = {
        ("title",): game.title,
        ("briefing",): game.briefing,
        **{("objectives", i): text for i, text in enumerate(game.objectives)},
        **{("slos", i, "name"): slo.name for i, slo in enumerate(game.slos)},
        **{("roles", i, "duty"): role.duty for i, role in enumerate(game.roles) if role.side == "players"},
    }
    secrets = _secrets(game, topology)
    for place, text in read.items():
        for secret in secrets:
            if re.search(rf"(?<![\w-]){re.escape(secret.lower())}(?![\w-])", " ".join(text.lower().split())):
                yield place, f"{place[0]}: players read it, and it names {short(secret)}, which is part of an inject"


def _secrets(game: Game, topology: Topology) -> list[str]:
    """What would give an inject away: ids, mechanisms, and all that may be drawn as a target."""
    of_stack = targets(topology)
    found: list[str] = []
    for inject in game.injects:
        found.append(inject.id)
        for variant in inject.variants:
            found.append(variant.mechanism)
            found += [name for names in candidates(variant, of_stack).values() for name in names]
    return list(dict.fromkeys(found))
