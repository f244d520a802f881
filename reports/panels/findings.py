"""What is red or undecided, one card each: what was measured, what to do about it, and where to look."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import runbook
from harness.model.verdict import CheckResult, Status, Verdict
from reports import prose, requests
from reports.panel import anchor, badge, number
from reports.panel import moment as moment_of
from reports.panels import evidence, validity

ORDER, TITLE = 5, "What is red or undecided"
_RANK = {Status.FAIL: 0, Status.INCONCLUSIVE: 1, Status.SKIPPED: 2}


def html(view: RunView, verdict: Verdict) -> Markup:
    """Red ones first, then in the order of the drill. What was not judged for one and the same reason is one card."""
    if verdict.status is Status.PASS:
        return Markup("")
    text = str(view.plan.get("runbook", ""))
    first, entries = runbook.split(text)
    cards, used = list[Markup](), set[int]()
    for alike in _together(verdict.checks):
        place = runbook.about(entries, alike[0].name) if alike[0].status is Status.FAIL else None
        used |= set() if place is None else {place}
        cards.append(_card(view, verdict, alike, "" if place is None else entries[place]))
    others = "".join(entry for place, entry in enumerate(entries) if place not in used)
    if verdict.status is Status.FAIL:
        return prose.block(first) + Markup("").join(cards) + _rest("The runbook's other entries", others)
    where = f"«{validity.TITLE}» says" if validity.invalid(verdict) else "the cards below say"
    lead = Markup(
        "<p>No check failed, but some could not be judged; {} why. Mend the first cause and run it again:</p>"
        "<pre>{}</pre>"
    ).format(where, view.plan.get("command", ""))
    return lead + Markup("").join(cards) + _rest("The runbook, for checks that fail", first + others)


def _rest(summary: str, text: str) -> Markup:
    return prose.folded(summary, text) if text.strip() else Markup("")


def _together(checks: Iterable[CheckResult]) -> list[list[CheckResult]]:
    """What did not pass; those that are undecided for one reason together."""
    found: dict[tuple[Status, str], list[CheckResult]] = {}
    for check in sorted((c for c in checks if c.status in _RANK), key=lambda c: _RANK[c.status]):
        key = f"{check.name} {check.phase} {check.subject}" if check.status is Status.FAIL else check.why
        found.setdefault((check.status, key), []).append(check)
    return list(found.values())


def _card(view: RunView, verdict: Verdict, alike: list[CheckResult], entry: str) -> Markup:
    check = alike[0]
    if len(alike) == 1:
        title, parts = (
            check.name,
            [_facts(check), _links(view, check), requests.examples(view, requests.wanted(verdict), check.examples)],
        )
    else:
        names = Markup("").join(Markup("<li>{}</li>").format(one.name) for one in alike)
        title = f"{len(alike)} checks for one reason"
        parts = [Markup("<details><summary>{} checks</summary><ul>{}</ul></details>").format(len(alike), names)]
    return Markup('<article class="card {}"><h3 id="{}">{} {}</h3><p class="why">{}</p>{}{}</article>').format(
        check.status.value.lower(),
        anchor("card", " ".join(filter(None, (check.name, check.phase, check.subject)))),
        badge(check.status),
        title,
        check.why,
        Markup("").join(parts),
        Markup('<div class="todo"><h4>What to do</h4>{}</div>').format(prose.block(entry.removeprefix("- ")))
        if entry
        else "",
    )


def _facts(check: CheckResult) -> Markup:
    """What was asked and measured, as a list of names and values; what does not apply is left out."""
    measured = "not measured" if check.measured is None else number(check.measured, check.unit)
    said = (
        ("objective", check.objective),
        ("measured", measured),
        ("margin", "" if check.margin is None else number(check.margin, check.unit)),
        ("samples", "" if check.samples is None else f"{check.samples:,}"),
        ("phase", check.phase or ""),
    )
    rows = (Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value) for name, value in said if value)
    return Markup("<dl>{}</dl>").format(Markup("").join(rows))


def _links(view: RunView, check: CheckResult) -> Markup:
    """To the moment in the timeline and to the proof of the fault, as far as the check is about a phase."""
    phases = [name for name in (check.phase or "").split(", ") if name]
    found = [link for name in phases for link in (moment_of(view, name), evidence.proof(view, name)) if link]
    return Markup('<p class="links">{}</p>').format(Markup(" · ").join(found)) if found else Markup("")
