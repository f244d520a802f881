"""Game files: what is wrong is said in one line with file and line, and nothing is drawn or started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.model.errors import ScenarioError, UsageError
from harness.model.game import Game, Inject
from harness.model.topology import Endpoint, Target, Topology
from harness.plan import games
from stack.stacks import external
from stack.stacks.vllm_haproxy import STACK, stack

GOOD = (games.GAMES / "bad-night.yaml").read_text()

#: What is wrong, what is found in the good file, what is put there, the key at the blamed line, what is said.
MISTAKES = [
    ("an unknown key", "lasts_at_most: 12m", "lasts_at_mots: 12m", "lasts_at_mots", "did you mean 'lasts_at_most'?"),
    ("a key of scenarios alone", "title: Bad", "phases: []\ntitle: Bad", "phases", "unknown key 'phases'"),
    ("a number without its unit", "lasts: 60m", "lasts: 60", "lasts", "expected a duration with its unit"),
    ("no injects", "injects:\n" + GOOD.partition("injects:\n")[2].partition("\nstop_when:")[0], "injects: []",
     "injects", "at least 1 item"),
    ("an unknown fault", "type: deaf,", "type: daef,", "faults", "did you mean 'deaf'?"),
    ("an unknown option", "moment: early,", "momnet: early,", "- {type", "did you mean 'moment'?"),
    ("an option out of its range", "waves: 60", "waves: 600", "- {type", "less than or equal to 100"),
    ("a glob that matches nothing", "type: deaf, on: replica-*", "type: deaf, on: repilca-*", "faults",
     "nothing is called 'repilca-*' that deaf can be put on. Known: replica-1, replica-2"),
    ("one possibility only", "type: deaf, on: replica-*", "type: deaf, on: replica-1", "variants",
     "whoever has read the file knows the answer"),
    ("faults without a common target", "[{type: timeout, on: gateway-a-to-*}]",
     "[{type: timeout, on: gateway-*}, {type: pause, on: gateway-*}]", "- mechanism", "no target in common"),
    ("an answer that is nowhere", "where: [replica-*, gateway-a]", "where: [replica-*, gateway-c]", "where",
     "nothing is called so"),
    ("an inject after none", "after: deaf-replica,", "after: deaf-relpica,", "when",
     "there is no inject 'deaf-relpica'; did you mean 'deaf-replica'?"),
    ("an inject after a later one", "after: deaf-replica,", "after: lost-backend,", "when",
     "'lost-backend' does not stand before it"),
    ("an inject after itself", "after: deaf-replica,", "after: cancel-storm,", "when", "does not stand before it"),
    ("two whens", "{at: 5m, spread", "{at: 5m, on: ops.restart, spread", "when", "found at and on of at, after and on"),
    ("no when", "{at: 5m, spread: 3m}", "{spread: 3m}", "when", "found none of at, after and on"),
    ("a delay of a time", "{at: 5m, spread", "{at: 5m, delay: 1m, spread", "when", "delay is of `after` and `on`"),
    ("a bound of a time", "{at: 5m, spread", "{at: 5m, at_most: 9m, spread", "when", "at_most is of `on`"),
    ("an act without a bound", "{at: 5m, spread", "{on: ops.restart, spread", "when", "at_most is missing"),
    ("an act that there is not", "{at: 5m, spread", "{on: ops.restrat, at_most: 9m, spread", "when",
     "did you mean 'ops.restart'?"),
    ("an inject while another may last", "after: deaf-replica, delay: 1m", "at: 15m", "when",
     "it would begin at 900 s, but 'deaf-replica' may be over only after 1320 s"),
    ("an act that is waited for until then", "after: deaf-replica, delay", "on: say.fixed, at_most: 15m, delay", "when",
     "it would begin at 900 s, but 'deaf-replica' may be over only after 1320 s"),
    ("no time to see what is usual", "{at: 5m, spread", "{at: 30s, spread", "when",
     "it may begin after 30 s, expected 60 s at least"),
    ("too short for its injects", "lasts: 60m", "lasts: 50m", "lasts", "inject 'lost-backend' may be over only after"),
    ("a replay that is longer than the watch", "replay: 45s", "replay: 3m", "replay", "no more than stays_well_for"),
    ("points until after the end", "mitigated: 9m", "mitigated: 13m", "lasts_at_most", "par.mitigated gives"),
    ("weights that do not sum to 100", "detected: 15", "detected: 25", "weights", "found 110 points in all"),
    ("a weight that is missing", "stays_well: 20, ", "", "weights", "the key 'weights.stays_well' is missing"),
    ("hints that cost more than all", "price: 20}", "price: 90}", "hints", "all hints cost 105 points"),
    ("a hint below the one before", "price: 10}", "price: 4}", "- {text", "cheaper than the one before"),
    ("a hint with another place", "It is {target}:", "It is {replica}:", "- {text", "only {target} is put in"),
    ("a hint with half a brace", "It is {target}:", "It is {target:", "- {text", "hint 'It is {target"),
    ("a hint with a conversion", "It is {target}:", "It is {target!r}:", "- {text", "only {target} is put in"),
    ("a decoy that is true", "mechanism: the customer's own network is slow",
     "mechanism: a replica's engine hangs while its server and its health check go on", "mechanism",
     "a decoy is no variant's mechanism"),
    ("a decoy after the end", "delay: 1m", "delay: 11m", "- says", "sent up to 780 s after the inject"),
    ("a role twice", "name: scribe", "name: owner", "- name", "two roles are called 'owner'"),
    ("an inject twice", "id: cancel-storm", "id: deaf-replica", "- id", "two injects are called 'deaf-replica'"),
    ("an objective twice", "name: time to first token", "name: availability", "- {name",
     "two objectives are called 'availability'"),
    ("a side that there is not", "side: players", "side: palyers", "side", "'players' or 'control'"),
    ("a stop condition that nobody can watch", "error_ratio, objective: \"> 90 %\"", "e2e_p95_ms, objective: \"> 9 s\"",
     "- {sli", "'e2e_p95_ms' is not known while a run goes on"),
    ("an objective that nobody can watch", "sli: ttft_p95_ms, objective: \"<= 800 ms\"",
     "sli: ttft_p95_ms, objective: \"<= 800 %\"", "- {name", "ttft_p95_ms is measured in ms"),
    ("a stop condition of an inject", "error_ratio, objective: \"> 70 %\"", "error_ratio, objective: \"70 %\"",
     "- {sli", "must begin with one of"),
    ("closed load with a share", "model: open", "model: closed", "rate", "which only the open model has"),
    ("a briefing that names a target", "some replicas behind", "gateway-a behind", "briefing",
     "players read it, and it names 'gateway-a'"),
    ("a title that names an inject", "title: Bad night", "title: Cancel-storm at night", "title",
     "it names 'cancel-storm'"),
    ("an objective that names a mechanism", "- A mitigation lasts.",
     "- They see that a gateway was ordered to send a replica no requests.", "- They", "which is part of an inject"),
    ("a key twice", "name: bad-night", "name: x\nname: bad-night", "name", "stands here twice"),
    ("broken YAML", "injects:", "injects: [", "", "not valid YAML"),
]  # fmt: skip


def written(tmp_path: Path, text: str) -> Path:
    """A file of a game."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", games.names())
