"""``python -m tests.trust.one_fault``: the harness, whose timeout-spike drill ends before its second fault.

The checks about what does not come are left out; they would have nothing to say, and a drill with such checks is
INCONCLUSIVE. Everything else is the drill as it is.
"""

from __future__ import annotations

import dataclasses
import sys

from harness.cli import main
from harness.judge import drill

#: About the second fault, or in need of more retries than a few seconds of the first one bring.
_LEFT_OUT = ("all-replicas", "recovery-all", "client retries bounded")
_WHOLE = drill.load("timeout-spike")
_FIRST_HALF = dataclasses.replace(
    _WHOLE,
    checks=tuple(check for check in _WHOLE.checks if not check.name.endswith(_LEFT_OUT)),
    alerts=tuple(expected for expected in _WHOLE.alerts if not expected.phase.endswith(_LEFT_OUT)),
)

if __name__ == "__main__":
    drill.load = lambda name: _FIRST_HALF
    sys.exit(main.main())
