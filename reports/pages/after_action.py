"""The after-action report of a game day: what happened, how long each step took, the score, and what people decide.

It is made from the records of the game alone. What only people can judge is a blank to be filled in by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import ValidationError

from harness.evidence.record import Event, RunFolder, replacing
from harness.evidence.view import RunView
from harness.judge.games import times as moments
from harness.model.errors import RunFolderError
from harness.model.game import POINTS, Game, clock, length
from reports import panel
from reports.pages import game_pack

FILE = "after-action.html"
#: The phase of a game on its session; the clock of the game is 0 when it starts.
_PHASE = "game"
_NOBODY = "the stack"
#: Of the timeline: people can send thousands of messages of thousands of characters, and a page is 2 MB at most.
ROWS_MAX, CHARS_MAX = 1_200, 200


def write(folder: RunFolder) -> Path:
    """Write the report into the folder of the game; its path.

    RunFolderError where the folder is of no game, RecordError when the report cannot be written.
    """
    path = folder.path / FILE
    text = page(folder)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page(folder: RunFolder) -> str:
    """The report as HTML. RunFolderError where the records are not those of a game."""
    plan = folder.plan()
    if not isinstance(plan.get("game"), dict):
        raise RunFolderError(f"{folder.path}: found a run without a game, expected the folder of a game day")
    try:
        game = Game.stored(plan["game"])
    except ValidationError as error:
        what = f"{error.error_count()} values of its game cannot be read"
        raise RunFolderError(f"{folder.path / 'plan.json'}: {what}, expected what this version writes") from error
    events = sorted(folder.events(), key=lambda event: event.t_s)
    zero_s = _zero_s(events)
    return game_pack.page(
        "after_action.html.j2",
        game,
        run=folder.path.name,
        plan=plan,
        ended=_ended(events),
        points=_points(folder),
        score=_score(folder),
        gaps=panel.table(_GAPS, _gaps(game, events)),
        timeline=panel.table(("clock", "what", "of", "source"), _timeline(game, events, zero_s)),
        stack=panel.table(("what the stack did", "requests"), _of_stack(RunView(folder))),
        observed=game_pack.rated(game.objectives, "objective"),
        roles=game_pack.rated([f"{role.name}: {role.duty}" for role in game.of_side("players")], "role"),
        actions=[(inject, game_pack.rated(inject.expected, "expected action")) for inject in game.injects],
        healed=panel.table(("clock", "what", "of", "source"), _healed(events, zero_s)),
        draw=_draw(folder),
    )


def _zero_s(events: Sequence[Event]) -> float | None:
    """The start of the game's clock; None for a game that never began."""
    return moments.first(events, "phase_started", lambda data: data["phase"] == _PHASE)


def _ended(events: Sequence[Event]) -> str:
    """What ended it before its time; "" for a game that was played to its end."""
    for event in events:
        if event.kind == "game_stopped":
            return "whoever ran the game stopped it"
        if event.kind in moments.CUTS:
            return str(event.data.get("why") or event.data.get("signal") or "it was stopped")
    return ""


def _read(folder: RunFolder, name: str) -> dict[str, Any] | None:
    """One of the documents that a game leaves at its end; None where it was killed before."""
    try:
        return folder.read_json(name)
    except RunFolderError:
        return None


def _points(folder: RunFolder) -> str:
    found = (_read(folder, "score.json") or {}).get("points")
    return "none" if found is None else f"{found:.0f} of {POINTS}"


def _score(folder: RunFolder) -> Markup:
    """A row for each part of each inject, with its reason."""
    rows: list[tuple[object, ...]] = []
    for one in (_read(folder, "score.json") or {}).get("injects", ()):
        if one["unscored"]:
            rows.append((one["inject"], "no score", None, one["unscored"]))
            continue
        for part in one["parts"]:
            points = None if part["points"] is None else f"{part['points']:.0f} of {part['of']}"
            rows.append((one["inject"], part["name"].replace("_", " "), points, part["why"]))
        rows.append((one["inject"], "hints", f"−{one['hints']}", "as priced in the game's file"))
    return panel.table(("inject", "part", "points", "why"), rows)


