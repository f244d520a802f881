"""Games that scripted teams play: whoever plays well has more points than whoever restarts everything or only looks.

Margins are asserted, in points of 100; times are in the output, and are not.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from harness.adapters import desk
from harness.model.topology import Topology
from harness.plan import games
from stack import state
from stack.stacks.vllm_haproxy import STACK
from tests.drills.game_process import Playing, played, short_watch, written

TEAMS = ("well", "restarts", "idle")
#: Points of the good team in the short game.
WELL_MIN = 80
#: By how much *well* beats *restarts*, and that *idle*. Other games have none yet: on this stack a storm of cancelled
#: requests is refused at the gateway, so that it has no score, and nobody has played a release day.
ABOVE_RESTARTS, ABOVE_IDLE = 25, 25


def in_order(found: dict[str, Playing]) -> None:
    """The teams' points, with these margins; whoever did nothing has mitigated nothing."""
    for team, one in found.items():
        print(f"{team}: {one.said[one.said.rfind('game begins') :]}")
    well, restarts, idle = (found[team].score["points"] for team in TEAMS)
    assert well >= restarts + ABOVE_RESTARTS
    assert restarts >= idle + ABOVE_IDLE
    for part in ("mitigated", "stays_well", "diagnosed", "acknowledged", "communicated"):
        assert not any(found["idle"].points(part)), part


def nothing_gives_answers_away(one: Playing) -> None:
    """Before the inject and while it goes on, what players can reach names nothing of it."""
    game = games.load(games.find("first-watch"))
    inject, mechanisms = game.injects[0], game.mechanisms
    texts = [*inject.expected, *inject.watch, *(hint.text for hint in inject.hints)]
    texts += [variant.symptoms for variant in inject.variants]
    secrets = (inject.id, inject.title, *texts, "/stop/", "/pause/", "fault_", "inject_")
    for moment in ("the game begins", "proven: "):
        one.until(lambda moment=moment: moment in one.said)  # type: ignore[misc]
        for name, text in reach(one).items():
            named = [secret for secret in secrets if secret.lower() in text.lower()]
            assert not named, (moment, name, named)
            if name in ("/", "/api/status"):  # each as often as any other: where it is chosen
                assert len({text.count(mechanism) for mechanism in mechanisms}) == 1, (moment, name)


def reach(one: Playing) -> dict[str, str]:
    """What players can reach, by its name: the desk's answers, commands, logs, command lines of processes."""
    access = json.loads((state.STATE_ROOT / str(one.instance) / desk.ACCESS_FILE).read_text())
    headers = {"Authorization": f"Bearer {access['token']}"}
    with httpx.Client(trust_env=False, headers=headers, base_url=access["url"]) as client:
        found = {path: client.get(path).text for path in ("/api/status", "/api/charts?last=600", "/")}
    found["/"] = html.unescape(re.sub(r"<style.*?</style>", "", found["/"], flags=re.DOTALL))
    for line in ("game-status", "ops rollback", "ops restart dns", "hint", "say nothing", "status"):
        if line != "hint" or "proven: " not in one.said:  # it is for sale then, and says what it says
            found[line] = one.printed(*line.split())
    for component in components(one):
        found[f"logs {component}"] = one.printed("logs", component)
    found["processes"] = "\n".join(command_lines(one))
    return found


def command_lines(one: Playing) -> Iterator[str]:
    """Of the game's processes, its team and its stack among them; a machine has others, which know nothing of it."""
    mine = {one.process.pid, *(child.pid for child in psutil.Process(one.process.pid).children(recursive=True))}
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.pid in mine or f"/.state/{one.instance}/" in line or f"127.0.{one.instance}." in line:
            yield line


def components(one: Playing) -> list[str]:
    """The components of its stack."""
    return [component.name for component in Topology(STACK, instance=one.instance).components]


@pytest.mark.trust
@pytest.mark.timeout(400)
def test_a_team_plays_well(tmp_path: Path) -> None:
    """*First watch*, shortened to two minutes: found, diagnosed and mended, by what players can see alone."""
    found = played(short_watch(tmp_path), "well", 7, tmp_path)
    assert found.score["points"] >= WELL_MIN, found.said
    assert found.points("diagnosed") == [25.0]


@pytest.mark.night
@pytest.mark.timeout(1000)
def test_a_short_watch(tmp_path: Path) -> None:
    """By each team; and nothing in reach of the one that only looks gives the answers away."""
    game = short_watch(tmp_path)
    found = {team: played(game, team, 7, tmp_path) for team in TEAMS[:2]}
    found["idle"] = played(game, "idle", 7, tmp_path, nothing_gives_answers_away)
    in_order(found)
    assert found["restarts"].points("diagnosed") == [0.0]


@pytest.mark.night
@pytest.mark.timeout(4500)
def test_a_first_watch(tmp_path: Path) -> None:
    """With its own times and objectives; only the waits between injects are shorter."""
    game = written("first-watch", tmp_path)
    in_order({team: played(game, team, 7, tmp_path) for team in TEAMS})
