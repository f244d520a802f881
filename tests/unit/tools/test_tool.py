"""Finding external programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.model.errors import MissingTool
from stack.tools import ORIGINS, find, require
from tests.unit.tools.programs import write_program


@pytest.mark.parametrize("name", ORIGINS)
def test_missing_tool_says_where_it_looked_and_what_brings_it(name: str, tools: Path, path_folder: Path) -> None:
    """The message of every tool names the place under .tools and a make target."""
    with pytest.raises(MissingTool) as caught:
        require(name)
    assert str(tools / ORIGINS[name].place) in str(caught.value)
    assert f"Run `{ORIGINS[name].remedy}`" in str(caught.value)
    assert caught.value.exit_code == 64


def test_path_is_preferred_to_what_was_brought(tools: Path, path_folder: Path) -> None:
    """A program of the machine wins, and needs no environment of ours."""
    write_program(tools / "root/usr/sbin/haproxy")
    own = write_program(path_folder / "haproxy")
    found = require("haproxy")
    assert (found.path, found.env) == (own, {})


def test_daemons_outside_path_are_found(tools: Path, path_folder: Path) -> None:
    """Debian puts daemons into /usr/sbin, which an ordinary user's PATH lacks."""
    own = write_program(path_folder.parent / "sbin" / "pdns_server")
    assert require("pdns_server").path == own


def test_brought_tool_gets_the_libraries_unpacked_with_it(tools: Path, path_folder: Path) -> None:
    """LD_LIBRARY_PATH holds every folder below the root that contains a library, and nothing else."""
    write_program(tools / "root/usr/sbin/haproxy")
    for library in ("usr/lib/x86_64-linux-gnu/liblua5.3.so.0", "usr/lib/x86_64-linux-gnu/pulseaudio/libp.so"):
        (tools / "root" / library).parent.mkdir(parents=True, exist_ok=True)
        (tools / "root" / library).touch()
    (tools / "root/usr/lib/python3").mkdir()
    folders = require("haproxy").env["LD_LIBRARY_PATH"].split(":")
    lib = tools / "root/usr/lib/x86_64-linux-gnu"
    assert folders == [str(lib), str(lib / "pulseaudio")]


def test_a_file_that_cannot_be_executed_is_not_a_tool(tools: Path, path_folder: Path) -> None:
    """An interrupted download must not be taken for the program."""
    write_program(tools / "bin/toxiproxy-server").chmod(0o644)
    assert find("toxiproxy-server") is None


def test_debian_name_of_alertmanager(tools: Path, path_folder: Path) -> None:
    """Debian calls it prometheus-alertmanager; its upstream name comes first."""
    debian = write_program(path_folder / "prometheus-alertmanager")
    assert require("alertmanager").path == debian
    upstream = write_program(path_folder / "alertmanager")
    assert require("alertmanager").path == upstream
