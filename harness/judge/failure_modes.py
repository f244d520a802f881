"""The failure modes that Drillyard can cause, and the shipped scenarios that use them.

Both are found in files: what ``harness/faults/`` and its folders define, what ``scenarios/`` name. The files are read
and never imported: faults are live code, and who reads old runs has no stack.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.judge.drill import ROOT, SCENARIOS

#: What a file with a failure mode defines, and what that makes it.
_KINDS = {"FAULT": "fault", "WORKLOAD": "workload", "OPERATION": "operation"}


@dataclass(frozen=True)
class FailureMode:
    """One ``type`` that a scenario may list under ``faults``; ``what`` is the first sentence of its file."""

    type: str
    kind: str  # fault, workload or operation
    what: str


@dataclass(frozen=True)
class Use:
    """A scenario, by its name, that lists a failure mode; ``on`` as the file says it, sorted."""

    scenario: str
    type: str
    on: tuple[str, ...]


def known(faults: Path = ROOT / "harness" / "faults") -> list[FailureMode]:
    """All failure modes, sorted by type. Files of the folder that define none are what those share."""
    return sorted(_found(faults), key=lambda mode: mode.type)


def _found(faults: Path) -> Iterator[FailureMode]:
    for path in faults.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        names = [_assigned(node) for node in tree.body]
        for kind in (_KINDS[name] for name in names if name in _KINDS):
            yield FailureMode(path.stem, kind, _first_sentence(ast.get_docstring(tree) or ""))


def _assigned(node: ast.stmt) -> str:
    """The name that a top-level statement binds, "" for all but a plain assignment."""
    if isinstance(node, ast.AnnAssign):
        targets: list[ast.expr] = [node.target]
    else:
        targets = node.targets if isinstance(node, ast.Assign) else []
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def used(scenarios: Path = SCENARIOS) -> tuple[list[Use], list[str]]:
    """Which scenario of the folder uses what, sorted; and the names of the files that could not be read as one."""
    uses, unreadable = [], []
    for path in sorted(scenarios.glob("*.yaml")):
        try:
            data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
            scenario, listed = str(data["name"]), _listed(data)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError):
            unreadable.append(path.name)
            continue
        targets: dict[str, set[str]] = {}
        for type_name, on in listed:
            targets.setdefault(type_name, set()).add(on)
        uses += [Use(scenario, name, tuple(sorted(on))) for name, on in sorted(targets.items())]
    return uses, unreadable


def _listed(data: Any) -> list[tuple[str, str]]:
    """(type, on) of everything that the scenario's phases list.

    All scalars are text here: to YAML's own types the key ``on`` is the word for true.
    """
    return [(str(one["type"]), str(one["on"])) for phase in data["phases"] for one in phase.get("faults") or ()]
