"""Capacities by machine: ``.state/capacity/<machine>.json``, which outlives every stack (``make down``).

A machine is what shapes speed: processor model and flags, cores that may be used, memory, runtime, and kind of engine.
Versions, model, policy and commit are marks on what was measured: an upgrade that makes things worse has to be seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.judge import capacity
from harness.judge.capacity import Capacity
from harness.model.errors import UsageError
from harness.model.topology import Topology
from stack import state

SCHEMA_VERSION = 1
_GIB = 1024**3
#: Size of the stacks whose files are named by the machine alone.
_USUAL = "2x2"


@dataclass(frozen=True)
class Machine:
    """What shapes the speed of a stack here. ``memory_gib`` is rounded: kernels of one machine differ by megabytes."""

    processor: str
    flags: str  # a digest of them
    cores: int
    memory_gib: int
    runtime: str
    engine: str

    @property
    def key(self) -> str:
        """Its file's name."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def hardware(self) -> dict[str, str]:
        """``key`` and ``name`` of the machine itself, whatever runs on it: series of runs hang on the key."""
        parts = (self.processor, self.flags, self.cores, self.memory_gib)
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
        return {"key": key, "name": f"{self.processor}, {self.cores} cores, {self.memory_gib} GiB"}

    def __str__(self) -> str:
        """For people."""
        return f"{self.hardware['name']}, {self.runtime}, {self.engine}"


def machine(runtime: str, engine: str, cpuinfo: str | None = None, cores: int | None = None) -> Machine:
    """This machine, with that runtime and kind of engine. ``cpuinfo`` is the text of /proc/cpuinfo."""
    text = _cpuinfo() if cpuinfo is None else cpuinfo
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = " ".join(sorted((facts.get("flags") or facts.get("Features") or "").split()))
    return Machine(
        processor=facts.get("model name") or facts.get("CPU part") or "unknown processor",
        flags=hashlib.sha256(flags.encode()).hexdigest()[:8],
        cores=len(os.sched_getaffinity(0)) if cores is None else cores,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB),
        runtime=runtime,
        engine=engine,
    )


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # a sandbox may hide it: then the processor is unknown
        return ""


@dataclass(frozen=True)
class Entry:
    """What is known of one machine: what load follows, and what was measured last."""

    accepted: Capacity | None = None
    last: Capacity | None = None

    @property
    def regression(self) -> str | None:
        """That the stack has become slower since the accepted value; None when not."""
        if self.accepted is None or self.last is None:
            return None
        return capacity.regression(self.accepted, self.last)

    def after(self, found: Capacity, accept: bool = False) -> Entry:
        """With a new measurement. The first sound one is accepted by itself, a later one only when asked to."""
        sound = not found.provisional
        return Entry(found if sound and (accept or self.accepted is None) else self.accepted, found)


class Store:
    """The file of one machine below ``root``, for stacks of one ``size`` (gateways × replicas)."""

    def __init__(self, root: Path, of: Machine, size: str = _USUAL) -> None:
        name = of.key if size == _USUAL else f"{of.key}-{size}"
        self.machine, self.path = of, root / "capacity" / f"{name}.json"

    def load(self) -> Entry:
        """What is known; nothing where there is no file. UsageError when it cannot be read."""
        try:
            data = json.loads(self.path.read_text())
            if data["schema"] != SCHEMA_VERSION:
                raise ValueError(f"found schema {data['schema']!r}, expected {SCHEMA_VERSION}")
            stored = (data[name] for name in ("accepted", "last"))
            return Entry(*(None if one is None else capacity.from_data(one) for one in stored))
        except FileNotFoundError:
            return Entry()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self.path}: cannot be read ({error}); remove it, and capacity is measured again"
            ) from None

    def save(self, entry: Entry) -> None:
        """Write it; readers see the old file or the whole new one."""
        data: dict[str, Any] = {"schema": SCHEMA_VERSION, "machine": dataclasses.asdict(self.machine)}
        for name in ("accepted", "last"):
            found = getattr(entry, name)
            data[name] = None if found is None else capacity.as_data(found)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
        temporary.replace(self.path)


def store_of(topology: Topology) -> Store:
    """Where the capacity of such a stack on this machine is kept."""
    size = f"{len(topology.gateways)}x{len(topology.replicas)}"
    return Store(state.STATE_ROOT, machine(topology.runtime, topology.engine), size)


def lines(store: Store, entry: Entry) -> list[str]:
    """What is known of this machine, for people; nothing when nothing is."""
    if entry.accepted is None and entry.last is None:
        return []
    found = [f"capacity on {store.machine}"]
    if entry.last is not None and entry.last != entry.accepted:
        doubts = f", provisional: {'; '.join(entry.last.provisional)}" if entry.last.provisional else ""
        found += [f"measured {entry.last.measured}{doubts}", *(f"  {line}" for line in entry.last.lines)]
    if entry.accepted is not None:
        times = "once" if entry.accepted.repeats == 1 else f"{entry.accepted.repeats} times"
        found += [f"accepted: measured {entry.accepted.measured}, {times}"]
        found += [f"  {line}" for line in entry.accepted.lines]
    else:
        found.append("accepted: none yet")
    return [*found, *([entry.regression] if entry.regression else [])]
