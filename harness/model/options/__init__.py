"""The options of what a scenario's ``faults`` may be: one file per ``type``, beside the judge and the live chain both.

A scenario's file says some of them, with units; the plan stores all of them, as plain numbers. Whoever reads a plan
reads them through the same models, so that a run which was stored without the defaults has them, too.
"""

from __future__ import annotations

import importlib
import importlib.util

from harness.model.scenario import FaultSpec, Strict


class NoOptions(Strict):
    """Those of a type that has no file here: none."""


def model(type_name: str) -> type[Strict]:
    """The ``Options`` of that type."""
    name = f"{__name__}.{type_name}"
    if importlib.util.find_spec(name) is None:
        return NoOptions
    found: type[Strict] = importlib.import_module(name).Options
    return found


def of_spec(spec: FaultSpec) -> Strict:
    """All those of a fault in a scenario that was loaded, or stored. ValidationError for others."""
    return model(spec.type).stored(spec.options)
