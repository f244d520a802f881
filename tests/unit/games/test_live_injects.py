"""Injects while a game is played: when each begins, its life on the stack, what counts as mitigated and stays well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.load import Window
from harness.model.errors import AdapterError, StackError, UsageError
from harness.model.game import LiveSLO
from harness.plan.stop_conditions import LIVE
from harness.run import game_clock
from harness.run.game_clock import GameClock
from harness.run.game_injects import Mitigating
from harness.run.game_slos import Slos, measured
from tests.unit.games import live
from tests.unit.games.live import LONG_S, Table

STORY = (
    "inject_begun", "fault_injecting", "fault_injected", "fault_proven", "inject_proven", "fault_healing",
    "fault_healed", "inject_over", "heal_proven",
)  # fmt: skip


def test_the_life_of_an_inject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal, injection, proof, heal after its time, proof of the heal. Nobody did anything: nothing is mitigated."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of(lasts_at_most=1.0)), monkeypatch)
        playing = table.begin()
        await table.until(lambda: "fault_injected" in table.log.kinds)
        assert [undo.id for undo in table.session.journal.open_entries()] == ["one/stop/replica-1"]
        await playing
        assert table.told(*STORY) == list(STORY)
        assert table.undone == ["one/stop/replica-1"]
        assert table.session.journal.open_entries() == []
        (course,) = table.courses
        assert (course.state, course.proven, course.stays_well) == ("over", True, None)
        faults = [event for event in table.log.events if "fault" in event]
        assert {event["phase"] for event in faults} == {"game"}

    asyncio.run(play())


def test_what_is_not_proven_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inject without an effect has no score, and none that cannot be asked because players act at that moment."""

    async def asked(context: object) -> Any:
        raise AdapterError("gateway-a does not answer")

    async def play(broken: bool) -> list[str]:
        (folder := tmp_path / str(broken)).mkdir()
        table = live.table(folder, live.game_of(live.inject_of(lasts_at_most=1.0)), monkeypatch)
        made: Any = table.played.injects._made

        def unproven(drawn: Any, name: str) -> list[Any]:
            (fault,) = made(drawn, name)
            fault.proven = False
            if broken:
                fault.verify = asked
            return [fault]

        monkeypatch.setattr(table.played.injects, "_made", unproven)
        await table.begin()
        assert table.courses[0].proven is False
        return table.told("inject_proven", "inject_unproven", "inject_over")

    assert asyncio.run(play(broken=False)) == ["inject_unproven", "inject_over"]
    assert asyncio.run(play(broken=True)) == ["inject_unproven", "inject_over"]


def test_what_cannot_be_injected_does_not_end_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is healed as far as it came, and the next one comes. What keeps the whole game from going on ends it."""

    async def play(error: Exception) -> Table:
        of = live.game_of(live.inject_of(lasts_at_most=0.3), live.inject_of("two", {"after": "one"}, lasts_at_most=0.3))
        table = live.table(tmp_path, of, monkeypatch)
        made: Any = table.played.injects._made

        async def inject(context: object) -> None:
            raise error

        def failing(drawn: Any, name: str) -> list[Any]:
            (fault,) = made(drawn, name)
            if name == "one":
                fault.inject = inject
            return [fault]

        monkeypatch.setattr(table.played.injects, "_made", failing)
        await table.begin()
        return table

    table = asyncio.run(play(AdapterError("toxiproxy does not answer")))
    assert [course.state for course in table.courses] == ["failed", "over"]
    assert table.told("inject_failed", "inject_over") == ["inject_failed", "inject_over", "inject_over"]
    assert table.undone == ["one/stop/replica-1", "two/stop/replica-1"]
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(play(StackError("the stack is gone")))
    assert caught.group_contains(StackError)


async def _mitigated(table: Table) -> None:
    """Users are hit, players do something, users are well again."""
    table.users(well=False)
    table.played.injects.heard("ops.restart")
    table.users(well=True)


def test_a_mitigation_is_watched_until_it_has_stayed_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is over, long before its time; the fault stays until then, and is healed."""

    async def play() -> None:
        of = live.game_of(live.inject_of(lasts_at_most=LONG_S), stays_well_s=1.0)
        table = live.table(tmp_path, of, monkeypatch)
        playing = table.begin()
        await table.until(lambda: "inject_proven" in table.log.kinds)
        await _mitigated(table)
        await table.until(lambda: table.courses[0].state == "mitigated")
        assert table.undone == []
        await asyncio.wait_for(playing, live.WITHIN_S)
        assert table.courses[0].stays_well is True
        story = ["users_hit", "mitigated", "fault_healed", "inject_over"]
        assert table.told(*story, "replay_begun") == story

    asyncio.run(play())


