"""How a replica's engine is started: vLLM, or the simulator that looks like it.

Every flag and variable is one that vLLM 0.32 has; the comments say what each is for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.model.topology import Topology
from stack import models
from stack.middleware import drillyard_engine

#: Read by the engine's own Python.
MIDDLEWARE = Path(drillyard_engine.__file__).resolve()
DEPLOYMENT = "drillyard"  # the model name that every request asks for
DEFAULT_MODEL = "v1"
MODELS_IN_CONTAINER = "/models"  # where the Docker runtime mounts what ``mounts`` lists

SEQUENCES_MAX = 32  # decoded side by side in one replica
#: Worked on in one step, prompts and decoding together. An engine takes requests in and hears of cancels between two
#: steps only, and everybody else's next token waits, too. vLLM's own 2,048 take one core 0.6 to 0.9 s, measured.
STEP_TOKENS_MAX = 512
#: KV cache of one token in the models that we train: keys and values of 30 layers with one head of 32 numbers of 4
#: bytes; and the block size of vLLM's CPU build. The simulator's cache is as large as theirs.
KV_BYTES_PER_TOKEN, KV_BLOCK_TOKENS = 2 * 30 * 32 * 4, 128
#: Running + waiting in one replica; above it 503. The gateways hold back more than they send
#: (``replica_max_connections`` each), so this binds only for traffic that goes past them.
REQUESTS_MAX = 64


#: How the simulator plays models of ours that are not as good as the others, and ``slower``, which is its alone: what a
#: release that takes half as long again would be, for nights that have to notice it.
SIMULATED: Mapping[str, Mapping[str, object]] = {
    "bad": {"wrong_answers": True},
    "slow": {"slow_factor": 3.0},
    "slower": {"slow_factor": 1.5},
    "truncated": {"never_ready": True},
}


def ours(engine: str) -> frozenset[str]:
    """The names of models that answer the eval set as this repository knows it, or are known to fail at it."""
    return frozenset(models.TRAINED) | (frozenset(SIMULATED) if engine == "sim" else frozenset())


def serving(topology: Topology, replica: str, model: str | None) -> Topology:
    """The topology in which ``replica`` serves ``model``; None: as it is."""
    if model is None or "stale_model" in topology.defects:
        return topology
    return replace(topology, models={**topology.models, replica: model})


def model_name(topology: Topology, replica: str) -> str:
    """The model that ``replica`` serves: a name of ours, a path or a hub id."""
    return topology.models.get(replica, DEFAULT_MODEL)


def served_version(topology: Topology, replica: str) -> str:
    """What the replica's answers carry as ``model``; the simulator needs no trained weights and says ``@sim``.

    Raises MissingTool when a model of ours is to be served by vLLM and is not trained.
    """
    return version_of(topology, model_name(topology, replica))


def version_of(topology: Topology, model: str) -> str:
    """What answers with ``model`` carry in that topology. Raises MissingTool like ``served_version``."""
    return f"{Path(model).name}@sim" if topology.engine == "sim" else models.version(model)


def mounts(topology: Topology) -> dict[str, str]:
    """Folders that replicas need when they run in containers: host folder -> folder inside, read-only."""
    if topology.engine == "sim":
        return {}
    names = {model_name(topology, c.name) for c in topology.components if c.role == "replica"}
    folders = {name: Path(models.locate(name)).resolve() for name in names}
    return {str(folder): _inside(name, folder) for name, folder in folders.items() if folder.is_dir()}


def engine_command(topology: Topology, replica: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Arguments after the Python interpreter, and the environment on top of the usual one, for one replica.

    Raises MissingTool when vLLM is to serve a model of ours that is not trained.
    """
    if topology.engine == "sim":
        return _simulator(topology, replica, host, port), {}
    return _vllm(topology, replica, host, port)


def _simulator(topology: Topology, replica: str, host: str, port: int) -> list[str]:
    return [
        *("-m", "stack.simulator"),
        *("--host", host),
        *("--port", str(port)),
        *("--model-name", served_version(topology, replica)),
        *("--deployment", DEPLOYMENT),
        *("--behaviour", json.dumps(SIMULATED.get(model_name(topology, replica), {}))),
        *("--block-size", str(KV_BLOCK_TOKENS)),
        *("--kv-blocks", str(topology.kv_cache_bytes // (KV_BLOCK_TOKENS * KV_BYTES_PER_TOKEN))),
        *_limits(topology),
    ]


def _limits(topology: Topology) -> list[str]:
    """Options that both engines have and understand alike."""
    policy = topology.gateway_policy
    # A ceiling and the default at once: what the gateways' caps overlook ends at it.
    tokens_max = max(policy.chat_max_tokens, policy.completions_max_tokens)
    return [
        *("--max-model-len", str(topology.max_model_len)),
        *("--max-num-seqs", str(SEQUENCES_MAX)),
        *("--max-num-queued-reqs", str(REQUESTS_MAX)),
        *("--override-generation-config", json.dumps({"max_new_tokens": tokens_max})),
        "--enable-request-id-headers",
    ]


def _vllm(topology: Topology, replica: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    name = model_name(topology, replica)
    model = models.locate(name)
    local = Path(model).is_dir()
    arguments = [
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", _inside(name, Path(model).resolve()) if local and topology.runtime == "docker" else model),
        *("--served-model-name", served_version(topology, replica), DEPLOYMENT),
        *("--host", host),
        *("--port", str(port)),
        *_limits(topology),
        *("--kv-cache-memory-bytes", str(topology.kv_cache_bytes)),
        *("--max-num-batched-tokens", str(STEP_TOKENS_MAX)),
        "--enforce-eager",  # nothing to compile: start-up counts
        *("--distributed-executor-backend", "uni"),  # the worker lives in the engine process: one start-up less
        "--disable-fastapi-docs",
        *("--middleware", "drillyard_engine.AllowList"),  # no route but those that drills use; /reset_prefix_cache
        "--no-enable-log-requests",  # they would hold the prompts
        *("--disable-access-log-for-endpoints", "/health,/metrics,/v1/models"),  # polled several times a second
    ]
    if name in models.TRAINED:
        arguments += ["--dtype", "float32"]  # as trained; `auto` would round them to 16 bits
    return arguments, _vllm_environment(local) | {"PYTHONPATH": _middleware(topology, replica)}


def _vllm_environment(local: bool) -> dict[str, str]:
    environment = {
        "OMP_NUM_THREADS": "1",  # replicas share the cores with everything else: more threads only fight
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_HOST_IP": "127.0.0.1",  # else the engine's own queues sit on the network card's address
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if local:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


def _middleware(topology: Topology, replica: str) -> str:
    """Where vLLM finds ``MIDDLEWARE``: in a container, which may be any image, beside its start script."""
    return f"/etc/drillyard/{replica}" if topology.runtime == "docker" else str(MIDDLEWARE.parent)


def _inside(name: str, folder: Path) -> str:
    """Folder of a model inside a container; two foreign folders of one name do not meet."""
    if name in models.TRAINED:
        return f"{MODELS_IN_CONTAINER}/{name}"
    return f"{MODELS_IN_CONTAINER}/{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
