"""A game day, played: the stack, the load, and the injects of a game as a timeline on a session.

What was drawn is in this process' memory, and of what is injected in the undo journal, until the game has ended: then
``sealed.json`` tells seed, salt and draw, whose digest the plan has held from the start, and ``score.json`` the score.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evidence import record, records_kept
from harness.evidence.record import EventLog, RunFolder
from harness.faults.base import lacking
from harness.judge.games import score
from harness.judge.games.score import Score
from harness.model import digest
from harness.model.errors import DrillyardError, StackError, UsageError
from harness.model.game import Game
from harness.model.scenario import Phase, Scenario
from harness.model.sealed import Sealed
from harness.plan.options import StackOptions
from harness.recover.watchdog import Watchdog
from harness.run import pipeline
from harness.run.board import Board
from harness.run.game_board import Channel, LiveBoard
from harness.run.game_clock import GameClock
from harness.run.game_injects import PHASE, Injects
from harness.run.game_ops import Ops
from harness.run.injector import Injector
from harness.run.pipeline import Job, Options
from harness.run.progress import Progress
from harness.run.run import Run
from harness.run.session import Session, opened
from harness.run.tasks import end
from harness.run.timeline import Timeline, end_what_stays
from stack import state
from stack.runtimes import priority
from stack.runtimes.base import Runtime

SEALED, SCORE = "sealed.json", "score.json"
#: Load alone, before the clock of the game runs; the objectives look back into the baseline.
WARM_UP_S, BASELINE_MIN_S = 20.0, 15.0
#: Objectives and the load are looked at so often.
LOOK_EVERY_S = 0.5

#: Opens the pages of a game while it is played.
Desk = Callable[[Board], AbstractAsyncContextManager[object]]


def without_desk(board: Board) -> AbstractAsyncContextManager[object]:
    """A game that nobody looks at: injects come by themselves."""
    return nullcontext()


@dataclass(frozen=True)
class Order:
    """Which game to play on which stack. ``confirm_first``: each inject waits for whoever runs the game."""

    game: Game
    sealed: Sealed
    salt: str
    runtime: Runtime
    lock: int  # file descriptor of the stack's lock
    progress: Progress
    command: str  # without the seed
    speed: float = 1.0
    confirm_first: bool = False
    desk: Desk = without_desk


def require_able(game: Game, runtime: Runtime) -> None:
    """UsageError for a fault that may be drawn and that this runtime cannot carry out."""
    for inject in game.injects:
        for fault in (fault for variant in inject.variants for fault in variant.faults):
            if lacks := lacking(fault.type, runtime):
                raise UsageError(
                    f"inject {inject.id!r}: {fault.type} on {fault.on} needs a runtime with {' and '.join(lacks)}, "
                    f"which RUNTIME={runtime.name} lacks: choose another"
                )


def play(order: Order, root: Path) -> tuple[RunFolder, Score]:
    """Play the game; its folder below ``root``, and its score.

    StackError when its load cannot be fitted, RecordError for events that could not be written. What else ends a game
    early is recorded in its folder, as of a run.
    """
    job = _fitted(order)
    folder = _planned(order, job, root)
    plan = folder.plan()
    zero_s = float(plan["anchor"]["mono_s"])
    log = EventLog(folder, zero_s)
    log.add("planned", digest=digest.of_plan(plan))
    for text in job.notes:
        log.add("note", text=text)
        order.progress.say(text)
    assert job.scenario
    try:
        with Watchdog(folder, order.lock) as watchdog, priority.own_session(priority.of_harness(order.runtime.name)):
            asyncio.run(
                conduct(
                    Run(folder, job.scenario, order.runtime, order.progress, log, plan["seed"], zero_s, watchdog), order
                )
            )
    finally:
        log.close()
        found = finish(folder, order)
    if log.failed is not None:
        raise log.failed
    return folder, found


async def conduct(run: Run, order: Order) -> None:
    """Play it, in these steps:

    1. signals are caught: from here on every exit passes through steps 7 and 8
    2. its pages open
    3. leftovers are repaired, the stack is brought up, probes and load start
    4. warm-up and baseline, up to the steady state
    5. the clock runs: injects, each journalled, proven, watched, healed; players' commands; objectives
    6. what players have set is given back
    7. whatever happened: what is injected is rolled back, load and probes stop, logs are collected
    8. what players have set is given back once more, whatever a heal has made of it; the pages close
    """
    async with AsyncExitStack() as late, opened(run) as session:  # 1, 7
        played = Played(session, order)
        late.push_async_callback(played.settle)  # 8
        await late.enter_async_context(order.desk(played.board))  # 2
        await session.until_ended(played.play())


class Played:
    """One game on one session."""

    def __init__(self, session: Session, order: Order) -> None:
        self.session, self.order, self.game = session, order, order.game
        self.clock = GameClock(session.now_s, order.speed)
        self.channel = Channel(self.clock)
        self.injector = Injector(session)
        self.injects = Injects(
            session, self.injector, self.game, order.sealed, self.clock, session.run.log.add, self.channel.decoy,
            order.confirm_first,
        )  # fmt: skip
        self.ops = Ops(session, self.injects.roll_back)
        self.board = LiveBoard(
            session, self.game, self.clock, self.injects, self.ops, self.channel, session.run.log.add
        )

    async def play(self) -> None:
        """From the stack to the last minute; on the way out what is still injected is rolled back."""
        await self.session.begin()
        await Timeline(self.session, self.injector).up_to_the_fault()
        await self.ops.begin()
        log = self.session.run.log
        log.add("phase_started", phase=PHASE, phase_kind="fault")
        self.session.run.progress.say(f"the game begins: {self.game.title}")
        self.clock.begin()
        try:
            stopped = await self._last()
        finally:
            self.board.ended.set()
        if stopped:  # the way out rolls everything back at once
            return
        await self.ops.give_back()
        log.add("phase_ended", phase=PHASE)
        await end_what_stays(self.session, self.injector)

    async def settle(self) -> None:
        """After the way out: a heal may have restored what players had set before the fault."""
        self.board.ended.set()
        try:
            await self.ops.give_back()
        except DrillyardError as error:
            self.session.run.log.add("cleanup_problem", why=f"players' settings: {error}")

    async def _last(self) -> bool:
        """As long as the game lasts; whether it was stopped before."""
        stopped = asyncio.create_task(self.board.ended.wait())
        goes_on: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._timeline()),
            asyncio.create_task(self._objectives()),
            asyncio.create_task(self.board.look_at_components()),
        ]
        try:
            done, _ = await asyncio.wait([stopped, *goes_on], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return stopped in done
        finally:
            await end([*goes_on, stopped])

    async def _timeline(self) -> None:
        """All injects, and then the rest of the time."""
        await self.injects.play()
        while self.clock.game_s() < self.game.lasts:
            await self.clock.pass_on()

    async def _objectives(self) -> None:
        """Looked at until the end; the load has to be there."""
        slos = self.injects.slos
        while True:
            now_s = self.session.now_s()
            slos.look(self.session.windows_since(now_s - slos.longest_s), now_s)
            self.session.tick(PHASE, self.game.lasts - self.clock.game_s())
            await asyncio.sleep(LOOK_EVERY_S)


def scenario(game: Game) -> Scenario:
    """The load of a game with the phases of its run, for the session: what breaks in the last one is the game's."""
    baseline_s = max(BASELINE_MIN_S, max(slo.hold for slo in game.slos) + 5.0)
    phases = (("warm-up", "warmup", WARM_UP_S), ("baseline", "baseline", baseline_s), (PHASE, "fault", game.lasts))
    return Scenario(
        name=f"game-{game.name}",
        description=game.title,
        load=game.load,
        phases=tuple(
            Phase.model_validate({"name": name, "kind": kind, "duration": f"{lasts_s:.3f}s"})
            for name, kind, lasts_s in phases
        ),
        abort_when=game.stop_when,
        partial=True,
    )


