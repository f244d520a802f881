"""What healing itself has cut is not blamed on the service, and is no PASS."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.evidence.record import CUT_BY_HEAL
from harness.judge import drill
from harness.model.verdict import Status
from tests import runs
from tests.judge import defects
from tests.judge.timeout_spike import mutants
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
CHECK = "availability with a slow link"


def _last_of_slow_link(run: Run, count: int) -> pd.Series:
    rows = run.requests["phase"].eq("slow-link") & run.requests["final"]
    return run.requests.index.isin(run.requests.index[rows][-count:])


def _cut(run: Run) -> None:
    """Five requests of the slow link, about two in a hundred, ended when its proxy was made again."""
    rows = _last_of_slow_link(run, 5)
    run.requests.loc[rows, ["outcome", "subtype", "finish_reason"]] = ["broken_stream", CUT_BY_HEAL, None]
    run.requests.loc[rows, "http_status"] = 200


def _broken(run: Run) -> None:
    """As many broke off without anybody's doing."""
    _cut(run)
    run.requests.loc[_last_of_slow_link(run, 5), "subtype"] = "fin"


def _told_so(run: Run) -> None:
    """As many failed, and the server called its error what a cut is called in the records."""
    _cut(run)
    run.requests.loc[_last_of_slow_link(run, 5), ["outcome", "error_type"]] = ["inband_error", CUT_BY_HEAL]


def _cut_and_refused(run: Run) -> None:
    """The service failed besides."""
    defects.fail(run, pd.Series(_last_of_slow_link(run, 12), run.requests.index))
    _cut(run)


@pytest.mark.parametrize(
    ("defect", "status"),
    [(_cut, Status.INCONCLUSIVE), (_broken, Status.FAIL), (_told_so, Status.FAIL), (_cut_and_refused, Status.FAIL)],
)
def test_what_a_heal_cut_is_no_failure_of_the_service(defect: object, status: Status, tmp_path: Path) -> None:
    """Without those requests the objective would be met: then nobody knows. Where it would not, it is broken."""
    run = runs.healthy()
    mutants.as_external(run)
    assert callable(defect)
    defect(run)
    run.recount()
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    (found,) = (check for check in verdict.checks if check.name == CHECK)
    assert found.status is status, found.why
    assert ("the heal of a link cut 5 requests" in found.why) == (status is Status.INCONCLUSIVE)
    assert verdict.status is status


def test_a_cut_that_breaks_nothing_changes_nothing(tmp_path: Path) -> None:
    """A request that was cut and asked again is served: the run is as good as any."""
    run = runs.healthy()
    mutants.as_external(run)
    first = run.requests.index[run.requests["phase"].eq("slow-link") & ~run.requests["final"].astype(bool)]
    run.requests.loc[first[:1], "subtype"] = CUT_BY_HEAL
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.PASS, verdict.reason
