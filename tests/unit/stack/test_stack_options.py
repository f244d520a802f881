"""harness/commands: what the user may say about the stack, and what status answers."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import status
from harness.model.errors import UsageError
from harness.model.topology import Topology
from harness.plan.options import StackOptions, build_topology
from stack import stacks, state
from stack.stacks.vllm_haproxy import STACK


def test_one_model_serves_on_all_replicas() -> None:
    """MODEL applies to both replicas; v1 when nothing is said."""
    assert dict(build_topology(StackOptions()).models) == {"replica-1": "v1", "replica-2": "v1"}
    assert set(build_topology(StackOptions(model="slow")).models.values()) == {"slow"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (StackOptions(runtime="podman"), "RUNTIME=podman"),
        (StackOptions(engine="tgi"), "ENGINE=tgi"),
        (StackOptions(instance=256), "INSTANCE=256"),
        (StackOptions(instance=-1), "INSTANCE=-1"),
        (StackOptions(defects=frozenset({"no_such"})), "no_such"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(options: StackOptions, found: str) -> None:
    """The message repeats what was found; the exit code is that of a usage error."""
    with pytest.raises(UsageError, match=found) as caught:
        build_topology(options)
    assert caught.value.exit_code == 64


def test_a_stored_topology_comes_back_whole() -> None:
    """What status and down read from the state is what up wrote, through JSON."""
    topology = Topology(STACK, instance=9, engine="sim", models={"replica-1": "v2"}, defects=frozenset({"html_errors"}))
    stored = json.loads(json.dumps(topology.as_data()))
    assert stacks.restored(stored) == topology


def test_status_of_nothing_is_data_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stack that does not run has no runtime, and every component is missing; the exit code says so."""
    monkeypatch.setattr(state, "instance_folder", lambda topology: tmp_path)
    out = StringIO()
    assert status.status(StackOptions(instance=12), as_json=True, console=Console(file=out, width=40)) == 1
    data = json.loads(out.getvalue())
    assert data["runtime"] is None
    assert data["toxiproxy_api"] == "http://127.0.12.5:8474"
    assert {component["state"] for component in data["components"]} == {"missing"}
    assert {"name": "client-to-gateway-a", "source": "client", "target": "gateway-a",
            "listen": "127.0.12.111:8080"} in data["links"]  # fmt: skip
