"""The board of a game that is played: what players see, say and do, and each act of whoever runs the game."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.model.errors import OperationAborted, UsageError
from harness.run.board import Hint, Message
from tests import sessions
from tests.unit.games import live
from tests.unit.games.live import ACTOR, LONG_S, Table

READY, DRAINED = Server("ready", 100), Server("drain", 100)


def at_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Table], Awaitable[None]], **more: Any
) -> Table:
    """A game whose inject has been proven and goes on, and something that is done then."""

    async def play() -> Table:
        of = live.game_of(live.inject_of(lasts_at_most=LONG_S))
        table = live.table(folder, of, monkeypatch, **more)
        await table.played.ops.begin()
        playing = table.begin()
        await table.until(lambda: "inject_proven" in table.log.kinds)
        try:
            await act(table)
        finally:
            playing.cancel()
            await asyncio.wait([playing])
            for part in table.session.before_heal:
                await part()
        return table

    return asyncio.run(play())


# ── what players see ──


def test_players_see_nothing_of_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two draws, in the middle of the inject, the same view, which names neither inject nor answer."""
    views: list[Any] = []

    async def look(table: Table) -> None:
        views.append((table.played.board.players(), table.played.board.console()))

    of = live.game_of(live.inject_of(lasts_at_most=LONG_S))
    for component, variant in (("replica-1", 0), ("replica-2", 1)):
        at_table(tmp_path, monkeypatch, look, sealed=live.sealed_of(of, component, variant))
    (first, console), (second, other) = views
    assert dataclasses.replace(first, clock_s=0.0) == dataclasses.replace(second, clock_s=0.0)
    inject, mechanism = of.injects[0], of.injects[0].variants[0].mechanism
    unchosen = dataclasses.replace(first, diagnosis=None)
    for secret in (inject.title, mechanism, *(hint.text for hint in inject.hints), "one/stop", "inject"):
        assert secret not in repr(unchosen)
    assert mechanism in first.diagnosis.mechanisms
    assert [one.target for one in (*console.injects, *other.injects)] == ["replica-1", "replica-2"]
    assert mechanism in console.injects[0].variant
    assert (console.injects[0].state, console.injects[0].proven) == ("running", True)
    assert console.next == "one goes on: running"


def test_players_see_alerts_components_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an on-call does; who uses which replica how is the gateways' own word."""

    async def look(table: Table) -> None:
        labels = {"alertname": "ReplicaDown", "severity": "page", "server": "replica-2", "scale": "1"}
        began_s = table.played.clock.start_s or 0.0
        table.session.alerts = SimpleNamespace(firing=[(labels, began_s + 3.0)])  # type: ignore[assignment]
        table.gateways["gateway-a"].set_state("replica-1", "drain")
        looking = asyncio.create_task(table.played.board.look_at_components())
        await table.until(lambda: table.played.board.players().components)
        looking.cancel()
        view = table.played.board.players()
        (alert,) = view.alerts
        assert (alert.name, alert.severity, alert.labels) == ("ReplicaDown", "page", {"server": "replica-2"})
        assert alert.since_s == pytest.approx(3.0)
        found = {one.name: one for one in view.components}
        assert found["replica-1"].used_by["gateway-a"].state == "drain"
        assert found["replica-1"].used_by["gateway-b"].state == "ready"
        assert found["dns"].used_by == {}
        assert {one.state for one in view.components} == {"running"}
        assert [(one.kept, one.unit) for one in view.slos] == [(True, "%"), (True, "ms")]
        assert view.load == "load on, no figures yet"

    at_table(tmp_path, monkeypatch, look)


# ── what players say ──


