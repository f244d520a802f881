"""The external runtime: a service that Drillyard did not start, behind a toxiproxy that it did.

Nothing of the far side can be started, stopped or looked into: there are the link to it and what comes back over it.
Whether it may be touched at all is asked before (harness/plan/guard.py).
"""

from __future__ import annotations

from stack.runtimes.process import ProcessRuntime


class ExternalRuntime(ProcessRuntime):
    """Runtime (stack/runtimes/base.py) of toxiproxy alone, as a process of this host."""

    name = "external"
