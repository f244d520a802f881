"""HAProxy's access log: its words, and what the exporter counts of it."""

from __future__ import annotations

from pydantic import BaseModel

from stack.gateway import Access

#: HAProxy's word for «no server was tried».
NO_SERVER = "<NOSRV>"
#: First letter of HAProxy's termination state, where the service and not the client ended the exchange:
#: server aborted (S) or too slow (s), resources (R), internal (I), killed with its server (D), found down (K).
SERVICE_ENDED = frozenset("SsRIDK")


class _Line(BaseModel):
    """The fields of an access log line that count here; times in ms, -1 where the request never got so far."""

    backend: str
    replica: str
    status: int
    termination_state: str
    queue_ms: int
    total_ms: int

    @property
    def is_pinned(self) -> bool:
        """A harness request that proves a fault: no user felt it."""
        return self.backend.startswith("pin-")

    @property
    def has_failed(self) -> bool:
        """Answered with 5xx, or cut by the service's side after a good beginning."""
        return self.status >= 500 or (self.status >= 200 and self.termination_state[:1] in SERVICE_ENDED)


def access(line: bytes) -> Access | None:
    """One line: a record is one JSON object; HAProxy's own notices share the file.

    ValueError for a record that cannot be understood.
    """
    if not line.startswith(b"{"):
        return None
    found = _Line.model_validate_json(line)
    if found.is_pinned:
        return None
    return Access(
        status=found.status if found.status >= 100 else None,
        failed=found.has_failed,
        asked=found.replica != NO_SERVER,
        queue_ms=found.queue_ms if found.queue_ms >= 0 else None,
        total_ms=found.total_ms if found.total_ms >= 0 else None,
    )
