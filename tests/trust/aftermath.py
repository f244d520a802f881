"""What a drill has left behind, seen from outside: asked of toxiproxy, the gateways, supervisord and the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from harness.adapters.toxiproxy import Toxiproxy
from harness.model.errors import DrillyardError
from stack.runtimes import family
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK

#: Carried in the environment by every process of one run, but not by the stack, whose environment is made again.
MARK = "DRILLYARD_STORM"
#: Bits of HAProxy's srv_admin_state that somebody sets by hand: maintenance and drain.
_BY_HAND = 0x01 | 0x08


def faults(runtime: ProcessRuntime) -> list[str]:
    """Every fault that is still there, one phrase each. Who does not answer may hide one, and is listed too."""
    found: list[str] = []
    for look in (_toxics, _components, _servers):
        try:
            found += look(runtime)
        except DrillyardError as error:
            found.append(f"not to be seen: {error}")
    return found


def _toxics(runtime: ProcessRuntime) -> Iterator[str]:
    api = runtime.topology.component("toxiproxy")
    for link, proxy in Toxiproxy(api.address, api.ports["api"]).proxies().items():
        yield from (f"toxic {toxic['name']} on {link}" for toxic in proxy["toxics"])
        if not proxy["enabled"]:
            yield f"link {link} is switched off"


def _components(runtime: ProcessRuntime) -> Iterator[str]:
    for component in runtime.states():
        if component.state not in ("running", "starting"):
            yield f"{component.name} is {component.state}"
        frozen = [p.pid for p in family.component_processes(component.pid) if _frozen(p)] if component.pid else []
        if frozen and component.state != "paused":
            yield f"{component.name} is paused in part: processes {frozen}"


def _frozen(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _servers(runtime: ProcessRuntime) -> Iterator[str]:
    for gateway in STACK.of("gateway"):
        lines = runtime.gateway_command(gateway, "show servers state replicas").splitlines()
        names = next(line for line in lines if line.startswith("# ")).split()[1:]
        for line in lines:
            row = dict(zip(names, line.split(), strict=False))
            if row.get("be_name") != "replicas":
                continue
            if int(row["srv_admin_state"]) & _BY_HAND:
                yield f"{row['srv_name']} is drained or in maintenance at {gateway}"
            if row["srv_uweight"] != row["srv_iweight"]:
                yield f"{row['srv_name']} has weight {row['srv_uweight']} of {row['srv_iweight']} at {gateway}"


def processes(mark: str) -> list[psutil.Process]:
    """Live processes that carry ``mark``: the harness, its load generator, its watchdog and whoever they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and family.alive(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def command(process: psutil.Process) -> str:
    """What it is, for people."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"[:160]
    except psutil.Error:
        return f"{process.pid}, gone by now"
