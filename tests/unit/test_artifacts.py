"""What only some runs record: found by its module, sealed with the run, read through the view."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from harness.evidence import records_kept
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.model import artifacts
from harness.model.artifacts import Artifact
from tests import runs

KIND = Artifact[int]("count.json", lambda data: int(data["count"]), 0)


def test_every_module_is_a_kind_and_is_sealed() -> None:
    """Nothing names them elsewhere: a module in the folder is enough."""
    found = sorted(path.stem for path in Path(artifacts.__file__).parent.glob("*.py") if path.stem != "__init__")
    kinds = [importlib.import_module(f"harness.model.artifacts.{name}").ARTIFACT for name in found]
    assert sorted(kind.file for kind in kinds) == list(artifacts.files())
    assert len(set(artifacts.files())) == len(found) >= 2
    assert set(artifacts.files()) <= set(records_kept.DOCUMENTS)


@pytest.mark.parametrize(
    ("content", "says"),
    [('{"count": 3}', 3), (None, 0), ("{", 0), ("{}", 0), ('{"count": null}', 0)],
    ids=["whole", "missing", "torn", "of another kind", "of another type"],
)
def test_the_view_reads_a_kind_that_it_does_not_know(content: str | None, says: int, tmp_path: Path) -> None:
    """And a run has ``absent`` where the file is missing or says something else."""
    folder: RunFolder = runs.healthy_run(tmp_path / "run")
    if content is not None:
        (folder.path / KIND.file).write_text(content)
    view = RunView(folder)
    assert view.artifact(KIND) == says
    (folder.path / KIND.file).write_text('{"count": 4}')
    assert view.artifact(KIND) == says, "a view reads it once"
