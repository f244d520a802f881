"""One change of a stored run, with a name that stays the same when the run is recorded again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.mutation.stored import Data

#: How much later a time becomes: more than any gap between samples that a verdict may rest on.
SHIFT_S = 10.0


@dataclass(frozen=True)
class Mutation:
    """``apply`` returns the changed run and leaves its argument as it was."""

    name: str
    apply: Callable[[Data], Data]
