"""HAProxy, PowerDNS, Prometheus and Alertmanager from Debian packages, without root and without services.

`apt-get install` would also *start* them on their default ports. So the missing packages are only downloaded, with
apt's lists, cache and log redirected below ``.tools/apt``, and unpacked with ``dpkg-deb -x`` into ``.tools/root``.
Works on Debian and on what descends from it; elsewhere the programs have to be in the PATH.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import MissingTool
from stack.tools import places
from stack.tools.execution import execute
from stack.tools.part import Part
from stack.tools.progress import Step
from stack.tools.tool import Tool, find, on_machine

#: Libraries that other parts need and that a bare machine may lack: vLLM's CPU kernels link against libnuma.
LIBRARIES = ("libnuma1",)


@dataclass(frozen=True)
class Program:
    """A program, the packages that bring it, and an argument with which it prints its version and ends with 0."""

    name: str
    packages: tuple[str, ...]
    version_argument: str


#: What the process runtime needs from Debian.
PROGRAMS = (
    Program("haproxy", ("haproxy",), "-v"),
    Program("pdns_server", ("pdns-server", "pdns-backend-bind"), "--version"),
    Program("prometheus", ("prometheus",), "--version"),
    Program("promtool", ("prometheus",), "--version"),
    Program("alertmanager", ("prometheus-alertmanager",), "--version"),
)


def runs(program: Program) -> bool:
    """Whether the program is found and starts (all its libraries are there)."""
    tool = find(program.name)
    return tool is not None and _starts(tool, program.version_argument)


def _starts(tool: Tool, argument: str) -> bool:
    try:
        done = subprocess.run(
            [tool.path, argument], env=tool.env, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    # pdns_server ends with 99 after printing its version; a missing library ends with 127.
    return done.returncode in (0, 99)


class Fetching:
    """Says what apt-get is waiting for, out of its output: a line ``Get:…`` for each file that it fetches."""

    def __init__(self, what: str) -> None:
        self._what, self._files = what, 0

    def __call__(self, line: str) -> str | None:
        """The note after one more line; None for a line that tells of no file."""
        if not line.startswith("Get:"):
            return None
        self._files += 1
        return f"downloading {self._what}, {self._files} so far"


def wanted_packages() -> list[str]:
    """The packages of all programs that the machine itself does not have, each once, in a fixed order."""
    return list(dict.fromkeys(package for p in PROGRAMS if not on_machine(p.name) for package in p.packages))


def download_and_unpack(packages: Sequence[str], root: Path, step: Step, log: str) -> None:
    """Bring ``packages`` with everything they need that the machine lacks, unpacked below ``root``.

    Raises MissingTool where there is no apt, or a package cannot be had.
    """
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise MissingTool(
                f"this machine lacks {' '.join(packages)} and has no `{command}` to fetch Debian's packages with. "
                "Install the programs with the machine's own package manager so that they are in the PATH, or use "
                "RUNTIME=docker."
            )
    remedy = (
        "Check that the package mirror of /etc/apt is reachable (`apt-get update` as root shows it) and run this "
        f"again, or install {' '.join(packages)} yourself: what is in the PATH is used."
    )
    options = _apt_options(places.TOOLS / "apt" / log)
    quiet = ["apt-get", "-q", "-y", *options]
    step.note("downloading Debian's package lists")
    execute([*quiet, "update"], step, log, remedy, limit_s=600, told=Fetching("Debian's package lists"))
    step.note(f"looking up {' '.join(packages)}")
    fetch = ["install", "--download-only", "--no-install-recommends", *packages]
    execute([*quiet, *fetch], step, log, remedy, limit_s=900, told=Fetching("Debian packages"))
    fresh = root.with_name(root.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for archive in sorted((places.TOOLS / "apt" / log / "cache" / "archives").glob("*.deb")):
        step.note(f"unpacking {archive.name}")
        execute(["dpkg-deb", "-x", archive, fresh], step, log, remedy, limit_s=300)
    shutil.rmtree(root, ignore_errors=True)
    fresh.replace(root)
    shutil.rmtree(places.TOOLS / "apt" / log)


def _apt_options(folder: Path) -> list[str]:
    """Options that make apt-get work on folders of ours; it still reads the machine's sources and package status."""
    for name in ("lists/partial", "cache/archives/partial", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Log": folder / "log",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",  # as root, apt would fetch as a user that may not write into our folders
        "Acquire::Retries": "3",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _write_pdns_wrapper(root: Path) -> None:
    """PowerDNS has its module folder built in as an absolute path; a wrapper points it to the unpacked one."""
    modules = next(root.glob("usr/lib/*/pdns"), None)
    if modules is None:
        return
    wrapper = places.TOOLS / "bin" / "pdns_server"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(
        "#!/bin/sh\n"
        "# Written by set-up: PowerDNS looks for its modules at an absolute path unless told otherwise.\n"
        'tools=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        f'exec "$tools/root/usr/sbin/pdns_server" --module-dir="$tools/root/{modules.relative_to(root)}" "$@"\n'
    )
    wrapper.chmod(0o755)


#: Where Debian's Alertmanager reads its default template; it has no option for it and does not start without it.
_ALERTMANAGER_FILES = b"/usr/share/prometheus/alertmanager"


def _relocate_alertmanager(root: Path) -> None:
    """Make the unpacked Alertmanager read its template from a relative path, and a wrapper that starts it there.

    The path is a constant of the program (a Go program: no preloaded library could redirect it), so it is replaced
    by one of the same length.
    """
    program = root / "usr/bin/prometheus-alertmanager"
    if not program.exists():
        return
    name = b"alertmanager"
    relative = b"." + b"/" * (len(_ALERTMANAGER_FILES) - len(name) - 1) + name
    program.write_bytes(program.read_bytes().replace(_ALERTMANAGER_FILES, relative))
    wrapper = places.TOOLS / "bin" / "alertmanager"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(
        "#!/bin/sh\n"
        "# Written by set-up: Alertmanager finds its template relative to here. Give it absolute paths.\n"
        'tools=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        'cd "$tools/root/usr/share/prometheus" && exec "$tools/root/usr/bin/prometheus-alertmanager" "$@"\n'
    )
    wrapper.chmod(0o755)


def _install(step: Step) -> None:
    root = places.TOOLS / "root"
    download_and_unpack([*wanted_packages(), *LIBRARIES], root, step, "debian")
    _write_pdns_wrapper(root)
    _relocate_alertmanager(root)
    broken = [program.name for program in PROGRAMS if not runs(program)]
    if broken:
        raise MissingTool(
            f"{', '.join(broken)} was unpacked below {root} but does not start. Run it by hand to see why "
            "(its libraries are found through LD_LIBRARY_PATH), or install it so that it is in the PATH."
        )


def _recipe() -> str:
    """This file too: how the packages are unpacked and adapted is part of the result."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return f"{release.get('ID')} {release.get('VERSION_ID')}\n{Path(__file__).read_text()}"


PART = Part(
    name="debian",
    title="HAProxy, PowerDNS, Prometheus, Alertmanager",
    recipe=_recipe,
    works=lambda: all(runs(program) for program in PROGRAMS),
    install=_install,
)
