"""Tests that run side by side (pytest-xdist) need addresses of their own."""

from __future__ import annotations

import os


def worker() -> int:
    """The number of this pytest worker; 0 when there is only one process."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
