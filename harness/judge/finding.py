"""What one question about the run itself has found, and which checks may not be judged because of it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model.verdict import CheckResult, Status

#: In ``Finding.invalidates``: all checks but those for safety.
EVERYTHING = "*"


@dataclass(frozen=True)
class Finding:
    """One question about the run itself, and what may not be judged when the answer is no.

    Where others on the machine can be the cause, ``window`` is when it happened (None: they cannot), and ``late_s`` how
    much time was lost of it, all of it by default; ``per_request``: it is no longer so without disturbed requests;
    ``steady``: it is that the steady state was not reached, which requests that failed otherwise explain without them.
    """

    result: CheckResult
    invalidates: frozenset[str] = frozenset()
    window: tuple[float, float] | None = None
    late_s: float | None = None
    per_request: bool = False
    steady: bool = False


def good(name: str, why: str, **extra: object) -> Finding:
    """It is as it should be."""
    return Finding(CheckResult(name, Status.PASS, why, **extra))  # type: ignore[arg-type]


def bad(name: str, why: str, *invalidates: str, **extra: object) -> Finding:
    """It is not, which invalidates what needs ``invalidates``."""
    return Finding(CheckResult(name, Status.INCONCLUSIVE, why, **extra), frozenset(invalidates))  # type: ignore[arg-type]
