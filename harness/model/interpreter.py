"""The Python that runs Drillyard: one that cannot is refused in a sentence, before anything that it cannot read.

Python 3.7 can read this file, and nothing here needs a package.
"""

from __future__ import annotations

import sys
from typing import NoReturn

NEEDED = (3, 11)
WRONG_USAGE = 64
REMEDY = "use .venv/bin/python; `make setup` brings it up to date, with PYTHON=/path/to/a/newer/python3 if need be"


def require() -> None:
    """End with 64 and one line where this Python is too old."""
    if sys.version_info[:2] < NEEDED:
        refuse(f"found Python {sys.version.split()[0]} ({sys.executable}), expected {NEEDED[0]}.{NEEDED[1]} or newer")


def refuse_without(missing: ImportError) -> NoReturn:
    """End with 64 and one line about a package that is not there; what is missing of ours is a bug, and raised."""
    if missing.name is None or missing.name.partition(".")[0] in ("drills", "harness", "reports", "stack"):
        raise missing
    refuse(f"found no package {missing.name} in this Python ({sys.executable}), expected those of requirements.lock")


def refuse(found: str) -> NoReturn:
    """End with 64, what was found and what to do."""
    print(f"drillyard: {found}: {REMEDY}", file=sys.stderr)
    raise SystemExit(WRONG_USAGE)
