"""What one night of a suite did: ``suite.json`` in ``runs/nightly-<date>/``, written anew after each step."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from harness.model import redact
from harness.model.errors import RecordError, RunFolderError
from harness.model.scenario import Strict
from harness.model.verdict import JUDGED, TOO_SMALL, Status, worst

FILE = "suite.json"
SCHEMA_VERSION: Literal[1] = 1
#: Exit code of a night in which nothing failed, and something became worse than it was.
REGRESSION_CODE = 3
#: An entry that was not judged in so many nights running watches nothing: people hear of it.
UNJUDGED_NIGHTS = 3
#: The service did not reach its steady state before the first fault, and nothing disturbed the machine.
NOT_STEADY: Literal["not_steady"] = "not_steady"
#: Why an attempt could not be judged although nothing disturbed the machine, in words.
UNDISTURBED = {
    TOO_SMALL: "this machine no longer carries its load",
    NOT_STEADY: "it was not in steady state before the first fault",
}


class Attempt(Strict):
    """One run of an entry. ``run_id`` is "" where the program ended before there was a run folder.

    ``status`` is INCONCLUSIVE where the run left no verdict, or one that its exit code contradicts. ``cause`` is the
    verdict's, or ``NOT_STEADY``; "" where none was recorded.
    """

    run_id: str
    status: Status
    exit_code: int
    reason: str
    duration_s: float = Field(ge=0, allow_inf_nan=False)
    cause: str = ""


class Entry(Strict):
    """One drill in one scenario, on one runtime and engine. ``status`` is None until it was run.

    ``id`` is ``drill/runtime/engine``, with the scenario's name instead of the drill's where it is not the drill's own;
    ``file`` is where that scenario lies, "" for those of ``scenarios/``.
    ``not_run`` says why there is no attempt, such as a budget that was spent.
    """

    id: str
    drill: str
    scenario: str
    runtime: str
    engine: str
    attempts: tuple[Attempt, ...] = ()
    status: Status | None = None
    not_run: str = ""
    file: str = ""

    @property
    def done(self) -> bool:
        """Whether a night that goes on has nothing more to do for it."""
        return self.status is not None or bool(self.not_run)

    @property
    def undisturbed(self) -> str:
        """Why it could not be judged although nothing disturbed the machine, as ``UNDISTURBED``; "" else."""
        causes = [attempt.cause for attempt in self.attempts]
        if self.status is not Status.INCONCLUSIVE or not all(cause in UNDISTURBED for cause in causes):
            return ""
        return causes[-1] if causes else ""


class Night(Strict):
    """One night: its entries in the order in which they were run. ``ended`` is None while it goes on, or was cut off.

    ``seed`` made the order and the seed of every drill. ``machine`` is the key of the processor, its flags, cores and
    memory. ``budget_s`` is the time that the entries may take together. ``told`` is whether its receivers have been
    told what it came to; None where an earlier version did not note it.
    """

    schema_: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    suite: str
    run_id: str
    seed: int
    started: AwareDatetime
    ended: AwareDatetime | None
    commit: str
    machine: str
    budget_s: float = 0.0
    instance: int = 0
    model: str = ""
    entries: tuple[Entry, ...] = ()
    told: bool | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def with_entry(self, entry: Entry) -> Self:
        """The same night with ``entry`` in the place of the one of the same id."""
        return self.model_copy(update={"entries": tuple(entry if e.id == entry.id else e for e in self.entries)})

    @property
    def statuses(self) -> dict[str, Status | None]:
        """By entry; None where it was not run."""
        return {entry.id: entry.status for entry in self.entries}

    @property
    def status(self) -> Status:
        """The worst of all entries; one that was not run is INCONCLUSIVE."""
        return worst(entry.status or Status.INCONCLUSIVE for entry in self.entries)

    def exit_code(self, regressed: bool) -> int:
        """1 when a drill failed, 3 when something became worse, 2 when something was not judged, else 0."""
        if self.status is not Status.FAIL and regressed:
            return REGRESSION_CODE
        return self.status.exit_code


def unjudged(nights: Sequence[Night]) -> dict[str, list[Night]]:
    """Entries of the newest night with neither PASS nor FAIL in the last ``UNJUDGED_NIGHTS`` nights or more, by id.

    With each the nights since it was judged, the newest first. ``nights`` are in order, the newest last; those without
    the entry do not count.
    """
    since = {entry.id: _since_judged(nights, entry.id) for entry in (nights[-1].entries if nights else ())}
    return {name: found for name, found in since.items() if len(found) >= UNJUDGED_NIGHTS}


def no_longer_judged(nights: Sequence[Night]) -> dict[str, list[Night]]:
    """Entries of the newest night that are not judged since a night in which nothing disturbed the machine, by id.

    That night came right after one with PASS or FAIL. With each the nights since then, as ``unjudged`` has them.
    """
    since = {entry.id: _since_judged(nights, entry.id) for entry in (nights[-1].entries if nights else ())}
    return {
        name: found
        for name, found in since.items()
        if found
        and _was_there(nights, found[-1], name)
        and any(e.undisturbed for e in found[-1].entries if e.id == name)
    }


def _was_there(nights: Sequence[Night], until: Night, name: str) -> bool:
    """Whether a night before that one had the entry: then it was judged there, where ``until`` begins what was not."""
    return any(entry.id == name for night in nights[: nights.index(until)] for entry in night.entries)


def _since_judged(nights: Sequence[Night], name: str) -> list[Night]:
    with_it = ((night, [one for one in night.entries if one.id == name]) for night in reversed(nights))
    had = ((night, found) for night, found in with_it if found)
    return [night for night, _ in takewhile(lambda one: not any(e.status in JUDGED for e in one[1]), had)]


def read(folder: Path) -> Night:
    """The night of a folder. RunFolderError when its file is missing, damaged or of another version."""
    path = folder / FILE
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe would be to wait for ever
            raise RunFolderError(f"{path}: found no file, expected what a night writes")
        return Night.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror}); expected the folder of a night") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunFolderError(f"{path}: {where}: {first['msg']}; expected what a night writes") from None


def write(folder: Path, night: Night) -> None:
    """Replace the file at once: a night that is killed leaves the state before or after, never half of one.

    RecordError when it cannot be written.
    """
    text = json.dumps(night.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    text = redact.text(text) + "\n"
    temporary = folder / f".{FILE}.tmp"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE)
    except OSError as error:
        raise RecordError(f"{folder / FILE} cannot be written: {error.strerror}") from error


def folders(runs: Path) -> list[Path]:
    """The folders in ``runs`` that hold a night, the oldest first; links are not followed."""
    found = [path.parent for path in runs.glob(f"*/{FILE}") if not path.parent.is_symlink()]
    return sorted(found, key=lambda folder: (folder / FILE).stat().st_mtime_ns)