_GAPS = ("inject", "alert", "found", "acknowledged", "users well", "over")


def _gaps(game: Game, events: Sequence[Event]) -> Iterator[tuple[object, ...]]:
    """How long after its beginning each step of an inject came; None for what did not happen."""
    for inject in game.injects:
        times = moments.of(inject.id, events)
        if times is None:
            yield (inject.id, *["never began"] * 5)
            continue
        begun_s = times.begun_s
        mitigated_s = moments.first([one for one in events if one.data.get("inject") == inject.id], "mitigated")
        steps = (times.alerted_s, times.found_s, times.acknowledged_s, mitigated_s, times.over_s)
        yield (inject.id, *("never" if at is None else length(at - begun_s) for at in steps))


def _of_inject(text: str) -> Callable[[Game, Event], tuple[str, str]]:
    return lambda game, event: (text, str(event.data.get("inject", "")))


def _said(game: Game, event: Event) -> tuple[str, str]:
    data = event.data
    if data["what"] == "diagnosed":
        return f"diagnosis: {data['component']}: {data['mechanism']}", str(data.get("who", ""))
    text = f": {_short(data['text'])}" if data.get("text") else ""
    return f"said «{data['what']}»{text}", str(data.get("who", ""))


def _operated(game: Game, event: Event) -> tuple[str, str]:
    data = event.data
    what = " ".join(str(data[key]) for key in ("verb", "component", "value") if data.get(key))
    outcome = data.get("outcome") or data.get("why") or ""
    refused = {"ops_refused": "refused: ", "ops_failed": "failed: "}.get(event.kind, "")
    return f"{what}: {refused}{outcome}", str(data.get("who", ""))


def _alert(game: Game, event: Event) -> tuple[str, str]:
    labels = event.data.get("labels") or {}
    of = labels.get("server") or labels.get("component") or labels.get("instance") or ""
    word = "fires" if event.kind == "alert_fired" else "clears"
    return f"alert {event.data['alert']} {word}", str(of)


def _slo(game: Game, event: Event) -> tuple[str, str]:
    value = event.data.get("value")
    unit = next((slo.objective for slo in game.slos if slo.name == event.data["name"]), "")
    seen = "" if value is None else f" ({panel.number(float(value))}; objective {unit})"
    return f"users: {event.data['name']} is {'kept' if event.data['kept'] else 'missed'}{seen}", "load"


def _proof(game: Game, event: Event) -> tuple[str, str]:
    return f"proven: {event.data.get('why', '')}", str(event.data.get("fault", ""))


def _decoy(game: Game, event: Event) -> tuple[str, str]:
    inject = next(one for one in game.injects if one.id == event.data["inject"])
    return f"decoy: {inject.decoys[event.data['decoy']].says}", inject.id


def _hint(game: Game, event: Event) -> tuple[str, str]:
    return f"hint {event.data['hint'] + 1} was bought", str(event.data.get("who", ""))


def _plain(text: str) -> Callable[[Game, Event], tuple[str, str]]:
    return lambda game, event: (
        text.format(why=event.data.get("why") or event.data.get("text") or event.data.get("signal") or ""),
        "",
    )


