"""``python -m tests.mutation [FOLDER…]``: judge stored runs (all fixtures) under their mutations; a line per run.

``--write`` brings the survivors' files of fixtures up to date: reasons stay, and new lines wait for theirs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.mutation import judging, survivors
from tests.mutation.judging import CRASHED, UNCHANGED


def main() -> int:
    """Judge and print; 1 when a survivor is not listed or has no reason."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, default=survivors.fixtures(), metavar="FOLDER")
    parser.add_argument("--match", default="", metavar="TEXT", help="only mutations with this text in their name")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th mutation [1]")
    parser.add_argument("--resealed", action="store_true", help="digests and counts as if the run had recorded it so")
    parser.add_argument("--whole", action="store_true", help="the whole judge, also after a finding that is not PASS")
    parser.add_argument("--processes", type=int, metavar="N", help="[as many as processors]")
    parser.add_argument("--names", action="store_true", help="name survivors and mutations that change nothing")
    parser.add_argument("--write", action="store_true", help="write the survivors' files of fixtures")
    options = parser.parse_args()
    if options.write and (options.match or options.every != 1 or options.resealed):
        parser.error("--write needs all mutations, and as they are")
    unlisted = 0
    for folder in options.folders:
        run = judging.subject(folder, options.resealed, not options.whole)
        chosen = [mutation for mutation in run.mutations if options.match in mutation.name][:: options.every]
        tally = judging.tally(run, chosen, options.processes)
        print(tally.row(survivors.name(folder) if folder in survivors.fixtures() else run.drill), flush=True)
        for name in tally.of(CRASHED):
            print(f"  {name}: {tally.found[name]}")
        if options.names:
            print("".join(f"  {tally.found[name]}\t{name}\n" for name in tally.of("PASS", UNCHANGED)), end="")
        if options.write:
            survivors.write(folder, tally.survivors)
        known = survivors.listed(folder)
        unlisted += (
            0 if options.resealed else len(set(tally.survivors) - set(known)) + len(survivors.unjustified(known))
        )
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main())
