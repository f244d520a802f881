"""An engine that the contract tests talk to: the simulator or real vLLM, as one process on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from harness.model.topology import Topology
from stack.engines import DEFAULT_MODEL, DEPLOYMENT, engine_command, served_version
from stack.middleware.drillyard_engine import TOKEN_VARIABLE
from stack.stacks.vllm_haproxy import STACK
from stack.tools import require
from tests.waiting import eventually
from tests.workers import worker

#: Both engines get these after their usual options: a small batch and queue, so that tests can fill them.
BATCH, QUEUE = 4, 8
FLAGS = ("--max-num-seqs", str(BATCH), "--max-num-queued-reqs", str(QUEUE), "--enable-request-id-headers")
TOKEN = "the-token-of-the-contract-tests"
INSTANCE = 230 + worker()
START_S_MAX = {"sim": 20.0, "vllm": 180.0}

Event = dict[str, Any]


@dataclass
class RunningEngine:
    """One engine process and a client of it."""

    kind: str  # sim | vllm
    version: str  # the model name that its answers carry
    max_model_len: int
    process: subprocess.Popen[bytes]
    client: httpx.Client

    def chat(self, content: str = "Tell me a story.", **fields: Any) -> dict[str, Any]:
        """Body of a chat request to the deployment."""
        messages = [{"role": "user", "content": content}]
        return {"model": DEPLOYMENT, "messages": messages, "temperature": 0, **fields}

    def long_chat(self, number: int = 0, **fields: Any) -> dict[str, Any]:
        """Body of a chat stream that lasts for seconds and ends only at 1,000 tokens; other numbers, other prompts."""
        return self.chat(f"Tell me story {number}.", stream=True, max_tokens=1000, ignore_eos=True, **fields)

    def post(self, body: dict[str, Any], path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
        """A whole answer."""
        return self.client.post(path, json=body, **options)

    @contextlib.contextmanager
    def stream(self, body: dict[str, Any], path: str = "/v1/chat/completions", **options: Any) -> Iterator[Stream]:
        """An answer that is read event by event; leaving the block before its end cancels it."""
        with self.client.stream("POST", path, json={**body, "stream": True}, **options) as response:
            stream = Stream(response)  # kept here: its line iterator closes the response when it is collected
            yield stream

    def events(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[Event | str]:
        """All events of a stream: decoded JSON, and "[DONE]"."""
        with self.stream(body, path) as stream:
            return list(stream)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of that metric's samples with those labels; KeyError when there is none."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        found = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        if not found:
            raise KeyError(name)
        return sum(found)

    def reset_prefix_cache(self) -> bool:
        """Whether no KV block is held."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return bool(self.client.post("/reset_prefix_cache", headers=headers).json()["success"])

    def is_idle(self) -> bool:
        """Whether the gauges say that nothing runs, waits or is kept."""
        gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
        return all(self.metric(name) == 0 for name in gauges)

    def behave(self, **switches: Any) -> None:
        """Switch the simulator."""
        self.client.post("/simulator/behaviour", json=switches).raise_for_status()

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """While the engine core stands still behind its API server."""
        if self.kind == "sim":
            self.behave(hang=True)
            yield
            self.behave(hang=False)
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        cores = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        for core in cores:
            core.suspend()
        try:
            yield
        finally:
            for core in cores:
                core.resume()


class Stream:
    """An answer that arrives as server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Event | str]:
        """The events, as they come; the text of an event that is no JSON."""
        for line in self._lines:
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                yield json.loads(data) if data.startswith("{") else data


@contextlib.contextmanager
def running(
    kind: str, log: Path, *flags: str, replica: str = "replica-1", model: str = DEFAULT_MODEL
) -> Iterator[RunningEngine]:
    """Start an engine as the stack does, plus ``flags``; wait until it is ready; kill it at the end."""
    topology = Topology(STACK, instance=INSTANCE, engine=kind, models={replica: model})
    component = topology.component(replica)
    port = _free_port(component.address)
    arguments, environment = engine_command(topology, replica, component.address, port)
    python = str(require("vllm-python").path) if kind == "vllm" else sys.executable
    with log.open("ab") as output:
        process = subprocess.Popen(
            [python, *arguments, *flags],
            env={**os.environ, **environment, TOKEN_VARIABLE: TOKEN},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://{component.address}:{port}", timeout=30, trust_env=False) as client:
            engine = RunningEngine(kind, served_version(topology, replica), topology.max_model_len, process, client)
            _await_ready(engine, log)
            yield engine
    finally:
        # the engine core of vLLM is a child: the whole group has to go
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _free_port(address: str) -> int:
    """A port that nobody uses: two test runs side by side do not meet."""
    with socket.create_server((address, 0)) as listener:
        return int(listener.getsockname()[1])


def _await_ready(engine: RunningEngine, log: Path) -> None:
    def ready() -> bool:
        if engine.process.poll() is not None:
            raise AssertionError(f"the engine ended with {engine.process.returncode}:\n{_tail(log)}")
        try:
            return engine.client.get("/v1/models").status_code == 200
        except httpx.TransportError:
            return False

    assert eventually(ready, START_S_MAX[engine.kind]), f"the engine was not ready in time:\n{_tail(log)}"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def texts(events: Sequence[Event | str]) -> str:
    """The text of all chunks, chat or completion."""
    choices = [choice for event in events if isinstance(event, dict) for choice in event["choices"]]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def finish_reasons(events: Sequence[Event | str]) -> list[str]:
    """The finish reasons of a stream; a healthy one has one."""
    choices = [choice for event in events if isinstance(event, dict) for choice in event["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"] is not None]
