"""Scripted teams: what each sees, says and does, on a service without a stack; and that a team knows no more."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.adapters import desk
from harness.cli import main
from harness.model.errors import AdapterError, UsageError
from harness.run import teams
from harness.run.teams import idle, restarts, well
from harness.run.teams.seat import Seat
from tests.unit.desk.boards import TOKENS, FakeBoard, a_view, served
from tests.unit.games.on_call import (
    BREAKS_S,
    DEAF,
    DRAINED,
    EARLY,
    ENDED,
    ENDS_S,
    FROZEN,
    QUEUED,
    SLOW_PATH,
    SLOWER,
    SWALLOWED,
    WINDOW_S,
    Service,
    page,
    replica,
)

AWAY_FROM_A = [("drain", "replica-1", "gateway-a"), ("drain", "replica-2", "gateway-a")]
GIVEN_BACK = [("undrain", "replica-1", "gateway-a"), ("undrain", "replica-2", "gateway-a")]


def ended(view: dict[str, Any]) -> None:
    """No process, and no gateway finds it well."""
    replica(view, "replica-2")["state"] = "exited"
    frozen(view)


def frozen(view: dict[str, Any]) -> None:
    """For the first seconds only its page is there, as of another kind."""
    late = view["clock_s"] > BREAKS_S + 3
    view["alerts"] = [page("ReplicaDown" if late else "ReplicaDeaf", component="replica-2")]
    for use in replica(view, "replica-2")["used_by"].values():
        use["healthy"] = not late


def deaf(view: dict[str, Any]) -> None:
    """Healthy, and silent."""
    view["alerts"] = [page("ReplicaDeaf", component="replica-1", replica="replica-1")]


def drained(view: dict[str, Any]) -> None:
    """By one gateway alone."""
    replica(view, "replica-1")["used_by"]["gateway-a"]["state"] = "drain"


def swallowed(view: dict[str, Any]) -> None:
    """One gateway does not reach it, as long as it is so, whatever users feel."""
    view["alerts"] = [page("ReplicaDown", server="replica-1")]
    replica(view, "replica-1")["used_by"]["gateway-a"]["healthy"] = False


def rollout(view: dict[str, Any]) -> None:
    """Each gateway gives the candidate a part of its share."""
    for use in replica(view, "replica-2")["used_by"].values():
        use["weight"] = 25


def nothing(view: dict[str, Any]) -> None:
    """No component differs from its like."""


USUAL = {"requests": {"gateway-a 2xx": [10.0] * 5, "gateway-b 2xx": [2.0] * 5}}
STORM = {"requests": {"gateway-a 2xx": [10.0] * 5, "gateway-a none": [30.0] * 5, "gateway-b 2xx": [2.0] * 5}}
HANG_UPS = {"requests": {"gateway-a 2xx": [40.0] * 5, "gateway-b 2xx": [2.0] * 5}}
SLOW_CANDIDATE = {**USUAL, "synthetic": {"replica-1": [0.1] * 9, "replica-2": [0.3] * 9}}
ALIKE = {**USUAL, "synthetic": {"replica-1": [0.1] * 9, "replica-2": [0.1] * 9}}
FIRST_A = ("drain", "replica-2")  # the last of the orders that lead users away

CASES: tuple[tuple[Any, Mapping[str, Any], tuple[str, str], tuple[str, str], list[tuple[str, ...]]], ...] = (
    (ended, {}, ("restart", "replica-2"), ("replica-2", ENDED), [("restart", "replica-2", "")]),
    (frozen, {}, ("restart", "replica-2"), ("replica-2", FROZEN), [("restart", "replica-2", "")]),
    (deaf, {}, ("restart", "replica-1"), ("replica-1", DEAF), [("restart", "replica-1", "")]),
    (drained, {}, ("undrain", "replica-1"), ("replica-1", DRAINED), [("undrain", "replica-1", "gateway-a")]),
    (swallowed, {}, FIRST_A, ("gateway-a-to-replica-1", SWALLOWED), [*AWAY_FROM_A, *GIVEN_BACK]),
    (rollout, SLOW_CANDIDATE, ("rollback", ""), ("replica-2", SLOWER), [("rollback", "", "")]),
    (rollout, ALIKE, FIRST_A, ("gateway-a-to-replica-1", SLOW_PATH), [*AWAY_FROM_A, *GIVEN_BACK]),
    (nothing, STORM, FIRST_A, ("gateway-a", QUEUED), [*AWAY_FROM_A, *GIVEN_BACK]),
    (nothing, HANG_UPS, FIRST_A, ("gateway-a", EARLY), [*AWAY_FROM_A, *GIVEN_BACK]),
)


@pytest.mark.parametrize(("breaks", "curves", "cure", "answer", "orders"), CASES)
def test_the_good_team_finds_the_odd_one_out(
    breaks: Any,
    curves: Mapping[str, Any],
    cure: tuple[str, str],
    answer: tuple[str, str],
    orders: list[tuple[str, ...]],
) -> None:
    """One diagnosis, the right one; one mitigation, of that alone; users hear of it, and that it is over."""
    service = Service(breaks, (cure,), curves, USUAL)
    service.played(well)
    assert service.diagnoses() == [answer]
    assert service.orders() == orders
    assert service.said() == ["found", "acknowledged", "status", "status", "fixed", "status"]


def test_what_does_not_help_is_tried_again_later_and_diagnosed_once() -> None:
    """And users hear of it again, and never that it is over."""
    service = Service(deaf)
    service.played(well)
    assert service.orders() == [("restart", "replica-1", "")] * 3
    assert service.diagnoses() == [("replica-1", DEAF)]
    assert service.said()[:3] == ["found", "acknowledged", "status"]
    assert set(service.said()[3:]) == {"status"}


def test_a_mechanism_that_the_list_does_not_have_is_not_suspected() -> None:
    """What the list has is; without any the team looks on, and does nothing at random."""
    service = Service(frozen, (("restart", "replica-2"),), mechanisms=(FROZEN, "DNS lies"))
    service.played(well)
    assert service.diagnoses() == [("replica-2", FROZEN)]
    service = Service(ended, (("restart", "replica-2"),), mechanisms=("DNS lies",))
    service.played(well)
    assert (service.diagnoses(), service.orders()) == ([], [])


def test_restarting_everything_is_no_diagnosis() -> None:
    """Everything in turn, whatever is wrong, once more as long as it does not help; nobody is told."""
    all_of_them = [("restart", one, "") for one in ("replica-1", "replica-2", "gateway-a", "gateway-b")]
    service = Service(deaf, (("restart", "replica-1"),))
    service.played(restarts)
    assert service.orders() == all_of_them
    assert service.said() == ["found", "acknowledged", "fixed"]
    assert service.diagnoses() == []
    service = Service(swallowed)
    service.played(restarts)
    assert service.orders()[:8] == all_of_them * 2
    assert "fixed" not in service.said()


def test_the_idle_team_does_nothing() -> None:
    """To the end of the game."""
    service = Service(ended)
    assert service.played(idle) == []
    assert service.now_s > ENDS_S


@pytest.mark.parametrize("team", [well, restarts, idle])
def test_a_calm_game_is_left_alone(team: Any) -> None:
    """Nothing is wrong: nothing is said, diagnosed or done."""
    calm = Service(nothing, usual_curves=USUAL)
    calm.cured_s = -WINDOW_S
    assert calm.played(team) == []


# ── the seat ──


def test_a_seat_waits_for_the_game_and_survives_a_gap() -> None:
    """No look before the clock runs; some without an answer end no game, and many do."""
    service = Service(nothing, silent=lambda now_s: 100 < now_s < 105)
    seat = Seat(service, "a team", lambda words: None, service.sleep)
    seen = [view["clock_s"] for view in seat.looks()]
    assert seen[0] > 0
    assert any(at_s > 105 for at_s in seen)
    assert service.now_s < ENDS_S + 20


@pytest.mark.parametrize("error", [UsageError("the game is over"), AdapterError("it failed")])
def test_what_the_desk_refuses_is_told_and_ends_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each; charts that are not there are none."""
    told: list[str] = []

    def refuse(*_: object) -> str:
        raise error

    service = Service(nothing)
    for name in ("say", "ops", "diagnose", "charts"):
        monkeypatch.setattr(service, name, refuse)
    seat = Seat(service, "a team", told.append)
    seat.say("found")
    seat.diagnose("replica-1", DEAF, 90.0)
    assert seat.ops("restart", "replica-1") is False
    assert seat.curves("requests") == {}
    assert len(told) == 3
    assert all(str(error) in line for line in told)


