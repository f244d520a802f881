"""Which failure modes were drilled, by which drill, with which verdict, and how long ago.

A run has drilled a failure mode where it proved the effect (``fault_proven``): what was only planned, or injected
without a proof, counts for nothing. Runs on a stack with defects switched on say nothing about the service.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.evidence.index import IndexedRun
from harness.evidence.record import RunFolder
from harness.judge.failure_modes import FailureMode, Use
from harness.model.errors import RunFolderError
from harness.model.verdict import JUDGED

#: What was not judged within so many nights is said on the page.
STALE_NIGHTS = 14


@dataclass(frozen=True)
class Drilled:
    """A failure mode in one scenario.

    ``last`` is the newest run of it, ``judged`` the newest that was PASS or FAIL *and* proved the effect; None: there
    is none. ``age_nights`` is the age of ``judged`` in whole days.
    """

    scenario: str
    drill: str  # "" where no run says it
    on: tuple[str, ...]
    last: IndexedRun | None
    judged: IndexedRun | None
    age_nights: int | None


@dataclass(frozen=True)
class Covered:
    """A failure mode with all scenarios that use it."""

    mode: FailureMode
    by: tuple[Drilled, ...]

    @property
    def age_nights(self) -> int | None:
        """Since it was last judged by any of them; None: never."""
        return min((one.age_nights for one in self.by if one.age_nights is not None), default=None)

    @property
    def state(self) -> str:
        """``never`` drilled, ``stale`` for more than ``STALE_NIGHTS``, or ``fresh``."""
        if self.age_nights is None:
            return "never"
        return "stale" if self.age_nights > STALE_NIGHTS else "fresh"


def proven(run: IndexedRun) -> frozenset[str]:
    """The types of everything whose effect that run proved; none where its events cannot be read."""
    try:
        events = RunFolder(run.folder).events()
    except (OSError, RunFolderError):
        return frozenset()
    return frozenset(str(event.data.get("type")) for event in events if event.kind == "fault_proven")


def of(
    modes: Sequence[FailureMode],
    uses: Iterable[Use],
    runs: Iterable[IndexedRun],
    now: dt.datetime,
    proofs: Callable[[IndexedRun], frozenset[str]] = proven,
) -> list[Covered]:
    """Every mode, those that were never drilled first, then the longest ago.

    Scenarios that are not shipped count by their runs: what a run has proven belongs to its own scenario.
    """
    newest_first = sorted((run for run in runs if not run.defects), key=lambda run: run.started, reverse=True)
    by_scenario: dict[str, list[IndexedRun]] = {}
    for run in newest_first:
        by_scenario.setdefault(run.scenario, []).append(run)
    found = _Proofs(proofs)
    listed = {(use.type, use.scenario): use.on for use in uses}
    for scenario, its in by_scenario.items():
        newest = next(filter(_is_judged, its), None)
        if newest and not any(name == scenario for _, name in listed):
            listed.update({(type_name, scenario): () for type_name in found.of(newest)})
    covered = [
        Covered(
            mode,
            tuple(
                _drilled(mode.type, scenario, on, by_scenario.get(scenario, []), now, found)
                for (type_name, scenario), on in sorted(listed.items())
                if type_name == mode.type
            ),
        )
        for mode in modes
    ]
    return sorted(covered, key=lambda one: (one.age_nights is not None, -(one.age_nights or 0), one.mode.type))


class _Proofs:
    """What runs have proven; each is read once."""

    def __init__(self, read: Callable[[IndexedRun], frozenset[str]]) -> None:
        self._read, self._known = read, dict[str, frozenset[str]]()

    def of(self, run: IndexedRun) -> frozenset[str]:
        """The types that this run has proven."""
        where = str(run.folder)
        if where not in self._known:
            self._known[where] = self._read(run)
        return self._known[where]


def _is_judged(run: IndexedRun) -> bool:
    return run.status in JUDGED


def _drilled(
    type_name: str, scenario: str, on: tuple[str, ...], runs: Sequence[IndexedRun], now: dt.datetime, proofs: _Proofs
) -> Drilled:
    """``runs`` are those of the scenario, newest first."""
    judged = next((run for run in runs if _is_judged(run) and type_name in proofs.of(run)), None)
    drill = next((run.drill for run in runs), "")
    age = None if judged is None else max(0, (now - judged.started).days)
    return Drilled(scenario, drill, on, next(iter(runs), None), judged, age)