#: Kind of event → what the timeline says of it, and of whom.
_TOLD: Mapping[str, Callable[[Game, Event], tuple[str, str]]] = {
    "inject_due": _of_inject("due, and not begun"),
    "inject_skipped": _of_inject("left out"),
    "inject_begun": _of_inject("the inject begins"),
    "fault_proven": _proof,
    "inject_unproven": _of_inject("its effect was not proven"),
    "inject_failed": _of_inject("could not be injected"),
    "inject_stopped": _of_inject("stopped"),
    "users_hit": _of_inject("users are hit"),
    "mitigated": _of_inject("users are well again"),
    "replay_begun": _of_inject("the trigger comes again"),
    "replay_over": _of_inject("the trigger is over"),
    "replay_failed": _of_inject("the trigger could not be injected again"),
    "inject_over": _of_inject("the inject is over"),
    "heal_proven": _proof,
    "decoy": _decoy,
    "said": _said,
    "ops": _operated,
    "ops_failed": _operated,
    "ops_refused": _operated,
    "hint": _hint,
    "alert_fired": _alert,
    "alert_cleared": _alert,
    "slo": _slo,
    "facilitator_note": _plain("note: {why}"),
    "game_stopped": _plain("the game is stopped"),
    "interrupted": _plain("interrupted: {why}"),
    "aborted": _plain("ended early: {why}"),
    "stop_condition": _plain("a stop condition was met {why}"),
}


def _timeline(game: Game, events: Sequence[Event], zero_s: float | None) -> Iterator[tuple[object, ...]]:
    told = [event for event in events if event.kind in _TOLD]
    for event in told[:ROWS_MAX]:
        what, of = _TOLD[event.kind](game, event)
        yield _at(event, zero_s), what, _short(of) or _NOBODY, f"events.jsonl, {event.kind}"
    if more := told[ROWS_MAX:]:
        yield _at(more[0], zero_s), f"and {len(more):,} more, from here on", _NOBODY, "events.jsonl"


def _short(text: str) -> str:
    """So much of what people have typed as a table has room for; all of it is in events.jsonl."""
    return text if len(text) <= CHARS_MAX else f"{text[:CHARS_MAX]} …"


def _healed(events: Sequence[Event], zero_s: float | None) -> Iterator[tuple[object, ...]]:
    for event in events:
        if event.kind in ("fault_healed", "cleanup_problem"):
            by = f"rolled back by {event.data['by']}" if "by" in event.data else event.data.get("why", "rolled back")
            yield _at(event, zero_s), by, event.data.get("fault", _NOBODY), f"events.jsonl, {event.kind}"


def _at(event: Event, zero_s: float | None) -> str:
    """The game's clock; before it, and without one, seconds of the run."""
    if zero_s is None or event.t_s < zero_s:
        return f"{event.t_s:.0f} s of the run"
    return clock(event.t_s - zero_s)


def _of_stack(view: RunView) -> Iterator[tuple[str, object]]:
    """What users met without anybody's doing, in attempts of the game."""
    rows = view.requests[view.requests["phase"].eq(_PHASE)]
    if not len(rows):
        return
    outcomes, final = rows["outcome"], rows["final"].eq(True)
    yield "attempts", f"{len(rows):,}"
    yield "answered", f"{int(outcomes.eq('ok').sum()):,}"
    yield "asked for again by clients", f"{int((~final).sum()):,}"
    logged = rows["gateway_retries"].notna()  # not at all where the game was killed: logs are read at its end
    tried = f"{int(rows['gateway_retries'][logged].gt(0).sum()):,} of {int(logged.sum()):,} in the gateways' logs"
    yield "tried on another replica by the gateways", tried if logged.any() else None
    yield "refused at once (429, 503)", f"{int(outcomes.isin(('shed_429', 'shed_503')).sum()):,}"
    yield "broken in mid-stream", f"{int(outcomes.eq('broken_stream').sum()):,}"


def _draw(folder: RunFolder) -> Markup:
    """The sealed draw, with what anybody needs to check it."""
    told = _read(folder, "sealed.json")
    if told is None:
        return Markup("<p>{}</p>").format(
            "The draw was lost with the process that held it: it cannot be told or checked."
        )
    facts = [("seed", told["seed"]), ("salt", told["salt"]), ("digest (SHA-256)", told["digest"])]
    rows = (
        (one["inject"], one["mechanism"], ", ".join(one["components"]), f"+{length(one['later_s'])}")
        for one in told["draw"]
    )
    drawn = panel.table(("inject", "what was wrong", "where", "later than planned by"), rows)
    return drawn + panel.facts(facts)
