"""HAProxy's access log, as the exporter counts it."""

from __future__ import annotations

from pydantic import BaseModel

#: HAProxy's word for «no server was tried».
NO_SERVER = "<NOSRV>"
#: First letter of HAProxy's termination state, where the service and not the client ended the exchange:
#: server aborted (S) or too slow (s), resources (R), internal (I), killed with its server (D), found down (K).
SERVICE_ENDED = frozenset("SsRIDK")


class Access(BaseModel):
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
    def has_replica(self) -> bool:
        """Whether a replica was asked."""
        return self.replica != NO_SERVER

    @property
    def has_failed(self) -> bool:
        """Answered with 5xx, or cut by the service's side after a good beginning."""
        return self.status >= 500 or (self.status >= 200 and self.termination_state[:1] in SERVICE_ENDED)

    @property
    def status_class(self) -> str:
        """``2xx`` … ``5xx``, or ``none`` when the client left before any answer."""
        return f"{self.status // 100}xx" if self.status >= 100 else "none"