def test_every_shipped_game_loads(name: str) -> None:
    """It is called like its file, and the plan that stores it gives the same game back."""
    game = games.load(games.find(name))
    assert game.name == name
    assert Game.stored(game.model_dump(mode="json")) == game


def test_three_games_ship() -> None:
    """With the lengths that their descriptions promise."""
    assert {name: games.load(games.find(name)).lasts / 60 for name in games.names()} == {
        "bad-night": 60, "first-watch": 30, "release-day": 45,
    }  # fmt: skip


@pytest.mark.parametrize(("find", "put", "at", "says"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_gets_one_line_with_its_place(tmp_path: Path, find: str, put: str, at: str, says: str) -> None:
    """The message names the file, the line of the mistake, and what was expected."""
    assert find in GOOD
    path = written(tmp_path, GOOD.replace(find, put, 1))
    with pytest.raises(ScenarioError) as caught:
        games.load(path)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.startswith(f"{path}:{caught.value.line}: ")
    assert path.read_text().splitlines()[(caught.value.line or 0) - 1].strip().startswith(at)


#: What is as near to a mistake as it may be.
SOUND = [
    ("an act of the players with a bound", "{after: deaf-replica, delay: 1m,", "{on: ops.restart, at_most: 22m,"),
    ("a time at which the one before is over", "{after: deaf-replica, delay: 1m,", "{at: 22m,"),
    ("hints that cost as much as all", "price: 20}", "price: 85}"),
    ("hints of one price", "price: 10}", "price: 5}"),
    ("a replay as long as the watch", "replay: 45s", "replay: 2m"),
    ("a game that is just long enough", "lasts: 60m", "lasts: 56m"),
    ("two roles of one kind", "how_many: 3", "how_many: 30"),
    ("another way to weigh", "detected: 15, acknowledged: 10", "detected: 5, acknowledged: 20"),
    ("a briefing with a word of a name", "some replicas behind", "gateway-abc behind"),
    ("a hint with braces", "It is {target}:", "It is {{target}}:"),
    ("a decoy of another inject's truth", "the customer's own network is slow",
     "a gateway was ordered to send a replica no requests"),
]  # fmt: skip


@pytest.mark.parametrize(("find", "put"), [one[1:] for one in SOUND], ids=[one[0] for one in SOUND])
def test_what_is_near_a_mistake_loads(tmp_path: Path, find: str, put: str) -> None:
    """Each rule lets pass what is right."""
    assert find in GOOD
    games.load(written(tmp_path, GOOD.replace(find, put, 1)))


@pytest.mark.parametrize("side", ["players", "control"])
def test_a_game_needs_both_sides(tmp_path: Path, side: str) -> None:
    """Somebody who plays, and somebody who runs it."""
    other = {"players": "control", "control": "players"}[side]
    with pytest.raises(ScenarioError, match=f"found none of side {side}"):
        games.load(written(tmp_path, GOOD.replace(f"side: {side}", f"side: {other}")))


def test_somebody_may_stop_a_game(tmp_path: Path) -> None:
    """Else nobody could end it when it hurts."""
    with pytest.raises(ScenarioError, match="no role may stop the game"):
        games.load(written(tmp_path, GOOD.replace("may_stop: true", "may_stop: false")))


def test_a_game_is_for_a_stack(tmp_path: Path) -> None:
    """What it may break has to be in the stack that it is to be played on; of somebody else's nothing is."""
    path = games.find("bad-night")
    assert games.load(path, Topology(stack(gateways=2, replicas=3))).name == "bad-night"
    with pytest.raises(ScenarioError, match="whoever has read the file knows the answer"):
        games.load(path, Topology(stack(gateways=1, replicas=1)))
    target = Target(Endpoint("https", "llm.example.com", 443))
    with pytest.raises(ScenarioError, match="nobody puts on a service that is not Drillyard's"):
        games.load(path, Topology(external.stack(target), target=target))
    absolute = written(tmp_path, GOOD.replace("rate: 60 % of capacity", "rate: 2/s"))
    with pytest.raises(ScenarioError, match=r"nothing is called 'replica-\*' that deaf can be put on"):
        games.load(absolute, Topology(external.stack(target), target=target))
    assert games.load(absolute, Topology(STACK)).load.rate == 2.0


def test_the_file_that_the_docs_show_loads(tmp_path: Path) -> None:
    """All keys of a game are in it."""
    page = (games.GAMES.parents[1] / "docs" / "game-day.md").read_text()
    (shown,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", page)
    game = games.load(written(tmp_path, shown))
    assert set(Game.model_fields) == game.model_fields_set
    assert set(Inject.model_fields) == game.injects[0].model_fields_set


def test_an_unknown_game_is_refused() -> None:
    """With the nearest name; a path is taken as it is."""
    with pytest.raises(UsageError, match="there is no game 'bad-nigth': did you mean 'bad-night'"):
        games.find("bad-nigth")
    with pytest.raises(ScenarioError, match="there is no such file"):
        games.load(games.find("./no.yaml"))
