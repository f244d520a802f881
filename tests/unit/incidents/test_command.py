"""``harness incident``: three files of a run or a server's history, and each number asked for again."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest

from harness.cli import incident, main
from reports.markdown import text
from tests.incidents import FROM, World
from tests.prometheus_server import Recorded, Server, serving

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


def test_a_time_of_the_timeline_that_was_changed_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a number like others; it is called by what happened."""
    path = run / "incident.md"
    before = path.read_text()
    found = re.search(r"\*\*(\d\d:\d\d:\d\d\.\d UTC)\*\*\[\^(timeline\.at-injected-[^\]]+)\]", before)
    assert found
    try:
        path.write_text(before.replace(found[0], found[0].replace(found[1], "00:00:00.0 UTC")))
        assert main.main(["incident", "verify", str(path)]) == 1
    finally:
        path.write_text(before)
    said = f"{found[2]}: the file says 00:00:00.0 UTC, asked again it is {found[1]}"
    assert said in capsys.readouterr().out


def test_the_scenario_is_beside_the_report_and_named_in_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In all three files, and by the action items; edited by people, it stays, and a line says so."""
    path = run / "incident.yaml"
    generated = path.read_text()
    for name in FILES:
        assert "incident.yaml" in (run / name).read_text()
    assert text(f"make drill-gateway-failover SCENARIO={path.resolve()}") in (run / "incident.md").read_text()
    assert f"SCENARIO={path.resolve()} " in generated
    try:
        path.write_text(f"{generated}# ours\n")
        assert main.main(["incident", str(run)]) == 0
        assert "incident.yaml was edited, so it stays" in capsys.readouterr().err
        assert path.read_text().endswith("# ours\n")
    finally:
        path.write_text(generated)


def test_commands_name_the_folder_that_was_written_to(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the checkout has it where it is inside, else in full."""
    for root, named in ((tmp_path.resolve(), "elsewhere/incident.yaml"), (run, f"{tmp_path.resolve()}/elsewhere/")):
        monkeypatch.setattr("harness.run.pipeline.ROOT", root)
        assert main.main(["incident", str(run), "--out", str(tmp_path / "elsewhere")]) == 0
        assert f"SCENARIO={named}" in (tmp_path / "elsewhere" / "incident.yaml").read_text()
        assert text(f"SCENARIO={named}") in (tmp_path / "elsewhere" / "incident.md").read_text()


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


def test_a_report_of_own_names_is_verified_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without being told; where the file has gone, a line says so instead of numbers that differ."""
    mine, out = tmp_path / "mine.yaml", tmp_path / "report"
    mine.write_text(
        "system: mine\nsource: ours\nrole: gateway\ncomponent: [instance]\n"
        "signals: {requests_total: {names: [my_requests], label: code}}\n"
    )
    counted = [(FROM + t, float(t)) for t in range(15, 1_201, 15)]
    series = [Recorded("my_requests", {"instance": "g", "job": "g", "code": "200"}, counted)]
    with serving(Server(series, now=lambda: FROM + 1_200.0)) as server:
        assert main.main(asked("--prom", server.url, "--out", str(out), "--mapping", str(mine))) == 0
        assert main.main(["incident", "verify", str(out / "incident.md")]) == 0
        mine.unlink()
        capsys.readouterr()
        assert main.main(["incident", "verify", str(out / "incident.md")]) not in (0, 1, 70)
    assert "mine.yaml" in capsys.readouterr().err


def test_a_folder_with_the_report_of_something_else_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What people wrote of the one is in the other: a line says so, but not where it is the same one again."""
    with serving(Server(World().series(), now=lambda: FROM + 1_200.0)) as server:
        for selector, is_told in (("", False), ("", False), ('component="replica-1"', True)):
            assert main.main(asked("--prom", server.url, "--out", str(tmp_path), "--selector", selector)) == 0
            assert ("held the report of something else" in capsys.readouterr().err) == is_told


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
        (["--prom", "http://x", "--from", "0001-01-01T00:00:00+14:00", "--to", "2"], "expected a time with its zone"),
        (["runs/latest", "--out", f"{__file__}/report"], "expected a folder or nothing"),
        (["--prom", "http://x", "--from", "1", "--to", "2", "--out", __file__], "expected a folder or nothing"),
        (["--prom", "http://127.0.0.1:1", "--from", "20", "--to", "10"], "are they the wrong way round?"),
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


@pytest.mark.parametrize(
    "made_from",
    [{}, {"server": "http://127.0.0.1:1", "from": 1, "until": "soon", "selector": ""},
     {"server": "http://127.0.0.1:1", "from": "1", "until": "inf", "selector": ""}],
)  # fmt: skip
def test_a_report_that_does_not_say_what_it_is_of_is_one_line(
    run: Path, tmp_path: Path, made_from: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a tracker or an editor may leave it: which file, what was expected there."""
    path = tmp_path / "incident.json"
    path.write_text(json.dumps(json.loads((run / "incident.json").read_text()) | {"made_from": made_from}))
    assert main.main(["incident", "verify", str(path)]) == 64
    error = capsys.readouterr().err
    assert "incident.json: expected made_from with a run, or with server, from, until and selector" in error
    assert error.count("\n") == 1


def test_a_setting_that_is_empty_is_not_set() -> None:
    """``MAPPING= LOGS=`` name no folder."""
    parser = argparse.ArgumentParser()
    incident.add(parser, {"MAPPING": "", "LOGS": ""})
    options = parser.parse_args([])
    assert (options.mapping, options.logs) == (None, None)
