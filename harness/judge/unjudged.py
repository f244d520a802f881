"""What no promise covers in a run: stretches under load in which nobody asks how users fare.

A warm-up, a recovery until the steady state is reached again (how long that may take is judged, not how users fare
meanwhile), and a phase whose drill asks other things than an objective. It is said, so that nobody reads a PASS as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.evidence.view import RunView
from harness.judge.checks import steady_state
from harness.model.verdict import JUDGED, CheckResult


def stretches(view: RunView) -> tuple[str, ...]:
    """«recovery-one (73.3–83.2 s)», in order; phases without load are left out."""
    return tuple(f"{name} ({begin:.1f}–{end:.1f} s)" for name, begin, end in _open(view))


def line(found: Sequence[str], checks: Sequence[CheckResult]) -> str:
    """One line about them for the report, with the ``checks`` that judge each of them; "" without any."""
    said = "; ".join(stretch + _judged_by(stretch.partition(" (")[0], checks) for stretch in found)
    return f"No objective says how many requests had to be served, and how fast, in: {said}." if said else ""


def _judged_by(phase: str, checks: Sequence[CheckResult]) -> str:
    judged = [c.name for c in checks if c.phase == phase and c.status in JUDGED]
    names = ", ".join(name.removesuffix(f" in {phase}").removesuffix(f" after {phase}") for name in judged)
    return f", judged by {names}" if judged else ""


def _open(view: RunView) -> Iterator[tuple[str, float, float]]:
    covered = {phase for slo in view.slos for phase in slo.phases}
    asked = {str(e.data.get("phase")): steady_state.begin_s(e) for e in view.events("steady_state")}
    for span in view.phases:
        if span.name in covered or span.kind == "quiet" or span.end_s is None:
            continue
        end = min(asked.get(span.name, span.end_s), span.end_s)
        if end > span.start_s:
            yield span.name, span.start_s, end
