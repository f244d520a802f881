"""Links and tokens of a game's pages, in the instance folder: a game that was killed leaves them there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.adapters.desk import ACCESS_FILE, LINKS_FILE
from harness.recover.leftovers.base import Leftover, Site


def find(site: Site) -> Iterator[Leftover]:
    """Those files: whoever plays holds the lock, so that nobody does."""
    for path in (site.folder / ACCESS_FILE, site.folder / LINKS_FILE):
        if path.exists():
            what = f"{path.name} has the address of a game's pages that nobody serves any more"
            yield site.leftover("desk", what, "it is removed", partial(path.unlink, missing_ok=True))
