"""``harness incident``: three files of a run or a server's history, and each number asked for again."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from harness.cli import incident, main
from tests.incidents import FROM, World
from tests.prometheus_server import Server, serving

RED = Path(__file__).parents[2] / "fixtures" / "runs" / "gateway-failover" / "red"
FILES = ("incident.html", "incident.md", "incident.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red run with its report."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(RED, folder)
    assert main.main(["incident", str(folder)]) == 0
    return folder


def asked(*more: str) -> list[str]:
    """The command for twenty minutes of a server."""
    return ["incident", "--from", f"{FROM:.0f}", "--to", f"{FROM + 1_200:.0f}", *more]


@pytest.mark.parametrize("name", FILES)
def test_every_number_of_a_run_is_the_same_when_it_is_asked_for_again(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that somebody changed is told."""
    assert main.main(["incident", "verify", str(run / name)]) == 0
    path = run / name
    before = path.read_text()
    assert before.count("20 of 20")
    try:
        path.write_text(before.replace("20 of 20", "19 of 20"))
        assert main.main(["incident", "verify", str(path)]) == 1
        assert "impact.users: the file says 19 of 20, asked again it is 20 of 20" in capsys.readouterr().out
    finally:
        path.write_text(before)


def test_the_scenario_is_beside_the_report_and_named_in_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In all three files, and by the action items; edited by people, it stays, and a line says so."""
    path = run / "incident.yaml"
    generated = path.read_text()
    for name in FILES:
        assert "incident.yaml" in (run / name).read_text()
    assert "make drill\\-gateway\\-failover SCENARIO=runs/" in (run / "incident.md").read_text()
    try:
        path.write_text(f"{generated}# ours\n")
        assert main.main(["incident", str(run)]) == 0
        assert "incident.yaml was edited, so it stays" in capsys.readouterr().err
        assert path.read_text().endswith("# ours\n")
    finally:
        path.write_text(generated)


def test_a_servers_numbers_are_asked_of_the_server_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a difference; when the server has other samples since then, with one."""
    world = World(silent={"replica-1": (300, 340)})
    with serving(Server(world.series(), now=lambda: FROM + 1_200.0)) as server:
        assert main.main(asked("--prom", server.url, "--out", str(tmp_path))) == 0
        assert main.main(["incident", "verify", str(tmp_path / "incident.md")]) == 0
        server.series[:] = World(silent={"replica-1": (300, 340)}, per_s=20).series()
        capsys.readouterr()
        assert main.main(["incident", "verify", str(tmp_path / "incident.md")]) == 1
    assert "impact.requests.is-status-2xx: the file says 11,700, asked again" in capsys.readouterr().out


def test_what_people_wrote_stays(run: Path) -> None:
    """Made again, the report has it still."""
    path = run / "incident.md"
    text = path.read_text()
    place = text.index("<!-- people: lucky")
    begin = text.index("-->", place) + 3
    path.write_text(f"{text[:begin]}\nThe other gateway was up.\n{text[text.index('<!-- /people: lucky') :]}")
    assert main.main(["incident", str(run)]) == 0
    assert "The other gateway was up." in path.read_text()
    assert "The other gateway was up." in (run / "incident.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "found neither, expected one run (RUN=), or a server"),
        (["runs/latest", "--prom", "http://x"], "found the run runs/latest and PROM=http://x, expected one run"),
        (["--prom", "http://[::1", "--from", "10", "--to", "20"], "PROM=http://[::1: expected http://host:port"),
        (["--prom", "http://x:port", "--from", "10", "--to", "20"], "PROM=http://x:port: expected http://host:port"),
        (["--prom", "me:secret@x:9090", "--from", "10", "--to", "20"], "PROM: expected no user in the URL"),
        (["--prom", "http://me:secret@x", "--from", "10", "--to", "20"], "PROM: expected no user in the URL"),
        (["--prom", "http://127.0.0.1:1", "--from", "2026-11-28T14:00:00", "--to", "2"], "has no time zone"),
        (["--prom", "http://127.0.0.1:1", "--from", "yesterday", "--to", "2"], "'yesterday': expected a time"),
        (["--prom", "http://127.0.0.1:1", "--from", "10"], "--to is missing"),
        (["--prom", "http://127.0.0.1:1", "--from", "20", "--to", "10"], "expected more than 0"),
        (["--prom", "http://127.0.0.1:1", "--from", "0", "--to", "999999"], "at most 2 days"),
        (["verify"], "verify: found 0 files, expected one"),
        (["verify", "nothing/incident.md"], "expected what the report was written with"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is asked."""
    assert main.main(["incident", *words]) == 64
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_a_setting_that_is_empty_is_not_set() -> None:
    """``MAPPING= LOGS=`` name no folder."""
    parser = argparse.ArgumentParser()
    incident.add(parser, {"MAPPING": "", "LOGS": ""})
    options = parser.parse_args([])
    assert (options.mapping, options.logs) == (None, None)
