"""The after-action report of a game: what happened, in which order, how long it took, and nothing that was not seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli import main
from harness.evidence.record import RunFolder
from harness.model.errors import RunFolderError
from harness.plan import games
from harness.run import game
from reports.pages import after_action
from tests import runs
from tests.unit.games import live
from tests.unit.games.test_pack import Words
from tests.unit.nights.test_nightly_page import HOSTILE, Tags

Told = tuple[float, str, dict[str, Any]]
BEGUN: Sequence[Told] = (
    (100.0, "phase_started", {"phase": "game", "phase_kind": "fault"}),
    (110.0, "inject_begun", {"inject": "one"}),
    (111.0, "inject_proven", {"inject": "one"}),
)
PLAYED: Sequence[Told] = (
    *BEGUN,
    (120.0, "alert_fired", {"alert": "ReplicaDown", "labels": {"component": "replica-1"}}),
    (125.0, "said", {"what": "found", "who": "ann", "text": ""}),
    (131.0, "said", {"what": "diagnosed", "who": "ann", "component": "replica-1", "mechanism": "m", "since_s": 110.0}),
    (140.0, "ops", {"verb": "restart", "who": "ann", "component": "replica-1", "value": "", "outcome": "it starts"}),
    (155.0, "mitigated", {"inject": "one"}),
    (200.0, "inject_over", {"inject": "one"}),
    (200.1, "fault_healed", {"fault": "one/stop/replica-1", "by": "the harness"}),
)


def played(folder: Path, events: Sequence[Told], ended: bool = True) -> RunFolder:
    """The folder of a game in which this happened; one that was killed has no draw and no score."""
    found = runs.healthy().write(folder / "game")
    of = live.game_of(live.inject_of())
    of = of.model_copy(update={"stop_when": games.load(games.find("first-watch")).stop_when})
    frame = {"game": of.model_dump(mode="json"), "seal": live.sealed_of(of).digest("salt")}
    found.write_json("plan.json", {**found.plan(), **frame})
    lines = [json.dumps({"t_s": at, "kind": kind, **data}) for at, kind, data in events]
    (found.path / "events.jsonl").write_text("\n".join(lines) + "\n")
    if ended:
        game.finish(found, live.order_of(of))
    return found


def words(page: str) -> str:
    """What it says."""
    return " ".join(" ".join(Words(page).texts).split())


def test_it_tells_the_game_in_order(tmp_path: Path) -> None:
    """By the game's clock, each row with its source; steps as lengths since the inject began."""
    folder = played(tmp_path, PLAYED)
    said = words(after_action.write(folder).read_text())
    story = (
        "0:10 the inject begins",
        "0:20 alert ReplicaDown fires replica-1",
        "0:25 said «found» ann",
        "0:31 diagnosis: replica-1: m ann",
        "0:40 restart replica-1: it starts ann",
        "0:55 users are well again",
    )
    places = [said.find(one) for one in story]
    assert -1 not in places, said
    assert places == sorted(places)
    assert "one 10 s 15 s never 45 s 1.5 min" in said
    assert "rolled back by the harness" in said
    assert folder.read_json("sealed.json")["salt"] in said
    assert folder.plan()["seal"] in said
    assert "It ended early" not in said


def test_it_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command that does so for drills."""
    folder = played(tmp_path, PLAYED)
    assert main.main(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out == f"{folder.path / after_action.FILE}\n"
    assert "First watch" in (folder.path / after_action.FILE).read_text()


def test_what_did_not_happen_is_never_zero(tmp_path: Path) -> None:
    """An inject that never began, and attempts of which none was in the game."""
    said = words(after_action.page(played(tmp_path, BEGUN[:1])))
    assert "one never began" in said
    assert "Score: none." in said
    assert "attempts 0" not in said


def test_a_game_that_was_stopped_says_so(tmp_path: Path) -> None:
    """And has no score for what it cut."""
    said = words(after_action.page(played(tmp_path, [*BEGUN, (130.0, "interrupted", {"signal": "SIGINT"})])))
    assert "It ended early: SIGINT." in said
    assert "it was stopped after 20 s" in said


def test_a_game_that_was_killed_has_lost_its_draw(tmp_path: Path) -> None:
    """Nothing is made up in its place."""
    said = words(after_action.page(played(tmp_path, PLAYED, ended=False)))
    assert "The draw was lost" in said
    assert "Score: none." in said


def test_what_people_wrote_is_text(tmp_path: Path) -> None:
    """Names, messages and outcomes come from players and servers."""
    hostile = {"what": "status", "who": HOSTILE, "text": HOSTILE}
    page = after_action.page(played(tmp_path, [*PLAYED, (210.0, "said", hostile)]))
    assert HOSTILE not in page
    assert HOSTILE in words(page)
    assert {"script", "img"}.isdisjoint(tag for tag, _ in Tags(page).found)


def test_a_flood_of_messages_fits_into_the_page(tmp_path: Path) -> None:
    """5,000 of them, each of 4,000 characters that escaping makes longer."""
    flood = [(130.0 + n / 100, "said", {"what": "status", "who": "ann", "text": "<" * 4_000}) for n in range(5_000)]
    page = after_action.page(played(tmp_path, [*BEGUN, *flood]))
    assert len(page.encode()) < 2 * 2**20
    assert " more, from here on" in words(page)


def test_retries_that_nobody_logged_are_not_none(tmp_path: Path) -> None:
    """The gateways' logs are read at the end of a game: of one that was killed they are not known."""
    folder = played(tmp_path, PLAYED)
    rows = folder.requests().assign(phase="game", gateway_retries=None)
    said = []
    for retries in (None, 0):
        rows.assign(gateway_retries=pd.array([retries] * len(rows), dtype="Int16")).to_parquet(
            folder.path / "requests.parquet"
        )
        said.append(words(after_action.page(folder)))
    assert "tried on another replica by the gateways not measured" in said[0]
    assert f"tried on another replica by the gateways 0 of {len(rows):,} in the gateways' logs" in said[1]


def test_what_is_no_game_is_said(tmp_path: Path) -> None:
    """A drill, and a game that another version wrote: no traceback."""
    folder = played(tmp_path, PLAYED)
    folder.write_json("plan.json", {**folder.plan(), "game": {"name": "x"}})
    with pytest.raises(RunFolderError, match="values of its game cannot be read"):
        after_action.page(folder)
    with pytest.raises(RunFolderError, match="a run without a game, expected the folder of a game day"):
        after_action.page(runs.healthy().write(tmp_path / "run"))
