"""What is vendored is what its README says: a changed file has no source any more."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VENDOR = ROOT / "reports" / "vendor"
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


def test_what_tests_are_given_from_elsewhere_has_its_licence_beside_it() -> None:
    """The same for the fixtures that are not ours."""
    fixtures = ROOT / "tests" / "fixtures"
    rows = ROW.findall((fixtures / "README.md").read_text())
    assert [name for name, *_ in rows] == ["ctrf.schema.json"]
    for name, _, licence, digest in rows:
        assert hashlib.sha256((fixtures / name).read_bytes()).hexdigest() == digest
        assert "Permission is hereby granted" in (fixtures / licence).read_text()
