"""What a check needs of a single replica or gateway, it declares: by the runs of all drills, not by their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import failover_runs, node_restart_runs, oom_runs, runs, swap_runs, wave_runs
from tests.runs import Run

HEALTHY: dict[str, Callable[[], Run]] = {
    "timeout-spike": runs.healthy,
    "gateway-failover": lambda: runs.healthy(failover_runs.FAILOVER),
    "node-restart": node_restart_runs.healthy,
    "oom": oom_runs.healthy,
    "cancel-storm": wave_runs.healthy,
    "model-swap": swap_runs.healthy,
}
#: Of what a component got in a healthy run, one request in so many is left to it; the others went elsewhere.
LEFT = 15


def moved(requests: pd.DataFrame, columns: tuple[str, ...], source: str, target: str) -> bool:
    """Whether anything was: then as many requests as before, at the same times, but hardly one at ``source``."""
    for column in columns:
        rows = requests.index[requests[column].eq(source)]
        requests.loc[[row for number, row in enumerate(rows) if number % LEFT], column] = target
    return len(rows) > 0


def hardly_used(make: Callable[[], Run], view: RunView) -> Iterator[Run]:
    """The run, once for each replica and each gateway of which hardly any request was asked."""
    roles = (
        (("replica", "gateway_replica"), view.replicas),
        (("gateway",), tuple(map(str, map(view.address_of, view.gateways)))),
    )
    for columns, components in roles:
        for source, target in zip(components, (*components[1:], components[0]), strict=True):
            run = make()
            if moved(run.requests, columns, source, target):
                yield run


def lacking(name: str, folder: Path) -> set[str]:
    """Ids of the checks of a drill that say of too few requests at one component that they cannot judge.

    What finds none at all does not count samples: it misses what its fault sees to, such as a stream that runs.
    """
    view, found = RunView(HEALTHY[name]().write(folder / "healthy")), set[str]()
    for number, run in enumerate(hardly_used(HEALTHY[name], view)):
        thinned = RunView(run.write(folder / str(number)))
        for check in (*verdicts.INVARIANTS, *drill.load(name).checks):
            result = check.run(thinned)
            if result.status is Status.INCONCLUSIVE and result.samples:
                found.add(check.id)
    return found


@pytest.mark.parametrize("name", drill.names())
def test_what_needs_samples_of_a_single_component_declares_them(name: str, tmp_path: Path) -> None:
    """What declares them of one replica does need them; several in turn may make up for each other."""
    declared = {check.id: check.replica_samples.after for check in drill.load(name).checks if check.replica_samples}
    found = lacking(name, tmp_path)
    assert found <= set(declared), "declare replica_samples (harness/judge/drill.py), so that fitting counts them"
    assert {one for one, after in declared.items() if len(after) == 1} <= found


@pytest.mark.parametrize(("spare", "status"), [(0, Status.PASS), (-1, Status.INCONCLUSIVE)])
def test_the_declared_number_is_the_one_that_is_needed(tmp_path: Path, spare: int, status: Status) -> None:
    """With exactly so many answers in the declared time the check judges, and with one fewer it cannot."""
    (check,) = (one for one in drill.load("oom").checks if one.replica_samples)
    needed, run = check.replica_samples, oom_runs.healthy()
    assert needed
    (phase,) = needed.after
    begin = run.span(phase)[1] + needed.from_s
    mine = run.requests["replica"].eq("replica-2") & run.requests["outcome"].eq("ok")
    counted = run.requests.index[mine & run.requests["start_s"].ge(begin)]
    assert len(counted) > needed.count
    rest = counted[needed.count + spare :]
    run.requests.loc[rest, ["replica", "gateway_replica"]] = "replica-1"
    found = check.run(RunView(run.write(tmp_path / "run")))
    assert (found.status, found.samples) == (status, needed.count + spare)
