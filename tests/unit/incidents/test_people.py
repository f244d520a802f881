"""What people write in incident.md is there after it was made anew, byte for byte, whatever they did to the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.incident import Blank, Report, Section, said
from reports.incident import document, markdown, people
from reports.incident.folder import write
from tests.incident_reports import realistic, texts
from tests.unit.properties.depth import draws

IDS = ("status", "went-well", "lucky", "owner")
NO_SCENARIO = "No scenario is known."
REPORT = Report(
    "t", {},
    (Section("s", "S", (Blank("went-well", "what"), Blank("lucky", "what"), said("by ", Blank("owner", "who")))),),
)  # fmt: skip


def made(report: Report = REPORT) -> str:
    """The Markdown of it."""
    return markdown.render(report, "verify")


def marks(id_: str, file: str | None = None) -> tuple[str, str]:
    """The two markers of a region of the file."""
    file = file or made()
    start = file[file.index(f"<!-- people: {id_} #") :].split("-->")[0] + "-->"
    return start, start.replace("people", "/people")


def typed(file: str, id_: str, text: str) -> str:
    """The file after somebody has typed this into a region, over what was there."""
    start, end = marks(id_, file)
    before, rest = file.split(start, 1)
    inside, after = rest.split(end, 1)
    frame = "\n" if inside.startswith("\n") else " "
    return f"{before}{start}{frame}{text}{frame}{end}{after}"


def again(file: str, report: Report = REPORT) -> tuple[Report, list[str]]:
    """The report made anew beside such a file."""
    return people.keep(report, file)


MARKERS = [mark for id_ in IDS for mark in marks(id_)]
#: What people may write: anything, markers of this very report as well.
WRITTEN = st.lists(st.sampled_from([*MARKERS, "\r\n", "\r", "\n", " ", "-->", "**x**", "| a |"]) | texts(), max_size=6)


@draws(25)
@given(st.tuples(*[WRITTEN.map("".join)] * len(IDS)))
def test_any_text_is_kept_as_it_was(written: tuple[str, ...]) -> None:
    """All regions at once, with text that looks like markers; a text that repeats its own end marker apart."""
    file = made()
    kept = dict[str, str]()
    for id_, text in reversed(list(zip(IDS, written, strict=True))):
        kept[id_] = text.replace(marks(id_)[1], "")
        file = typed(file, id_, kept[id_])
    report, warnings = again(file)
    for _ in range(2):
        for id_, blank in report.blanks().items():
            assert blank.text == (kept[id_] or REPORT.blanks()[id_].text)
        assert report.people == {}
        report, warnings = again(made(report))
        assert warnings == []


@draws(25)
@given(st.sampled_from(IDS), WRITTEN.map("".join))
def test_a_text_that_repeats_its_own_end_is_kept(id_: str, text: str) -> None:
    """As one text, unless it holds another start behind that."""
    text = "".join(part for part in (text, marks(id_)[1], "x") if part)
    for mark in MARKERS[::2]:
        text = text.replace(mark, "")
    report, _ = again(typed(made(), id_, text))
    assert report.blanks()[id_].text == text
    assert again(made(report))[0] == report


@draws(25)
@given(st.sampled_from(IDS), st.binary(max_size=20))
def test_bytes_that_are_no_text_are_kept(tmp_path_factory: pytest.TempPathFactory, id_: str, written: bytes) -> None:
    """A file that was saved in another encoding is not a reason to lose anything."""
    folder = tmp_path_factory.mktemp("incident")
    write(REPORT, NO_SCENARIO, folder)
    path = folder / "incident.md"
    path.write_bytes(typed(path.read_text(), id_, "HERE").encode().replace(b"HERE", written))
    write(REPORT, NO_SCENARIO, folder)
    assert (written or REPORT.blanks()[id_].text.encode()) in path.read_bytes()
    before = path.read_bytes()
    write(REPORT, NO_SCENARIO, folder)
    assert path.read_bytes() == before


def test_line_ends_of_another_editor_are_kept() -> None:
    """A file that was saved with CRLF: the text has them, its markers' own are no text."""
    file = typed(typed(made(), "went-well", "a\n\nb"), "owner", "Anna").replace("\n", "\r\n")
    blanks = again(file)[0].blanks()
    assert (blanks["went-well"].text, blanks["owner"].text, blanks["lucky"].text) == ("a\r\n\r\nb", "Anna", "")


