"""incident.md: numbers with their sources, blanks as regions, and everything foreign as text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from harness.model.incident import Blank, Figure, Items, Lines, Report, Section, Source, Table, said
from reports.incident import markdown
from reports.markdown import line, shown, text
from tests.incident_reports import HOSTILE, realistic, texts
from tests.unit.properties.depth import draws

FIGURE = Figure("impact.failed", "43 requests", Source("requests.parquet", "rows", "counted", 1.0, 2.5))


def of(*blocks: object) -> str:
    """A report of these blocks as Markdown."""
    return markdown.render(Report("t", {}, (Section("s", "S", blocks),)), "verify it")  # type: ignore[arg-type]


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.texts = set[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """One more."""
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        """One more."""
        self.texts.append(data)


def seen(written: str) -> _Seen:
    """The elements and the text of Markdown, as CommonMark with tables has it."""
    found = _Seen()
    found.feed(MarkdownIt("commonmark").enable("table").render(written))
    return found


def test_a_number_is_bold_and_has_its_footnote() -> None:
    """With file, question, range to the millisecond, and what was made of it."""
    written = of(said("There were ", FIGURE, ", and "), Table(("n",), ((said(FIGURE),),)))
    assert "There were **43 requests**[^impact.failed], and" in written
    assert "| **43 requests**[^impact.failed] |" in written
    assert written.count("\n[^impact.failed]: ") == 1
    asked = "<code>requests.parquet</code>: <code>rows</code>"
    assert f"[^impact.failed]: {asked}; 1970-01-01 00:00:01.000 to 1970-01-01 00:00:02.500 UTC; counted" in written


def test_the_first_lines_say_how_it_was_made_and_how_to_verify_it() -> None:
    """Title, status as a region, sources, command."""
    title, _, status, _, made, *rest = markdown.render(realistic(), "verify it").splitlines()
    assert title.startswith("# gateway\\-failover: ")
    assert status.startswith("Status: <!-- people: status #")
    assert "draft" in status
    assert shown(made).startswith("Made by Drillyard from run: 20261128-140200-gateway-failover-7c1d; drill: ")
    assert "    verify it" in rest[:5]


def test_a_blank_says_what_it_asks_for_until_it_is_filled_in() -> None:
    """In a line and alone."""
    empty = of(said("Owner: ", Blank("o", "who")), Blank("w", "what"))
    assert "Owner: *to be filled in: who* <!-- people: o #" in empty
    assert "*to be filled in: what*\n\n<!-- people: w #" in empty
    filled = of(said("Owner: ", Blank("o", "who", "Anna")), Blank("w", "what", "a\n\n- b"))
    assert "who" not in filled
    assert "what" not in filled.split("## S")[1]
    assert " -->\na\n\n- b\n<!-- /people: w #" in filled


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_is_text_wherever_it_stands(hostile: str) -> None:
    """In titles, paragraphs, lists, cells, sources, numbers and logs, no element comes from it."""
    foreign = Figure("f", f"{hostile}9", Source(hostile, hostile, hostile))
    blocks = (
        said(hostile, " ", foreign),
        Items((said(hostile),)),
        Table((hostile,), ((said(hostile),),)),
        Lines((hostile,)),
    )
    written = markdown.render(Report(hostile, {hostile: hostile}, (Section("s", hostile, blocks),)), "x")
    harmless = markdown.render(Report("t", {"a": "b"}, (Section("s", "S", (
        said("x", Figure("f", "x", Source("x", "x", "x"))), Items((said("x"),)), Table(("x",), ((said("x"),),)),
        Lines(("x",)))),)), "x")  # fmt: skip
    assert seen(written).tags == seen(harmless).tags
    assert list(markdown.numbers(written)) == [("f", line(f"{hostile}9"))]


@draws(25)
@given(texts(), texts())
def test_all_of_a_paragraph_is_seen(first: str, second: str) -> None:
    """Split into parts or not, and nothing else is."""
    found = "".join(seen(of(said(first, second), said("END"))).texts)
    assert line(found[found.index("S\n") + 2 : found.index("END")]) == line(first + second)


@draws(25)
@given(texts())
def test_what_is_escaped_is_shown_again(value: str) -> None:
    """So that a number is compared as people see it."""
    assert shown(text(value)) == line(value)


def test_logs_keep_their_spaces_and_end_nothing() -> None:
    """Lines stand as they were, empty ones, too."""
    written = of(Lines(("a  b", "", "    c </pre> <!-- d -->")))
    assert "<pre>\na  b\n\n    c &lt;/pre&gt; &lt;!-- d --&gt;\n</pre>" in written
