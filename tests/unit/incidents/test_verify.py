"""A number that was changed in a file is found, in each of the three, and it alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.model.errors import UsageError
from harness.model.incident import Report
from reports.incident import document, folder, markdown, page
from reports.incident.verify import Difference, differences
from reports.markdown import line
from tests.incident_reports import HOSTILE, NUMBERS, realistic, reports
from tests.unit.incidents.test_people import typed
from tests.unit.properties.depth import draws

FORMATS = {
    "incident.md": lambda report: markdown.render(report, "verify"),
    "incident.html": lambda report: page.render(report, "verify"),
    "incident.json": document.render,
}
FILES = pytest.mark.parametrize("name", FORMATS)


def compared(folder_: Path, name: str, content: str, report: Report) -> list[Difference]:
    """What is found in such a file."""
    path = folder_ / name
    path.write_bytes(content.encode())
    return differences(path, report)


def changed(report: Report, id_: str, text: str) -> Report:
    """The report with another number."""
    raw = json.loads(document.render(report))
    next(one for one in raw["figures"] if one["id"] == id_)["text"] = text
    return document.read(json.dumps(raw))


@FILES
@draws(25)
@given(report=reports())
def test_an_unchanged_file_has_no_difference(tmp_path: Path, name: str, report: Report) -> None:
    """Whatever its numbers and texts are."""
    assert compared(tmp_path, name, FORMATS[name](report), report) == []


@FILES
@draws(25)
@given(report=reports(), data=st.data(), text=NUMBERS)
def test_a_changed_number_is_told_and_it_alone(
    tmp_path: Path, name: str, report: Report, data: st.DataObject, text: str
) -> None:
    """Any one, also where it is shown twice, also where it would like to be markup."""
    figures = report.figures()
    id_ = data.draw(st.sampled_from(sorted(figures)))
    assume(line(text) != line(figures[id_].text))
    found = compared(tmp_path, name, FORMATS[name](changed(report, id_, text)), report)
    assert found == [Difference(id_, line(text), line(figures[id_].text))]


#: Where a file shows a figure: before its number, and behind it.
SHOWN = {
    "incident.md": (r"\*\*", r"\*\*\[\^{}\]"),
    "incident.html": (r'<data[^>]* data-figure="{}" value="[^"]*">(?:<a [^>]*>)?', "<"),
    "incident.json": (r'"id": "{}",\s+"text": "', '"'),
}


@FILES
@draws(25)
@given(data=st.data())
def test_one_digit_that_was_edited_is_found(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """By hand, in the file: any digit of any number, in one of the places that show it."""
    report = realistic()
    file = FORMATS[name](report)
    id_ = data.draw(st.sampled_from([one.id for one in report.figures().values() if one.measured]))
    before, behind = (part.replace("{}", re.escape(id_)) for part in SHOWN[name])
    place = next(re.finditer(rf"{before}((?:(?!\*\*)[^\n<\"])*){behind}", file))
    at = data.draw(st.sampled_from([n for n in range(*place.span(1)) if file[n].isdigit()]))
    edited = f"{file[:at]}{(int(file[at]) + 1) % 10}{file[at + 1 :]}"
    assert [(one.id, one.asked) for one in compared(tmp_path, name, edited, report)] == [
        (id_, report.figures()[id_].text)
    ]


def test_the_value_for_programs_counts_as_well(tmp_path: Path) -> None:
    """A page whose text and ``value`` are not the same number."""
    file = FORMATS["incident.html"](realistic()).replace('value="12.8 s"', 'value="1.8 s"')
    assert compared(tmp_path, "incident.html", file, realistic()) == [Difference("impact.slowest", "1.8 s", "12.8 s")]


@FILES
def test_numbers_that_came_or_went_are_told(tmp_path: Path, name: str) -> None:
    """With what there is of them."""
    short = Report(realistic().title, {}, realistic().sections[:1])
    whole = compared(tmp_path, name, FORMATS[name](short), realistic())
    assert Difference("impact.slowest", None, "12.8 s") in whole
    assert all(one.shown is None for one in whole)
    extra = compared(tmp_path, name, FORMATS[name](realistic()), short)
    assert Difference("impact.slowest", "12.8 s", None) in extra
    assert all(one.asked is None for one in extra)


@pytest.mark.parametrize("written", ["**9 requests**[^impact.failed]", *HOSTILE])
def test_what_people_write_is_no_number(tmp_path: Path, written: str) -> None:
    """Not in the Markdown, and not in what is made of it."""
    folder.write(realistic(), "No scenario is known.", tmp_path)
    path = tmp_path / "incident.md"
    for id_ in ("status", "lucky", "action.1.owner"):
        path.write_bytes(typed(path.read_text(), id_, written).encode())
    assert differences(path, realistic()) == []
    folder.write(realistic(), "No scenario is known.", tmp_path)
    assert [one for name in FORMATS for one in differences(tmp_path / name, realistic())] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.md", "cannot be read: No such file"),
        ("incident.json", "no incident report"),
        ("incident.txt", "found .txt, expected .md, .html, .json"),
    ],
)
def test_what_is_no_report_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    """A file that is not there, is broken, or is something else."""
    if name != "gone.md":
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=said):
        differences(tmp_path / name, realistic())
