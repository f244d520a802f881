"""The machine itself, as component ``machine``: what ``harness.probes.meter`` measures, with the times that it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from harness.evidence import observer
from harness.evidence.interference import COMPONENT
from harness.evidence.record import EventLog
from harness.probes.base import MetricWriter, Row
from stack import state
from stack.runtimes.base import Runtime

#: In the event ``machine_unread``: what happened after that was not seen at all.
ENDED = "everything from here on"
_ENDS_WITHIN_S = 2.0


async def watch(runtime: Runtime, writer: MetricWriter, log: EventLog) -> None:
    """Sample until cancelled. What cannot be read here is an event ``machine_unread``; a meter that ends, another."""
    meter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.probes.meter", *_arguments(runtime),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=state.CHECKOUT, start_new_session=True,
    )  # fmt: skip
    assert meter.stdin and meter.stdout and meter.stderr
    try:
        if runtime.name == "docker":
            pids = [one.pid for one in await asyncio.to_thread(runtime.states) if one.pid is not None]
            meter.stdin.write(json.dumps(pids).encode() + b"\n")
        while line := await meter.stdout.readline():
            _take(json.loads(line), writer, log)
        said = (await meter.stderr.read()).decode(errors="replace").strip().splitlines()[-1:]
        why = f"the meter of the machine ended by itself: {''.join(said) or 'it said nothing'}"
        log.add("machine_unread", unread={ENDED: why})
    except Exception as error:  # told, and no reason to end a run: an unwatched machine is never called quiet
        log.add("machine_unread", unread={ENDED: f"the meter of the machine: {type(error).__name__}: {error}"})
    finally:
        meter.stdin.close()
        try:
            await asyncio.wait_for(meter.wait(), _ENDS_WITHIN_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                meter.kill()
            await meter.wait()


def _arguments(runtime: Runtime) -> tuple[str, str]:
    if runtime.topology.target is not None:
        return "-", "-"
    found = state.load(state.instance_folder(runtime.topology))
    return found.instance_id if found else "-", "others"


def _take(told: dict[str, Any], writer: MetricWriter, log: EventLog) -> None:
    if "unread" in told:
        if told["unread"]:
            log.add("machine_unread", unread=told["unread"])
        return
    t_s = told["t_s"] - log.zero_mono_s
    if "late_ms" in told:
        writer.add(t_s, [Row(COMPONENT, "late_wakeup_ms", "", told["late_ms"])])
    elif "own_cpu_s" in told:
        own = f"source={observer.METER}"
        writer.add(t_s, [Row(observer.COMPONENT, observer.CPU, own, told["own_cpu_s"])])
    else:
        writer.add(t_s, [Row(COMPONENT, metric, "", value) for metric, value in told["values"].items()])
