"""What was different about the stack in two runs: versions, model, policy, commit."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from typing import Any

from harness.evidence.index import IndexedRun
from harness.evidence.record import RunFolder
from harness.judge.drill import ROOT
from harness.model.errors import RunFolderError

#: Parts of a plan that say what was drilled, beside the commit. Mappings; each key is compared.
_PARTS = {"versions": "", "serves": "model of ", "gateway_policy": "gateway policy ", "dns_policy": "DNS policy "}
_COMMITS_MAX = 50
_GIT_S = 10.0

#: Part of a plan → its keys and values.
Marks = Mapping[str, Mapping[str, Any]]


def marks(run: IndexedRun) -> Marks | None:
    """What the run's plan says that it was made of; None where it cannot be read."""
    try:
        plan = RunFolder(run.folder).plan()
    except (OSError, RunFolderError):
        return None
    return {part: found if isinstance(found := plan.get(part), dict) else {} for part in _PARTS}


def between(before: Marks | None, after: Marks | None) -> list[str]:
    """Each difference in words, such as «vllm 0.9.1 → 0.9.2»; none where either is not known."""
    if before is None or after is None:
        return []
    found = []
    for part, word in _PARTS.items():
        was, now = before.get(part, {}), after.get(part, {})
        for key in sorted({*was, *now}):
            if was.get(key) != now.get(key):
                found.append(f"{word}{key} {_said(was, key)} → {_said(now, key)}")
    return found


def _said(values: Mapping[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "none"


@functools.cache
def commits(before: str, after: str) -> list[str] | None:
    """Hash and subject of each commit after ``before`` up to ``after``, newest first, ``_COMMITS_MAX`` at most.

    None where this checkout's repository does not have both.
    """
    if not (_is_hash(before) and _is_hash(after)):
        return None
    limit = f"--max-count={_COMMITS_MAX}"
    try:
        done = subprocess.run(
            ["git", "log", "--format=%h %s", limit, f"{before}..{after}", "--"],
            cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=_GIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def _is_hash(text: str) -> bool:
    return 7 <= len(text) <= 64 and all(c in "0123456789abcdef" for c in text)
