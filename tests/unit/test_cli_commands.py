"""Each command is one file of harness/cli: the program finds it there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.cli import main

NEW = """
ORDER, HELP = 15, "says where"


def add(parser, environment):
    parser.add_argument("--where", default=environment.get("WHERE"))


def do(options, given):
    print(options.where, given)
    return 7
"""


@pytest.fixture
def another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules count as those of harness/cli do; none of them is left imported."""
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"{cli.__name__}.{path.stem}", None)


def test_a_file_is_a_command(
    another_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name, its place in the help, its options, what the environment says and its exit code need nothing else."""
    (another_folder / "say_where.py").write_text(NEW)
    found = main.commands()
    monkeypatch.setattr(main, "COMMANDS", found)
    monkeypatch.setenv("WHERE", "here")
    assert list(found)[:3] == ["list", "say-where", "run"]
    assert main.main(["say-where"]) == 7
    assert main.main(["say-where", "--where", "there"]) == 7
    assert capsys.readouterr().out.splitlines() == ["here ['say-where']", "there ['say-where', '--where', 'there']"]
    assert main.main(["say-where", "--when", "now"]) == 64


def test_a_file_without_help_is_none(another_folder: Path) -> None:
    """What commands share, what make calls and the program itself lie beside them."""
    (another_folder / "say_where.py").write_text(NEW.replace("HELP", "TEXT"))
    found = main.commands()
    files = {path.stem.replace("_", "-") for path in Path(cli.__file__).parent.glob("*.py")}
    assert files - found.keys() == {"--init--", "main", "arguments", "settings"}
    assert "say-where" not in found


def test_no_two_commands_have_one_place_in_the_help() -> None:
    """Else their order would be that of their names."""
    orders = [module.ORDER for module in main.commands().values()]
    assert len(set(orders)) == len(orders)
