"""The pages of a game day: the pack has all that facilitators need, the brief nothing of the injects; both are one file
each, for paper and for screens.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.cli import main
from harness.model.game import Game, Hint, When, begins, clock, windows
from harness.model.topology import Topology
from harness.plan import games
from reports.pages import game_pack
from stack.stacks.vllm_haproxy import STACK
from tests.unit.nights.test_nightly_page import HOSTILE, Tags


class Words(HTMLParser):
    """What a page says, without its styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A style says nothing."""
        self._silent = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """It is over."""
        self._silent = False

    def handle_data(self, data: str) -> None:
        """Keep it."""
        if not self._silent:
            self.texts.append(data)


def words(page: str) -> str:
    """All that it says, blanks folded."""
    return " ".join(" ".join(Words(page).texts).split())


def game(name: str) -> Game:
    """A shipped one."""
    return games.load(games.find(name))


def folded(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", games.names())
def test_the_pack_has_all_that_facilitators_need(name: str) -> None:
    """Schedule, roles, safety, briefing, injects with all their parts, objectives to rate, questions."""
    one = game(name)
    said = words(game_pack.facilitator_pack(one))
    for text in (
        one.title, folded(one.briefing), "Schedule", "Room and set-up", "Anybody may say «stop the game»",
        *(role.duty for role in one.roles), *map(str, one.stop_when), *one.objectives, *one.hot_wash,
    ):  # fmt: skip
        assert text in said, text
    for inject in one.injects:
        for text in (
            inject.title, begins(inject.when), *inject.expected, *inject.watch, *map(str, inject.stop_when),
            *(hint.text for hint in inject.hints), *(f"{hint.price} points" for hint in inject.hints),
            *(text for v in inject.variants for text in (v.mechanism, folded(v.symptoms), v.faults[0].on)),
            *(text for decoy in inject.decoys for text in (decoy.says, decoy.mechanism)),
        ):  # fmt: skip
            assert text in said, text
    rated = sum(len(inject.expected) for inject in one.injects) + len(one.objectives)
    assert game_pack.facilitator_pack(one).count('class="box"') == rated * len(game_pack.RATINGS)


def test_the_schedule_counts_from_the_start() -> None:
    """Set-up and briefing before it, the hot wash after the game."""
    said = words(game_pack.facilitator_pack(game("first-watch")))
    for row in ("−45 min −15 min Set-up", "−15 min start Briefing", "start +30 min Game", "+30 min +60 min Hot wash"):
        assert row in said


def secrets(one: Game) -> set[str]:
    """What players must not read: names, mechanisms, targets, symptoms, hints, decoys, times of every inject."""
    found: set[str] = set()
    of_stack = games.targets(Topology(STACK))
    for inject in one.injects:
        window = windows(one)[inject.id]
        found |= {inject.id, inject.title, begins(inject.when), *inject.expected, *inject.watch}
        found |= {clock(window.earliest_s), clock(window.latest_s), clock(window.over_s)}
        found |= {hint.text for hint in inject.hints}
        found |= {text for decoy in inject.decoys for text in (decoy.says, decoy.mechanism)}
        for variant in inject.variants:
            found |= {variant.mechanism, folded(variant.symptoms)}
            for fault in variant.faults:
                found |= {fault.on, *of_stack(fault.type, fault.on)}
    return found


def leaked(one: Game, page: str) -> list[str]:
    """The secrets that the page says, as whole words."""
    said = f" {words(page).lower()} "
    return [text for text in secrets(one) if re.search(rf"(?<![\w-]){re.escape(text.lower())}(?![\w-])", said)]


@pytest.mark.parametrize("name", games.names())
def test_the_brief_has_nothing_of_the_injects(name: str) -> None:
    """No target, mechanism or time; and it is the same page when all injects are others."""
    one = game(name)
    page = game_pack.player_brief(one)
    assert leaked(one, page) == []
    (other,) = game("first-watch" if name != "first-watch" else "release-day").injects
    changed = other.model_copy(update={"when": When.model_construct(at=777.0), "lasts_at_most": 99.0})
    assert game_pack.player_brief(one.model_copy(update={"injects": (changed,) * 5})) == page
    for text in (folded(one.briefing), *one.objectives, *(slo.objective for slo in one.slos)):
        assert text in words(page)
    assert not any(role.duty in words(page) for role in one.of_side("control"))


@pytest.mark.parametrize("name", games.names())
def test_a_leak_is_found(name: str) -> None:
    """The search above finds each of them in the pack, where they belong."""
    one = game(name)
    assert len(leaked(one, game_pack.facilitator_pack(one))) > 0.9 * len(secrets(one))


@pytest.mark.parametrize("make", [game_pack.facilitator_pack, game_pack.player_brief])
def test_pages_need_nothing_else(make: Callable[[Game], str]) -> None:
    """No script, no file and no host beside the page; light, dark and paper are in its style."""
    page = make(game("bad-night"))
    tags = Tags(page).found
    assert not [tag for tag, _ in tags if tag in ("script", "img", "iframe", "object")]
    links = [value for _, given in tags for key, value in given.items() if key in ("src", "href")]
    assert all(link and link.startswith(("#", "data:")) for link in links)
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    ids = [given["id"] for _, given in tags if "id" in given]
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)


def test_text_of_a_game_stays_text() -> None:
    """Whatever a file says, a page shows it."""
    one = game("bad-night")
    inject = one.injects[0].model_copy(
        update={"title": HOSTILE, "hints": (Hint(text=HOSTILE, price=1),), "expected": (HOSTILE,), "watch": (HOSTILE,)}
    )
    hostile = one.model_copy(
        update={"title": HOSTILE, "briefing": HOSTILE, "objectives": (HOSTILE,), "hot_wash": (HOSTILE,),
                "injects": (inject,)}
    )  # fmt: skip
    for page in (game_pack.facilitator_pack(hostile), game_pack.player_brief(hostile)):
        assert "<script" not in page
        assert html.escape(HOSTILE, quote=False).split("&gt;")[0] in page


def test_packs_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a folder that is made, and the command says where."""
    folder = tmp_path / "to" / "print"
    assert main.main(["game-day", "release-day", "--packs", str(folder)]) == 0
    paths = [folder / "release-day-facilitator-pack.html", folder / "release-day-player-brief.html"]
    assert capsys.readouterr().out.split() == list(map(str, paths))
    one = game("release-day")
    assert [path.read_text() for path in paths] == [game_pack.facilitator_pack(one), game_pack.player_brief(one)]
