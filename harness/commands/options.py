"""What the user said about the stack: the same few options for every command that touches it."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import UsageError, require_one_of
from harness.guard import External
from stack.runtimes import select
from stack.topology import DEFECTS, REPLICAS, Topology

ENGINES = ("vllm", "sim")
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
    for defect in sorted(options.defects):
        require_one_of("defect", defect, tuple(DEFECTS))
    return Topology(
        instance=options.instance,
        engine=options.engine,
        models=dict.fromkeys(REPLICAS, options.model),
        defects=options.defects,
    )