def test_whatever_else_was_edited_moved_or_deleted() -> None:
    """Only the regions count, in any order."""
    regions = [people.region(Blank(id_, "", f"text of {id_}"), "\n") for id_ in reversed(IDS)]
    report, warnings = again("\ufeffmy own words\n\n" + "\n".join(regions))
    assert {id_: blank.text for id_, blank in report.blanks().items()} == {id_: f"text of {id_}" for id_ in IDS}
    assert (report.people, warnings) == ({}, [])


def test_what_is_no_longer_asked_for_is_kept_at_the_end_and_comes_back() -> None:
    """A blank that is gone leaves its text; one that is asked for again gets it."""
    shorter = Report("t", {}, ())
    report, warnings = again(typed(made(), "lucky", "it was *night*"), shorter)
    assert (report.people, warnings) == ({"lucky": "it was *night*"}, [])
    assert "## No longer asked for" in made(report)
    assert again(made(report), shorter)[0] == report
    assert again(made(report))[0].blanks()["lucky"].text == "it was *night*"


def test_a_region_that_was_copied_loses_nothing() -> None:
    """The first fills the blank; another with another text is kept beside it."""
    other = people.region(Blank("lucky", "", "two"), "\n")
    report, _ = again(typed(made(), "lucky", "one") + other + other)
    assert report.blanks()["lucky"].text == "one"
    assert report.people == {"lucky.kept": "two", "lucky.kept-2": "two"}
    assert again(made(report))[0] == report


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("id_", IDS)
def test_a_region_without_one_of_its_markers_is_kept_and_said(id_: str, lost: int) -> None:
    """In one line that names it; the others are as they were."""
    file = made()
    for one in IDS:
        file = typed(file, one, f"text of {one}")
    report, warnings = again(file.replace(marks(id_)[lost], ""))
    assert warnings == [f"region {id_} has no {('start', 'end')[lost]} marker: what is left of it is kept at the end"]
    assert f"text of {id_}" in report.people[f"{id_}.kept"]
    rest = {one: blank.text for one, blank in report.blanks().items() if one != id_}
    assert rest == {one: f"text of {one}" for one in IDS if one != id_}
    assert again(made(report)) == (report, [])


def test_a_region_inside_of_another_is_kept_and_said() -> None:
    """It is text of the outer one."""
    inner = people.region(Blank("lucky", "", "inner"), "\n")
    file = typed(made(), "lucky", "").replace("".join((marks("lucky")[0], "\n\n", marks("lucky")[1])), "")
    report, warnings = again(typed(file, "went-well", f"a\n{inner}\nb"))
    assert report.blanks()["went-well"].text == f"a\n{inner}\nb"
    assert warnings == ["region lucky stands inside of went-well: it is text there"]


@draws(25)
@given(st.lists(st.sampled_from(MARKERS) | st.integers(0, 99).map("<{}>".format), max_size=30))
def test_nothing_is_lost_of_any_heap_of_markers(pieces: list[str]) -> None:
    """Whatever stood behind a start or before an end is somewhere in the report."""
    file = "".join(pieces)
    report, _ = again(file)
    everything = "".join((*report.people.values(), *(blank.text for blank in report.blanks().values())))
    opened = False
    for piece in pieces:
        opened = opened or piece.startswith("<!-- p")
        if piece in MARKERS[1::2]:
            opened = False
        elif opened and piece not in MARKERS:
            assert piece in everything


def test_all_three_files_have_it(tmp_path: Path) -> None:
    """Also the page and the JSON, and no temporary file is left."""
    write(realistic(), NO_SCENARIO, tmp_path)
    path = tmp_path / "incident.md"
    path.write_text(typed(path.read_text(), "lucky", "<b>night</b>"))
    assert write(realistic(), NO_SCENARIO, tmp_path) == []
    assert "&lt;b&gt;night&lt;/b&gt;" in (tmp_path / "incident.html").read_text()
    assert document.read((tmp_path / "incident.json").read_text()).blanks()["lucky"].text == "<b>night</b>"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["incident.html", "incident.json", "incident.md"]
    path.write_text(path.read_text().replace(marks("lucky", path.read_text())[1], ""))
    assert write(realistic(), NO_SCENARIO, tmp_path) == [
        f"{path}: region lucky has no end marker: what is left of it is kept at the end"
    ]
