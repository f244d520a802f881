"""Failure modes and the scenarios that use them are found in files, and are those that a live run knows."""

from __future__ import annotations

from pathlib import Path

from harness.faults import base
from harness.judge import failure_modes
from harness.judge.drill import ROOT
from harness.judge.failure_modes import FailureMode, Use
from harness.plan import loading


def test_the_files_name_what_a_scenario_may_list() -> None:
    """Found by reading, they are exactly the types that are found by importing; each says what it does."""
    found = failure_modes.known()
    assert [mode.type for mode in found] == base.types()
    assert all(len(mode.what) > 10 and not mode.what.endswith(".") for mode in found)
    kinds = {mode.type: mode.kind for mode in found}
    assert (kinds["kill"], kinds["cancel_wave"], kinds["swap"]) == ("fault", "workload", "operation")


def test_a_new_file_is_a_new_failure_mode(tmp_path: Path) -> None:
    """One file is enough; a file without one of the three constants is what others share."""
    (tmp_path / "operations").mkdir()
    (tmp_path / "hiccup.py").write_text('"""It hiccups. Twice.\n\nMore."""\n\nFAULT = Hiccup\n')
    (tmp_path / "operations" / "rotate.py").write_text('"""Keys are\nrotated."""\nOPERATION: type = Rotate\n')
    (tmp_path / "shared.py").write_text('"""Shared."""\nNOTHING = 1\n')
    expected = [FailureMode("hiccup", "fault", "It hiccups"), FailureMode("rotate", "operation", "Keys are rotated")]
    assert failure_modes.known(tmp_path) == expected


def test_shipped_scenarios_use_what_they_load_with() -> None:
    """Read as plain YAML, every shipped scenario lists what its loaded form has."""
    uses, unreadable = failure_modes.used()
    assert unreadable == []
    for path in (ROOT / "scenarios").glob("*.yaml"):
        if path.stem.endswith(".external"):
            continue  # its targets are in no stack of ours
        scenario = loading.load(path)
        listed = {(spec.type, spec.on) for phase in scenario.phases for spec in phase.faults}
        assert {(use.type, on) for use in uses if use.scenario == scenario.name for on in use.on} == listed


def test_what_is_no_scenario_is_named(tmp_path: Path) -> None:
    """It is neither silently left out nor does it keep the others from being read."""
    (tmp_path / "good.yaml").write_text(
        "name: good\nphases:\n  - {name: a, faults: [{type: kill, on: replica-1}]}\n  - {name: b}\n"
    )
    for name, text in {
        "list": "- 1",
        "broken": "phases: [",
        "odd": "phases: 3",
        "binary": "\x00",
        "half": "a: 1",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    uses, unreadable = failure_modes.used(tmp_path)
    assert uses == [Use("good", "kill", ("replica-1",))]
    assert unreadable == ["binary.yaml", "broken.yaml", "half.yaml", "list.yaml", "odd.yaml"]
