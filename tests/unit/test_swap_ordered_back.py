"""A rollout that is ordered back while it is carried out: what serves another version is started with the old one."""

from __future__ import annotations

import asyncio
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.faults.base import RollsBack
from harness.faults.operations.swap import Swap
from harness.model.artifacts.rollout import ROLL_BACK, Deployment, Gates, Rollout
from harness.model.options.swap import Options
from harness.model.topology import Topology
from harness.probes import question
from stack.stacks.vllm_haproxy import STACK

TOPOLOGY = Topology(STACK)


def ordered_back(serves: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> tuple[Swap, list[str]]:
    """A rollout of new on replica-1 in that state, ordered back; what was done to the stack."""
    done: list[str] = []
    swap = Swap("one", "replica-1", Options())
    swap.stable = "old"
    swap.before = {"gateway-a": {name: Server("ready", 100) for name in ("replica-1", "replica-2")}}
    new, old = Deployment("new", "new", None), Deployment("old", "old", None)
    swap.rollout = Rollout(swap.id, "one", "replica-1", new, old, Gates(), 3)
    swap.rollout.ended = "promoted" if set(serves.values()) == {"new"} else None

    async def restart(context: object, replica: str, model: str | None) -> None:
        done.append(f"{replica} starts with {model}")

    async def comes_back(context: object, replica: str) -> None:
        done.append(f"{replica} is back")

    async def all_alike(context: object) -> None:
        done.append("all alike")

    monkeypatch.setattr(swap, "_restart", restart)
    monkeypatch.setattr(swap, "_comes_back", comes_back)
    monkeypatch.setattr(swap, "_all_alike", all_alike)
    monkeypatch.setattr(question, "version_of", lambda component: serves[component.name])
    context: Any = SimpleNamespace(
        topology=TOPOLOGY, now_s=lambda: 5.0, tell=lambda kind, **data: None, keep=lambda name, data: None
    )
    assert isinstance(swap, RollsBack)
    asyncio.run(swap.roll_back(context))
    return swap, done


@pytest.mark.parametrize(
    ("serves", "restarted"),
    [
        ({"replica-1": "new", "replica-2": "old"}, ["replica-1"]),
        ({"replica-1": None, "replica-2": "old"}, ["replica-1"]),
        ({"replica-1": "new", "replica-2": "new"}, ["replica-1", "replica-2"]),
        ({"replica-1": "old", "replica-2": "old"}, []),
    ],
)
def test_however_far_it_came(
    serves: dict[str, str | None], restarted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One replica after the other, each used as before in between; what serves the old version is left alone."""
    swap, done = ordered_back(serves, monkeypatch)
    each = [[f"{name} starts with None", f"{name} is back", "all alike"] for name in restarted]
    assert done == [*chain.from_iterable(each), "all alike"]
    assert swap.rollout is not None
    assert (swap.rollout.ended, swap.rollout.restored_s) == ("rolled back", 5.0)
    assert swap.rollout.decision is not None
    assert swap.rollout.decision.verdict == ROLL_BACK
    assert swap.undo().action == "restore_versions"  # of a promoted one, too: nothing has to stay any more
    assert swap.deferred_rollback() is None
