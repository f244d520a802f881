"""`python -m stack.tools install`: bring everything that a drill needs and that the machine lacks.

A processor that vLLM's CPU build cannot run on is refused before anything is downloaded, where that build is wanted.

Exit codes: 0 all is there; 64 something could not be brought (the message says what to do); 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from harness.model.errors import DrillyardError, require_one_of
from stack import proxies
from stack.runtimes.base import NAMES
from stack.tools import processor
from stack.tools.install import bring, browser, parts_for
from stack.tools.progress import Progress

ENGINES = ("vllm", "sim")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stack.tools", description=__doc__)
    parser.add_argument(
        "what",
        choices=("install", "chromium"),
        help="install: what a stack needs; chromium: that and axe-core, for tests",
    )
    parser.add_argument("--runtime", metavar=f"{{{','.join(NAMES)}}}", default=os.environ.get("RUNTIME") or "auto")
    parser.add_argument("--engine", metavar=f"{{{','.join(ENGINES)}}}", default=os.environ.get("ENGINE") or "vllm")
    parser.add_argument("--model", default=os.environ.get("MODEL") or "v1", help="a path or hub id needs no training")
    chosen = parser.parse_args(arguments)
    progress = Progress()
    proxies.exclude_loopback(os.environ)
    try:
        if chosen.what == "chromium":
            parts = browser()
        else:
            require_one_of("RUNTIME", chosen.runtime, NAMES)
            require_one_of("ENGINE", chosen.engine, ENGINES)
            runtime = _runtime(chosen.runtime)
            processor.require(runtime, chosen.engine)
            parts = parts_for(runtime, chosen.engine, chosen.model)
        if bring(parts, progress):
            there = ", ".join(part.title for part in parts) or "nothing is needed"
            progress.say(f"set-up: everything is there ({there})")
    except DrillyardError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again and it goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _runtime(name: str) -> str:
    """The runtime that ``auto`` stands for on this machine."""
    if name != "auto":
        return name
    from stack.runtimes.select import docker_trouble  # half a second, which a set-up that is told does not need

    return "docker" if docker_trouble() is None else "process"


if __name__ == "__main__":
    sys.exit(main())
