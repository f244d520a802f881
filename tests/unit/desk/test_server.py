"""The desk of a game over real sockets: opened, reached, shut; and what players' commands say of it."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.adapters.desk import ACCESS_FILE, ADDRESS, LINKS_FILE, TOKEN
from harness.cli import main
from harness.model.errors import PortTaken, UsageError
from harness.run.desk import server
from stack import state
from tests.listener import listening
from tests.unit.desk.boards import CANARY, TOKENS, FakeBoard, a_view, served

#: Whoever reads a token learns it as a secret: a word of its own, which is in no other test.
WRONG = "wrong-token-of-no-game"
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<h1>hello</h1>"


@pytest.fixture(autouse=True)
def _no_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a file of this machine names a game."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path)
    (tmp_path / "0").mkdir()
    for variable in (ADDRESS, TOKEN, "INSTANCE", "DRILLYARD_GAME_WHO"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBoard]:
    """A game that the environment names."""
    board = FakeBoard()
    with served(board) as addresses:
        monkeypatch.setenv(ADDRESS, addresses.players_url)
        monkeypatch.setenv(TOKEN, TOKENS.players)
        yield board


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line with which a command ends."""
    assert main.main(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert TOKENS.players not in captured.err
    return captured.err


# ── the server ──


def test_both_applications_answer_until_the_block_is_left() -> None:
    """Each on its own port, with its own token; then nothing listens any more, and signals are whose they were."""

    async def play() -> server.Addresses:
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        async with server.opened(FakeBoard(), "127.0.0.1", 0, 0, TOKENS) as addresses:
            assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
            async with httpx.AsyncClient(trust_env=False) as client:
                for url, path, token in (
                    (addresses.players_url, "/api/status", TOKENS.players),
                    (addresses.console_url, "/api/console", TOKENS.facilitator),
                ):
                    answer = await client.get(url + path, headers={"Authorization": f"Bearer {token}"})
                    assert answer.status_code == 200
                    assert "server" not in answer.headers
                    assert (await client.get(url + path)).status_code == 401
        return addresses

    addresses = asyncio.run(play())
    for url in (addresses.players_url, addresses.console_url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)


def test_a_bug_leaves_the_desk_open() -> None:
    """The next request is answered as if nothing had been."""
    board = FakeBoard(error=RuntimeError("a bug"))
    headers = {"Authorization": f"Bearer {TOKENS.players}"}
    with served(board) as addresses, httpx.Client(trust_env=False, headers=headers) as client:
        answer = client.post(addresses.players_url + "/api/hint", json={"who": "Ada"})
        assert (answer.status_code, answer.headers["connection"]) == (500, "close")
        assert client.get(addresses.players_url + "/api/status").status_code == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::", "localhost", "game.example"])
def test_it_listens_on_this_machine_only(address: str) -> None:
    """An address that others reach, or a name that may become one, is refused."""

    async def play() -> None:
        async with server.opened(FakeBoard(), address, 0, 0, TOKENS):
            raise AssertionError("it was opened")

    with pytest.raises(UsageError, match="expected an address of loopback"):
        asyncio.run(play())


def test_a_port_that_is_taken_is_said() -> None:
    """With its number; the port that was free is given back."""

    async def play(port: int) -> None:
        async with server.opened(FakeBoard(), "127.0.0.1", 0, port, TOKENS):
            raise AssertionError("it was opened")

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTaken, match=str(taken.getsockname()[1])):
        asyncio.run(play(taken.getsockname()[1]))


def test_the_ways_in_are_left_for_this_user(tmp_path: Path) -> None:
    """The players' for their commands, both links for the facilitator; gone at the end, even of a bad one."""
    addresses = server.Addresses("http://127.0.0.1:8900", "http://127.0.0.1:8901")
    with server.handed_out(tmp_path, addresses, TOKENS) as links:
        for path in (tmp_path / ACCESS_FILE, links):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        way_in = {"url": "http://127.0.0.1:8900", "token": TOKENS.players}
        assert json.loads((tmp_path / ACCESS_FILE).read_text()) == way_in
        assert json.loads(links.read_text()) == {
            "console": f"http://127.0.0.1:8901/?token={TOKENS.facilitator}",
            "players": f"http://127.0.0.1:8900/?token={TOKENS.players}",
        }
    assert list(tmp_path.iterdir()) == [tmp_path / "0"]
    with pytest.raises(RuntimeError), server.handed_out(tmp_path, addresses, TOKENS):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [tmp_path / "0"]


