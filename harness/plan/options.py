"""What the user said about the stack: the same few options for every command that touches it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.errors import UsageError, require_one_of
from harness.model.topology import DEFECTS, Topology
from harness.plan.guard import External
from stack import engines, stacks
from stack.runtimes import base

ENGINES = ("vllm", "sim")
#: ``OWNER/NAME`` or ``NAME`` of a hub, either with ``:VARIANT``; what looks like a version is none but ours.
_HUB_ID = re.compile(r"(?!v\d+$)[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
INSTANCE_MAX = 255


@dataclass(frozen=True)
class StackOptions:
    """RUNTIME, ENGINE, INSTANCE and MODEL of the Makefile, a stack and its defects (for tests), an external target."""

    runtime: str = "auto"
    engine: str = "vllm"
    instance: int = 0
    model: str = "v1"
    defects: frozenset[str] = frozenset()
    external: External = field(default_factory=External)
    stack: str = stacks.DEFAULT


def instance_number(text: str) -> int:
    """INSTANCE as it was typed. UsageError for what is no number."""
    if not text.isdecimal():
        raise UsageError(f"INSTANCE={text}: expected a number from 0 to {INSTANCE_MAX}")
    return int(text)


def limit(name: str, text: str) -> int:
    """KEEP or DAYS as it was typed: a whole number from 1 on. UsageError for any other."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise UsageError(f"{name}={text}: expected a whole number from 1 to 999999999")
    return int(text)


def build_topology(options: StackOptions) -> Topology:
    """The topology that these options describe; its runtime is set by ``select``. UsageError for a wrong option."""
    require_one_of("RUNTIME", options.runtime, base.NAMES)
    require_one_of("ENGINE", options.engine, ENGINES)
    if not 0 <= options.instance <= INSTANCE_MAX:
        raise UsageError(f"INSTANCE={options.instance}: expected a number from 0 to {INSTANCE_MAX}")
    if options.runtime != "external":  # else it is what its owner calls it
        _require_model(options.model, options.engine)
    for defect in sorted(options.defects):
        require_one_of("defect", defect, tuple(DEFECTS))
    stack = stacks.find(options.stack)
    return Topology(
        stack,
        instance=options.instance,
        engine=options.engine,
        models=dict.fromkeys(stack.of("replica"), options.model),
        defects=options.defects,
    )


def _require_model(model: str, engine: str) -> None:
    """UsageError for what names no model and is no folder.

    The simulator loads none and would take anything: of names without an owner it is given ours alone.
    """
    if model in engines.ours(engine) or Path(model).is_dir():
        return
    if _HUB_ID.fullmatch(model) and (engine != "sim" or "/" in model):
        return
    names = ", ".join(sorted(engines.ours(engine)))
    found = f"{model!r}: found blanks" if re.search(r"\s", model) else f"{model}: there is no such folder"
    raise UsageError(f"MODEL={found}, expected {names}, a folder or OWNER/NAME of a hub")
