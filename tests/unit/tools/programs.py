"""Small programs for tests."""

from __future__ import annotations

from pathlib import Path


def write_program(path: Path, body: str = "exit 0") -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
