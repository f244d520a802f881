"""The watchdog heals with what it has: files that it would need later may be gone by then."""

from __future__ import annotations

import subprocess
import sys

from harness.judge.drill import ROOT

_LATER = """
import sys
from harness.model.topology import Topology
from harness.recover import heal, watchdog
from stack import stacks

watchdog.ready()
ready = set(sys.modules)
heal.here(stacks.restored(Topology(stacks.find(stacks.DEFAULT), instance=7).as_data()))
print(*sorted(set(sys.modules) - ready))
"""


def test_nothing_is_imported_once_it_is_ready() -> None:
    """A checkout that was renamed, an environment that is made again: what reads a topology is there already."""
    told = subprocess.run(
        [sys.executable, "-c", _LATER], cwd=ROOT, capture_output=True, text=True, check=True, timeout=100
    )
    assert told.stdout.strip() == ""
