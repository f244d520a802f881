"""How replicas are started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model.errors import MissingTool
from harness.model.topology import GatewayPolicy, Topology
from stack import engines
from stack.middleware.drillyard_engine import AllowList
from stack.models import catalogue
from stack.simulator.behaviour import Behaviour
from stack.simulator.options import parse
from stack.stacks.vllm_haproxy import STACK


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks as if all models had been trained."""
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    for name in catalogue.TRAINED:
        (tmp_path / name).mkdir()
        (tmp_path / name / catalogue.STAMP).write_text(json.dumps({"inputs": "x", "weights": f"{name}000000000"}))
    return tmp_path


def option(arguments: list[str], name: str) -> str:
    """The value after ``name``."""
    return arguments[arguments.index(name) + 1]


def test_each_replica_serves_its_model_under_version_and_deployment(trained: Path) -> None:
    """Answers carry the first name, requests ask for the second; a replica without an entry serves v1."""
    topology = Topology(STACK, models={"replica-2": "bad"})
    names = []
    for replica in ("replica-1", "replica-2"):
        arguments, _ = engines.engine_command(topology, replica, "127.0.0.21", 8000)
        at = arguments.index("--served-model-name")
        names.append(arguments[at + 1 : at + 3])
    assert names == [["v1@v1000000", "drillyard"], ["bad@bad00000", "drillyard"]]


def test_a_replica_can_be_given_another_model(trained: Path) -> None:
    """Only that replica, back again with None; with the defect it keeps what it had."""
    topology = Topology(STACK, models={"replica-1": "v1"})
    swapped = engines.serving(topology, "replica-2", "v2")
    assert [engines.served_version(swapped, f"replica-{n}") for n in (1, 2)] == ["v1@v1000000", "v2@v2000000"]
    assert engines.serving(topology, "replica-2", None) == topology
    stale = Topology(STACK, defects=frozenset({"stale_model"}))
    assert engines.serving(stale, "replica-2", "v2") == stale


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [("bad", "wrong_answers", True), ("slow", "slow_factor", 3.0), ("slower", "slow_factor", 1.5)],
)
def test_the_simulator_plays_the_poor_models(model: str, field: str, value: object) -> None:
    """As the trained ones are: wrong answers, or late ones; the good ones have no switch on."""
    for name, expected in ((model, value), ("v2", Behaviour().model_dump()[field])):
        topology = Topology(STACK, engine="sim", models={"replica-1": name})
        arguments, _ = engines.engine_command(topology, "replica-1", "127.0.0.21", 8000)
        options = parse(arguments[2:])
        assert (options.model_name, options.behaviour.model_dump()[field]) == (f"{name}@sim", expected)


def test_engine_has_the_last_word_on_tokens(trained: Path) -> None:
    """What walks around the gateways' caps ends at the larger of them."""
    policy = GatewayPolicy(chat_max_tokens=300, completions_max_tokens=700)
    arguments, _ = engines.engine_command(Topology(STACK, gateway_policy=policy), "replica-1", "127.0.0.21", 8000)
    assert json.loads(option(arguments, "--override-generation-config")) == {"max_new_tokens": 700}


def test_engine_admits_what_both_gateways_may_send(trained: Path) -> None:
    """With its limit below the gateways' the engine would refuse what they took for admitted."""
    arguments, _ = engines.engine_command(Topology(STACK), "replica-1", "127.0.0.21", 8000)
    limit = int(option(arguments, "--max-num-queued-reqs"))
    assert limit >= 2 * GatewayPolicy().replica_max_connections


def test_steps_are_short(trained: Path) -> None:
    """Every sequence decodes in each step, and a prompt of the whole context takes several."""
    arguments, _ = engines.engine_command(Topology(STACK), "replica-1", "127.0.0.21", 8000)
    assert (
        2 * engines.SEQUENCES_MAX < int(option(arguments, "--max-num-batched-tokens")) < Topology(STACK).max_model_len
    )


