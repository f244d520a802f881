"""Every indicator in every phase: what history compares, also where no objective asks for it."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from harness.evidence.view import RunView
from harness.judge import per_phase, slo, verdicts
from harness.judge.drill import load
from tests.runs import healthy
from tests.unit.judge.verdicts import SCHEMA


def test_values_are_those_that_an_objective_would_find(tmp_path: Path) -> None:
    """Asked for by name, of the same phase: the same number, unit and count. Bounds are left out."""
    view = RunView(healthy().write(tmp_path))
    found = per_phase.values(view)
    for one in found:
        asked = slo.measure(view, one.sli, [one.phase])
        assert (one.value, one.unit, one.samples) == (asked.value, asked.unit, asked.samples)
    names = {one.sli for one in found if one.phase == "baseline"}
    assert {"availability", "goodput", "ttft_p50_ms", "ttft_p95_ms", "e2e_p95_ms", "tps_p50"} <= names
    assert not {name for name in names if name.startswith(("queue", "execution"))}


def test_too_few_requests_are_no_value(tmp_path: Path) -> None:
    """A percentile that is no answer is left out, and so is a phase without any request."""
    run = healthy()
    run.requests = run.requests[~run.in_phase("baseline")]
    view = RunView(run.write(tmp_path / "none"))
    assert not [one for one in per_phase.values(view) if one.phase == "baseline"]
    run = healthy()
    run.requests = run.requests[~run.in_phase("baseline") | (run.in_phase("baseline").cumsum() <= 20)]
    names = {one.sli for one in per_phase.values(RunView(run.write(tmp_path / "few"))) if one.phase == "baseline"}
    assert "ttft_p50_ms" in names
    assert "ttft_p95_ms" not in names


def test_an_indicator_that_crashes_keeps_no_verdict_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objective says so; the others have their values."""
    view = RunView(healthy().write(tmp_path))
    monkeypatch.setattr("harness.judge.slis.goodput.measure", lambda rows, view: 1 / 0)
    names = {one.sli for one in per_phase.values(view)}
    assert "goodput" not in names
    assert "availability" in names


def test_the_verdict_keeps_them(tmp_path: Path) -> None:
    """Written, read again, and as the schema says; an objective's value is the same number."""
    folder = healthy().write(tmp_path)
    verdicts.write(folder, verdicts.judge(folder, load("timeout-spike")))
    found = verdicts.read(folder)
    known = {(one.sli, one.phase): one.value for one in found.slis}
    assert len(known) == len(found.slis) > 40
    objectives = [check for check in found.checks if check.id.startswith("slo-")]
    same = [known.get((check.id.removeprefix("slo-").replace("-", "_"), check.phase or "")) for check in objectives]
    assert len([value for value in same if value is not None]) > 2
    assert all(value in (None, check.measured) for value, check in zip(same, objectives, strict=True))
    written = folder.read_json("verdict.json")
    jsonschema.validate(written, SCHEMA)
    written["slis"][0]["value"] = None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, SCHEMA)
