"""``harness game-day``: a dry run tells the game, touches nothing, answers only who asks; what is wrong is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.model.topology import Topology
from harness.plan import games
from stack.stacks.vllm_haproxy import STACK
from tests.unit.test_dry_run import tree, watched


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints, blanks folded."""
    assert main.main(["game-day", *arguments]) == 0
    return re.sub(r" +", " ", capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line in which the command is refused."""
    assert main.main(["game-day", *arguments]) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def drawn_lines(text: str) -> list[str]:
    """All that follows from the draw: not its digest, whose salt is another each time."""
    return [line for line in text.splitlines() if not re.search("sha256|salt", line)]


def test_a_dry_run_touches_nothing() -> None:
    """No file is written, no process started, no connection made, with answers or without."""
    before = tree()
    done = watched("game-day bad-night --dry-run", "game-day first-watch --dry-run --seed 3 --show-answers")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("dry run of the game") == 2
    assert tree() == before


def test_it_says_all_that_may_happen(capsys: pytest.CaptureFixture[str]) -> None:
    """Times, lengths, possibilities, decoys, expected actions, hints with prices, stop conditions, the score."""
    text = said(capsys, "bad-night", "--dry-run")
    for line in (
        "lasts 60 min; set-up 30 min and briefing 15 min before it, hot wash 30 min after it",
        "answers drawn from the seed; --show-answers prints them",
        "load open, poisson, 60 % of capacity for 60 min",
        "stops when error_ratio > 90 % for 180 s",
        "1 × owner (control, may stop the game): Owns the game day.",
        "3 × responder (players): Looks",
        "begins at 5:00, up to 3 min later: from 5:00 to 8:00",
        "begins 1 min after deaf-replica is over, up to 2 min later: from 8:00 to 25:00",
        "replay the trigger comes again for 45 s; the objectives have to hold for 2 min after the mitigation",
        "one of 4 possibilities",
        "- a gateway was ordered to send a replica no requests: drain on replica-* (gateways ['gateway-a'])",
        "- The network team writes: «We see a DNS server with more queries than yesterday.»",
        "- The two gateways are compared with each other, not only the replicas.",
        "- It is {target}, as seen from the first gateway. (20 points)",
        "stop when error_ratio > 70 % for 120 s",
        "a diagnosis says which component, since when, and one of\n - DNS leads users to a gateway that is down",
        "diagnosed: 25 of 100 points, all of them within 7 min",
    ):
        assert line in text, line


@pytest.mark.parametrize("name", games.names())
def test_it_tells_no_answer_unless_asked(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --show-answers every seed prints the same; with it the answers are those of the seed."""
    assert said(capsys, name, "--dry-run", "--seed", "1") == said(capsys, name, "--dry-run", "--seed", "2")
    shown = said(capsys, name, "--dry-run", "--seed", "1", "--show-answers")
    topology = Topology(STACK)
    for drawn in games.drawn(games.load(games.find(name)), topology, 1).injects:
        assert f"{' or '.join(drawn.components)}: {drawn.mechanism}" in shown
        assert f"drawn {drawn.faults[0].type} on {drawn.faults[0].on}" in shown
    assert "{target}" not in shown
    assert "sha256" in shown


@pytest.mark.parametrize("name", games.names())
def test_a_seed_repeats_the_dry_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that was typed, and the one that a dry run without any prints."""
    shown = [said(capsys, name, "--dry-run", "--show-answers", "--seed", seed) for seed in ("1", "1", "2")]
    assert drawn_lines(shown[0]) == drawn_lines(shown[1]) != drawn_lines(shown[2])
    unseeded = said(capsys, name, "--dry-run", "--show-answers")
    (seed,) = re.findall(r"(?m)^seed (\d+)$", unseeded)
    assert drawn_lines(said(capsys, name, "--dry-run", "--show-answers", "--seed", seed)) == drawn_lines(unseeded)


def test_a_seal_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """With the seed and the salt that were told at the end it is the same; with others, or none, it is another."""
    asked = ("bad-night", "--dry-run", "--show-answers", "--seed")
    first = said(capsys, *asked, "5")
    (salt,) = re.findall(r"(?m)^ of the draw with the salt (\S+)$", first)
    assert said(capsys, *asked, "5", "--salt", salt) == first
    (seal,) = re.findall(r"sha256 ([0-9a-f]{64})", first)
    for other in (("5",), ("5", "--salt", "x"), ("6", "--salt", salt)):
        assert seal not in said(capsys, *asked, *other)


def test_what_does_not_go_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Answers without a draw, a pace without a game, names and files that there are not. Nothing is begun."""
    assert "--seed is about the draw" in refused(capsys, "bad-night", "--packs", "x", "--seed", "1")
    assert "expected --dry-run with it" in refused(capsys, "bad-night", "--packs", "x", "--show-answers")
    assert "expected --dry-run with it" in refused(capsys, "bad-night", "--show-answers")
    assert "expected --show-answers with it" in refused(capsys, "bad-night", "--dry-run", "--salt", "x")
    assert "neither --dry-run nor --packs" in refused(capsys, "bad-night", "--dry-run", "--speed", "10")
    assert "neither --dry-run nor --packs" in refused(capsys, "bad-night", "--packs", "x", "--confirm")
    assert "found 0.5, expected a number from 1" in refused(capsys, "bad-night", "--speed", "0.5")
    assert "did you mean 'bad-night'?" in refused(capsys, "bad-nite", "--dry-run")
    assert "no.yaml: there is no such file" in refused(capsys, "no.yaml", "--dry-run")
    assert "--seed" in refused(capsys, "bad-night", "--dry-run", "--seed", "x")
    assert not Path("x").exists()


def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is printed or written."""
    path = tmp_path / "mine.yaml"
    path.write_text(games.find("bad-night").read_text().replace("type: deaf", "type: daef"))
    for asked in (["--dry-run"], ["--packs", str(tmp_path / "packs")]):
        message = refused(capsys, str(path), *asked)
        assert re.search(rf"{re.escape(str(path))}:\d+: inject 'deaf-replica': there is no fault 'daef'", message)
    assert not (tmp_path / "packs").exists()


def test_list_names_every_game(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per file in scenarios/games/, the bare names for scripts."""
    assert main.main(["list", "--games", "--names"]) == 0
    assert capsys.readouterr().out.split() == games.names()
    assert main.main(["list", "--games"]) == 0
    assert re.search(r"(?m)^bad-night +Bad night \(60 min\)$", capsys.readouterr().out)
