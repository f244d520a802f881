"""What is new against the last good run of the same series: the line at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from harness.evidence.index import Index
from harness.evidence.record import RunFolder
from harness.judge import compare, drill, verdicts
from harness.model.errors import RunFolderError
from harness.model.verdict import CheckResult, Status, Verdict
from reports.pages.compare import change
from reports.panel import number

#: So much of its margin a value has to use up, and by so much of itself to move, to be worth a line.
_OF_MARGIN, _OF_VALUE, _POINTS = 0.5, 0.1, 1.0
#: So many are listed, and so many indicators named.
_LISTED, _NAMED = 6, 3


def last_good(folder: RunFolder) -> RunFolder | None:
    """The newest earlier PASS of the same series among this checkout's runs; None elsewhere, or where there is none."""
    root = drill.ROOT / "runs"
    if folder.path.parent != root:
        return None
    with Index.open(root) as index:
        run = next((one for one in index.runs() if one.folder.name == folder.path.name), None)
        good = index.last_good(run) if run else None
    return RunFolder(good.folder) if good else None


def line(verdict: Verdict, last_good: RunFolder | None, folder: RunFolder) -> Markup:
    """What is new against ``last_good``, None where there is none; ``verdict`` is that of the run in ``folder``.

    Statuses that changed, values that moved by much, and the indicators that really differ.
    """
    if last_good is None:
        return Markup("Against the last good run on this machine: no earlier good run here.")
    try:
        before = verdicts.read(last_good)
        name = str(last_good.plan()["run_id"])
    except RunFolderError as error:
        return Markup("Against the last good run on this machine: it cannot be read ({}).").format(error)
    new = [*changed(before, verdict), *moved(before, verdict)]
    lead = Markup("Against the last good run on this machine (<code>{}</code>): ").format(name)
    more = [f"and {len(new) - _LISTED} more"] if len(new) > _LISTED else []
    items = Markup("").join(Markup("<li>{}</li>").format(text) for text in [*new[:_LISTED], *more])
    listed = Markup("<ul>{}</ul>").format(items) if new else Markup("no result is new.")
    return lead + listed + Markup("<p>{}</p>").format(differing(last_good, folder))


def differing(last_good: RunFolder, folder: RunFolder) -> str:
    """One sentence: how many indicators differ between the two runs by more than chance, and which the most."""
    try:
        found = compare.compare(compare.side(last_good.path), compare.side(folder.path))
    except Exception as error:  # the page is needed all the more where records are damaged
        return f"Its indicators cannot be compared ({type(error).__name__}: {error})."
    asked = len(found.values) + len(found.within_noise)
    if not asked:
        return "Its indicators cannot be compared: there is none that both runs measured."
    if not found.values:
        return f"None of {asked} indicators differs by more than chance."
    most = "; ".join(
        f"{one.sli} in {one.phase} {change(one.first, one.second, one.unit)}" for one in found.values[:_NAMED]
    )
    verb = "differs" if len(found.values) == 1 else "differ"
    named = "most of all " if len(found.values) > _NAMED else ""
    return f"{len(found.values)} of {asked} indicators {verb} by more than chance: {named}{most}."


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
