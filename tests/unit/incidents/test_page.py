"""incident.html: one file for everybody, complete without JavaScript."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given

from harness.model.incident import Figure, Lines, Report, Section, Source, Table, said
from reports.incident import page
from tests.incident_reports import HOSTILE, realistic, reports
from tests.unit.properties.depth import draws

_EMPTY = {"meta", "link", "br"}


class _Checked(HTMLParser):
    """Elements that are closed as they were opened, ids, and the addresses that are pointed at."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.tags, self.addresses = list[str](), list[str](), set[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One more."""
        if tag not in _EMPTY:
            self.open.append(tag)
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        """The one that is open."""
        assert self.open.pop() == tag


def checked(report: Report) -> _Checked:
    """The page of it, read."""
    found = _Checked()
    found.feed(page.render(report, "verify it"))
    assert found.open == []
    return found


@draws(25)
@given(reports())
def test_any_report_is_a_whole_page(report: Report) -> None:
    """Every element is closed, every id is there once, every link leads to one of them; nothing is fetched or run."""
    found = checked(report)
    assert len(found.ids) == len(set(found.ids))
    assert {one[1:] for one in found.addresses if one != "data:,"} <= set(found.ids)
    assert all(one.startswith("#") or one == "data:," for one in found.addresses)
    assert "script" not in found.tags


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_is_text(hostile: str) -> None:
    """Wherever it stands, no element comes from it."""

    def tags(text: str) -> set[str]:
        figure = Figure("f", text, Source(text, text, text, 1.0, 2.0))
        blocks = (said(text, figure), Table((text,), ((said(text),),)), Lines((text,)))
        return checked(Report(text, {text: text}, (Section("s", text, blocks),), {"b": text})).tags

    assert tags(hostile) == tags("x")


def test_a_number_leads_to_its_source() -> None:
    """With all of it in the title, and from there back."""
    made = page.render(realistic(), "verify it")
    found = re.search(r'<data id="figure-impact.slowest" [^>]*value="12.8 s"><a [^>]*href="#(.*?)" title="(.*?)"', made)
    assert found
    assert found[2].startswith("requests.parquet: rows with outcome = failed_visible; 2026-11-28 14:02:00.000 to 2026")
    entry = made[made.index(f'<li id="{found[1]}"') :].split("</li>")[0]
    assert 'href="#figure-impact.slowest"' in entry
    assert "14:05:02.457 UTC" in entry


def test_blanks_say_where_they_are_filled_in() -> None:
    """How many are open, what each asks for; a filled one shows its text."""
    made = page.render(realistic().filled({"lucky": "it was\n<night>"}), "verify it")
    assert "filled in by people, in incident.md; 3 are still empty" in " ".join(made.split())
    assert "To be filled in by people, in incident.md: what kept it from being worse</div>" in made
    assert "it was\n&lt;night&gt;</div>" in made


def test_a_large_incident_is_a_page_that_can_be_sent() -> None:
    """Two thousand numbers from two hundred questions, and a log of a hundred thousand lines: below 2 MB."""
    long = "sum by (instance) (increase(vllm:request_success_total{job='vllm', model_name='x'}[60s])) " * 2
    rows = [
        (
            said(f"{n}"),
            said(Figure(f"minute.{n}", f"{n} requests", Source("http://prometheus:9090", f"{long}{n % 200}"))),
        )
        for n in range(2000)
    ]
    section = Section("s", "S", (Table(("minute", "n"), tuple(rows)), Lines(("x" * 300,) * 100_000)))
    made = page.render(Report("t", {}, (section,)), "verify it")
    assert len(made.encode()) < 2_000_000
    assert "99,800 more lines are in incident.md" in made
