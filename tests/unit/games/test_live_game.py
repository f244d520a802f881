"""A game that is played: its run folder before and after, what it asks of a runtime, what its command says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import game_day, main
from harness.cli.game_day import _exit_code, _lines
from harness.evidence import records_kept
from harness.evidence.record import NO_DRILLS, EventLog, RunFolder
from harness.judge.games.score import InjectScore, Part, Score
from harness.model.errors import AdapterError, StackError, UsageError
from harness.model.scenario import Scenario, Share
from harness.plan import games
from harness.run import game, pipeline
from harness.run.pipeline import Job
from stack import state
from tests import sessions
from tests.unit.games import live

#: Found nowhere by chance.
SEED = 1_234_567_891


def test_a_plan_holds_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two draws of a game have the same plan, but for the seal; neither seed nor salt is in the folder."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path / "state")
    monkeypatch.setattr(pipeline, "git_state", lambda: {"commit": None, "dirty": None})
    plans = []
    for number, (component, variant) in enumerate((("replica-1", 0), ("replica-2", 1))):
        of = live.game_of(live.inject_of())
        sealed = dataclasses.replace(live.sealed_of(of, component, variant), seed=SEED)
        order = dataclasses.replace(live.order_of(of, sealed), salt="a-secret-salt")
        job: Any = SimpleNamespace(scenario=game.scenario(of), capacity={})
        folder = game._planned(order, job, tmp_path / str(number))
        text = "".join(path.read_text() for path in folder.path.rglob("*") if path.is_file())
        assert str(SEED) not in text
        assert "a-secret-salt" not in text
        plan = folder.plan()
        assert plan["seal"] == sealed.digest("a-secret-salt")
        assert plan["drill"] in NO_DRILLS
        plans.append({name: plan[name] for name in plan if name not in ("run_id", "seed", "seal", "anchor")})
    assert plans[0] == plans[1]


def test_answers_and_score_are_told_at_the_end(tmp_path: Path) -> None:
    """With seed and salt, so that anybody can check the seal; the records are closed over the events."""
    of = live.game_of(live.inject_of())
    order = live.order_of(of)
    folder = RunFolder.create(tmp_path, "game-x", latest=False)
    folder.write_json("plan.json", {})
    log = EventLog(folder, 0.0)
    log.add("inject_skipped", inject="one", why="it was left out")
    log.close()
    found = game.finish(folder, order)
    assert [one.unscored for one in found.injects] == ["it never began"]
    sealed = folder.read_json(game.SEALED)
    assert (sealed["seed"], sealed["salt"], sealed["digest"]) == (7, "salt", order.sealed.digest("salt"))
    assert sealed["draw"][0]["components"] == ["replica-1"]
    assert sealed["draw"][0]["faults"] == [{"type": "stop", "on": "replica-1", "options": {}}]
    score = folder.read_json(game.SCORE)
    assert score["points"] is None
    assert score["injects"][0]["inject"] == "one"
    assert folder.read_json(records_kept.FILE)["events"] == 1


@pytest.mark.parametrize("name", games.names())
def test_every_game_has_a_scenario(name: str) -> None:
    """Its load, a baseline that its objectives can look back into, and its stop conditions; it can be stored."""
    of = games.load(games.find(name))
    made = game.scenario(of)
    assert [phase.kind for phase in made.phases] == ["warmup", "baseline", "fault"]
    assert made.phases[1].duration > max(slo.hold for slo in of.slos)
    assert made.phases[2].duration == of.lasts
    assert made.abort_when == of.stop_when
    assert made.load == of.load
    fitted = made.model_copy(update={"load": made.load.model_copy(update={"rate": 2.0})})
    assert Scenario.stored(json.loads(json.dumps(fitted.model_dump(mode="json")))) == fitted
    assert isinstance(made.load.rate, Share)


def test_a_machine_that_is_too_small_plays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, with the way out."""

    def fit(job: Job) -> None:
        job.unfit = "capacity could not be measured: the stack is gone"

    monkeypatch.setattr(pipeline, "fit", fit)
    with pytest.raises(StackError, match="stack is gone; a game can be given an absolute rate"):
        game._fitted(live.order_of(live.game_of(live.inject_of())))