def test_what_players_say_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the channel for everybody, and as events that the judge reads; a diagnosis counts from the run's zero."""

    async def talk(table: Table) -> None:
        board = table.played.board
        await board.say(f"  {ACTOR}\n", "found", "")
        await board.say(ACTOR, "status", "We are looking at it.")
        await board.diagnose(ACTOR, "replica-2", table.played.game.mechanisms[0], 0.0)
        kinds = [(message.who, message.kind) for message in board.players().channel]
        assert kinds == [(ACTOR, "found"), (ACTOR, "status"), (ACTOR, "diagnosed")]
        said = [event for event in table.log.events if event["kind"] == "said"]
        assert [event["what"] for event in said] == ["found", "status", "diagnosed"]
        assert said[2]["since_s"] == pytest.approx(table.played.clock.start_s, abs=0.001)

    at_table(tmp_path, monkeypatch, talk)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda board: board.say(ACTOR, "fuond", "x"), "did you mean 'found'"),
        (lambda board: board.say(ACTOR, "diagnosed", "x"), "nobody can say 'diagnosed'"),
        (lambda board: board.say(" ", "found", "x"), "expected your name"),
        (lambda board: board.say(ACTOR, "status", " "), "is empty"),
        (lambda board: board.say(ACTOR, "found", "x" * 5000), "found 5000 characters"),
        (lambda board: board.diagnose(ACTOR, "replica-9", "x", 0.0), "no component 'replica-9'"),
        (lambda board: board.diagnose(ACTOR, "dns", "x", 0.0), "no mechanism 'x'"),
        (lambda board: board.diagnose(ACTOR, "dns", board.players().diagnosis.mechanisms[0], 1e9), "start of the game"),
        (lambda board: board.diagnose(ACTOR, "dns", board.players().diagnosis.mechanisms[0], float("nan")), "and now"),
    ],
)
def test_what_makes_no_sense_is_refused(
    act: Callable[[Any], Awaitable[None]], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is possible; nothing is recorded of it."""

    async def talk(table: Table) -> None:
        with pytest.raises(UsageError, match=re.escape(why)):
            await act(table.played.board)
        assert "said" not in table.log.kinds
        assert table.played.board.players().channel == ()

    at_table(tmp_path, monkeypatch, talk)


def test_nobody_can_do_anything_before_and_after_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Players wait for its clock; when it has been stopped nothing is taken any more."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of()), monkeypatch)
        board = table.played.board
        with pytest.raises(UsageError, match="has not begun"):
            await board.ops(ACTOR, "restart", "replica-1", "")
        table.played.clock.begin()
        await board.stop_all()
        await board.stop_all()
        for act in (board.say(ACTOR, "found", ""), board.ops(ACTOR, "drain", "replica-1", ""), board.hint(ACTOR)):
            with pytest.raises(UsageError, match="the game is over"):
                await act
        with pytest.raises(UsageError, match="cannot be changed any more"):
            await board.confirm("one")
        assert table.log.kinds == ["game_stopped"]
        assert board.console().next == "the game is over"

    asyncio.run(play())


def test_hints_are_sold_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their prices and the drawn target; when none is left the answer is the same as when nothing is wrong."""

    async def buy(table: Table) -> None:
        board, (inject,) = table.played.board, table.played.game.injects
        texts = [await board.hint(ACTOR) for _ in inject.hints]
        assert texts == [hint.text.format(target="replica-1") for hint in inject.hints]
        assert board.players().hints_taken[0] == Hint(texts[0], inject.hints[0].price)
        assert [event["hint"] for event in table.log.events if event["kind"] == "hint"] == list(range(len(texts)))
        with pytest.raises(UsageError) as none_left:
            await board.hint(ACTOR)
        table.courses[0].state = "over"
        with pytest.raises(UsageError) as nothing_wrong:
            await board.hint(ACTOR)
        assert str(none_left.value) == str(nothing_wrong.value)

    at_table(tmp_path, monkeypatch, buy)


def test_a_decoy_is_told_to_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody else's word, in their channel."""
    of = live.game_of(live.inject_of(lasts_at_most=LONG_S))
    sealed = live.sealed_of(of)
    soon = dataclasses.replace(sealed, injects=(dataclasses.replace(sealed.injects[0], decoy_after_s=0.0),))

    async def listen(table: Table) -> None:
        await table.until(lambda: "decoy" in table.log.kinds)
        (message,) = table.played.board.players().channel
        assert isinstance(message, Message)
        assert (message.who, message.text) == ("outside", of.injects[0].decoys[0].says)

    at_table(tmp_path, monkeypatch, listen, sealed=soon)


# ── what players do to the stack ──


@pytest.mark.parametrize(
    ("typed", "states", "written"),
    [
        (("drain", "replica-1", ""), (DRAINED, DRAINED), "ops/servers"),
        (("drain", "replica-1", "gateway-b"), (READY, DRAINED), "ops/servers"),
        (("weight", "replica-1", "25"), (Server("ready", 25), Server("ready", 25)), "ops/servers"),
        (("undrain", "replica-1", ""), (READY, READY), "ops/servers"),
        (("cap", "gateway-a", "1"), (READY, READY), "ops/long/gateway-a"),
    ],
)
def test_settings_are_journalled_and_given_back(
    typed: tuple[str, str, str],
    states: tuple[Server, Server],
    written: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was before the game is in the journal before the first order, and is what is restored after more orders."""

    async def act(table: Table) -> None:
        board, journal = table.played.board, table.session.journal
        outcome = await board.ops(ACTOR, *typed)
        assert outcome
        assert tuple(table.gateways[name].known["replica-1"] for name in ("gateway-a", "gateway-b")) == states
        if typed[0] == "cap":
            assert set(table.gateways["gateway-a"].long.values()) == {1}
        await board.ops(ACTOR, *typed)
        (undo,) = [one for one in journal.open_entries() if one.id.startswith("ops/")]
        assert undo.id == written
        if written == "ops/servers":
            assert {(one["state"], one["weight"]) for one in undo.args["servers"]} == {("ready", 100)}
            assert len(undo.args["servers"]) == 4
        else:
            assert undo.args == {"gateway": "gateway-a", "connections": {"replica-1": 2, "replica-2": 2}}
        told = [event for event in table.log.events if event["kind"] == "ops"]
        assert [(one["verb"], one["who"], one["outcome"]) for one in told] == [(typed[0], ACTOR, outcome)] * 2
        assert board.players().ops[0].command == " ".join(filter(None, typed))
        await table.played.ops.give_back()
        assert table.undone == [written]
        assert not [one for one in journal.open_entries() if one.id.startswith("ops/")]

    at_table(tmp_path, monkeypatch, act)


def test_a_restart_is_undone_by_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the journal while the component is down: whoever heals then starts it. Afterwards nothing is left to do."""

    async def act(table: Table) -> None:
        journal, stop = table.session.journal, table.runtime.stop

        def stopping(name: str, grace_s: float) -> None:
            stop(name, grace_s)
            undo = journal.open_entries()[0]
            assert (undo.id, undo.action, undo.args) == ("ops/start/gateway-a", "start", {"component": "gateway-a"})

        monkeypatch.setattr(table.runtime, "stop", stopping)
        assert await table.played.board.ops(ACTOR, "restart", "gateway-a", "") == "gateway-a was ended and is starting"
        assert table.runtime.told == [("stop", "gateway-a"), ("start", "gateway-a")]
        assert not [one for one in journal.open_entries() if one.id.startswith("ops/")]

    at_table(tmp_path, monkeypatch, act)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("drian", "replica-1", ""), "did you mean 'drain'"),
        (("drain", "gateway-a", ""), "expected a replica: replica-1, replica-2"),
        (("drain", "replica-1", "dns"), "or one: gateway-a, gateway-b"),
        (("weight", "replica-1", "101"), "from 0 to 100"),
        (("weight", "replica-1", "-1"), "from 0 to 100"),
        (("weight", "replica-1", ""), "from 0 to 100"),
        (("cap", "replica-1", "1"), "expected a gateway that limits long prompts: gateway-a, gateway-b"),
        (("cap", "gateway-a", "0"), "from 1 to 1000"),
        (("restart", "toxiproxy", ""), "expected a gateway or a replica"),
        (("restart", "replica-1", "now"), "expected nothing behind the component"),
        (("scale", "replica", "3"), "room for no other"),
        (("rollback", "", ""), "no rollout is under way"),
    ],
)
def test_what_is_not_possible_is_refused(
    typed: tuple[str, str, str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is; it is recorded as refused, is no act of the players, and touches nothing."""

    async def act(table: Table) -> None:
        with pytest.raises(UsageError, match=re.escape(why)):
            await table.played.board.ops(ACTOR, *typed)
        assert table.told("ops", "ops_failed", "ops_refused") == ["ops_refused"]
        assert table.runtime.told == []
        assert {one for gateway in table.gateways.values() for one in gateway.known.values()} == {READY}
        assert table.played.board.players().ops[0].outcome.startswith("refused: ")

    at_table(tmp_path, monkeypatch, act)


def test_a_gateway_that_does_not_obey_keeps_no_other_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done counts as done; where nothing was, it failed, and is no act."""

    async def act(table: Table) -> None:
        table.gateways["gateway-a"].dead = True
        said = await table.played.board.ops(ACTOR, "drain", "replica-1", "")
        assert said == ("replica-1 is set to drain at gateway-b; gateway-a did not obey: gateway-a does not answer")
        await table.played.board.ops(ACTOR, "drain", "replica-1", "gateway-a")
        assert table.told("ops", "ops_failed") == ["ops", "ops_failed"]

    at_table(tmp_path, monkeypatch, act)


@pytest.mark.parametrize("error", ["", "replica-1 gave no token"])
def test_a_rollout_is_ordered_back(error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What carries it out is ended first; what came of it is told, and a second order finds nothing to roll back."""

    async def act(table: Table) -> None:
        carrying = asyncio.create_task(asyncio.Event().wait())

        async def roll_back(context: object) -> None:
            assert carrying.cancelled()
            if error:
                raise OperationAborted(error)

        (course,) = table.courses
        rollout: Any = SimpleNamespace(id="one/swap/replica-1", roll_back=roll_back)
        there = list(course.faults)
        course.faults.append(rollout)
        course.carrying[rollout.id] = carrying  # type: ignore[assignment]
        said = await table.played.board.ops(ACTOR, "rollback", "", "")
        assert said == (
            f"not rolled back: {error}" if error else "rolled back: every replica serves the version of before"
        )
        assert table.told("ops", "ops_failed") == ["ops_failed" if error else "ops"]
        with pytest.raises(UsageError, match="no rollout is under way"):
            await table.played.board.ops(ACTOR, "rollback", "", "")
        course.faults[:] = there

    at_table(tmp_path, monkeypatch, act)


# ── whoever runs the game ──


async def waiting(folder: Path, monkeypatch: pytest.MonkeyPatch, when: str = "5m", **more: Any) -> tuple[Table, Any]:
    """A game of two injects, the first of which comes then, and its timeline."""
    of = live.game_of(
        live.inject_of(when={"at": when}, lasts_at_most=LONG_S),
        live.inject_of("two", {"after": "one", "delay": "9m"}, lasts_at_most=LONG_S),
    )
    table = live.table(folder, of, monkeypatch, **more)
    playing = table.begin()
    await table.until(lambda: table.courses[0].due_game_s is not None or table.courses[0].state != "waiting")
    return table, playing


def test_fire_and_abort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now instead of in five minutes, one at a time; aborted, it is healed at once and the next one is waited for."""

    async def play() -> None:
        table, playing = await waiting(tmp_path, monkeypatch)
        board = table.played.board
        assert re.fullmatch(r"one in (5|4\.\d+) min", board.console().next)
        with pytest.raises(UsageError, match="one comes first"):
            await board.fire("two")
        with pytest.raises(UsageError, match="does not go on: it is waiting"):
            await board.abort("one")
        await board.fire("one")
        await table.until(lambda: "inject_proven" in table.log.kinds)
        with pytest.raises(UsageError, match="one goes on"):
            await board.fire("two")
        with pytest.raises(UsageError, match="cannot be changed any more: it is running"):
            await board.skip("one")
        await board.abort("one")
        await table.until(lambda: table.courses[0].state == "over")
        assert table.undone == ["one/stop/replica-1"]
        await board.fire("two")
        await table.until(lambda: table.courses[1].proven)
        await board.abort("two")
        await asyncio.wait_for(playing, live.WITHIN_S)
        assert table.told("inject_confirmed", "inject_begun", "inject_stopped", "inject_over") == [
            "inject_confirmed", "inject_begun", "inject_stopped", "inject_over",
        ] * 2  # fmt: skip

    asyncio.run(play())


def test_skip_and_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out never happens, and what follows it counts from then; what is delayed comes later."""

    async def play() -> None:
        table, playing = await waiting(tmp_path, monkeypatch)
        board, (first, second) = table.played.board, table.courses
        assert first.due_game_s == 300.0
        await board.delay("one", 60.0)
        await table.until(lambda: first.due_game_s == 360.0)
        for wrong in (0.0, -1.0, float("nan"), 1e9):
            with pytest.raises(UsageError, match="delay: found"):
                await board.delay("one", wrong)
        await board.skip("one")
        await table.until(lambda: second.due_game_s is not None)
        assert second.due_game_s == pytest.approx(540.0, abs=30.0)
        await board.skip("two")
        await asyncio.wait_for(playing, live.WITHIN_S)
        assert table.log.kinds.count("inject_skipped") == 2
        assert table.made == []

    asyncio.run(play())


def test_confirm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where injects wait for that, nothing is injected before; it may be given before it is due."""

    async def play() -> None:
        table, playing = await waiting(tmp_path, monkeypatch, "0s", confirm_first=True)
        await table.until(lambda: table.courses[0].state == "due")
        assert table.made == []
        assert table.played.board.console().next == "one waits for you to confirm it"
        await table.played.board.confirm("one")
        await table.until(lambda: "inject_proven" in table.log.kinds)
        assert table.told("inject_due", "inject_confirmed", "inject_begun") == [
            "inject_due", "inject_confirmed", "inject_begun",
        ]  # fmt: skip
        playing.cancel()
        await asyncio.wait([playing])
        for part in table.session.before_heal:
            await part()

    asyncio.run(play())


def test_notes_are_for_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Players do not see them."""

    async def act(table: Table) -> None:
        board = table.played.board
        await board.note("they look at the wrong replica")
        with pytest.raises(UsageError, match="found 1 characters"):
            await board.note(" ")
        assert [note.text for note in board.console().notes] == ["they look at the wrong replica"]
        assert "wrong replica" not in repr(board.players())
        assert table.told("facilitator_note") == ["facilitator_note"]

    at_table(tmp_path, monkeypatch, act)


def test_stop_all_ends_the_game_and_leaves_the_heal_to_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an instant nothing goes on any more; what is injected is in the journal, which is rolled back next."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of(lasts_at_most=LONG_S)), monkeypatch)
        table.played.clock.begin()
        table.users(well=True)
        last = asyncio.create_task(table.played._last())
        await table.until(lambda: "inject_proven" in table.log.kinds)
        await table.played.board.stop_all()
        assert await asyncio.wait_for(last, 5.0)
        assert "inject_over" not in table.log.kinds
        for part in table.session.before_heal:
            await part()
        assert table.log.kinds[-1] == "inject_over"  # what comes later says nothing about how well it stayed
        assert all(task.done() for task in table.courses[0].side)
        assert [undo.id for undo in table.session.journal.open_entries()] == ["one/stop/replica-1"]
        assert "the game is stopped: everything is rolled back" in sessions.screen(table.session).said

    asyncio.run(play())
