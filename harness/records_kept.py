"""Whether the events and documents of a run are those that it wrote: none lost, doubled, moved or changed since then.

A run that has ended writes ``records.json``: how many events there are, the SHA-256 of them in their order, and that of
each JSON document which the judge reads. What was damaged, cut off or edited later is no evidence. Whoever changes a
file and ``records.json`` alike is not found out here, but by the rules that compare the records with each other.
"""

from __future__ import annotations

from typing import Any

from harness import digest, rollout, samples_kept, waves
from harness.errors import RunFolderError
from harness.record import RunFolder

FILE = "records.json"
#: Objects that judge and report read; a run has those that its drill makes.
DOCUMENTS = ("plan.json", "load-summary.json", samples_kept.FILE, waves.FILE, rollout.FILE)


def seal(folder: RunFolder) -> None:
    """Write ``FILE``, once nothing more is recorded. RecordError when it cannot be written."""
    folder.write_json(FILE, summary(folder))


def summary(folder: RunFolder) -> dict[str, Any]:
    """What ``FILE`` holds of the records that are there."""
    events = [[event.t_s, event.kind, event.data] for event in folder.events()]
    there = (name for name in DOCUMENTS if _there(folder, name))
    documents = {name: digest.of(folder.read_json(name)) for name in there}
    return {"events": len(events), "events_sha256": digest.of(events), "documents": documents}


def difference(folder: RunFolder) -> str | None:
    """How the records differ from those that the run left; None when they do not."""
    try:
        left, found = folder.read_json(FILE), summary(folder)
    except RunFolderError as error:
        return f"what the run left is not recorded: {error}"
    if left.get("events") != found["events"]:
        return f"events.jsonl has {found['events']} events, and the run left {left.get('events')}"
    if left.get("events_sha256") != found["events_sha256"]:
        return "events.jsonl is not as the run left it"
    before, now = left.get("documents"), found["documents"]
    changed = sorted(name for name in DOCUMENTS if not isinstance(before, dict) or before.get(name) != now.get(name))
    return f"{', '.join(changed)}: not as the run left it" if changed else None


def _there(folder: RunFolder, name: str) -> bool:
    try:
        folder.read_json(name)
    except RunFolderError:
        return False
    return True
