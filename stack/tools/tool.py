"""Finding the external programs that a stack is made of.

What the machine has in its PATH (or in ``/usr/sbin``, which an ordinary user's PATH lacks on Debian) is used;
else what ``make setup`` unpacked or built under ``.tools/``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.errors import MissingTool
from stack.tools import places

#: Searched after PATH: Debian puts daemons there.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Tool:
    """A program that can be started: its absolute path, and what its environment needs on top of the caller's."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where to look for one tool: under which names in PATH (best first), then at which place under ``.tools/``."""

    commands: tuple[str, ...]
    place: str
    libraries: str | None = None  # folder under .tools/ into which the libraries it may need were unpacked
    remedy: str = "make setup"


#: Every name that ``require`` knows.
ORIGINS: Mapping[str, Origin] = {
    "haproxy": Origin(("haproxy",), "root/usr/sbin/haproxy", "root"),
    "pdns_server": Origin(("pdns_server",), "bin/pdns_server", "root"),
    "prometheus": Origin(("prometheus",), "root/usr/bin/prometheus", "root"),
    "promtool": Origin(("promtool",), "root/usr/bin/promtool", "root"),
    "alertmanager": Origin(("alertmanager", "prometheus-alertmanager"), "bin/alertmanager", "root"),
    "chromium": Origin(("chromium", "chromium-browser", "google-chrome"), "bin/chromium", "chromium", "make chromium"),
    "toxiproxy-server": Origin(("toxiproxy-server",), "bin/toxiproxy-server"),
    "vllm-python": Origin((), "vllm/bin/python", "root"),
}


def require(name: str) -> Tool:
    """The tool called ``name``. Raises MissingTool saying where it was looked for and what brings it."""
    found = find(name)
    if found is None:
        origin = ORIGINS[name]
        looked = [f"`{command}` in PATH and {', '.join(SYSTEM_FOLDERS)}" for command in origin.commands]
        looked.append(str(places.TOOLS / origin.place))
        raise MissingTool(f"{name} is not there (looked for {'; '.join(looked)}). Run `{origin.remedy}` to bring it.")
    return found


def find(name: str) -> Tool | None:
    """The tool called ``name``, or None where it is neither on the machine nor under ``.tools/``."""
    return on_machine(name) or brought(name)


def on_machine(name: str) -> Tool | None:
    """The tool called ``name`` as the machine itself has it."""
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    for command in ORIGINS[name].commands:
        if path := shutil.which(command, path=search_path):
            return Tool(Path(path).absolute())
    return None


def brought(name: str) -> Tool | None:
    """The tool called ``name`` as set-up brought it."""
    origin = ORIGINS[name]
    path = places.TOOLS / origin.place
    if not os.access(path, os.X_OK):
        return None
    return Tool(path, library_env(places.TOOLS / origin.libraries) if origin.libraries else {})


def library_env(root: Path) -> dict[str, str]:
    """The environment with which a program unpacked below ``root`` finds the libraries unpacked with it.

    Folders below the architecture's count too: some packages keep private libraries there, found by absolute path.
    """
    patterns = ("lib/*/*.so*", "usr/lib/*/*.so*", "usr/lib/*/*/*.so*")
    folders = sorted({str(path.parent) for pattern in patterns for path in root.glob(pattern)})
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {}
