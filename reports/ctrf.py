"""Results as CTRF JSON (Common Test Report Format, https://ctrf.io), which dashboards and CI jobs read.

INCONCLUSIVE is ``other``: neither passed nor failed. ``rawStatus`` is the word that Drillyard uses.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.evidence.view import RunView
from harness.model.night import Entry, Night
from harness.model.verdict import CheckResult, Status, Verdict

SPEC_VERSION = "0.0.0"
_STATUSES = {Status.PASS: "passed", Status.FAIL: "failed", Status.INCONCLUSIVE: "other", Status.SKIPPED: "skipped"}


def of_run(view: RunView, verdict: Verdict) -> str:
    """A test per validity finding and per check. Checks take no time of their own: their duration is 0."""
    begun_ms = round(view.folder.zero_wall_s() * 1000)
    ended_ms = begun_ms + round(1000 * max((phase.end_s or phase.start_s for phase in view.phases), default=0.0))
    name = str(view.plan["drill"])
    tests = [
        _of_check(check, [name, kind])
        for kind, checks in (("validity", verdict.validity), ("checks", verdict.checks))
        for check in checks
    ]
    git = view.plan.get("git") or {}
    return _document(tests, begun_ms, ended_ms, git.get("commit"), {"run": view.plan["run_id"]})


def of_night(night: Night) -> str:
    """A test per entry; earlier attempts are ``retryAttempts``. What was not run is ``other``, with the reason."""
    begun_ms = _ms(night.started)
    tests = [_of_entry(entry, night.suite) for entry in night.entries]
    ended_ms = _ms(night.ended) if night.ended else begun_ms + sum(int(test["duration"]) for test in tests)
    return _document(tests, begun_ms, ended_ms, night.commit, {"night": night.run_id, "seed": night.seed})


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _of_check(check: CheckResult, suite: Sequence[str]) -> dict[str, Any]:
    return {
        "name": check.name,
        **({"testId": check.id} if check.id else {}),
        "status": _STATUSES[check.status],
        "rawStatus": check.status.value,
        "duration": 0,
        "suite": list(suite),
        "message": check.why,
        "extra": {
            "phase": check.phase, "subject": check.subject, "objective": check.objective,
            "measured": check.measured, "unit": check.unit, "samples": check.samples,
        },
    }  # fmt: skip


def _of_entry(entry: Entry, suite: str) -> dict[str, Any]:
    status, last = entry.status or Status.INCONCLUSIVE, entry.attempts[-1] if entry.attempts else None
    test: dict[str, Any] = {
        "name": entry.id,
        "testId": entry.id,
        "status": _STATUSES[status],
        "rawStatus": status.value if entry.status else "not run",
        "duration": round(1000 * sum(attempt.duration_s for attempt in entry.attempts)),
        "suite": [suite],
        "message": last.reason if last else entry.not_run,
        "extra": {"runs": [attempt.run_id for attempt in entry.attempts]},
    }
    if len(entry.attempts) > 1:
        test["retries"] = len(entry.attempts) - 1
        test["flaky"] = status is Status.PASS
        test["retryAttempts"] = [
            {
                "attempt": number,
                "status": _STATUSES[attempt.status],
                "duration": round(1000 * attempt.duration_s),
                "message": attempt.reason,
            }
            for number, attempt in enumerate(entry.attempts[:-1], start=1)
        ]
    return test


def _document(
    tests: list[dict[str, Any]], start_ms: int, stop_ms: int, commit: str | None, extra: Mapping[str, Any]
) -> str:
    counts = {word: sum(test["status"] == word for test in tests) for word in (*_STATUSES.values(), "pending")}
    results: dict[str, Any] = {
        "tool": {"name": "Drillyard"},
        "summary": {"tests": len(tests), **counts, "start": start_ms, "stop": stop_ms},
        "tests": tests,
        "environment": {"commit": commit or "unknown"},
        "extra": dict(extra),
    }
    document = {"reportFormat": "CTRF", "specVersion": SPEC_VERSION, "generatedBy": "Drillyard", "results": results}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
