"""Every fault says whether it lasts and is proven again; what lasts is seen while it is there, and missed when gone."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.adapters.toxiproxy import Toxic
from harness.faults.base import fault_class, types
from harness.model.errors import AdapterError
from harness.model.options import model
from harness.probes.presence import PresenceProbe
from stack.runtimes.base import ComponentState
from stack.stacks.vllm_haproxy import STACK

LINK = "gateway-a-to-replica-1"
OPTIONS: dict[str, dict[str, str | int]] = {
    "bandwidth": {"rate_kb": 8},
    "latency": {"latency": "2s"},
    "slicer": {"size": 8, "delay": "10ms"},
    "slow_close": {"delay": "2s"},
    "weight": {"percent": 10},
    "memory": {"headroom_mb": 0},
}
FAULTS: dict[str, Any] = {name: fault_class(name) for name in types() if hasattr(fault_class(name), "inject")}
LASTING = [name for name, cls in FAULTS.items() if cls.lasts]


def made(name: str, on: str) -> Any:
    """A fault of that type."""
    cls = FAULTS[name]
    return cls("phase", on, model(name).model_validate(OPTIONS.get(name, {})))


def there(fault: Any, context: object) -> bool | None:
    """What it answers."""
    return asyncio.run(fault.present(context))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_says_it(name: str) -> None:
    """Both are decided in each class; what does not last cannot be proven once more at its end."""
    cls = FAULTS[name]
    assert isinstance(cls.lasts, bool)
    assert isinstance(cls.proven_again, bool)
    assert cls.lasts or not cls.proven_again
    assert cls.lasts or not cls.silences
    assert callable(cls.present)
    assert callable(cls.counts)


def test_what_ends_by_itself_is_known() -> None:
    """Kills; everything else that is broken lasts. Workloads and operations break nothing."""
    assert set(FAULTS) - set(LASTING) == {"kill", "oom"}
    assert set(types()) - set(FAULTS) == {"cancel_wave", "long_contexts", "oversized", "restart", "swap"}


def _links() -> list[str]:
    return [name for name in LASTING if hasattr(fault_class(name), "toxics")]


@pytest.mark.parametrize("name", _links())
def test_toxics(name: str) -> None:
    """All of them as they were made; toxiproxy may list further attributes, and may not answer."""
    fault: Any = made(name, LINK)
    listed: list[Toxic] = [
        dataclasses.replace(toxic, attributes={**toxic.attributes, "more": 1}) for toxic in fault.toxics()
    ]

    def silent(_: str) -> list[Toxic]:
        raise AdapterError("no answer")

    def context(toxics: Any) -> SimpleNamespace:
        return SimpleNamespace(toxiproxy=SimpleNamespace(toxics=toxics))

    assert there(fault, context(lambda _: listed)) is True
    assert there(fault, context(lambda _: [])) is False
    assert there(fault, context(lambda _: listed[1:])) is False
    other = [dataclasses.replace(toxic, attributes=dict.fromkeys(toxic.attributes, 12345)) for toxic in listed]
    assert there(fault, context(lambda _: other)) is False
    assert there(fault, context(silent)) is None


@pytest.mark.parametrize(("name", "state"), [("pause", "paused"), ("stop", "stopped"), ("memory", "running")])
def test_components(name: str, state: str) -> None:
    """By the runtime's word: paused, stopped, limited."""
    fault = made(name, "replica-1")

    def context(state: str, limit: int | None) -> SimpleNamespace:
        states = [ComponentState("replica-1", state, None, None, 0)]
        able = {"memory_limit": lambda _: limit, "limit_memory": None}
        return SimpleNamespace(runtime=SimpleNamespace(states=lambda: states, **able), topology=None)

    assert there(fault, context(state, 1000)) is True
    assert there(fault, context("running", None)) is False


@pytest.mark.parametrize("name", ["drain", "weight"])
def test_servers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every gateway that is meant: given back at one of two it is gone."""
    fault: Any = made(name, "replica-1")
    before, changed = {"replica-1": Server("ready", 100)}, {"replica-1": Server("drain", 10)}
    fault.before = dict.fromkeys(STACK.of("gateway"), before)
    now: dict[str, Any] = dict.fromkeys(STACK.of("gateway"), changed)

    async def servers(_: object) -> dict[str, Any]:
        return now

    monkeypatch.setattr(fault, "_servers", servers)
    assert there(fault, None) is True
    now[STACK.of("gateway")[0]] = before
    assert there(fault, None) is False


def test_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every replica."""
    fault: Any = made("widened", "gateway-a")
    fault.before, now = {"replica-1": 2, "replica-2": 2}, {"replica-1": 32, "replica-2": 32}
    monkeypatch.setattr(fault, "_gateway", lambda _: SimpleNamespace(long_connections=lambda: now))
    assert there(fault, None) is True
    now["replica-2"] = 2
    assert there(fault, None) is False


def test_what_cannot_be_told_is_no_sample() -> None:
    """Neither there nor gone."""

    async def ask(answer: bool | None) -> bool | None:
        return answer

    for answer, values in ((True, [1.0]), (False, [0.0]), (None, [])):
        rows = asyncio.run(PresenceProbe("a/pause/dns", "dns", lambda: ask(answer)).sample())  # noqa: B023
        assert [row.value for row in rows] == values
        assert all(row.component == "dns" and row.labels == "fault=a/pause/dns" for row in rows)
