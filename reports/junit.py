"""The verdict as JUnit XML: a check is a case; INCONCLUSIVE an ``error``, FAIL a ``failure``, SKIPPED ``skipped``.

The recorded cause of an INCONCLUSIVE verdict is the suite's property ``cause``; ``not_asked`` names the checks that are
no part of the drill of an external target. Each case has its check's ``id``, ``phase`` and ``subject`` as properties.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from harness.evidence.view import RunView
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
