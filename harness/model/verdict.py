"""PASS, FAIL, INCONCLUSIVE, and how they are merged: the worst wins, FAIL > INCONCLUSIVE (SKIPPED) > PASS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Root causes of an INCONCLUSIVE verdict.
INTERFERENCE, TOO_SMALL = "interference", "too_small"
#: What to do about each.
ADVICE = {
    INTERFERENCE: "Other work on this machine disturbed the run; no defect of the stack was found. "
    "Stop that work, or wait for its end, and run the drill again.",
    TOO_SMALL: "This machine cannot carry the load that the drill needs. "
    "Use a larger one, or a scenario with less load.",
}


class Status(StrEnum):
    """Outcome of a check or a run. SKIPPED is for checks only: the runtime or the scenario lacks what it needs."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    SKIPPED = "SKIPPED"

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 2, "SKIPPED": 2}[self.value]


#: An answer: what a retry would not change, and what a series may hold.
JUDGED = (Status.PASS, Status.FAIL)


def worst(statuses: Iterable[Status]) -> Status:
    """FAIL if any failed, PASS if all passed, else INCONCLUSIVE, also without any result."""
    seen = set(statuses)
    if Status.FAIL in seen:
        return Status.FAIL
    return Status.PASS if seen == {Status.PASS} else Status.INCONCLUSIVE


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    ``measured`` is None when nothing could be measured: PASS only where there is nothing to ask. ``why`` is one
    sentence for people, never empty: ValueError. ``objective`` is the limit as text, numbers filled in
    (``"≤ 3640 ms (3000 + 2 × 320)"``). ``id`` and ``subject`` are those of
    the check, set by the judge; "" in verdicts of earlier versions.
    """

    name: str
    status: Status
    why: str
    objective: str = ""
    measured: float | None = None
    unit: str = ""
    margin: float | None = None  # distance to the limit in ``unit``, positive on the good side
    samples: int | None = None
    phase: str | None = None
    examples: tuple[str, ...] = ()  # request ids
    details: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    subject: str | None = None

    def __post_init__(self) -> None:
        """A check that cannot say why has looked at nothing: it crashes, and is not believed."""
        if not self.why:
            raise ValueError(f"{self.name}: {self.status.value} without a reason")


@dataclass(frozen=True)
class PhaseValue:
    """One indicator over the requests that are judged with one phase; ``samples`` is how many values it rests on."""

    sli: str
    phase: str
    value: float
    unit: str
    samples: int


@dataclass(frozen=True)
class Verdict:
    """The verdict of a run: merged status, the reason in one line, validity findings, every check.

    ``cause`` is the root cause of an INCONCLUSIVE verdict where it was recorded: ``INTERFERENCE`` of the machine, or
    ``TOO_SMALL``, a stack whose capacity is below what the drill needs. ``not_asked`` are the names of the drill's
    checks that are no part of it for an external target, ``unjudged`` the stretches that no objective covers, ``slis``
    what was measured in each phase.
    """

    status: Status
    reason: str
    validity: tuple[CheckResult, ...]
    checks: tuple[CheckResult, ...]
    cause: str | None = None
    not_asked: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    slis: tuple[PhaseValue, ...] = ()

    @property
    def advice(self) -> str:
        """What to do about the recorded cause; "" without one."""
        return ADVICE.get(self.cause or "", "")
