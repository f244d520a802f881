"""A game as people start it, as a process, on a simulated stack that few requests fill; a scripted team plays it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.evidence.record import RunFolder
from harness.plan import games
from harness.run.outcome import VARIABLES
from stack.runtimes.process import ProcessRuntime
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology

#: Requests a second: what two replicas of the small stack (small_stack.py) carry, and one does not.
RATE = "10/s"
#: A game is over by then, if it does not hang: the longest has 36 min of injects.
GAME_S_MAX = 4000.0


class Playing:
    """One game in progress on an instance of its own, and its end."""

    def __init__(self, instance: int, game: Path, team: str, seed: int, folder: Path) -> None:
        self.instance, self.team, self._out = instance, team, folder / f"{team}.out"
        clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        stack = ("--runtime", "process", "--engine", "sim", "--instance", str(instance))
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.drills.small_stack", "game-day", str(game), *stack,
                 "--speed", "20", "--seed", "-", "--scripted", team],
                cwd=CHECKOUT, env=clean, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(f"{seed}\n".encode())
        self.process.stdin.close()

    @property
    def said(self) -> str:
        """What the program has printed so far."""
        return self._out.read_text(errors="replace")

    @property
    def folder(self) -> RunFolder:
        """Its records."""
        found = re.search(r"game (game-\S+)  seal", self.said)
        assert found, self.said
        return RunFolder(CHECKOUT / "runs" / found[1])

    @property
    def score(self) -> dict[str, Any]:
        """``score.json``."""
        return dict(self.folder.read_json("score.json"))

    def points(self, part: str) -> list[float | None]:
        """Of each inject that part's points; None where it was not measured."""
        return [one["points"] for inject in self.score["injects"] for one in inject["parts"] if one["name"] == part]

    def printed(self, *arguments: str) -> str:
        """What a player's command prints on the machine of the game, refused or not."""
        command = [sys.executable, "-m", "harness", *arguments, "--instance", str(self.instance)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    def until(self, what: Callable[[], bool], limit_s: float = 200.0) -> None:
        """Poll. AssertionError when the game ends or the time is over before."""
        ends_s = time.monotonic() + limit_s
        while not what():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < ends_s, self.said
            time.sleep(0.1)

    def end(self) -> None:
        """Wait for it. AssertionError for one that did not end well."""
        assert self.process.wait(GAME_S_MAX) == 0, self.said

    def stop(self) -> None:
        """As Ctrl-C does, where it still goes on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


def written(game: str, folder: Path, **changes: Any) -> Path:
    """A shipped game with the small stack's rate, and with other changes at its top level, in a file."""
    data = as_text(game)
    data["load"]["rate"] = RATE
    path = folder / f"{data['name']}.yaml"
    path.write_text(yaml.safe_dump(data | changes, sort_keys=False))
    return path


def as_text(game: str) -> dict[str, Any]:
    """A shipped game's file, its values as text: YAML 1.1 reads the key `on` as true."""
    return dict(yaml.load(games.find(game).read_text(), Loader=yaml.BaseLoader))


def short_watch(folder: Path) -> Path:
    """*First watch* in two minutes: the same inject, and little time for everything."""
    inject: Mapping[str, Any] = as_text("first-watch")["injects"][0]
    decoys = [{**one, "delay": "5s", "spread": "5s"} for one in inject["decoys"]]
    at = {"at": "60s", "spread": "20s"}
    slos = [{**one, "for": "10s"} for one in as_text("first-watch")["slos"]]
    return written(
        "first-watch", folder, lasts="4m", stays_well_for="30s", status_every="1m", slos=slos,
        par={"detected": "30s", "acknowledged": "30s", "diagnosed": "40s", "mitigated": "60s"},
        injects=[{**inject, "when": at, "lasts_at_most": "75s", "decoys": decoys}],
    )  # fmt: skip


def played(game: Path, team: str, seed: int, folder: Path, during: Callable[[Playing], None] | None = None) -> Playing:
    """The game, as the team plays it, to its end. ``during``: what is done meanwhile."""
    with free_topology() as topology:
        playing = Playing(topology.instance, game, team, seed, folder)
        try:
            if during is not None:
                during(playing)
            playing.end()
        finally:
            playing.stop()
            ProcessRuntime(topology).down(print)
    return playing
