"""The load generator of a run or of a measurement: what it is told in load.json, and its process."""

from __future__ import annotations

from typing import Any

from harness.adapters.load import LoadProcess
from harness.evidence.record import RunFolder
from harness.model.scenario import LoadSpec
from harness.model.topology import CLIENT, SERVICE_NAME, SERVICE_PORT, TARGET, Topology
from stack import keys as stack_keys
from stack import state
from stack.models.catalogue import QUESTIONS_FILE
from stack.runtimes import priority


async def start(
    folder: RunFolder, topology: Topology, load: LoadSpec, deployment: str, zero_mono_s: float, **more: Any
) -> LoadProcess:
    """Start it; ``more`` is what else load.json holds (harness/load/job.py). Whoever starts it must stop it."""
    folder.write_json(
        "load.json",
        {
            "zero_mono_s": zero_mono_s,
            "load": load.model_dump(mode="json"),
            **service(topology),
            "deployment": deployment,
            "questions": str(QUESTIONS_FILE),
            **more,
        },
    )
    process = await LoadProcess.start(folder)
    priority.set_session(process.pid, priority.GENERATOR)
    return process


def service(topology: Topology) -> dict[str, Any]:
    """Where load.json sends the users, with whose keys: over DNS to our gateways, or over the link to the target."""
    if topology.target is None:
        dns = topology.component("dns")
        service = {"name": SERVICE_NAME, "port": SERVICE_PORT, "dns": [dns.address, dns.ports["dns"]]}
        return {"service": service, "keys_file": str(stack_keys.path(state.instance_folder(topology)))}
    link, far = topology.link_between(CLIENT, TARGET), topology.target.service
    service = {
        "name": far.host,
        "address": link.listen_address,
        "port": link.listen_port,
        "authority": far.authority,
        "tls": far.scheme == "https",
        "path": far.path,
    }
    return {"service": service, "key_env": topology.target.api_key_env}
