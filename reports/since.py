"""What is new against the last good run of the same series: the line at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from harness.evidence.index import Index
from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from harness.model.errors import RunFolderError
from harness.model.verdict import CheckResult, Status, Verdict
from reports.panel import number

#: So much of its margin a value has to use up, and by so much of itself to move, to be worth a line.
_OF_MARGIN, _OF_VALUE, _POINTS = 0.5, 0.1, 1.0
#: So many are listed.
_LISTED = 6


def last_good(folder: RunFolder) -> RunFolder | None:
    """The newest earlier PASS of the same series among this checkout's runs; None elsewhere, or where there is none."""
    root = drill.ROOT / "runs"
    if folder.path.parent != root:
        return None
    with Index.open(root) as index:
        run = next((one for one in index.runs() if one.folder.name == folder.path.name), None)
        good = index.last_good(run) if run else None
    return RunFolder(good.folder) if good else None


def line(verdict: Verdict, last_good: RunFolder | None) -> Markup:
    """Statuses that changed and values that moved by much, against ``last_good``; None where there is none."""
    if last_good is None:
        return Markup("Against the last good run on this machine: no earlier good run here.")
    try:
        before = verdicts.read(last_good)
        name = str(last_good.plan()["run_id"])
    except RunFolderError as error:
        return Markup("Against the last good run on this machine: it cannot be read ({}).").format(error)
    new = [*changed(before, verdict), *moved(before, verdict)]
    lead = Markup("Against the last good run on this machine (<code>{}</code>): ").format(name)
    if not new:
        return lead + "nothing new."
    more = [f"and {len(new) - _LISTED} more"] if len(new) > _LISTED else []
    items = (Markup("<li>{}</li>").format(text) for text in [*new[:_LISTED], *more])
    return lead + Markup("<ul>{}</ul>").format(Markup("").join(items))


def changed(before: Verdict, now: Verdict) -> Iterator[str]:
    """One sentence per check whose status is another, or that is asked anew, the worst first; then those not asked."""
    old, new = _by_question(before), _by_question(now)
    rank = {Status.FAIL: 0, Status.INCONCLUSIVE: 1, Status.SKIPPED: 2, Status.PASS: 3}
    for key, check in sorted(new.items(), key=lambda item: rank[item[1].status]):
        if key in old and old[key].status is not check.status:
            yield f"{check.name}: {check.status}, was {old[key].status}"
        elif key not in old and check.status is not Status.PASS:
            yield f"{check.name}: {check.status}, was not asked"
    if gone := [check.name for key, check in old.items() if key not in new]:
        yield f"no longer asked: {', '.join(gone)}"


def moved(before: Verdict, now: Verdict) -> Iterator[str]:
    """One sentence per value that moved by much under the same status.

    Much is half of the margin that it had, and also a tenth of itself, or for percents one point.
    """
    old = _by_question(before)
    for key, check in _by_question(now).items():
        then = old.get(key)
        if then is None or then.status is not check.status or then.measured is None or check.measured is None:
            continue
        by, room = abs(check.measured - then.measured), abs(then.margin or 0.0)
        least = _POINTS if check.unit == "%" else _OF_VALUE * max(abs(then.measured), abs(check.measured))
        if by > _OF_MARGIN * room and by >= least and by > 0:
            yield f"{check.name}: {number(check.measured, check.unit)}, was {number(then.measured, then.unit)}"


def _by_question(verdict: Verdict) -> Mapping[tuple[str, ...], CheckResult]:
    """The checks by what makes them the same question in every run; by their name where they have no id."""
    return {(check.id or check.name, check.phase or "", check.subject or ""): check for check in verdict.checks}
