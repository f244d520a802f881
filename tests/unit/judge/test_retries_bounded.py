"""Client retries: a cap that is not kept is red, a generator that was late is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge.checks import retries_bounded
from harness.model.verdict import Status
from tests import runs


@pytest.mark.parametrize(
    ("over_ms", "status"), [(200.0, Status.PASS), (400.0, Status.INCONCLUSIVE), (9000.0, Status.FAIL)]
)
def test_a_retry_after_the_cap(over_ms: float, status: Status, tmp_path: Path) -> None:
    """A little is the generator's wake-up; more may be a busy machine; more than the cap once again is no cap."""
    run = runs.healthy()
    view = RunView(run.write(tmp_path / "healthy"))
    again = run.requests.index[run.requests["attempt"].eq(2)][0]
    before = run.requests["request_id"].eq(run.requests.loc[again, "request_id"]) & run.requests["attempt"].eq(1)
    asked_ms = 1000 * float(run.requests.loc[before, "retry_after_s"].fillna(0.0).iloc[0])
    run.requests.loc[again, "retry_delay_ms"] = asked_ms + 1000 * view.retries.cap + over_ms
    found = retries_bounded.check().run(RunView(run.write(tmp_path / "run")))
    assert found.status is status, found.why
