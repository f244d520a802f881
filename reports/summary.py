"""A night in a few lines of Markdown: for the summary of a CI job, a chat, or a mail."""

from __future__ import annotations

from collections.abc import Sequence

from harness.model.night import Entry, Night
from reports.markdown import cut, text

_REASON_CHARS_MAX = 300


def of_night(night: Night, word: str, sentence: str, regressions: Sequence[str] = ()) -> str:
    """The night's result in a ``word`` and a sentence, what became worse, a row per entry, and where to read on."""
    rows = "\n".join(_row(entry) for entry in night.entries)
    worse = "".join(f"- {text(line)}\n" for line in regressions)
    return (
        f"# {word}: {text(night.run_id)}: {text(sentence)}\n\n"
        + (f"Became worse:\n\n{worse}\n" if worse else "")
        + f"| drill | result | minutes | why | runs |\n|---|---|---|---|---|\n{rows}\n\n"
        + f"Commit {text(night.commit[:12] or 'unknown')}, seed {night.seed}. "
        + f"The page: runs/{text(night.run_id)}/index.html; that of a run: runs/RUN/report.html.\n"
    )


def _row(entry: Entry) -> str:
    statuses = " → ".join(attempt.status.value for attempt in entry.attempts) or "not run"
    minutes = f"{sum(attempt.duration_s for attempt in entry.attempts) / 60:.1f}" if entry.attempts else "–"
    why = entry.attempts[-1].reason if entry.attempts else entry.not_run or "the night was cut off before it"
    runs = ", ".join(text(attempt.run_id) for attempt in entry.attempts if attempt.run_id) or "–"
    return f"| {text(entry.id)} | {statuses} | {minutes} | {text(cut(why, _REASON_CHARS_MAX))} | {runs} |"
