"""The page about two runs: what really differs between them, and by how much at least."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from harness.evidence.record import replacing
from harness.judge.compare import CONFIDENCE, Changed, Comparison, Difference, Once
from reports import panel

#: So many rows of each list are shown unfolded, and on a terminal.
SHOWN_MAX = 12


def write(comparison: Comparison, path: Path) -> None:
    """Write the page. RecordError when that fails."""
    with replacing(path) as temporary:
        temporary.write_text(html(comparison, path.parent), encoding="utf-8")


def html(comparison: Comparison, beside: Path) -> str:
    """The page, for a file in the folder ``beside``, from which it links to the two reports."""
    return panel.template("compare.html.j2").render(
        found=comparison,
        sides=[(side, panel.report_address(side.run.folder, beside)) for side in (comparison.first, comparison.second)],
        badge=panel.badge,
        values=panel.shortened(_VALUES, _values(comparison.values), SHOWN_MAX, ", which changed less"),
        noise=panel.table(_VALUES, _values(comparison.within_noise)),
        statuses=_changes(("check", "first", "second", "why"), comparison.statuses),
        configuration=_changes(("setting", "first", "second"), comparison.configuration),
        once=_once(comparison.once),
        confidence=f"{100 * CONFIDENCE:g} %",
        style=Markup((panel.TEMPLATES / "report.css").read_text()),
    )


def change(first: float, second: float, unit: str) -> str:
    """``+45 ms (+22 %)``; without a share where the first is 0."""
    share = f" ({signed(100 * (second - first) / abs(first))} %)" if first else ""
    return f"{signed(second - first, unit)}{share}"


def signed(value: float, unit: str = "") -> str:
    """A difference with its sign. Those of shares are percentage points."""
    unit = "points" if unit == "%" else unit
    return f"{'−' if value < 0 else '+'}{panel.number(abs(value), unit)}"


def between(one: Difference) -> str:
    """Its interval in words."""
    return f"{signed(one.low, one.unit)} to {signed(one.high, one.unit)}"


_VALUES = ("indicator", "phase", "first", "second", "change", "interval of the change", "samples")


def _values(values: tuple[Difference, ...]) -> list[tuple[str, ...]]:
    return [
        (
            one.sli,
            one.phase,
            panel.number(one.first, one.unit),
            panel.number(one.second, one.unit),
            change(one.first, one.second, one.unit),
            between(one),
            f"{one.samples[0]:,} and {one.samples[1]:,}",
        )
        for one in values
    ]


def _changes(head: tuple[str, ...], changes: tuple[Changed, ...]) -> Markup:
    absent = Markup('<span class="nodata">not there</span>')

    def shown(text: str | None) -> object:
        if text is None:
            return absent
        return panel.badge(text) if text in panel.STATUS_WORDS else text

    rows = [(one.what, shown(one.first), shown(one.second), one.why)[: len(head)] for one in changes]
    return panel.shortened(head, rows, SHOWN_MAX)


def _once(values: tuple[Once, ...]) -> Markup:
    rows = [
        (one.what, panel.number(one.first, one.unit), panel.number(one.second, one.unit),
         change(one.first, one.second, one.unit))
        for one in values
    ]  # fmt: skip
    return panel.table(("check", "first", "second", "change"), rows)
