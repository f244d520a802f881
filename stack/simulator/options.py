"""What the simulator is told on its command line; names as vLLM's where vLLM has the option."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from stack.simulator.behaviour import Behaviour


@dataclass(frozen=True)
class Options:
    """One simulated replica; ``kv_blocks`` blocks of ``block_size`` tokens each."""

    host: str = "127.0.0.1"
    port: int = 8000
    model_name: str = "v1@00000000"
    deployment: str = "drillyard"
    startup_delay_s: float = 0.0
    tokens_per_second: float = 140.0
    ttft_ms: float = 60.0
    kv_blocks: int = 256
    block_size: int = 128
    max_model_len: int = 2048
    max_num_seqs: int = 32
    max_num_queued_reqs: int | None = None
    max_new_tokens: int | None = None  # vLLM: --override-generation-config '{"max_new_tokens": N}'
    shutdown_timeout_s: float = 0.0
    request_id_headers: bool = False
    seed: int = 0
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names that may be asked for; answers carry the first."""
        return (self.model_name, self.deployment)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from a command line; exits 2 with a message for people when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m stack.simulator", description="a vLLM look-alike for tests")
    default = Options()
    parser.add_argument("--host", default=default.host)
    parser.add_argument("--port", type=int, default=default.port)
    parser.add_argument("--model-name", default=default.model_name, help="the name that answers carry")
    parser.add_argument("--deployment", default=default.deployment, help="the name that clients ask for")
    parser.add_argument("--startup-delay", type=float, default=0.0, metavar="S", help="loading time before it listens")
    parser.add_argument("--tokens-per-second", type=_positive, default=default.tokens_per_second, help="of one stream")
    parser.add_argument("--ttft-ms", type=float, default=default.ttft_ms, help="prefill time of any prompt")
    parser.add_argument("--kv-blocks", type=int, default=default.kv_blocks)
    parser.add_argument("--block-size", type=int, default=default.block_size)
    parser.add_argument("--max-model-len", type=int, default=default.max_model_len)
    parser.add_argument("--max-num-seqs", type=int, default=default.max_num_seqs)
    parser.add_argument("--max-num-queued-reqs", type=int, help="running and waiting; more are refused with 503")
    parser.add_argument("--override-generation-config", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--shutdown-timeout", type=float, default=0.0, metavar="S", help="drain after SIGTERM")
    parser.add_argument("--enable-request-id-headers", action="store_true")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--behaviour", type=_behaviour, default=Behaviour(), metavar="JSON", help="switched on from the start"
    )
    given = parser.parse_args(arguments)
    return Options(
        host=given.host,
        port=given.port,
        model_name=given.model_name,
        deployment=given.deployment,
        startup_delay_s=given.startup_delay,
        tokens_per_second=given.tokens_per_second,
        ttft_ms=given.ttft_ms,
        kv_blocks=given.kv_blocks,
        block_size=given.block_size,
        max_model_len=given.max_model_len,
        max_num_seqs=given.max_num_seqs,
        max_num_queued_reqs=given.max_num_queued_reqs,
        max_new_tokens=given.override_generation_config.get("max_new_tokens"),
        shutdown_timeout_s=given.shutdown_timeout,
        request_id_headers=given.enable_request_id_headers,
        seed=given.seed,
        behaviour=given.behaviour,
    )


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _behaviour(text: str) -> Behaviour:
    # pydantic's ValidationError is a ValueError, which argparse would reduce to «invalid value»
    try:
        return Behaviour.model_validate_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