def test_a_games_desk_is_at_the_address_of_its_instance(tmp_path: Path) -> None:
    """With tokens of its own; whoever runs the game reads where the links are, and no token."""
    said: list[str] = []

    async def play() -> None:
        async with server.Place(7, tmp_path, said.append, 0, 0).opened(FakeBoard()) as addresses:
            assert addresses.players_url.startswith("http://127.0.7.1:")
            links = json.loads((tmp_path / LINKS_FILE).read_text())
            async with httpx.AsyncClient(trust_env=False) as client:
                for name in ("players", "console"):
                    assert (await client.get(links[name])).status_code == 200
            token = json.loads((tmp_path / ACCESS_FILE).read_text())["token"]
            assert token not in said[0]
            assert str(tmp_path / LINKS_FILE) in said[0]

    asyncio.run(play())
    assert len(said) == 1


# ── the commands ──


def test_players_say_and_do(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is one order, in the player's name; what came of it is printed."""
    assert main.main(["say", "--who", "Ada", "status", "all", "is", "slow"]) == 0
    assert main.main(["ops", "--who", "Ada", "weight", "replica-1", "50"]) == 0
    assert main.main(["ops", "--who", "Ada", "drain", "replica-1"]) == 0
    assert main.main(["ops", "--who", "Ada", "rollback"]) == 0
    assert board.done == [
        ("say", "Ada", "status", "all is slow"),
        ("ops", "Ada", "weight", "replica-1", "50"),
        ("ops", "Ada", "drain", "replica-1", ""),
        ("ops", "Ada", "rollback", "", ""),
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["said: status", "replica-1: weight done", "replica-1: drain done", ": rollback done"]


def test_players_diagnose_and_buy_hints(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """A mechanism by words that no other has, a moment by the clock or in seconds; the hint is printed."""
    assert main.main(["diagnose", "--who", "Ada", "replica-1", "hangs", "1:30"]) == 0
    assert main.main(["diagnose", "--who", "Ada", "gateway-a", "DNS lies", "90.5"]) == 0
    assert main.main(["hint", "--who", "Ada"]) == 0
    assert board.done == [
        ("diagnose", "Ada", "replica-1", "a replica hangs", 90.0),
        ("diagnose", "Ada", "gateway-a", "DNS lies", 90.5),
        ("hint", "Ada"),
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "diagnosed: replica-1: a replica hangs, since 1:30"
    assert printed[2] == "compare the replicas"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replica-1", "s", "1:30"), "2 mechanisms have 's' in it"),
        (
            ("replica-1", "nothing", "1:30"),
            "no mechanism has 'nothing' in it: expected words of one of: a replica hangs;",
        ),
        (("replica-1", "hangs", "soon"), "since: "),
    ],
)
def test_a_diagnosis_that_is_none_is_one_line(
    words: tuple[str, ...], said: str, board: FakeBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what could have been meant; nothing is sent that the desk would have to guess."""
    assert said in refused(capsys, 64, "diagnose", *words)
    assert board.done == []


def test_game_status_shows_what_players_see(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """As tables and as data; text is text, whatever a terminal or rich would make of it."""
    board.view = a_view("[red]x[/] \x1b[31m")
    assert main.main(["game-status"]) == 0
    tables = capsys.readouterr().out
    shown = ("2:30 of 30:00", "99.5 %", "not measured", "replica-1", "weight 100 %", "healthy", "DNS lies", "[red]x[/]")
    for words in shown:
        assert words in tables
    assert main.main(["game-status", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["slos"][0]["kept"] is True
    assert "\x1b[31m" not in tables + printed
    assert CANARY not in tables + printed


def test_the_file_of_the_instance_names_the_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the environment says nothing; INSTANCE and --instance choose which."""
    board, folder = FakeBoard(), tmp_path / "3"
    folder.mkdir()
    with served(board) as addresses, server.handed_out(folder, addresses, TOKENS):
        assert main.main(["say", "--instance", "3", "--who", "Ada", "found"]) == 0
        monkeypatch.setenv("INSTANCE", "3")
        monkeypatch.setenv("DRILLYARD_GAME_WHO", "Grace")
        assert main.main(["say", "found"]) == 0
    assert board.done == [("say", "Ada", "found", ""), ("say", "Grace", "found", "")]
    capsys.readouterr()
    assert "no game is being played on instance 3" in refused(capsys, 64, "say", "found")


def test_what_the_desk_refuses_is_one_line(board: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """The board's own sentence, the form of a message, a failure."""
    assert "kind: Input should be 'found'" in refused(capsys, 64, "say", "hello")
    board.error = UsageError("no component 'x':\ndid you mean \x1b[31m?")
    assert "no component 'x': did you mean" in refused(capsys, 64, "ops", "drain", "x")
    board.error = RuntimeError("a bug")
    assert "a bug in the harness" in refused(capsys, 2, "ops", "drain", "x")
    assert board.done == []


def test_a_wrong_token_is_one_line(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says whose token is expected, and where the wrong one came from; the facilitator's is none, either."""
    monkeypatch.setenv(TOKEN, WRONG)
    said = refused(capsys, 64, "game-status")
    assert "wrong token: expected the players token" in said
    assert ADDRESS in said
    monkeypatch.setenv(TOKEN, TOKENS.facilitator)
    assert "this is the facilitator token" in refused(capsys, 64, "say", "found")
    assert board.done == []


def test_where_nobody_listens_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The game is over, or the tunnel is shut."""
    monkeypatch.setenv(TOKEN, WRONG)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{bound.getsockname()[1]}")
        assert "nothing listens at http://127.0.0.1" in refused(capsys, 2, "say", "found")


@pytest.mark.parametrize("says", [HTML, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"SSH-2.0-x\r\n"])
def test_another_server_is_one_line(
    says: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page, another JSON, another protocol: no game's desk."""
    monkeypatch.setenv(TOKEN, WRONG)
    with listening(says) as other:
        monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{other.port}")
        said = refused(capsys, 2, "game-status")
    assert f"http://127.0.0.1:{other.port}/api/status: " in said


def test_another_json_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An object that is no status of a game."""
    monkeypatch.setenv(TOKEN, WRONG)
    with listening(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"title": "x"}') as other:
        monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{other.port}")
        assert "found no status of a game" in refused(capsys, 2, "game-status")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8900",
        "http://game.example:8900",
        "http://10.0.0.7:8900",
        "http://user:password@127.0.0.1:8900",
        "http://127.0.0.1:x",
        "http://127.0.0.1:8900/path",
        "127.0.0.1:8900",
    ],
)
def test_a_token_is_sent_to_this_machine_only(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another address is refused before anything is sent; a tunnel's end is here."""
    monkeypatch.setenv(TOKEN, WRONG)
    monkeypatch.setenv(ADDRESS, url)
    assert f"{ADDRESS}: found" in refused(capsys, 64, "say", "found")


def test_half_of_the_way_in_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address without a token, a token without an address, a file that says neither."""
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:8900")
    assert f"found {ADDRESS} alone" in refused(capsys, 64, "say", "found")
    monkeypatch.delenv(ADDRESS)
    monkeypatch.setenv(TOKEN, WRONG)
    assert f"found {TOKEN} alone" in refused(capsys, 64, "say", "found")
    monkeypatch.delenv(TOKEN)
    for written in ("{", "[]", '{"url": "http://127.0.0.1:8900"}', '{"url": "", "token": ""}'):
        (tmp_path / "0" / ACCESS_FILE).write_text(written)
        assert ACCESS_FILE in refused(capsys, 64, "say", "found")


def test_the_facilitator_has_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the console shows, injects included, and each of its orders; by the file that the game has left.

    No order names an inject: players see the list of processes.
    """
    board = FakeBoard()
    monkeypatch.setattr("sys.stdin", io.StringIO("a b\n"))
    with served(board) as addresses, server.handed_out(tmp_path / "0", addresses, TOKENS):
        assert main.main(["game-console"]) == 0
        shown = capsys.readouterr().out
        assert f"next: {CANARY}" in shown
        assert "1646:05" in shown
        for words in ("confirm", "skip", "fire", "abort", "delay 60", "note", "stop-all"):
            assert main.main(["game-console", *words.split()]) == 0
        capsys.readouterr()
        for words in ("confirm deaf", "delay", "delay soon", "delay nan", "explode", "note x", "stop-all now"):
            assert "expected" in refused(capsys, 64, "game-console", *words.split())
        board.error = UsageError("it cannot be changed any more")
        assert "any more" in refused(capsys, 64, "game-console", "skip")
        board.view = a_view(injects=())
        assert "there is no inject to fire now" in refused(capsys, 64, "game-console", "fire")
    assert board.done == [
        ("confirm", CANARY), ("skip", CANARY), ("fire", CANARY), ("abort", f"{CANARY}-2"), ("delay", CANARY, 60.0),
        ("note", "a b"), ("stop_all",),
    ]  # fmt: skip
    assert "no game is being played on instance 0" in refused(capsys, 64, "game-console")


@pytest.mark.parametrize(
    "written", ["{", "[]", "{}", '{"console": "http://127.0.0.1:8901/"}', '{"console": "x?token=y"}']
)
def test_a_file_without_a_link_is_one_line(written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else it holds."""
    (tmp_path / "0" / LINKS_FILE).write_text(written)
    assert LINKS_FILE in refused(capsys, 64, "game-console")
