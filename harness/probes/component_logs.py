"""What the components of a stack have logged since some moment."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.model import redact
from harness.model.errors import DrillyardError
from stack.runtimes.base import Runtime

#: The last line of a traceback; vLLM puts its process, and in its own log level, time and place, before it.
_ERROR = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:ERROR [^]\n]*\] )?((?:\w+\.)*\w+(?:Error|Exception): .+)$", re.MULTILINE)
ERROR_CHARS_MAX = 240


@dataclass(frozen=True)
class LogMarks:
    """How long each component's log was when the run began: a warm stack's logs hold earlier runs too."""

    lengths: dict[str, int]

    @classmethod
    def take(cls, runtime: Runtime, *names: str) -> LogMarks:
        """Remember the lengths now: of these components, or of all."""
        wanted = names or [c.name for c in runtime.topology.components]
        return cls({name: len(_log_bytes(runtime, name)) for name in wanted})

    def collect(self, runtime: Runtime, folder: RunFolder) -> None:
        """Copy what was logged since into ``logs/<component>.log``, without secrets; a rotated log is copied whole."""
        for name in self.lengths:
            (folder.path / "logs" / f"{name}.log").write_bytes(self._since(runtime, name))

    def first_error(self, runtime: Runtime, name: str) -> str | None:
        """What a program of Python logged first since then as its error, cut to a line; None when it logged none.

        Of several that follow from each other the first is the cause.
        """
        found = _ERROR.search(self._since(runtime, name).decode(errors="replace"))
        return textwrap.shorten(found[1], ERROR_CHARS_MAX, placeholder=" …") if found else None

    def _since(self, runtime: Runtime, name: str) -> bytes:
        data, length = _log_bytes(runtime, name), self.lengths[name]
        return redact.raw(data[length:] if len(data) >= length else data)


def _log_bytes(runtime: Runtime, name: str) -> bytes:
    try:
        log = runtime.logs(name)
        return log.read_bytes() if isinstance(log, Path) else log.encode()
    except (OSError, DrillyardError):
        return b""
