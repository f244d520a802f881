"""What the sampler reports of its samples agrees with what it has written, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.evidence import samples_kept
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.probes.base import MetricWriter, Row
from tests import runs


def _relabel(samples: pd.DataFrame) -> pd.DataFrame:
    return samples.replace({"component": {"replica-1": "replica-2"}})


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "lost": lambda samples: samples[samples["t_s"].ne(0.5)],
    "series lost": lambda samples: samples[samples["component"].ne("replica-1")],
    "doubled": lambda samples: pd.concat([samples, samples]),
    "later": lambda samples: samples.assign(t_s=samples["t_s"] + 0.1),
    "other values": lambda samples: samples.assign(value=0.0),
    "another's": _relabel,
}


def recorded(path: Path) -> RunView:
    """A run whose samples the writer has written."""
    folder = runs.healthy_run(path)
    (path / samples_kept.FILE).unlink()
    writer = MetricWriter(path / "metrics.parquet")
    for step in range(4):
        t_s = step / 2
        writer.add(t_s, [Row("replica-1", "up", "", 1.0), Row("replica-2", "up", "", 1.0), Row("dns", "up", "", 1.0)])
    writer.close()
    return RunView(folder)


def test_the_writer_reports_what_it_wrote(tmp_path: Path) -> None:
    """Read back, they are the same; a sum in another order is the same sum."""
    view = recorded(tmp_path / "run")
    assert samples_kept.difference(view) is None
    path = tmp_path / "run" / samples_kept.FILE
    data = json.loads(path.read_text())
    assert [one["samples"] for one in data["series"]] == [4, 4, 4]
    data["series"] = [{**one, "sum": one["sum"] * (1 + 1e-12)} for one in data["series"][::-1]]
    path.write_text(json.dumps(data))
    assert samples_kept.difference(view) is None


@pytest.mark.parametrize("change", CHANGES)
def test_any_difference_is_named(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are lost, doubled, moved, changed or somebody else's: the first such series, with both numbers."""
    view = recorded(tmp_path / "run")
    samples = CHANGES[change](view.folder.metrics())
    monkeypatch.setattr(RunFolder, "metrics", lambda _: samples)
    difference = samples_kept.difference(view) or ""
    assert "series are not as they were sampled: " in difference
    assert "sampled: 4 from 0.0 s to 1.5 s, sum 4" in difference


def test_unknown_is_not_the_same(tmp_path: Path) -> None:
    """Without the sampler's word, or with a broken one, nobody knows."""
    view = recorded(tmp_path / "run")
    path = tmp_path / "run" / samples_kept.FILE
    for text in ('{"series": [{"component": "dns"}]}', "{}", ""):
        path.write_text(text)
        assert (samples_kept.difference(view) or "").startswith("what was sampled is not recorded")
    path.unlink()
    assert (samples_kept.difference(view) or "").startswith("what was sampled is not recorded")
