"""``python -m tests.integration.leaking_harness run …``: the harness, made to spill what it must not.

Its questions are those of ``CANARY_QUESTIONS``. A probe dies of an error that holds a key, a component logs a key, and
the first phase ends with an error that holds one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from harness.cli import main
from harness.model.errors import StackError
from harness.probes.dns import DnsProbe
from harness.run import generator
from harness.run.timeline import Timeline
from stack import keys, state


def spill() -> None:
    """Have keys turn up where errors and logs carry them."""
    generator.QUESTIONS_FILE = Path(os.environ["CANARY_QUESTIONS"])
    key = keys.load(Path(os.environ[keys.FILE_VARIABLE])).users["user-001"]

    async def sample(self: DnsProbe) -> list[Any]:
        raise RuntimeError(f"headers {{'Authorization': 'Bearer {key}'}} were not understood")

    async def hold(self: Timeline, name: str, until_s: float) -> None:
        logs = state.instance_folder(self.session.context.topology) / "logs"
        with (logs / "exporter.log").open("a") as log:
            log.write(f"GET /?key={key}\n")
        while self.session.now_s() < until_s:
            self.session.check_recording()
            await asyncio.sleep(0.1)
        raise StackError(f"phase {name}: no answer to Bearer {key}")

    DnsProbe.sample = sample  # type: ignore[method-assign]
    Timeline._hold = hold  # type: ignore[method-assign]


if __name__ == "__main__":
    spill()
    sys.exit(main.main())
