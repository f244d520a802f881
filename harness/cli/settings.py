"""What was typed after ``make``, refused before anything is downloaded: ``python3 -m harness.cli.settings [DRILL…]``.

Everything that it imports is in the standard library or does with it, so a fresh checkout can run it. Exit codes: 0,
or 64 with one line that says what was found and what was expected. What ARGS and scenarios say needs the packages of
the harness: `run --dry-run` refuses it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.model import interpreter

interpreter.require()

from harness.judge import drill  # noqa: E402
from harness.model.errors import UsageError  # noqa: E402
from harness.plan.options import StackOptions, build_topology, instance_number, limit  # noqa: E402

#: Of what is kept by prune.
LIMITS = {"keep", "days"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the names of drills, RUNTIME, ENGINE, INSTANCE, MODEL, KEEP and DAYS; the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m harness.cli.settings", description=__doc__)
    parser.add_argument("drills", nargs="*", metavar="DRILL")
    for name in ("runtime", "engine", "instance", "model", *LIMITS):
        parser.add_argument(f"--{name}", default=None)
    given = vars(parser.parse_args(arguments))
    try:
        for name in given.pop("drills"):
            drill.require(name)
        said = {name: value for name, value in given.items() if value is not None}
        if "instance" in said:
            said["instance"] = instance_number(said["instance"])
        for name in LIMITS & said.keys():
            limit(name.upper(), said.pop(name))
        build_topology(StackOptions(**said))
    except UsageError as error:
        print(f"drillyard: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
