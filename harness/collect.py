"""What is gathered when load is off: component logs of the run's own time, and the columns that only now are known."""

from __future__ import annotations

import json
import re
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness import phases, redact
from harness.errors import DrillyardError
from harness.record import REQUEST_COLUMNS, RunFolder
from harness.scenario import Scenario
from stack.runtimes.base import Runtime

#: The last line of a traceback; vLLM puts its process, and in its own log level, time and place, before it.
_ERROR = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:ERROR [^]\n]*\] )?((?:\w+\.)*\w+(?:Error|Exception): .+)$", re.MULTILINE)
ERROR_CHARS_MAX = 240
#: HAProxy's word for «no server was tried».
NO_SERVER = "<NOSRV>"


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


def finish_requests(folder: RunFolder, scenario: Scenario) -> None:
    """Fill in the columns of requests.parquet that only now are known."""
    path = folder.path / "requests.parquet"
    if not path.exists():
        return
    frame = phases.assign(folder.requests(), phases.spans(folder.events(), {p.name: p.kind for p in scenario.phases}))
    frame = frame.assign(**from_gateways(frame, folder.path / "logs"))
    table = pa.Table.from_pandas(frame, schema=REQUEST_COLUMNS, preserve_index=False)
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    temporary.replace(path)


class _Line(NamedTuple):
    """What an access log line says of one attempt."""

    t_ms: float
    queue_ms: float
    replica: str  # "" when the gateway tried none
    retries: int


def from_gateways(frame: pd.DataFrame, logs: Path) -> dict[str, pd.Series]:
    """The columns that only the gateways' access logs know, per attempt; null where they do not tell.

    Attempts share their request's id, so the n-th line of an id belongs to its n-th attempt that a gateway saw:
    that is only certain when there are as many lines as attempts.
    """
    lines: dict[str, list[_Line]] = defaultdict(list)
    for path in sorted(logs.glob("gateway-*.log")):
        for text in path.read_text(errors="replace").splitlines():
            entry = _access_entry(text)
            if entry is not None:
                lines[entry[0]].append(entry[1])
    order = frame.sort_values("attempt").groupby("request_id")["attempt"]
    nth, count = order.cumcount().reindex(frame.index), order.transform("size").reindex(frame.index)
    found: list[_Line | None] = []
    for request_id, position, attempts in zip(frame["request_id"], nth, count, strict=True):
        seen = sorted(lines.get(request_id, ()))
        found.append(seen[position] if len(seen) == attempts else None)
    columns = (
        ("queue_gateway_ms", "queue_ms", "float64"), ("gateway_replica", "replica", "object"),
        ("gateway_retries", "retries", "Int16"),
    )  # fmt: skip
    return {
        name: pd.Series([None if line is None else getattr(line, field) for line in found], frame.index, dtype=dtype)
        for name, field, dtype in columns
    }


def _access_entry(text: str) -> tuple[str, _Line] | None:
    """Request id and facts of an access log line; None for any other line."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        data = json.loads(text[start:])
        replica = str(data["replica"])
        line = _Line(
            float(data["t_ms"]),
            max(float(data["queue_ms"]), 0.0),
            "" if replica == NO_SERVER else replica,
            int(str(data["retries"]).lstrip("+")),  # «+2»: the last one went to another replica
        )
        return str(data["request_id"]), line
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _log_bytes(runtime: Runtime, name: str) -> bytes:
    try:
        log = runtime.logs(name)
        return log.read_bytes() if isinstance(log, Path) else log.encode()
    except (OSError, DrillyardError):
        return b""
