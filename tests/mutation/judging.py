"""Judge a stored run under its mutations, by the real judge, on all processors or in this process."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.view import RunView
from harness.judge import drill, validity, verdicts
from harness.model.errors import RunFolderError
from harness.model.verdict import Status
from tests.mutation import objects, tables
from tests.mutation.mutation import Mutation
from tests.mutation.stored import Data, Stored, load

#: What comes of a mutation besides a verdict's status. A judge that raises anything else is a bug of the judge.
UNCHANGED, UNREADABLE, CRASHED = "changes nothing", "cannot be read", "crashed the judge"


@dataclass(frozen=True)
class Subject:
    """A stored run and all its mutations, in a fixed order.

    ``resealed``: as if a recorder had written each of them so: no digest and no count of the run shows it.
    ``quick``: the first finding that is not PASS decides, as no verdict is PASS beside it; nothing more is judged.
    """

    path: Path
    data: Data
    mutations: tuple[Mutation, ...]
    resealed: bool = False
    quick: bool = False

    @property
    def drill(self) -> str:
        """The name of its drill."""
        return str(self.data.documents["plan.json"]["drill"])

    def judged(self, data: Data) -> str:
        """What the judge says of ``data`` in place of this run's records: a status, or that it cannot be read."""
        try:
            folder = Stored(self.path, data.resealed(self.path) if self.resealed else data)
            if self.quick and not _valid(RunView(folder)):
                return Status.INCONCLUSIVE.value
            return verdicts.judge(folder, drill.load(self.drill)).status.value
        except RunFolderError:
            return UNREADABLE

    def under(self, mutation: Mutation) -> str:
        """What comes of one mutation."""
        changed = mutation.apply(self.data)
        if changed.same_as(self.data):
            return UNCHANGED
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas and numpy have opinions about impossible values
            try:
                return self.judged(changed)
            except Exception as error:
                return f"{CRASHED}: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class Tally:
    """What came of the mutations of one run, by their names."""

    found: Mapping[str, str]

    def of(self, *outcomes: str) -> list[str]:
        """The mutations with one of these outcomes."""
        return [name for name, outcome in self.found.items() if outcome.partition(":")[0] in outcomes]

    @property
    def survivors(self) -> list[str]:
        """Those that left or made a PASS."""
        return self.of(Status.PASS)

    @property
    def share_caught(self) -> float:
        """Of the mutations that change something, the share that is no PASS, 0–1."""
        changed = len(self.found) - len(self.of(UNCHANGED))
        return 1 - len(self.survivors) / changed if changed else 0.0

    def row(self, name: str) -> str:
        """A line for people: generated, changed nothing, caught, share, survivors."""
        generated, unchanged, alive = len(self.found), len(self.of(UNCHANGED)), len(self.survivors)
        counts = f"{generated:>6} generated  {unchanged:>5} change nothing  {generated - unchanged - alive:>6} caught"
        return f"{name:<24} {counts}  {self.share_caught:>7.2%}  {alive:>5} survive"


def _valid(view: RunView) -> bool:
    """Whether all rules are satisfied. The last, which compares the records with their digests, sees most."""
    findings = (finding for rule in reversed(validity.RULES) for finding in validity.of_rule(rule, view))
    return all(finding.result.status is Status.PASS for finding in findings)


def subject(path: Path, resealed: bool = False, quick: bool = False) -> Subject:
    """The run at ``path`` with its mutations."""
    data = load(path)
    sources = (tables.of_requests, tables.of_metrics, objects.of_events, objects.of_documents)
    return Subject(path, data, tuple(mutation for source in sources for mutation in source(data)), resealed, quick)


def tally(run: Subject, mutations: Sequence[Mutation], processes: int | None = None) -> Tally:
    """Judge ``run`` under ``mutations``, by as many processes; one: in this process."""
    if processes == 1:
        return Tally({mutation.name: run.under(mutation) for mutation in mutations})
    names = [mutation.name for mutation in mutations]
    with multiprocessing.get_context("spawn").Pool(processes, _start, (run.path, run.resealed, run.quick)) as pool:
        return Tally(dict(zip(names, pool.imap(_one, names, chunksize=8), strict=True)))


_run: Subject
_by_name: dict[str, Mutation]


def _start(path: Path, resealed: bool, quick: bool) -> None:
    """In each process: the run again, since mutations cannot be sent."""
    global _run, _by_name
    _run = subject(path, resealed, quick)
    _by_name = {mutation.name: mutation for mutation in _run.mutations}


def _one(name: str) -> str:
    return _run.under(_by_name[name])
