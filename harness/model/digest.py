"""Digests of a plan: one that was changed after the run began has another than was recorded then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Of a plan, what a verdict rests on.
PARTS = (
    "drill", "scenario", "seed", "run_id", "users", "instance", "topology", "alerts", "gateway_policy", "dns_policy",
    "serves", "rolls_out", "faults", "checks",
)  # fmt: skip


def of_plan(plan: Mapping[str, Any]) -> str:
    """SHA-256 of the parts of a plan that a verdict rests on, as the run folder stores them."""
    return of({part: plan.get(part) for part in PARTS})


def of(data: Any) -> str:
    """SHA-256 of data as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
