"""The promise about verdict.json, for every test that makes one."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from harness.judge.drill import ROOT

SCHEMA = json.loads((ROOT / "harness" / "model" / "verdict.schema.json").read_text())


def complaints(verdict: dict[str, Any]) -> list[str]:
    """What the schema has against a stored verdict."""
    return [
        f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(verdict)
    ]
