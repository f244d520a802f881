"""A stack that somebody breaks by hand, without a drill, as an operator's script does; and when it did what."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import psutil

from stack.runtimes.process import ProcessRuntime

EVERY_S, LIMIT_S = 0.1, 60.0
#: Lines of a configuration that draw a replica by its weight, of which no configuration with one replica has any.
_BY_WEIGHT = re.compile(
    r"srv_weight\(|txn\.(?:weight|until)_\d|txn\.lot|acl (?:all_weigh|unlike|below_\d+) |use-server "
)
_BACKENDS = ("backend replicas", "backend long")


def without_server(config: str, server: str) -> str:
    """A gateway's configuration as it is when somebody has forgotten a server in it."""
    kept, section = [], ""
    for line in config.splitlines():
        if line[:1].strip():
            section = line.strip()
        of_it = section in _BACKENDS and (line.strip().startswith(f"server {server} ") or _BY_WEIGHT.search(line))
        if not of_it:
            kept.append(line)
    return "\n".join(kept) + "\n"


@dataclass
class ByHand:
    """The script. ``done``: what it did → from when until when; ``fired``: alert → when it was first seen to fire.

    Unix seconds.
    """

    runtime: ProcessRuntime
    done: dict[str, tuple[float, float]] = field(default_factory=dict)
    fired: dict[str, float] = field(default_factory=dict)
    firing: int = 0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=10.0))

    def close(self) -> None:
        """End the connections."""
        self.client.close()

    def url(self, name: str, port: str = "http") -> str:
        """Of a component of the stack."""
        component = self.runtime.topology.component(name)
        return f"http://{component.address}:{component.ports[port]}"

    def watch(self, over: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
        """Look at the alerts until it is over, or the time is; whether it was."""
        deadline = time.monotonic() + limit_s
        while not over():
            if time.monotonic() > deadline:
                return False
            self._look()
            time.sleep(EVERY_S)
        return True

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        with self._noted(f"pause {name}"):
            for process in self._processes(name):
                process.suspend()

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        with self._noted(f"continue {name}"):
            for process in self._processes(name):
                process.resume()

    def forget(self, gateway: str, server: str) -> str:
        """Take a server out of a gateway's configuration, and have it read; what it was before."""
        path = self.runtime.config_folder / gateway / "haproxy.cfg"
        before = path.read_text()
        path.write_text(without_server(before, server))
        self._read_again(f"{gateway} without {server}", gateway)
        return before

    def restore(self, gateway: str, config: str) -> None:
        """Put a gateway's configuration back, and have it read."""
        (self.runtime.config_folder / gateway / "haproxy.cfg").write_text(config)
        self._read_again(f"{gateway} restored", gateway)

    def silence(self, alert: str, by: str, comment: str) -> None:
        """At Alertmanager, for ten minutes."""
        now = datetime.now(UTC)
        matchers = [{"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}]
        wanted = {
            "matchers": matchers, "startsAt": now.isoformat(), "endsAt": (now + timedelta(minutes=10)).isoformat(),
            "createdBy": by, "comment": comment,
        }  # fmt: skip
        with self._noted("silence"):
            self.client.post(f"{self.url('alertmanager')}/api/v2/silences", json=wanted).raise_for_status()

    def asked(self, query: str) -> list[float]:
        """The values that Prometheus has of it right now."""
        answer = self.client.get(f"{self.url('prometheus')}/api/v1/query", params={"query": query}).json()
        return [float(one["value"][1]) for one in answer["data"]["result"]]

    def under_way(self, replica: str) -> float:
        """How many requests a replica says that it is answering."""
        page = self.client.get(f"{self.url(replica)}/metrics").text
        lines = [line for line in page.splitlines() if line.startswith("vllm:num_requests_running")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def _look(self) -> None:
        answer = self.client.get(f"{self.url('prometheus')}/api/v1/alerts").json()
        firing = [one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"]
        self.firing = len(firing)
        for name in firing:
            self.fired.setdefault(name, time.time())

    def _read_again(self, what: str, gateway: str) -> None:
        """End the process as soon as nobody waits for an answer of it; its supervisor starts it again."""
        with self._noted(what):
            process = psutil.Process(self._pid(gateway) or 0)
            process.send_signal(signal.SIGUSR1)
            assert self.watch(lambda: not process.is_running() and self._lives(gateway)), f"{gateway} did not come back"

    def _lives(self, gateway: str) -> bool:
        with suppress(httpx.HTTPError):
            return self.client.get(f"{self.url(gateway)}/livez").status_code == 200
        return False

    def _pid(self, name: str) -> int | None:
        return next(state.pid for state in self.runtime.states() if state.name == name)

    def _processes(self, name: str) -> list[psutil.Process]:
        process = psutil.Process(self._pid(name) or 0)
        return [process, *process.children(recursive=True)]

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        began = time.time()
        yield
        self.done[what] = began, time.time()
