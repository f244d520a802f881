"""The matrix of a machine's nights: entries (drill or variant × runtime and engine) × nights, newest on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.model.night import Attempt, Entry, Night
from harness.model.verdict import Status
from reports.markdown import cut

#: So many nights are shown, and looked at for what changes.
NIGHTS_MAX = 30
LETTERS = {Status.PASS: "P", Status.FAIL: "F", Status.INCONCLUSIVE: "I", Status.SKIPPED: "S"}
_REASON_MAX = 160

#: The address of a run's report as seen from the page, "" where there is none.
Link = Callable[[str], str]


@dataclass(frozen=True)
class Row:
    """One entry through the nights; a cell holds the entries of that id in that night, mostly one, () for none."""

    id: str
    cells: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Matrix:
    """Nights of one machine, oldest first, with a row for every id that any of them has."""

    machine: str  # its key
    name: str
    nights: tuple[Night, ...]
    rows: tuple[Row, ...]


def of(nights: Iterable[Night], names: Mapping[str, str]) -> list[Matrix]:
    """One matrix for each machine, that of the newest night first; of each the last ``NIGHTS_MAX`` nights.

    ``names`` are the machines' names, by key, as far as they are known.
    """
    by_machine: dict[str, list[Night]] = {}
    for night in sorted(nights, key=lambda night: (night.started, night.run_id), reverse=True):
        by_machine.setdefault(night.machine, []).append(night)
    return [
        _matrix(machine, names.get(machine) or machine or "unknown machine", found[:NIGHTS_MAX][::-1])
        for machine, found in by_machine.items()
    ]


def _matrix(machine: str, name: str, nights: Sequence[Night]) -> Matrix:
    ids = sorted({entry.id for night in nights for entry in night.entries})
    rows = [Row(id_, tuple(tuple(e for e in night.entries if e.id == id_) for night in nights)) for id_ in ids]
    return Matrix(machine, name, tuple(nights), tuple(rows))


def draw(matrix: Matrix, link: Link) -> Markup:
    """The table."""
    head = Markup("").join(_heading(night) for night in matrix.nights)
    rows = Markup("").join(_row(row, link) for row in matrix.rows)
    return Markup(
        '<h3>{0}: {1}</h3><div class="scroll newest" tabindex="0" role="region" aria-label="Results by night on {0}">'
        '<table class="matrix"><thead><tr><th scope="col">drill, runtime, engine</th>{2}'
        "</tr></thead><tbody>{3}</tbody></table></div>"
    ).format(matrix.name, span(matrix.nights), head, rows)


def span(nights: Sequence[Night]) -> str:
    """How many, and from when to when."""
    if len(nights) == 1:
        return f"one night, {day(nights[0])}"
    return f"{len(nights)} nights, {day(nights[0])} to {day(nights[-1])}"


def day(night: Night) -> str:
    """Its date, with the number where it is not the first of that date."""
    date = f"{night.started:%Y-%m-%d}"
    _, found, number = night.run_id.partition(f"{date}-")
    return f"{date} ({number})" if found else date


def _heading(night: Night) -> Markup:
    date = day(night)
    interrupted = Markup('<abbr title="interrupted">†</abbr>') if night.ended is None else ""
    return Markup('<th scope="col"><time datetime="{}">{}</time>{}</th>').format(date[:10], date[5:], interrupted)


def _row(row: Row, link: Link) -> Markup:
    cells = Markup("").join(_cell(cell, link) for cell in row.cells)
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(_breaking(row.id), cells)


def _breaking(name: str) -> Markup:
    """A name that a narrow page may break after each slash."""
    return Markup("/<wbr>").join(name.split("/"))


def _cell(entries: Sequence[Entry], link: Link) -> Markup:
    if not entries:
        return Markup('<td class="none"><span class="sr">not in the suite</span></td>')
    css = "mixed" if len(entries) > 1 else css_of(entries[0].status)
    return Markup('<td class="{}">{}</td>').format(css, Markup("").join(_entry(entry, link) for entry in entries))


def css_of(status: Status | None) -> str:
    """The class of a final status."""
    return "open" if status is None else status.value.lower()


def _entry(entry: Entry, link: Link) -> Markup:
    """All attempts in order, the last one as the result; without any, that it was not run, and why."""
    tried = Markup("").join(
        _attempt(attempt, link, retried=number < len(entry.attempts))
        for number, attempt in enumerate(entry.attempts, 1)
    )
    if entry.status is not None:
        return tried
    why = entry.not_run or "no reason recorded"
    return tried + Markup(
        '<span class="notrun" title="not run: {0}">–<span class="sr">not run: {0}</span></span>'
    ).format(why)


def _attempt(attempt: Attempt, link: Link, retried: bool) -> Markup:
    word, letter = attempt.status.value, LETTERS[attempt.status]
    label = f"{word}, retried" if retried else word
    title = f"{label}: {cut(attempt.reason, _REASON_MAX)}" if attempt.reason else label
    css = "early" if retried else "last"
    if address := link(attempt.run_id):
        return Markup('<a class="{}" href="{}" title="{}" aria-label="{}">{}</a>').format(
            css, address, title, label, letter
        )
    return Markup('<span class="{}" title="{}, no report left">{}<span class="sr">{}</span></span>').format(
        css, title, letter, f" {label}, no report left"
    )
