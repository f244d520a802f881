"""A service's history as a Prometheus server would have it, made from what really happened to it second by second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.prometheus_server import Recorded

FROM = 1_700_000_040.0  # on a minute of the clock
REPLICAS = ("replica-1", "replica-2")


@dataclass
class World:
    """Two replicas behind one gateway for ``lasts_s``, scraped every ``scrape_s``; ``per_s`` requests a second.

    ``silent``: replica → (from, until) in which it answers nobody. ``unused``: the same, in which the gateway does not
    have it. While a replica is silent, half of the requests of the first ``noticed_s`` fail.
    """

    lasts_s: int = 1_200
    scrape_s: int = 15
    per_s: int = 10
    noticed_s: int = 30
    silent: dict[str, tuple[int, int]] = field(default_factory=dict)
    unused: dict[str, tuple[int, int]] = field(default_factory=dict)
    restarted: frozenset[str] = frozenset()
    holes: tuple[tuple[int, int], ...] = ()

    def failures(self, t: int) -> int:
        """How many of that second's requests failed."""
        return sum(
            self.per_s // 2 for begin, end in self.silent.values() if begin <= t < min(end, begin + self.noticed_s)
        )

    def is_silent(self, replica: str, t: int) -> bool:
        """Whether it answers nobody in that second."""
        begin, end = self.silent.get(replica, (0, 0))
        return begin <= t < end

    def is_used(self, replica: str, t: int) -> bool:
        """Whether the gateway has it in that second."""
        begin, end = self.unused.get(replica, (0, 0))
        return not begin <= t < end

    def scrapes(self) -> list[int]:
        """The seconds at which Prometheus asks everybody."""
        times = range(self.scrape_s, self.lasts_s + 1, self.scrape_s)
        return [t for t in times if not any(begin <= t < end for begin, end in self.holes)]

    def series(self) -> list[Recorded]:
        """All that the server has of it."""
        found = [*self._gateway()]
        for replica in REPLICAS:
            found += self._replica(replica)
        return [*found, *self._alerts()]

    def _of(self, name: str, value: Callable[[int], float | None], **labels: str) -> Recorded:
        samples = [(FROM + t, v) for t in self.scrapes() if (v := value(t)) is not None]
        return Recorded(name, labels, samples)

    def _replica(self, replica: str) -> list[Recorded]:
        labels = {"component": replica, "instance": f"{replica}:8000", "job": "replica"}

        def known(value: Callable[[int], float]) -> Callable[[int], float | None]:
            return lambda t: None if self.is_silent(replica, t) else value(t)

        def started(t: int) -> float:
            begun_again = replica in self.restarted and t >= self.silent[replica][1]
            return FROM + (self.silent[replica][1] - 5 if begun_again else -1_000)

        tokens = self._total(lambda t: 0 if self.is_silent(replica, t) else 50 * self._given(replica, t))
        first = self._total(lambda t: 0 if self.is_silent(replica, t) else self._given(replica, t))
        return [
            self._of("up", lambda t: 0.0 if self.is_silent(replica, t) else 1.0, **labels),
            self._of("vllm:num_requests_running", known(lambda t: 3.0), **labels),
            self._of("vllm:num_requests_waiting", known(lambda t: float(self._waiting(replica, t))), **labels),
            self._of("vllm:generation_tokens_total", known(lambda t: float(tokens[t])), **labels),
            self._of("process_start_time_seconds", known(started), **labels),
            *(
                self._of("vllm:time_to_first_token_seconds_bucket", known(lambda t: float(first[t])), le=le, **labels)
                for le in ("0.1", "1.0", "+Inf")
            ),
        ]

    def _given(self, replica: str, t: int) -> int:
        others = [one for one in REPLICAS if not self.is_silent(one, t) and self.is_used(one, t)]
        return self.per_s // max(len(others), 1) if replica in others else 0

    def _waiting(self, replica: str, t: int) -> int:
        return 4 if self._given(replica, t) == self.per_s else 0

    def _total(self, per_second: Callable[[int], int]) -> list[int]:
        totals = [0]
        for t in range(self.lasts_s + 1):
            totals.append(totals[-1] + per_second(t))
        return totals

    def _gateway(self) -> list[Recorded]:
        exporter = {"gateway": "gateway-a", "instance": "exporter:9100", "job": "exporter"}
        haproxy = {"component": "gateway-a", "instance": "gateway-a:8404", "job": "gateway", "proxy": "replicas"}
        requests = "drillyard_gateway_requests_total"
        failed = self._total(self.failures)
        good = self._total(lambda t: self.per_s - self.failures(t))
        return [
            self._of(requests, lambda t: float(good[t]), status_class="2xx", **exporter),
            self._of(requests, lambda t: float(failed[t]) or None, status_class="5xx", **exporter),
            self._of("drillyard_gateway_failures_total", lambda t: float(failed[t]), **exporter),
            self._of("up", lambda t: 1.0, **{name: haproxy[name] for name in ("component", "instance", "job")}),
            *(self._server(replica, haproxy) for replica in REPLICAS),
            *(
                self._of("haproxy_server_status", self._status(replica), server=replica, state="UP", **haproxy)
                for replica in REPLICAS
            ),
        ]

    def _server(self, replica: str, labels: dict[str, str]) -> Recorded:
        sessions = self._total(lambda t: self._given(replica, t))
        return self._of(
            "haproxy_server_sessions_total",
            lambda t: float(sessions[t]) if self.is_used(replica, t) else None, server=replica, **labels,
        )  # fmt: skip

    def _status(self, replica: str) -> Callable[[int], float | None]:
        def status(t: int) -> float | None:
            if not self.is_used(replica, t):
                return None
            return 0.0 if self.is_silent(replica, t) else 1.0

        return status

    def _alerts(self) -> list[Recorded]:
        found = []
        for replica, (begin, end) in self.silent.items():
            labels = {"alertname": "ReplicaDown", "alertstate": "firing", "severity": "page", "component": replica}
            firing = [(FROM + t, 1.0) for t in self.scrapes() if begin + 10 <= t < end + 10]
            found.append(Recorded("ALERTS", labels, firing))
        return found
