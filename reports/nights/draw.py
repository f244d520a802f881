"""How the parts of the nightly page look, as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup

from harness.evidence.index import IndexedRun
from harness.judge.trends import BEFORE_MIN, SIDE_MIN, Regression
from reports import panel
from reports.nights import changes, matrix, spark
from reports.nights.coverage import STALE_NIGHTS, Covered, Drilled
from reports.nights.flakiness import Flakiness
from reports.nights.matrix import Link, Matrix
from reports.nights.regressions import Step, Unjudged
from reports.nights.spark import Spark
from reports.nights.trend import CAPACITY, Trend

#: Of the series that got worse in one night, so many with the largest steps are shown unfolded.
_ROWS_SHOWN = 8
_HOW_TO_READ = (
    '<p class="legend">Oldest night on the left; each chart has its own scale. Shaded blue: mean ± spread, the mean '
    "absolute deviation, between change points. Red line: change point. Dashed: versions, model or policy changed. "
    "Shaded grey: no value, because the run was not judged or was not made.</p>"
)
_STATES = {"never": "never drilled", "stale": f"not within {STALE_NIGHTS} nights", "fresh": ""}
#: A machine with what got worse on it.
Worse = tuple[str, Sequence[Step], Sequence[Unjudged]]


def legend() -> Markup:
    """What the letters of the matrix mean."""
    return Markup(
        '<p class="legend"><b class="pass">P</b> PASS <b class="fail">F</b> FAIL <b class="inconclusive">I</b> '
        'INCONCLUSIVE, not judged <b class="open">–</b> not run. A small letter above is an attempt that was retried. '
        "An empty place: the suite did not have the entry in that night. † the night was interrupted.</p>"
    )


def not_run(found: Matrix) -> Markup:
    """Everything that was not run in the nights shown, with its reason, the newest first; "" where all were."""
    rows = [
        (matrix.day(night), entry.id, entry.not_run or "no reason recorded")
        for night in found.nights[::-1]
        for entry in night.entries
        if entry.status is None
    ]
    if not rows:
        return Markup("")
    return Markup("<details><summary>{} not run in these nights, with the reasons</summary>{}</details>").format(
        len(rows), panel.table(("night", "drill, runtime, engine", "why it was not run"), rows)
    )


def regressions(machines: Sequence[Worse], link: Link) -> Markup:
    """A card for each series and each entry that got worse, by machine; else that nothing did."""
    several = len(machines) > 1
    parts = [
        (Markup("<h3>{}</h3>").format(name) if several else Markup(""))
        + Markup("").join([*(_card(together, link) for together in _together(steps)), *map(_unjudged, unjudged)])
        for name, steps, unjudged in machines
        if steps or unjudged
    ]
    return Markup("").join(parts) or Markup(
        "<p>No series has regressed; no entry went unjudged for three nights running, nor on an undisturbed machine "
        "right after a night in which it was judged.</p>"
        '<p class="legend">A series can only regress once it has held one level for {} nights, and mostly takes {} '
        "more to show it (docs/trends.md).</p>"
    ).format(BEFORE_MIN, SIDE_MIN)


def _together(steps: Sequence[Step]) -> list[list[Step]]:
    """By night and commits on both sides, the newest night first."""
    found: dict[tuple[str, ...], list[Step]] = {}
    for step in steps:
        commits = [run.commit if run else "" for run in (step.before, step.after)]
        found.setdefault((step.since.run_id, *commits), []).append(step)
    return list(found.values())


def _card(steps: Sequence[Step], link: Link) -> Markup:
    """Series that got worse in the same night between the same commits: probably for one reason."""
    first = steps[0]
    entries = len({entry_of(step.trend) for step in steps})
    rows = [_figures(step, link) for step in sorted(steps, key=_size, reverse=True)]
    head = (
        "drill, runtime, engine",
        "series",
        "before → after",
        "night by night",
        "last run before",
        "first run since",
    )
    title = Markup("<h4>Since the night of {}: {} series of {}</h4>").format(
        matrix.day(first.since), len(steps), plural(entries, "entry", "entries")
    )
    return Markup('<article class="card fail">{}{}{}{}</article>').format(
        title, _marks(first), _commits(first), panel.shortened(head, rows, _ROWS_SHOWN, ", with smaller steps")
    )


def plural(count: int, one: str, many: str) -> str:
    """The number with the word that belongs to it."""
    return f"{count} {one if count == 1 else many}"


def _size(step: Step) -> float:
    found = step.trend.regression
    return 0.0 if found is None else found.size_ratio


def _figures(step: Step, link: Link) -> tuple[object, ...]:
    trend, found = step.trend, step.trend.regression
    if found is None:
        return ()
    numbers = Markup("<b>{} → {}</b><br>{}; spread before ±{:.1%}, p {}").format(
        panel.number(found.before), panel.number(found.after, trend.unit), _growth(found), found.spread, _p(found.p)
    )
    runs = (_linked(step.before, link), _linked(step.after, link))
    return (entry_of(trend), trend.key.id, numbers, _picture(trend), *runs)


def _growth(found: Regression) -> str:
    """The step as a share of what was before."""
    if math.isinf(found.size_ratio):
        return "from nothing"
    return f"{'+' if found.after > found.before else '−'}{found.size_ratio:.0%}"


def _p(probability: float) -> str:
    return "< 0.0001" if probability < 0.0001 else f"= {probability:.1g}"


def entry_of(trend: Trend) -> str:
    """What ran, as the matrix names it; of no scenario alone, the stack."""
    return f"{trend.scenario or 'the stack'}/{trend.key.runtime}/{trend.key.engine}"


def _marks(step: Step) -> Markup:
    if step.before is None or step.after is None:
        return Markup("")
    found = changes.between(changes.marks(step.before), changes.marks(step.after))
    said = "; ".join(found) if found else "none that the plans show"
    return Markup("<p>Versions, model and policy that changed with it: {}.</p>").format(said)


def _linked(run: IndexedRun | None, link: Link) -> Markup:
    return Markup("none") if run is None else linked(run.run_id, link(run.run_id))


def linked(text: str, address: str) -> Markup:
    """A link where there is an address, else the text alone."""
    return Markup('<a href="{}">{}</a>').format(address, text) if address else Markup("{}").format(text)


def _commits(step: Step) -> Markup:
    before, after = (run.commit if run else "" for run in (step.before, step.after))
    if not before or not after:
        return Markup("<p>The commits between are not known.</p>")
    if before == after:
        return Markup("<p>Both runs are of the commit <code>{}</code>.</p>").format(before[:12])
    reach = Markup("<code>{}..{}</code>").format(before[:12], after[:12])
    found = changes.commits(before, after)
    if found is None:
        return Markup("<p>Commits between: {} (this repository does not have them).</p>").format(reach)
    rows = Markup("").join(Markup("<li>{}</li>").format(line) for line in found)
    return Markup("<details open><summary>{} commits between: {}</summary><ol>{}</ol></details>").format(
        len(found), reach, rows
    )


def _unjudged(one: Unjudged) -> Markup:
    why = one.why.rstrip(".") or "none recorded"
    if one.undisturbed:
        return Markup(
            '<article class="card inconclusive"><h4>{}</h4><p>No longer judged since the night of <b>{}</b>, although '
            "nothing disturbed the machine: {}. Last reason: {}.</p></article>"
        ).format(one.entry, matrix.day(one.since), one.undisturbed, why)
    return Markup(
        '<article class="card inconclusive"><h4>{}</h4><p>Not judged for <b>{} nights running</b>, since the night of '
        "<b>{}</b>. Last reason: {}.</p></article>"
    ).format(one.entry, one.nights, matrix.day(one.since), why)


def trends(machine: str, found: Sequence[Trend], link: Link) -> Markup:
    """Every series of the machine, folded by what ran; those that have a change point are open.

    SLIs, capacity and whatever has a change point are pictures, the other checks numbers.
    """
    if not found:
        return Markup('<p class="nodata">{}: no series was recorded</p>').format(machine)
    groups = Markup("").join(_group(entry, list(its), link) for entry, its in groupby(found, key=_place))
    nights = matrix.span(found[0].nights)
    return Markup("<h3>{}: {}</h3>{}{}").format(machine, nights, Markup(_HOW_TO_READ), groups)


def _place(trend: Trend) -> tuple[str, str]:
    return entry_of(trend), trend.key.scenario_digest


def _group(place: tuple[str, str], found: Sequence[Trend], link: Link) -> Markup:
    entry, digest = place
    moving = [one for one in found if one.last is not None and not one.constant]
    once = [one for one in found if sum(value is not None for value in one.values) == 1]
    still = [one for one in found if one.constant and one not in once]
    empty = [one.key.id for one in found if one.last is None]
    changed = sum(bool(one.changes) for one in found)
    what = f"{len(found)} series, {changed} with a change point" + (f", scenario {digest[:8]}" if digest else "")
    rows = Markup("").join(_row(one, link) for one in moving if one.indicator or one.changes)
    checks = [f"{one.key.id}: {_levels(one)} {one.unit}" for one in moving if not (one.indicator or one.changes)]
    rest = _named("Checks without a change point, mean ± spread", checks)
    rest += _named("The same value in every night", [f"{one.key.id}: {_value(one)}" for one in still])
    rest += _folded("measured in one night so far", [f"{one.key.id}: {_value(one)}" for one in once])
    rest += _named("Never measured in these nights", [name for name in empty if name != CAPACITY])
    # It is in the index only where it was measured.
    unsure = [name for name in empty if name == CAPACITY]
    rest += _named("Measured, but only provisionally or in runs that were not judged", unsure)
    return Markup(
        '<details class="group"{}><summary><b>{}</b> <span>{}</span></summary><ul class="trends">{}</ul>{}</details>'
    ).format(Markup(" open") if changed else "", entry, what, rows, rest)


def _named(title: str, names: Sequence[str]) -> Markup:
    if not names:
        return Markup("")
    return Markup('<p class="still"><b>{}:</b> {}</p>').format(title, "; ".join(names))


def _folded(title: str, names: Sequence[str]) -> Markup:
    """A list that says little yet, and is long in the first night."""
    if not names:
        return Markup("")
    rows = Markup("").join(Markup("<li>{}</li>").format(name) for name in names)
    return Markup("<details><summary>{} series {}</summary><ul>{}</ul></details>").format(len(names), title, rows)


def _row(trend: Trend, link: Link) -> Markup:
    last = trend.last
    run = None if last is None else trend.runs[last]
    value = linked(_value(trend), link(run.run_id)) if run else Markup("{}").format(_value(trend))
    return Markup('<li{}><span class="name">{}</span>{}<span class="figures"><b>{}</b>{}<br>{}</span></li>').format(
        Markup(' class="worse"') if trend.regression else "", trend.key.id, _picture(trend), value, _count(trend),
        _levels(trend),
    )  # fmt: skip


def _value(trend: Trend) -> str:
    """The newest value that there is."""
    value = None if trend.last is None else trend.values[trend.last]
    return "not measured" if value is None else panel.number(value, trend.unit)


def _count(trend: Trend) -> str:
    """Of how many samples the newest value is, and of which night where that is not the last one."""
    last = trend.last
    if last is None:
        return ""
    samples = trend.samples[last]
    count = "" if samples is None else f" n = {samples}"
    return count if last == len(trend.values) - 1 else f"{count}, night of {matrix.day(trend.nights[last])}"


def _levels(trend: Trend) -> str:
    """Mean and spread between the change points."""
    found = []
    for one in Spark(trend.values, trend.changes).stretches():
        spread = "" if one.spread is None else f" ± {panel.number(one.spread)}"
        since = f" since {matrix.day(trend.nights[one.begin])}" if one.begin else ""
        found.append(f"{panel.number(one.mean)}{spread}{since}")
    return " → ".join(found)


def _picture(trend: Trend) -> Markup:
    measured = [value for value in trend.values if value is not None]
    if not measured:
        return Markup('<span class="nodata">not measured</span>')
    words = [
        f"{len(measured)} of {len(trend.values)} nights measured, {panel.number(min(measured))} "
        f"to {panel.number(max(measured), trend.unit)}"
    ]
    words += [f"another level since {matrix.day(trend.nights[night])}" for night in trend.changes]
    if trend.marks:
        words.append(f"versions, model or policy changed {len(trend.marks)} times")
    return spark.draw(Spark(trend.values, trend.changes, trend.marks), "; ".join(words))


def flakiness(machine: str, found: Sequence[Flakiness]) -> Markup:
    """Share of the nights in which the result needed a retry, or flipped without a commit between."""
    rows = [
        (one.id, _share(one), one.retried, one.flipped, one.ran)
        for one in found
    ]  # fmt: skip
    head = ("drill, runtime, engine", "flaky nights", "retried", "flipped, same commit", "nights run")
    return Markup("<h3>{}</h3>{}").format(machine, panel.table(head, rows))


def _share(one: Flakiness) -> str:
    return "never run" if one.share is None else f"{one.share:.0%} ({one.flaky} of {one.ran})"


def coverage(covered: Sequence[Covered], unreadable: Sequence[str], link: Link) -> Markup:
    """What was never drilled and what not lately, in words; then every failure mode with its drills."""
    words = [
        _listed("Never drilled", [one for one in covered if one.state == "never" and one.by]),
        _listed("Never drilled, and no shipped scenario does it", [one for one in covered if not one.by]),
        _listed(f"Not within {STALE_NIGHTS} nights", [one for one in covered if one.state == "stale"]),
    ]
    said = Markup("").join(words) or Markup(
        "<p>Every failure mode was drilled and judged within {} nights.</p>"
    ).format(STALE_NIGHTS)
    rows = [row for one in covered for row in _covered(one, link)]
    head = ("failure mode", "what happens", "drill", "on", "last verdict", "age")
    lost = Markup("<p>Not read as a scenario: {}.</p>").format(", ".join(unreadable)) if unreadable else Markup("")
    return said + lost + panel.table(head, rows, "coverage")


def _listed(title: str, found: Iterable[Covered]) -> Markup:
    names = ", ".join(one.mode.type for one in found)
    return Markup("<p><b>{}:</b> {}.</p>").format(title, names) if names else Markup("")


def _covered(one: Covered, link: Link) -> list[tuple[object, ...]]:
    name = Markup("<b>{}</b><br><small>{}</small>").format(one.mode.type, one.mode.kind)
    if not one.by:
        return [(name, one.mode.what, "none", "", _state("never"), "")]
    return [
        (name if first else "", one.mode.what if first else "", by.scenario, ", ".join(by.on), *_last(by, link))
        for first, by in zip([True] + [False] * (len(one.by) - 1), one.by, strict=True)
    ]


def _state(state: str) -> Markup:
    return Markup('<span class="state {}">{}</span>').format(state, _STATES[state])


def _last(one: Drilled, link: Link) -> tuple[Markup, Markup]:
    """The newest verdict that rests on a proven effect, and how old it is; and what came after it without one."""
    after = Markup("")
    if one.last is not None and one.last is not one.judged:
        after = Markup("<br><small>last run, which proved nothing about it: {}, {}</small>").format(
            one.last.status.value, linked(one.last.run_id, link(one.last.run_id))
        )
    if one.judged is None or one.age_nights is None:
        return _state("never") + after, Markup("")
    run = one.judged
    verdict = panel.badge(run.status.value) + Markup(" {}<br><small>{}/{}, {}</small>").format(
        linked(run.run_id, link(run.run_id)),
        run.runtime,
        run.engine,
        run.machine_name or run.machine or "unknown machine",
    )
    age = plural(one.age_nights, "night", "nights") if one.age_nights else "this night"
    stale = Markup("<br>") + _state("stale") if one.age_nights > STALE_NIGHTS else Markup("")
    return verdict + after, Markup("{}").format(age) + stale


def unreadable(lines: Sequence[str]) -> Markup:
    """Folders that are not in the page's counts, each with the reason; "" without any."""
    rows = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup("<ul>{}</ul>").format(rows) if lines else Markup("")
