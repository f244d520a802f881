"""What no promise covers in a run: stretches under load in which nobody asks how users fare.

A warm-up, a recovery until the steady state is reached again (how long that may take is judged, not how users fare
meanwhile), and a phase whose drill asks other things than an objective. It is said, so that nobody reads a PASS as one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.evidence.view import RunView
from harness.judge.checks import steady_state


def stretches(view: RunView) -> tuple[str, ...]:
    """«recovery-one (73.3–83.2 s)», in order; phases without load are left out."""
    return tuple(f"{name} ({begin:.1f}–{end:.1f} s)" for name, begin, end in _open(view))


def line(found: tuple[str, ...]) -> str:
    """One line about them for the report; "" without any."""
    return f"no objective covers how users fared in {', '.join(found)}" if found else ""


def _open(view: RunView) -> Iterator[tuple[str, float, float]]:
    covered = {phase for slo in view.slos for phase in slo.phases}
    asked = {str(e.data.get("phase")): steady_state.begin_s(e) for e in view.events("steady_state")}
    for span in view.phases:
        if span.name in covered or span.kind == "quiet" or span.end_s is None:
            continue
        end = min(asked.get(span.name, span.end_s), span.end_s)
        if end > span.start_s:
            yield span.name, span.start_s, end
