"""The pages for people: the glossary is in order, no link leads nowhere, and what they show works and is true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from harness.judge import alert_times, drill, verdicts
from harness.judge.drill import ROOT, Drill
from harness.model.alert_rules import STACK_SCALE
from harness.plan import dryrun, loading
from harness.plan.options import StackOptions, build_topology
from tests.drills.live_defects import LIVE
from tests.test_tidy import RUNBOOK_WORDS_MIN

GLOSSARY = ROOT / "docs" / "glossary.md"
LINES_MAX = 2
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path, text: str) -> list[str]:
    """Its links to files of the checkout, and to headings in them, that lead nowhere."""
    found = []
    for link in _LINK.findall(text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link or (target.exists() and (not anchor or anchor in anchors(target))):
            continue
        found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that it has."""
    assert broken(page, page.read_text()) == []


def test_a_link_to_nowhere_is_found() -> None:
    """A file that is not there, a heading that is not there; those that are there are left alone."""
    text = "[a](metrics.md#capacity) [b](no.md) [c](metrics.md#no-such) [d](https://example.com/no) [e](#glossary)"
    assert broken(GLOSSARY, text) == ["no.md", "metrics.md#no-such"]


def test_the_glossary_is_in_order_and_brief() -> None:
    """By the alphabet, each word once, in two lines at most; README and the map of the code lead to it."""
    entries = re.split(r"^- ", GLOSSARY.read_text(), flags=re.MULTILINE)[1:]
    words = [re.findall(r"^\*\*(.+?)\*\* – ", entry)[0].lower() for entry in entries]
    assert words == sorted(set(words))
    assert [entry for entry in entries if len(entry.strip().splitlines()) > LINES_MAX] == []
    for page in (ROOT / "README.md", ROOT / "docs" / "whats-here.md"):
        assert "glossary.md)" in page.read_text()


def skeleton(tmp_path: Path) -> tuple[Drill, Path]:
    """The drill that docs/creating-a-drill.md shows, and its scenario as a file."""
    shown = (ROOT / "docs" / "creating-a-drill.md").read_text()
    files = dict(re.findall(r"^`((?:drills|scenarios)/\S+)`:\n\n```\w+\n(.*?)^```$", shown, re.MULTILINE | re.DOTALL))
    module, scenario = "drills/frozen_replica.py", "scenarios/frozen-replica.yaml"
    assert set(files) == {module, scenario}
    (tmp_path / "drill.py").write_text(files[module])
    (tmp_path / "scenario.yaml").write_text(files[scenario])
    return runpy.run_path(str(tmp_path / "drill.py"))["DRILL"], tmp_path / "scenario.yaml"


def test_the_skeleton_of_a_drill_works(tmp_path: Path) -> None:
    """It is a drill whose plan can be shown, with a runbook, phases for every check and time for every alert."""
    one, path = skeleton(tmp_path)
    topology = build_topology(StackOptions("process", "sim"))
    scenario = loading.load(path, ["load.rate=5/s"], topology)
    assert (one.name, one.scenario, scenario.name) == ("frozen-replica",) * 3
    assert len(one.runbook.split()) >= RUNBOOK_WORDS_MIN
    assert set().union(*(check.phases for check in one.checks)) <= {phase.name for phase in scenario.phases}
    assert list(alert_times.too_short(one.alerts, scenario.phases, STACK_SCALE)) == []
    assert "pause on replica-2" in dryrun.text(one, scenario, topology, "process", ())


def counted(name: str) -> int:
    """How many checks and objectives a run of the drill's own scenario is asked."""
    one = drill.load(name)
    return len(verdicts.checks(one)) + len(
        yaml.safe_load((ROOT / "scenarios" / f"{one.scenario}.yaml").read_text())["slos"]
    )


def test_numbers_of_checks_are_true() -> None:
    """Of a drill on its own page, and of timeout-spike, whose run the README shows."""
    pages = {name: ROOT / "docs" / "drills" / f"{name}.md" for name in drill.names()}
    quoted = [("timeout-spike", number) for number in re.findall(r"all (\d+) checks", (ROOT / "README.md").read_text())]
    assert quoted
    quoted += [
        (name, number) for name, page in pages.items() for number in re.findall(r"(\d+) checks", page.read_text())
    ]
    assert [(name, number) for name, number in quoted if int(number) != counted(name)] == []


def test_programs_of_the_checkout_run_in_its_environment() -> None:
    """A plain `python` has none of their packages."""
    plain = re.compile(r"(?<!\.venv/bin/)\bpython[\d.]* -m (?:harness|stack|tests|benchmarks)\b(?!…)")
    assert [(page.name, found[0]) for page in PAGES for found in plain.finditer(page.read_text())] == []


def test_the_readme_quotes_how_much_live_defects_turn_red() -> None:
    """Pairs of drill and check, of all that is asked in any of its scenarios."""
    asked = {(name, one.name) for name in drill.names() for one in verdicts.checks(drill.load(name), external=True)}
    for name in drill.names():
        for path in ROOT.glob(f"scenarios/{drill.load(name).scenario}*.yaml"):
            asked |= {(name, slo["name"]) for slo in yaml.safe_load(path.read_text())["slos"]}
    red = {(live.drill, check) for live in LIVE for check in live.red}
    quoted = f"{len(red & asked)} of the {len(asked)} checks and objectives"
    assert quoted in " ".join((ROOT / "README.md").read_text().split())
