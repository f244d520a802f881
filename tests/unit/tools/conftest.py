"""An empty ``.tools/`` for each test, and a machine that has nothing in its PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.tools import places, tool


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands in for ``.tools/``."""
    folder = tmp_path / ".tools"
    folder.mkdir()
    monkeypatch.setattr(places, "TOOLS", folder)
    return folder


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH, empty; the system's own folders are out of sight."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(tool, "SYSTEM_FOLDERS", (str(tmp_path / "sbin"),))
    return folder
