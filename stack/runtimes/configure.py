"""The one-shot ``config`` service of stack/compose.yaml: writes keys and configuration for the containers beside it.

``/state`` is the instance's folder (stack/state.py). The topology comes from the docker runtime as JSON in
``DRILLYARD_TOPOLOGY``; without it, as in a plain ``docker compose up``, from INSTANCE, ENGINE and MODEL.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.model.errors import UsageError, require_one_of
from harness.model.topology import Topology
from stack import config, keys
from stack.commands import ENGINE_NICENESS
from stack.engines import MIDDLEWARE, engine_command
from stack.middleware.drillyard_engine import TOKEN_VARIABLE
from stack.stacks.vllm_haproxy import STACK

STATE_IN_CONTAINER = Path("/state")


def topology_from(environment: Mapping[str, str]) -> Topology:
    """The topology that the environment describes, for the docker runtime. UsageError when it makes no sense."""
    try:
        if data := environment.get("DRILLYARD_TOPOLOGY"):
            return Topology.of(json.loads(data))
        engine, model = environment.get("ENGINE") or "vllm", environment.get("MODEL")
        instance = int(environment.get("INSTANCE") or 0)
    except ValueError as error:
        raise UsageError(f"DRILLYARD_TOPOLOGY or INSTANCE is wrong: {error}") from error
    require_one_of("ENGINE", engine, ("vllm", "sim"))
    if not 0 <= instance <= 255:
        raise UsageError(f"INSTANCE={instance}: expected 0 to 255")
    models = dict.fromkeys(STACK.of("replica"), model) if model else {}
    return Topology(STACK, instance=instance, runtime="docker", engine=engine, models=models)


def write(topology: Topology, folder: Path) -> None:
    """Write ``folder/keys.json`` and ``folder/config/<component>/…``. Raises MissingTool for an untrained model."""
    target = folder / "config"
    found = keys.load_or_create(folder)
    config.render(topology, found, target)
    for replica in topology.replicas:
        (target / replica).mkdir(exist_ok=True)
        (target / replica).chmod(0o755)
        script = target / replica / "start.sh"
        script.write_text(start_script(topology, replica, keys.engine_token(found.operator)))
        script.chmod(0o644)
        shutil.copyfile(MIDDLEWARE, target / replica / MIDDLEWARE.name)


def start_script(topology: Topology, replica: str, token: str) -> str:
    """How the replica's container starts its engine, in any image that has ``sh`` and ``python3``."""
    port = topology.component(replica).ports["http"]
    arguments, environment = engine_command(topology, replica, "0.0.0.0", port)
    environment = environment | {TOKEN_VARIABLE: token}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    # `-m` puts the working folder first in the path of all imports: one with nothing in it.
    work = "mkdir -p /tmp/work && cd /tmp/work\n"
    return f"#!/bin/sh\n{exports}{work}exec nice -n {ENGINE_NICENESS} python3 {shlex.join(arguments)}\n"


def main() -> int:
    """Write everything; the message and exit code of the error when that is impossible."""
    try:
        topology = topology_from(os.environ)
        write(topology, STATE_IN_CONTAINER)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"configuration of instance {topology.instance} written, engine {topology.engine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