def _fitted(order: Order) -> Job:
    """The scenario with its load in numbers. StackError where this machine is too small for it."""
    topology = order.runtime.topology
    options = StackOptions(topology.runtime, topology.engine, topology.instance)
    job = Job(
        Options(record.GAME, options, order.command), order.progress, scenario=scenario(order.game),
        runtime=order.runtime, lock=order.lock,
    )  # fmt: skip
    pipeline.fit(job)
    if problem := job.unfit or (job.fitted.too_small if job.fitted else None):
        raise StackError(f"{problem}; a game can be given an absolute rate in its file, such as rate: 2/s")
    return job


def _planned(order: Order, job: Job, root: Path) -> RunFolder:
    """A folder with its plan. Nothing in it follows from the draw but its digest."""
    assert job.scenario
    topology = order.runtime.topology
    folder = RunFolder.create(root, f"game-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{order.game.name}", latest=False)
    plan = {
        "schema": record.SCHEMA_VERSION,
        "run_id": folder.path.name,
        "drill": record.GAME,
        "title": order.game.title,
        "game": order.game.model_dump(mode="json"),
        "seal": order.sealed.digest(order.salt),
        "speed": order.speed,
        "scenario": job.scenario.model_dump(mode="json"),
        "seed": random.SystemRandom().randrange(2**31),  # of the load
        "command": order.command,
        "runtime": topology.runtime,
        "engine": topology.engine,
        "instance": topology.instance,
        "instance_id": state.identity(state.instance_folder(topology)),
        "topology": topology.as_data(),
        "gateway_policy": {} if topology.target else vars(topology.gateway_policy),
        "versions": pipeline.versions(),
        "capacity": job.capacity,
        "git": pipeline.git_state(),
        "anchor": record.anchor(),
    }
    folder.write_json("plan.json", plan)
    order.progress.say(f"game {folder.path.name}  seal sha256 {plan['seal']}")
    return folder


def finish(folder: RunFolder, order: Order) -> Score:
    """The game is over: its answers are told, its score is computed, its records are closed."""
    found = score.of(order.game, order.sealed, sorted(folder.events(), key=lambda event: event.t_s))
    draw = [
        {**dataclasses.asdict(one), "faults": [fault.model_dump(mode="json") for fault in one.faults]}
        for one in order.sealed.injects
    ]
    sealed = {"salt": order.salt, "seed": order.sealed.seed, "digest": order.sealed.digest(order.salt), "draw": draw}
    folder.write_json(SEALED, sealed)
    injects = [{**dataclasses.asdict(one), "points": one.points} for one in found.injects]
    folder.write_json(SCORE, {"points": found.points, "injects": injects})
    records_kept.seal(folder)
    return found
