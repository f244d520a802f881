"""The verdict as JUnit XML: a check is a case; INCONCLUSIVE an ``error``, FAIL a ``failure``, SKIPPED ``skipped``.

The recorded cause of an INCONCLUSIVE verdict is the suite's property ``cause``; ``not_asked`` names the checks that are
no part of the drill of an external target. Each case has its check's ``id``, ``phase`` and ``subject`` as properties.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from harness.evidence.view import RunView
from harness.model.night import Night
from harness.model.verdict import CheckResult, Status, Verdict

#: Characters that XML 1.0 cannot hold, not even escaped; servers put them into answers all the same.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {Status.FAIL: "failure", Status.INCONCLUSIVE: "error", Status.SKIPPED: "skipped"}


def render(view: RunView, verdict: Verdict) -> str:
    """The document as text. Validity findings are cases of their own: they explain what was not judged."""
    name = f"drillyard.{view.plan['drill']}"
    cases = [*(("validity", finding) for finding in verdict.validity), *(("check", check) for check in verdict.checks)]
    statuses = [check.status for _, check in cases]
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(statuses.count(Status.FAIL)),
        errors=str(statuses.count(Status.INCONCLUSIVE)),
        skipped=str(statuses.count(Status.SKIPPED)),
        timestamp=str(view.plan["anchor"].get("wall", "")),
    )
    told = {"cause": verdict.cause, "not_asked": ", ".join(verdict.not_asked)}
    _properties(suite, told)
    for kind, check in cases:
        suite.append(_case(f"{name}.{kind}", check))
    return _document(suite)


def of_night(night: Night) -> str:
    """The document of a night: an entry is a case. What was not run is an ``error``, as what was not judged."""
    statuses = [entry.status or Status.INCONCLUSIVE for entry in night.entries]
    suite = ElementTree.Element(
        "testsuite",
        name=f"drillyard.{night.suite}",
        tests=str(len(statuses)),
        failures=str(statuses.count(Status.FAIL)),
        errors=str(statuses.count(Status.INCONCLUSIVE)),
        skipped="0",
        timestamp=night.started.isoformat(),
    )
    for entry in night.entries:
        took_s = sum(attempt.duration_s for attempt in entry.attempts)
        case = ElementTree.Element(
            "testcase", classname=f"drillyard.{night.suite}", name=entry.id, time=f"{took_s:.1f}"
        )
        _properties(case, {"runs": ", ".join(attempt.run_id for attempt in entry.attempts)})
        if (tag := _TAGS.get(entry.status or Status.INCONCLUSIVE)) is not None:
            why = (
                entry.attempts[-1].reason if entry.attempts else f"not run: {entry.not_run or 'the night was cut off'}"
            )
            kind = entry.status.value if entry.status else "NOT RUN"
            ElementTree.SubElement(case, tag, message=why, type=kind)
        suite.append(case)
    return _document(suite)


def _document(suite: ElementTree.Element) -> str:
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text) + "\n"


def _properties(parent: ElementTree.Element, values: Mapping[str, str | None]) -> None:
    """Those that have a value, as properties of the element."""
    if known := {key: value for key, value in values.items() if value}:
        properties = ElementTree.SubElement(parent, "properties")
        for key, value in known.items():
            ElementTree.SubElement(properties, "property", name=key, value=value)


def _case(classname: str, check: CheckResult) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=classname, name=check.name)
    _properties(case, {"id": check.id, "phase": check.phase, "subject": check.subject})
    tag = _TAGS.get(check.status)
    if tag is not None:
        detail = ElementTree.SubElement(case, tag, message=check.why, type=check.status.value)
        detail.text = (
            f"objective: {check.objective}\nmeasured: {check.measured} {check.unit}\ne.g. {', '.join(check.examples)}"
        )
    return case
