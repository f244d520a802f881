"""What checks have in common: how one is declared, and the shapes that most of their answers have.

A check is a function of a stored run and of what it is asked about. ``asks`` makes of it what a drill calls with the
latter alone::

    @asks("no-hang", "no hang in {phase}", "Does every request of {phase} end?", "load", "fault:{phase}", timing=True)
    def no_hang(view: RunView, phase: str) -> CheckResult: ...

The function raises NotMeasured where the run cannot answer, and leaves name, phase and objective to its declaration.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any, Concatenate, ParamSpec, TypeGuard

import pandas as pd

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.drill import Check, ReplicaSamples
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

P = ParamSpec("P")
#: Where each check is declared: its id → the module.
DECLARED: dict[str, str] = {}


def asks(
    id_: str,
    name: str,
    question: str,
    *needs: str,
    timing: bool,
    objective: str = "",
    promises: Sequence[str] = (),
    phase: str = "phase",
    subject: str = "",
    replica_samples: Callable[..., ReplicaSamples] | None = None,
    **more: Any,
) -> Callable[[Callable[Concatenate[RunView, P], CheckResult]], Callable[P, Check]]:
    """Declare a check. In the texts ``{argument}`` stands for an argument of the function, several joined by commas.

    A need of several (``"fault:{phases}"``) is one of each. ``phase`` and ``subject`` name the arguments that the check
    is about, ``more`` is as in ``Check``; ``objective`` is for results that have none of their own.
    ``replica_samples`` makes those of the check, given all arguments of the function.
    """

    def declare(judge: Callable[Concatenate[RunView, P], CheckResult]) -> Callable[P, Check]:
        DECLARED[id_] = judge.__module__
        _, *asked = inspect.signature(judge).parameters.values()
        signature = inspect.Signature(asked)

        def made(*args: P.args, **kwargs: P.kwargs) -> Check:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
            text = {key: ", ".join(map(str, value)) if _several(value) else value for key, value in given.items()}
            check = Check(
                id_,
                name.format(**text),
                question.format(**text),
                lambda view: _answer(check, objective.format(**text), lambda: judge(view, *args, **kwargs)),
                frozenset(one for need in needs for one in _each(need, given)),
                timing=timing,
                promises=tuple(one.format(**text) for one in promises),
                phase=given.get(phase),
                subject=given.get(subject),
                replica_samples=replica_samples(**given) if replica_samples else None,
                arguments=given,
                **more,
            )
            return check

        return made

    return declare


def _several(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _each(need: str, given: Mapping[str, Any]) -> list[str]:
    """A need with its argument filled in; one for each of several."""
    kind, _, argument = need.partition(":")
    value = given[argument.strip("{}")] if argument else ""
    return [f"{kind}:{one}" for one in value] if _several(value) else [need.format(**given)]


def _answer(check: Check, objective: str, judge: Callable[[], CheckResult]) -> CheckResult:
    """What the function found, with what its declaration says."""
    try:
        found = judge()
    except NotMeasured as error:
        found = CheckResult(check.name, Status.INCONCLUSIVE, str(error), error.objective, samples=error.samples)
    phase = found.phase or check.phase
    return dataclasses.replace(found, name=check.name, phase=phase, objective=found.objective or objective)


# ── no bad rows ──


def none_bad(
    bad: Sized, of: int, unit: str, why: str, ids: pd.Series | Sequence[str] = (), *, red: bool = False, **more: Any
) -> CheckResult:
    """FAIL with any ``bad`` of ``of`` looked at, or when ``red`` for another reason; ``ids`` are those of requests.

    ``more`` is as in ``CheckResult``.
    """
    status, count = Status.FAIL if len(bad) or red else Status.PASS, float(len(bad))
    examples = example_ids(ids) if isinstance(ids, pd.Series) else tuple(ids)
    return CheckResult(
        "", status, why, measured=count, unit=unit, margin=0.0 - count, samples=of, examples=examples, **more
    )


# ── time until ──


def within(took: float, limit: float, why: str, samples: int, unit: str = "s", **more: Any) -> CheckResult:
    """PASS up to ``limit``, in ``unit``. ``more`` is as in ``CheckResult``."""
    status = Status.PASS if took <= limit else Status.FAIL
    return CheckResult("", status, why, measured=took, unit=unit, margin=limit - took, samples=samples, **more)


def last_within(took: Mapping[str, float | None], within_s: float, never: str, why: str) -> CheckResult:
    """Whether each component did it in time; None: never. ``{who}`` and ``{s}`` in the sentences are filled in."""
    if missing := [name for name, seconds in took.items() if seconds is None]:
        said = never.format(who=", ".join(missing))
        return CheckResult("", Status.FAIL, said, samples=len(took), details=dict(took))
    who, seconds = max(((name, s) for name, s in took.items() if s is not None), key=lambda item: item[1])
    return within(seconds, within_s, why.format(who=who, s=f"{seconds:.1f} s"), len(took), details=dict(took))
