"""The files that the page was made from, with their digests: who has them can make it again, and see what changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.panel import table

ORDER, TITLE = 95, "Files"
#: What is made from the others, and what is only there while something is written.
_MADE = ("report.html", "report.md", "junit.xml", "ctrf.json")


def html(view: RunView, verdict: Verdict) -> Markup:
    """One row per file: its size and its SHA-256, as ``sha256sum`` prints it."""
    rows = [_row(view.folder.path, path) for path in _files(view.folder.path)]
    said = "This page was made from these files of the run folder and from nothing else, but for what it compares with."
    return Markup("<p>{}</p><details><summary>{} files with SHA-256</summary>{}</details>").format(
        said, len(rows), table(("file", "bytes", "SHA-256"), rows)
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name not in _MADE and not path.name.startswith("."):
            yield path


def _row(folder: Path, path: Path) -> tuple[object, ...]:
    name = str(path.relative_to(folder))
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return name, f"{path.stat().st_size:,}", Markup('<span class="ids">{}</span>').format(digest)
    except OSError as error:
        return name, None, f"cannot be read: {error.strerror}"