def test_topology_sets_context_and_cache(trained: Path) -> None:
    """A drill that needs memory pressure asks for it through the topology."""
    topology = Topology(STACK, kv_cache_bytes=1 << 20, max_model_len=512)
    arguments, _ = engines.engine_command(topology, "replica-1", "127.0.0.21", 8000)
    assert option(arguments, "--kv-cache-memory-bytes") == str(1 << 20)
    assert option(arguments, "--max-model-len") == "512"


def test_nothing_is_reported_and_nothing_fetched_for_a_local_model(trained: Path) -> None:
    """vLLM's usage statistics are off; with a model on disk there is nothing to ask a hub for."""
    _, local = engines.engine_command(Topology(STACK), "replica-1", "127.0.0.21", 8000)
    _, hub = engines.engine_command(
        Topology(STACK, models={"replica-1": "acme/chat-7b"}), "replica-1", "127.0.0.21", 8000
    )
    assert local["VLLM_NO_USAGE_STATS"] == hub["VLLM_NO_USAGE_STATS"] == "1"
    assert local["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in hub


def test_development_endpoints_are_off(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed of them is in a middleware that the engine's Python finds, on the host and in a container."""
    for runtime, folder in (("process", engines.MIDDLEWARE.parent), ("docker", Path("/etc/drillyard/replica-1"))):
        arguments, environment = engines.engine_command(
            Topology(STACK, runtime=runtime), "replica-1", "127.0.0.21", 8000
        )
        assert "VLLM_SERVER_DEV_MODE" not in environment
        module, name = option(arguments, "--middleware").split(".")
        assert (module, name) == (engines.MIDDLEWARE.stem, AllowList.__name__)
        assert environment["PYTHONPATH"] == str(folder)


def test_the_middleware_needs_nothing_but_python() -> None:
    """It is imported by another interpreter, without this checkout in its path."""
    code = f"import drillyard_engine; print(drillyard_engine.{AllowList.__name__})"
    environment = {"PYTHONPATH": str(engines.MIDDLEWARE.parent)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, cwd="/", capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr


def test_container_sees_its_model_where_it_is_mounted(trained: Path, tmp_path: Path) -> None:
    """The Docker runtime mounts what ``mounts`` lists; the command names the same place inside."""
    topology = Topology(STACK, runtime="docker", models={"replica-2": "v2"})
    inside = [
        option(engines.engine_command(topology, replica, "0.0.0.0", 8000)[0], "--model")
        for replica in ("replica-1", "replica-2")
    ]
    assert engines.mounts(topology) == {str(trained / "v1"): inside[0], str(trained / "v2"): inside[1]}


def test_simulator_needs_no_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast tests run on a machine where nothing was trained; the real engine says what is missing."""
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    arguments, _ = engines.engine_command(Topology(STACK, engine="sim"), "replica-1", "127.0.0.21", 8000)
    assert arguments[:2] == ["-m", "stack.simulator"]
    with pytest.raises(MissingTool):
        engines.engine_command(Topology(STACK), "replica-1", "127.0.0.21", 8000)


def test_simulator_understands_its_arguments_and_has_the_engines_limits() -> None:
    """Both engines refuse and clamp at the same numbers, so that drills mean the same on both."""
    topology = Topology(STACK, engine="sim", max_model_len=1024)
    arguments, _ = engines.engine_command(topology, "replica-1", "127.0.0.21", 8000)
    options = parse(arguments[2:])
    assert options.served_names == ("v1@sim", "drillyard")
    assert (options.host, options.port, options.max_model_len) == ("127.0.0.21", 8000, 1024)
    assert options.max_num_seqs == engines.SEQUENCES_MAX
    assert options.max_num_queued_reqs == engines.REQUESTS_MAX
    assert options.max_new_tokens == GatewayPolicy().chat_max_tokens
    assert options.request_id_headers
