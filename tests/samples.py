"""``python -m tests.samples`` (``make samples``): ``docs/samples/``, reports of stored runs as today's code draws them.

A run is judged and rendered in a copy, so the stored one stays as it is. Nothing is written by hand.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from harness.model.verdict import Verdict
from reports import render
from reports.markdown import text

RUNS = drill.ROOT / "tests" / "fixtures" / "runs"
#: Runs that could not be judged, one per drill: the other tests need none, and take time for each run that they judge.
NOT_JUDGED = drill.ROOT / "tests" / "fixtures" / "not-judged"
SAMPLES = drill.ROOT / "docs" / "samples"
INDEX = "README.md"


#: Made by a program, for the tests of what reads run folders: no run of anything.
NO_RUN = RUNS / "v1"


def stored() -> list[Path]:
    """The folders of all stored runs: of two with the same drill and verdict the first is drawn."""
    found = [path.parent for root in (NOT_JUDGED, RUNS) for path in sorted(root.rglob("plan.json"))]
    return [path for path in found if path != NO_RUN]


def make(samples: Path = SAMPLES) -> list[str]:
    """Draw a page for each drill and verdict there is a stored run of, and the list of them; the names of the pages."""
    if samples.exists():
        shutil.rmtree(samples)
    samples.mkdir(parents=True)
    rows: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, run in enumerate(stored()):
            copy = RunFolder(shutil.copytree(run, Path(folder) / str(number)))
            for name, row in _page(copy, samples, rows):
                rows[name] = row
    lines = "\n".join(rows[name] for name in sorted(rows))
    (samples / INDEX).write_text(
        "# Reports of stored runs\n\nMade by `make samples` from the runs below `tests/fixtures/`: each is judged and "
        "drawn by today's code. Where a run is INCONCLUSIVE for the machine, it was drilled on the simulator while "
        f"others computed on the same cores.\n\n| page | run | engine | verdict |\n|---|---|---|---|\n{lines}\n",
        encoding="utf-8",
    )
    return sorted(rows)


def _page(folder: RunFolder, samples: Path, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    plan = folder.plan()
    found = verdicts.judge(folder, drill.load(plan["drill"]))
    name = f"{plan['drill']}-{found.status.value.lower()}.html"
    if name in known:
        return
    verdicts.write(folder, found)
    shutil.copyfile(render.render(folder), samples / name)
    yield name, _row(name, plan["run_id"], plan["engine"], found)


def _row(name: str, run_id: str, engine: str, found: Verdict) -> str:
    return f"| [{name}]({name}) | `{run_id}` | {engine} | {found.status.value}: {text(found.reason)} |"


if __name__ == "__main__":
    for page in make():
        print(SAMPLES / page)
