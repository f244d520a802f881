"""What the user said about the stack: the same few options for every command that touches it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.errors import UsageError, require_one_of
from harness.model.topology import DEFECTS, REPLICAS, Topology
from harness.plan.guard import External
from stack.runtimes import select

ENGINES = ("vllm", "sim")
#: ``OWNER/NAME`` or ``NAME`` of a hub, either with ``:VARIANT``, or a model of ours.
_MODEL_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
INSTANCE_MAX = 255


@dataclass(frozen=True)
class StackOptions:
    """RUNTIME, ENGINE, INSTANCE and MODEL of the Makefile, the stack's defects (for tests), and an external target."""

    runtime: str = "auto"
    engine: str = "vllm"
    instance: int = 0
    model: str = "v1"
    defects: frozenset[str] = frozenset()
    external: External = field(default_factory=External)


def build_topology(options: StackOptions) -> Topology:
    """The topology that these options describe; its runtime is set by ``select``. UsageError for a wrong option."""
    require_one_of("RUNTIME", options.runtime, select.NAMES)
    require_one_of("ENGINE", options.engine, ENGINES)
    if not 0 <= options.instance <= INSTANCE_MAX:
        raise UsageError(f"INSTANCE={options.instance}: expected a number from 0 to {INSTANCE_MAX}")
    if options.runtime != "external":  # else it is what its owner calls it
        _require_model(options.model)
    for defect in sorted(options.defects):
        require_one_of("defect", defect, tuple(DEFECTS))
    return Topology(
        instance=options.instance,
        engine=options.engine,
        models=dict.fromkeys(REPLICAS, options.model),
        defects=options.defects,
    )


def _require_model(model: str) -> None:
    """UsageError for what names no model and is no folder: the simulator, which loads none, would take anything."""
    if _MODEL_ID.fullmatch(model) or Path(model).is_dir():
        return
    if re.search(r"\s", model):
        raise UsageError(f"MODEL={model!r}: found blanks, expected v1, v2, bad, slow, a folder or a hub id")
    raise UsageError(f"MODEL={model}: there is no such folder, expected v1, v2, bad, slow, a folder or a hub id")
