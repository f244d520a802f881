"""The pages under docs/samples are those of stored runs."""

from __future__ import annotations

import re

from harness.evidence.record import RunFolder
from harness.judge import drill
from tests.samples import INDEX, SAMPLES, stored

#: Of one page, bytes: they travel with every clone.
BYTES_MAX = 500_000


def test_there_is_one_of_each_drill_that_passed_and_one_that_failed() -> None:
    """Each carries the id of a stored run, is listed, and is small."""
    runs = {RunFolder(path).plan()["run_id"] for path in stored()}
    pages = sorted(SAMPLES.glob("*.html"))
    assert {f"{name}-{end}.html" for name in drill.core() for end in ("pass", "fail")} <= {page.name for page in pages}
    listed = (SAMPLES / INDEX).read_text(encoding="utf-8")
    for page in pages:
        content = page.read_text(encoding="utf-8")
        title = re.search(r"<title>(\w+) · ([\w-]+) · ([\w-]+)</title>", content)
        assert title, page.name
        assert title[3] in runs
        assert page.name == f"{title[2]}-{title[1].lower()}.html"
        assert f"| [{page.name}]({page.name}) | `{title[3]}` |" in listed
        assert len(content.encode()) < BYTES_MAX
