"""What players can reach while a game goes on: it is the same whatever was drawn, and names nothing of an inject."""

from __future__ import annotations

import asyncio
import html
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.cli import game_status
from harness.model.game import Game
from harness.plan import games
from tests.unit.desk.boards import Client
from tests.unit.games import live
from tests.unit.games.live import ACTOR, LONG_S, Table

#: Moments and measured values: what passes with time, and is no answer.
PASSING = re.compile(r"\d+\.\d+|\d+:\d\d")
STAGES = ("before", "injected", "felt", "replayed", "over")
#: Orders that are refused, and one that is carried out, each at every stage.
ORDERS: tuple[tuple[str, dict[str, object]], ...] = (
    ("ops", {"command": "rollback"}),
    ("ops", {"command": "restart", "component": "dns"}),
    ("ops", {"command": "explode", "component": "replica-1"}),
    ("ops", {"command": "drain", "component": "replica-1", "value": "gateway-b"}),
    ("diagnose", {"component": "replica-1", "mechanism": "none", "since": 0}),
    ("say", {"kind": "found"}),
)


async def reach(table: Table) -> str:
    """All that the desk tells players now, by JSON, page and command, and how it answers their orders."""
    client = Client(table.played.board)
    found = []
    for path, order in ORDERS:
        found.append((await client.asked("POST", f"/api/{path}", json={"who": ACTOR, **order})).text)
    status = await client.asked("GET", "/api/status")
    screen = io.StringIO()
    for part in game_status.shown(status.json()):
        Console(file=screen, width=400).print(part)
    page = re.sub(r"<style.*?</style>", "", (await client.asked("GET", "/")).text, flags=re.DOTALL)
    found += [status.text, html.unescape(page), (await client.asked("GET", "/api/charts")).text]
    return PASSING.sub("#", "\n".join([*found, screen.getvalue()]))


def through_a_game(folder: Path, monkeypatch: pytest.MonkeyPatch, of: Game, component: str, variant: int) -> list[str]:
    """What is in reach before the inject, once it is injected, felt, mitigated and replayed, and when it is over."""

    async def play() -> list[str]:
        table = live.table(folder, of, monkeypatch, sealed=live.sealed_of(of, component, variant))
        await table.played.ops.begin()
        playing, board = table.begin(), table.played.board
        found = [await reach(table)]
        table.courses[0].fired = True
        await table.until(lambda: "inject_proven" in table.log.kinds)
        found.append(await reach(table))
        table.users(well=False)
        found.append(await reach(table))
        await board.ops(ACTOR, "restart", "replica-1", "")
        table.users(well=True)
        await table.until(lambda: "replay_begun" in table.log.kinds)
        found.append(await reach(table))
        await table.until(lambda: "inject_over" in table.log.kinds)
        found.append(await reach(table))
        playing.cancel()
        await asyncio.wait([playing])
        return found

    folder.mkdir()
    return asyncio.run(play())


@pytest.fixture
def of() -> Game:
    """A game whose inject waits until it is fired."""
    return live.game_of(live.inject_of(when={"at": "500s"}, lasts_at_most=LONG_S, replay=0.3), stays_well_s=2.0)


def test_two_draws_look_the_same(of: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stack that no fault changes, every word in reach is the same at every stage, whatever was drawn."""
    first = through_a_game(tmp_path / "a", monkeypatch, of, "replica-1", 0)
    second = through_a_game(tmp_path / "b", monkeypatch, of, "replica-2", 1)
    for stage, one, other in zip(STAGES, first, second, strict=True):
        assert one == other, stage


def test_nothing_in_reach_names_an_inject(of: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its name, title, faults and texts nor its answer: a mechanism is where it is to be chosen, as all are."""
    inject, mechanisms = of.injects[0], of.mechanisms
    texts = [inject.title, *inject.expected, *inject.watch, *(hint.text for hint in inject.hints)]
    texts += [decoy.says for decoy in inject.decoys] + [variant.symptoms for variant in inject.variants]
    names = [f"{inject.id}/", "stop/replica", "inject", "variant", "sealed", "later_s", "due_s"]
    for stage, found in zip(STAGES, through_a_game(tmp_path / "a", monkeypatch, of, "replica-2", 1), strict=True):
        for secret in (*texts, *names):
            assert secret not in found, (stage, secret)
        assert len({found.count(one) for one in mechanisms}) == 1, stage


@pytest.mark.parametrize("name", ["first-watch", "bad-night", "release-day"])
def test_another_seed_has_other_answers(name: str) -> None:
    """Where, what, and when: each of them, in some of twenty games."""
    of = games.load(games.find(name))
    drawn: list[Any] = [games.drawn(of, live.TOPOLOGY, seed).injects for seed in range(20)]
    for injects in zip(*drawn, strict=True):
        assert len({(one.mechanism, one.components) for one in injects}) > 1
        assert len({one.later_s for one in injects}) > 1
        assert len({one.decoy_after_s for one in injects}) > 1