def test_a_recovery_by_itself_is_no_mitigation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are well again, and nobody did anything, or said only something: it lasts for its time."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of(lasts_at_most=1.0)), monkeypatch)
        playing = table.begin()
        await table.until(lambda: "inject_proven" in table.log.kinds)
        table.users(well=False)
        table.played.injects.heard("say.fixed")
        table.users(well=True)
        await playing
        assert table.told("users_hit", "mitigated") == ["users_hit"]
        assert table.courses[0].stays_well is None

    asyncio.run(play())


@pytest.mark.parametrize("again", [False, True])
def test_the_trigger_comes_again(again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Healed, injected once more, held. Where users are hit again it was no mitigation; the next one is tried, too."""

    async def play() -> None:
        inject = live.inject_of(lasts_at_most=LONG_S, replay=0.2)
        table = live.table(tmp_path, live.game_of(inject, stays_well_s=1.5), monkeypatch)
        playing, (course,) = table.begin(), table.courses
        await table.until(lambda: "inject_proven" in table.log.kinds)
        await _mitigated(table)
        await table.until(lambda: "replay_begun" in table.log.kinds)
        if again:
            table.users(well=False)
            await table.until(lambda: course.stays_well is False)
            table.played.injects.heard("ops.drain")
            await table.until(lambda: "replay_over" in table.log.kinds)
            table.users(well=True)
        await asyncio.wait_for(playing, live.WITHIN_S)
        assert course.stays_well is True
        times = 2 if again else 1
        assert table.told("replay_begun", "replay_over") == ["replay_begun", "replay_over"] * times
        assert table.made[0].done == ["measure", *["inject"] * (1 + times)]  # measured before players did anything
        assert table.undone == ["one/stop/replica-1"] * (1 + times)
        assert table.told("inject_proven") == ["inject_proven"]

    asyncio.run(play())


def test_a_stop_condition_of_an_inject_heals_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The game goes on."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of(lasts_at_most=LONG_S)), monkeypatch)
        monkeypatch.setattr(table.played.injects, "_ends_early", lambda course, watches: "error_ratio was 90 %")
        await table.begin()
        assert table.told("inject_stopped", "fault_healed", "inject_over") == [
            "inject_stopped", "fault_healed", "inject_over",
        ]  # fmt: skip

    asyncio.run(play())


# ── when it begins ──


def test_an_inject_follows_an_act_of_the_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the act that it waits for, after its delay; another act is none, and without any it comes at its time."""

    async def due(*acts: str) -> float | None:
        inject = live.inject_of(when={"on": "ops.restart", "at_most": "5m", "delay": "2m"})
        table = live.table(tmp_path, live.game_of(inject), monkeypatch)
        playing, (course,) = table.begin(), table.courses
        for act in acts:
            table.played.injects.heard(act)
        found = table.played.injects._due_game_s(course)
        table.played.clock._gained_s = 301.0
        late = table.played.injects._due_game_s(course)
        assert late == pytest.approx(120.0 if "ops.restart" in acts else 420.0, abs=5.0)
        playing.cancel()
        await asyncio.wait([playing])
        return found

    assert asyncio.run(due()) is None
    assert asyncio.run(due("say.found", "ops.drain")) is None
    assert asyncio.run(due("ops.restart")) == pytest.approx(120.0, abs=5.0)


def test_an_inject_waits_until_users_are_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was missed before says nothing about it."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of(lasts_at_most=0.3)), monkeypatch)
        table.played.clock.begin()
        table.users(well=False)
        playing = asyncio.create_task(table.played.injects.play())
        await asyncio.wait([playing], timeout=0.1)
        assert table.made == []
        table.users(well=True)
        await asyncio.wait_for(playing, live.WITHIN_S)
        assert table.courses[0].state == "over"

    asyncio.run(play())


def test_injects_come_only_while_the_game_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was delayed beyond its end is left out, and recorded so."""

    async def play() -> None:
        of = live.game_of(live.inject_of(when={"at": "5m"}), lasts_s=0.05)
        table = live.table(tmp_path, of, monkeypatch)
        await asyncio.wait_for(table.begin(), live.WITHIN_S)
        assert (table.courses[0].state, table.made) == ("skipped", [])
        assert [event["why"] for event in table.log.events if "why" in event] == ["the game is over"]

    asyncio.run(play())


def test_speed_shortens_waits_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as much of the game's timeline passes in a wait between injects, and a second is one otherwise."""
    now = [100.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(game_clock.asyncio, "sleep", sleep)
    clock = GameClock(lambda: now[0], 10.0)
    assert (clock.clock_s(), clock.game_s()) == (0.0, 0.0)
    clock.begin()
    asyncio.run(clock.pass_on())
    assert clock.clock_s() == pytest.approx(game_clock.LOOK_EVERY_S / 10)
    assert clock.game_s() == pytest.approx(game_clock.LOOK_EVERY_S)
    now[0] += 5.0
    assert clock.game_s() == pytest.approx(game_clock.LOOK_EVERY_S + 5.0)
    assert clock.on_wall_s(clock.game_s() + 10.0) == pytest.approx(clock.clock_s() + 1.0)


# ── objectives ──


@pytest.mark.parametrize(
    ("acts", "mitigated_s", "again"),
    [
        ("missed kept", None, False),
        ("act missed kept", None, False),
        ("missed act kept", 3.0, False),
        ("kept", None, False),
        ("missed act kept missed", None, True),
        ("missed act kept missed kept", None, True),
        ("missed act kept missed act kept", 6.0, False),
    ],
)
def test_what_counts_as_mitigated(acts: str, mitigated_s: float | None, again: bool) -> None:
    """As the judge sees it afterwards: missed, then an act, then kept; once more after it was missed again."""
    one = Mitigating()
    for at_s, act in enumerate(acts.split(), 1):
        one.act() if act == "act" else one.objectives(float(at_s), act == "kept")
    assert (one.mitigated_s, one.missed_again) == (mitigated_s, again)
    assert one.hit_s == (None if "missed" not in acts else float(acts.split().index("missed") + 1))


def window(t_s: float, ok: int, failed: int, ttft: int = 100) -> Window:
    """Half a second in which so many requests ended; ``ttft`` as harness/model/sparse.py has it."""
    outcomes = {"ok": ok, "http_5xx": failed}
    return Window(t_s, 9, 3, 9, ok, failed, 150.0, 1.0, outcomes, ok, {}, {str(ttft): ok} if ok else {}, {})


@pytest.mark.parametrize("sli", LIVE)
def test_every_live_indicator_is_measured_over_a_whole_stretch(sli: str) -> None:
    """A number where there was something to see, and None where there was not."""
    assert measured(sli, [window(1.0, 9, 1), window(1.5, 10, 0)]) is not None
    assert measured(sli, [window(1.0, 0, 0)]) is None


def test_an_objective_is_an_event_when_it_is_first_known_and_when_it_changes() -> None:
    """It is not measured before its stretch was seen, and stays as it was while nothing ends."""
    told: list[tuple[float, bool]] = []
    changed: list[bool] = []
    now_s = 0.0
    slo = LiveSLO.model_validate({"name": "availability", "sli": "availability", "objective": ">= 90 %", "for": "4s"})
    slos = Slos([slo], lambda kind, **data: told.append((now_s, data["kept"])), changed.append)
    seen: list[Window] = []
    for now_s in (t / 2 for t in range(1, 41)):
        failed = 10 if 10.0 <= now_s < 11.0 else 0
        seen += [window(now_s, 10 - failed, failed)] if now_s < 18.0 else []
        slos.look(seen, now_s)
        if now_s < 2.0:
            assert (slos.kept, slos.now()[0].value) == (None, None)
    assert told == [(3.0, True), (10.0, False), (14.5, True)]
    assert changed == [True, False, True]
    assert slos.now()[0].unit == "%"


def test_an_unknown_inject_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ids that there are."""

    async def play() -> None:
        table = live.table(tmp_path, live.game_of(live.inject_of()), monkeypatch)
        with pytest.raises(UsageError, match="expected one of one"):
            table.played.injects.find("three")

    asyncio.run(play())
