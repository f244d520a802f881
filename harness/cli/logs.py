"""``harness logs COMPONENT``: what a component has written."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from harness.cli import arguments
from harness.model.errors import UsageError, did_you_mean
from harness.plan import runtime
from harness.plan.options import StackOptions, build_topology
from stack.runtimes.process import ProcessRuntime

ORDER, HELP = 150, "one component's log"
_POLL_S = 0.25


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which component of which stack."""
    arguments.add_stack(parser, environment)
    parser.add_argument("component", nargs="?", default="", metavar="COMPONENT")
    parser.add_argument("--follow", action="store_true", help="go on until interrupted")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print it."""
    return logs(arguments.stack(options), options.component, sys.stdout, options.follow)


def logs(options: StackOptions, component: str, out: TextIO, follow: bool = False) -> int:
    """Print a component's log; with ``follow`` go on until interrupted. Logs of a process stack outlive it.

    Raises UsageError for no component, one that does not exist (with the nearest name) or one that has no log.
    """
    found = runtime.running(options)
    topology = found[0].topology if found else build_topology(options)
    names = [c.name for c in topology.components]
    if not component:
        raise UsageError(f"found no component to show the log of, expected one of {', '.join(names)}: make logs C=NAME")
    if component not in names:
        hint = did_you_mean(component, names) or f"there are {', '.join(names)}"
        raise UsageError(f"no component {component!r}: {hint}")
    source = found[0].logs(component) if found else ProcessRuntime(topology).logs(component)
    if isinstance(source, str):
        out.write(source)
        return 0
    if not source.exists():
        raise UsageError(f"{component} of instance {options.instance} has no log yet ({source}); `make up` starts it")
    _copy(source, out, follow)
    return 0


def _copy(path: Path, out: TextIO, follow: bool) -> None:
    """Write the file out; when following, also what comes, from the new file after a rotation."""
    file = path.open(errors="replace")
    try:
        while True:
            out.writelines(file)
            out.flush()
            if not follow:
                return
            time.sleep(_POLL_S)
            if path.exists() and path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino:
                out.writelines(file)
                file.close()
                file = path.open(errors="replace")
    finally:
        file.close()
