"""Whether a CPU build of vLLM runs on this machine's processor, asked before anything is downloaded for it.

The CPU build carries its kernels several times and picks one set at its start (``vllm/platforms/cpu.py``): on x86-64
those for AVX-512 or for AVX2, on aarch64 one for all. With less than AVX2 each start ends in SIGILL, after gigabytes of
downloads.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import UnfitProcessor

CPUINFO = Path("/proc/cpuinfo")
#: What torch asks for before it calls a processor one with AVX-512; AVX-512F alone is not enough.
AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
AVX2 = frozenset({"avx2"})
X86_64, AARCH64 = ("x86_64", "amd64"), ("aarch64", "arm64")
WAYS_OUT = (
    "use ENGINE=sim (the simulator runs on any processor), a GPU (RUNTIME=docker GPU=1), a build for this processor "
    "(VLLM_WHEEL=, or RUNTIME=docker VLLM_IMAGE=), or another machine"
)


@dataclass(frozen=True)
class Choice:
    """Which kernels vLLM will pick; None where none of them can run, and then ``why`` says what is missing."""

    kernels: str | None
    why: str


def choose(architecture: str, flags: Set[str] | None) -> Choice:
    """The choice for a processor: its architecture as ``uname -m`` says it, its flags, None where they are unreadable.

    Unreadable flags refuse nothing: whether the build runs is then seen when it is tried, after the download.
    """
    machine = architecture.lower()
    if machine in AARCH64:
        return Choice("aarch64", "aarch64: one set of kernels for all")
    if machine not in X86_64:
        return Choice(None, f"found a processor of type {architecture or 'unknown'}, expected x86-64 or aarch64")
    if flags is None:
        return Choice("unknown", f"the processor's flags cannot be read from {CPUINFO}")
    if flags >= AVX512:
        return Choice("AVX-512", "x86-64 with AVX-512")
    if flags >= AVX2:
        return Choice("AVX2", "x86-64 with AVX2")
    best = next((name for flag, name in _LESS.items() if flag in flags), "none of the flags that are looked for")
    return Choice(None, f"AVX2 is missing: found an x86-64 processor with {best}, expected AVX2 or AVX-512")


#: Flag → name of what a processor without AVX2 may have, the best first.
_LESS = {"avx": "AVX", "sse4_2": "SSE4.2", "sse2": "SSE2"}


def flags_in(cpuinfo: str) -> frozenset[str] | None:
    """The flags of the first processor in the text of ``/proc/cpuinfo``; None where it names none."""
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == "flags":
            return frozenset(value.split()) or None
    return None


def of_this_machine() -> Choice:
    """The choice for the processor that this runs on."""
    try:
        flags = flags_in(CPUINFO.read_text(errors="replace"))
    except OSError:
        flags = None
    return choose(platform.machine(), flags)


def concerns(runtime: str, engine: str, environment: Mapping[str, str]) -> bool:
    """Whether a stack with this runtime and engine starts the CPU build of vLLM that set-up or the image brings.

    Not the simulator, a target that is somebody else's, a GPU, a Docker daemon on another machine, or a build that the
    user chose: ``VLLM_WHEEL`` and ``VLLM_IMAGE`` may be made for less, so they are judged by trying them.
    """
    if engine != "vllm" or runtime not in ("process", "docker"):
        return False
    if runtime == "process":
        return not environment.get("VLLM_WHEEL")
    local = environment.get("DOCKER_HOST", "unix://").startswith("unix://")
    return local and not foreign_image(environment)


def foreign_image(environment: Mapping[str, str]) -> bool:
    """Whether the user chose another image for the replicas than the one that is built here."""
    return bool(environment.get("VLLM_IMAGE")) or gpu(environment)


def gpu(environment: Mapping[str, str]) -> bool:
    """Whether ``GPU=1`` was asked for."""
    return environment.get("GPU", "") not in ("", "0")


def require(runtime: str, engine: str) -> Choice | None:
    """The choice where it concerns this stack, else None. UnfitProcessor where no kernels of the build can run here."""
    if not concerns(runtime, engine, os.environ):
        return None
    choice = of_this_machine()
    if choice.kernels is None:
        raise UnfitProcessor(f"vLLM's CPU build does not run on this processor ({choice.why}): {WAYS_OUT}.")
    return choice
