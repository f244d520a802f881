"""incident.json: all of a report, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from harness.model.errors import UsageError
from harness.model.incident import Report
from reports.incident import document
from tests.incident_reports import realistic, reports
from tests.unit.properties.depth import draws


@draws(25)
@given(reports())
def test_nothing_is_lost(report: Report) -> None:
    """Whatever stands in it."""
    assert document.read(document.render(report)) == report


def test_a_tracker_finds_what_it_needs() -> None:
    """Status, how it was made, each number once and with its source."""
    raw = json.loads(document.render(realistic()))
    assert (raw["schema"], raw["status"], raw["made_from"]["drill"]) == (1, "draft", "gateway-failover")
    found = [one for one in raw["figures"] if one["id"] == "overview.bad"]
    assert [(one["text"], one["source"]["place"]) for one in found] == [("43 of 1,204 requests", "requests.parquet")]
    assert {"id": "lucky", "asks": "what else", "text": ""} in raw["blanks"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no incident report"),
        ("[]", "no incident report"),
        ('{"schema": 1}', "no incident report: KeyError 'title'|no incident report: KeyError 'figures'"),
        ('{"schema": 2}', "of schema 2; this version reads 1"),
        ("[" * 100_000, "no incident report: RecursionError"),
    ],
)
def test_what_is_no_report_is_one_line(content: str, said: str) -> None:
    """Of another schema, too."""
    with pytest.raises(UsageError, match=said) as told:
        document.read(content)
    assert "\n" not in str(told.value)


def test_two_of_one_name_are_refused() -> None:
    """A number or a blank with two meanings could not be asked again, or filled in."""
    report = realistic()
    twice = Report(report.title, report.made_from, (*report.sections, report.sections[-1]))
    with pytest.raises(ValueError, match=r"two blanks are called action\.1\.owner"):
        document.render(twice)
