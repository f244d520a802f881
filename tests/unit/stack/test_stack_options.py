"""harness/plan and harness/cli: what the user may say about the stack, and what status answers."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import status
from harness.model.errors import AdapterError, UsageError
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


def test_status_of_nothing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says how to start something, and is no error."""
    monkeypatch.setattr(state, "instance_folder", lambda topology: tmp_path)
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path)
    out = StringIO()
    assert status.status(StackOptions(instance=12), console=Console(file=out, width=40)) == 0
    assert out.getvalue().startswith("instance 12: nothing runs; `make up` ")
    assert out.getvalue().count("\n") == 1


class Asked:
    """A stack of which gateway-a drains replica-1 and sends replica-2 a tenth; gateway-b is frozen."""

    topology = Topology(STACK, engine="sim", instance=12)

    def gateway_command(self, gateway: str, command: str) -> str:
        """As HAProxy 2.6 answers."""
        if gateway == "gateway-b":
            raise AdapterError("it does not answer")
        if command.startswith("show servers"):
            head = "1\n# be_name srv_name srv_admin_state srv_uweight srv_iweight"
            return f"{head}\nreplicas replica-1 8 100 100\nreplicas replica-2 0 10 100"
        rows = ("replicas,replica-1,DRAIN,0,,2", "replicas,replica-2,DOWN 1/2,0,,2")
        return "\n".join(("# pxname,svname,status,scur,slim,type", *rows))


def test_status_shows_how_gateways_use_replicas() -> None:
    """By their own account: state, health, and a weight that is not the configured one; silence is told as such."""
    data = status.gateway_views(Asked())  # type: ignore[arg-type]
    assert data["gateway-a"] == {
        "replica-1": {"state": "drain", "weight": 100, "healthy": True},
        "replica-2": {"state": "ready", "weight": 10, "healthy": False},
    }
    assert data["gateway-b"] is None
    out = StringIO()
    status._print_views(Console(file=out, width=120), Asked.topology, data)
    shown = {line.split()[1]: line for line in out.getvalue().splitlines() if "replica-" in line}
    assert "drain, healthy " in shown["replica-1"]
    assert "ready, unhealthy, weight 10 %" in shown["replica-2"]
    assert all("no answer" in line for line in shown.values())


def test_status_of_nothing_is_data_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stack that does not run has no runtime, and every component is missing."""
    monkeypatch.setattr(state, "instance_folder", lambda topology: tmp_path)
    out = StringIO()
    assert status.status(StackOptions(instance=12), as_json=True, console=Console(file=out, width=40)) == 0
    data = json.loads(out.getvalue())
    assert data["runtime"] is None
    assert data["up"] is False
    assert data["gateways"] == {}
    assert data["toxiproxy_api"] == "http://127.0.12.5:8474"
    assert {component["state"] for component in data["components"]} == {"missing"}
    assert {"name": "client-to-gateway-a", "source": "client", "target": "gateway-a",
            "listen": "127.0.12.111:8080"} in data["links"]  # fmt: skip