def test_a_team_plays_over_http(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With address and token alone; a wrong token is one line."""
    board = FakeBoard(a_view(alerts=(), clock_s=5.0))
    with served(board) as addresses:
        monkeypatch.setenv(desk.ADDRESS, addresses.players_url)
        monkeypatch.setenv(desk.TOKEN, TOKENS.facilitator)
        assert main.main(["game-team", "idle"]) == 64
        seat = Seat(
            desk.Desk(desk.Access(addresses.players_url, TOKENS.players, "a test")), "Ada", sleep=lambda _: None
        )
        assert next(seat.looks())["clock_s"] == 5.0
        seat.diagnose("replica-1", "a replica hangs", 4.0)
        assert seat.ops("restart", "replica-1") is True
    assert board.done == [
        ("diagnose", "Ada", "replica-1", "a replica hangs", 4.0),
        ("ops", "Ada", "restart", "replica-1", ""),
    ]
    assert main.main(["game-team", "nobody"]) == 64
    assert "expected idle, restarts, well" in capsys.readouterr().err


def test_a_team_knows_nothing_but_its_seat() -> None:
    """It imports its own folder, words of the game and errors: nothing that reads a run, a game's file or a draw."""
    allowed = ("harness.run.teams", "harness.model.errors", "harness.model.game")
    files = sorted(Path(teams.__file__).parent.glob("*.py"))
    assert {path.stem for path in files} == {"__init__", "seat", *teams.teams()}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "harness",
                "stack",
                "reports",
            ):
                assert str(node.module).startswith(allowed), f"{path.name}: {node.module}"
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("open", "exec", "eval"))
