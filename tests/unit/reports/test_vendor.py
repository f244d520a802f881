"""What is vendored is what its README says: a changed file has no source any more."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[3] / "reports" / "vendor"
ROW = re.compile(r"^\| `([^`]+)` \|.*\| ([\d.]+) \| MIT \(`([^`]+)`\) \|.*\| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_vendored_files_are_those_of_the_readme() -> None:
    """Each has its digest there, its licence beside it, and says its version where it says one; there are no others."""
    rows = ROW.findall((VENDOR / "README.md").read_text())
    listed = {"README.md"}
    for name, version, licence, digest in rows:
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert content.startswith(b".uplot") or f"(v{version})".encode() in content[:100]
        assert "Permission is hereby granted" in (VENDOR / licence).read_text()
        listed |= {name, licence}
    assert listed == {path.name for path in VENDOR.iterdir()}
