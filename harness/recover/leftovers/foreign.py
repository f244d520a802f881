"""Run folders of others that lie beside our own: copied, unpacked, or of an earlier version. They are listed only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.evidence.record import RunFolder
from harness.model.errors import RunFolderError
from harness.model.journal import Journal
from harness.recover.leftovers.base import is_of


def find(runs: Path, identities: Mapping[int, str | None]) -> Iterator[str]:
    """Each folder with an open journal whose plan names none of these instances by number and id."""
    for path in sorted(journal.parent for journal in runs.glob("*/undo.jsonl")):
        try:
            records = 0 if path.is_symlink() else len(Journal(path / "undo.jsonl").open_entries())
        except OSError as error:
            yield f"run {path.name}: its undo journal cannot be read ({error.strerror})"
            continue
        if not records:
            continue
        plan: dict[str, Any] = {}
        with suppress(RunFolderError):
            plan = RunFolder(path).plan()
        if any(is_of(plan, instance, known) for instance, known in identities.items()):
            continue
        yield (
            f"run {path.name} has {records} open undo record(s), and its plan names instance {plan.get('instance')!a} "
            f"with id {plan.get('instance_id')!a}, which is none of this checkout: repair it where it is from, or move "
            f"it out of {runs.name}/"
        )
