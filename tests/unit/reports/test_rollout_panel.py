"""The rollout's panel: each stage has the users' answers that the records have, each version its questions."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from reports.panels import rollout
from tests.unit.reports.stored import NOTHING, RUNS, tables, view

STORED = ("model-swap/green", "model-swap/red", "model-swap")


@pytest.mark.parametrize("name", STORED)
def test_stages_and_versions_are_counted_from_the_records(name: str) -> None:
    """Answers of the new version among all of each stage; questions by the rollout's file."""
    rows = pd.read_parquet(RUNS / name / "requests.parquet")
    rows = rows[rows["served_version"].notna()]
    told = json.loads((RUNS / name / "rollout.json").read_text())
    _, versions, stages = tables(str(rollout.html(view(name), NOTHING)))
    begins = [stage["applied_at_s"] for stage in told["stages"]]
    assert len(stages) == len(begins)
    for row, begin, end in zip(stages, begins, [*begins[1:], math.inf], strict=True):
        here = rows[rows["start_s"].ge(begin) & rows["start_s"].lt(end)]
        new = here["served_version"].eq(told["candidate"]["version"]).sum()
        assert row["answers it gave users"].startswith(f"{new} of {len(here)}")
    for row, side in zip(versions, ("stable", "candidate"), strict=True):
        assert row["version"] == told[side]["version"]
        assert int(row["questions"]) == sum(probe["side"] == side for probe in told["probes"])
