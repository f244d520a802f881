"""``python -m benchmarks [ROW …]``: measure what Drillyard's own parts cost, a JSON object for each file of rows/.

A row is a module with a docstring, ``measure(instance)``, which returns its figures, and ``broken(figures)``, which
returns the bounds that they break as sentences. Exit 1 when any is broken: on an idle machine that is a regression.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys

from benchmarks import rows


def main() -> int:
    """Measure the rows that were named, or all."""
    known = sorted(module.name for module in pkgutil.iter_modules(rows.__path__))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--instance", type=int, default=0, help="of the simulated stack that is brought up")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(known):
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    broken = []
    for name in arguments.rows or known:
        row = importlib.import_module(f"{rows.__name__}.{name}")
        figures = row.measure(arguments.instance)
        print(f"{name}: {json.dumps(figures, indent=1)}", flush=True)
        broken += [f"{name}: {why}" for why in row.broken(figures)]
    for why in broken:
        print(why, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
