"""Digests of a plan and of its checks: one that was changed after the run began has another than was recorded then."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Protocol

#: Of a plan, what a verdict rests on.
PARTS = (
    "drill", "scenario", "seed", "run_id", "users", "instance", "topology", "alerts", "gateway_policy", "dns_policy",
    "serves", "rolls_out", "faults", "checks",
)  # fmt: skip


class Check(Protocol):
    """What of a check has a digest."""

    @property
    def name(self) -> str:
        """By which people and plans know it."""

    @property
    def run(self) -> Callable[..., Any]:
        """What judges, with the arguments that it was made with."""


def of_plan(plan: Mapping[str, Any]) -> str:
    """SHA-256 of the parts of a plan that a verdict rests on, as the run folder stores them."""
    return of({part: plan.get(part) for part in PARTS})


def of_checks(checks: Iterable[Check]) -> dict[str, str]:
    """Name → digest of the arguments that the check was made with. Its code does not count, nor do functions."""
    return {check.name: of(_arguments(check.run))[:16] for check in checks}


def of(data: Any) -> str:
    """SHA-256 of data as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def _arguments(value: Any) -> Any:
    """What a value holds as data, down through functions to what they have closed over."""
    if isinstance(value, partial):
        return [_arguments(value.func), _arguments(value.args), _arguments(value.keywords)]
    if isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        return {name: _arguments(cell.cell_contents) for name, cell in sorted(cells)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _arguments(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _arguments(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_arguments(one) for one in value]
    return value if isinstance(value, str | int | float | None) else type(value).__name__