def test_a_runtime_that_cannot_freeze_plays_no_game_in_which_it_might_have_to() -> None:
    """Whatever is drawn: a refusal must not depend on it."""
    of = games.load(games.find("first-watch"))
    able: Any = SimpleNamespace(name="process", pause=None, unpause=None)
    game.require_able(of, able)
    unable: Any = SimpleNamespace(name="process")
    with pytest.raises(UsageError, match="needs a runtime with Freezes"):
        game.require_able(of, unable)


def test_players_settings_are_given_back_after_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is healed restores what it found, which players may have set; what fails is recorded."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of()), monkeypatch)
        await table.played.ops.begin()
        table.played.clock.begin()
        await table.played.board.ops(live.ACTOR, "drain", "replica-1", "")
        await table.played.settle()
        assert table.undone == ["ops/servers"]
        assert table.played.board.ended.is_set()

        def fails(context: object, undo: object) -> None:
            raise AdapterError("gateway-a does not answer")

        monkeypatch.setattr("harness.run.game_ops.take_back", fails)
        await table.played.settle()
        assert table.log.kinds[-1] == "cleanup_problem"

    asyncio.run(play())


def test_pages_are_open_until_all_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They open before the stack comes up, and close after the way out."""
    done: list[str] = []

    @asynccontextmanager
    async def opened(run: Any) -> Any:
        yield session
        done.append("the way out")

    @asynccontextmanager
    async def desk(board: Any) -> Any:
        done.append("pages open")
        assert board.players().title == of.title
        yield
        done.append("pages closed")

    async def until_ended(play: Any) -> None:
        play.close()
        done.append("played")

    of = live.game_of(live.inject_of())
    order = live.order_of(of, desk=desk)
    session = sessions.session(tmp_path, runtime=order.runtime)
    monkeypatch.setattr(game, "opened", opened)
    monkeypatch.setattr(session, "until_ended", until_ended)
    asyncio.run(game.conduct(session.run, order))
    assert done == ["pages open", "played", "the way out", "pages closed"]


# ── the command ──


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["inject_over", "game_stopped"], 0),
        (["interrupted", "aborted"], 130),
        (["aborted"], 2),
        (["stop_condition"], 2),
    ],
)
def test_the_exit_code_says_how_it_ended(kinds: list[str], code: int, tmp_path: Path) -> None:
    """Whoever ran it may stop it; a signal, an error and a stop condition end it early."""
    folder = RunFolder.create(tmp_path, "game-x", latest=False)
    log = EventLog(folder, 0.0)
    for kind in kinds:
        log.add(kind)
    log.close()
    assert _exit_code(folder) == code


def test_the_score_is_told_in_words() -> None:
    """Of each inject with its parts; what was not measured says so, and is no 0."""
    parts = (Part("detected", 15.0, 20, "after 1 min"), Part("stays_well", None, 10, "it was healed"))
    score = Score((InjectScore("one", parts, 5), InjectScore("two", unscored="it never began")))
    assert list(_lines(score)) == [
        "one: 70 of 100 (detected 15/20, stays well not measured; hints -5)",
        "two: not scored: it never began",
        "score: 70 of 100",
    ]
    assert list(_lines(Score(())))[-1] == "score: none"


def test_the_command_is_recorded_without_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would give the draw away before the game has ended. The stack is locked meanwhile, by name."""
    orders: list[Any] = []
    runtime = live.Runtime()
    runtime.preflight = lambda: None  # type: ignore[attr-defined]
    runtime.pause = runtime.unpause = None  # type: ignore[attr-defined]

    def play(order: Any, root: Path) -> tuple[RunFolder, Score]:
        orders.append(order)
        return RunFolder.create(tmp_path, "game-x", latest=False), Score(())

    monkeypatch.setattr(state, "STATE_ROOT", tmp_path / "state")
    monkeypatch.setattr(game_day.runtime, "chosen", lambda stack: (runtime, "because"))
    monkeypatch.setattr(game_day.live, "play", play)
    monkeypatch.setattr(game_day.after_action, "write", lambda folder: folder.path)
    arguments = ["game-day", "first-watch", "--seed", str(SEED), "--speed", "10", "--confirm", "--engine", "sim"]
    assert main.main(arguments) == 0
    (order,) = orders
    assert str(SEED) not in order.command
    assert (order.sealed.seed, order.speed, order.confirm_first) == (SEED, 10.0, True)
