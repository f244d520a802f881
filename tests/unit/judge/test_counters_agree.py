"""Token counters against records: exactly where everything ended well, within proven bounds where it did not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge.checks import counters_agree
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge.defects import ok, samples
from tests.runs import Run

TOKENS = "generation_tokens_total"


@pytest.fixture
def run() -> Run:
    """A run in which every request ended well at the first try."""
    found = runs.healthy()
    found.requests = found.requests[ok(found) & found.requests["gateway_retries"].eq(0)]
    found.requests = found.requests[found.requests["attempt"].eq(1)]
    _count_again(found)
    return found


def _count_again(run: Run) -> None:
    """The replicas counted what the requests of ``run`` got, and what the harness asked for."""
    ends = run.requests["start_s"] + run.requests["e2e_ms"] / 1000
    for replica in ("replica-1", "replica-2"):
        mine = ends[run.requests["replica"].eq(replica)].sort_values()
        made = np.concatenate([[0.0], run.requests["output_tokens"][mine.index].cumsum()])
        where = samples(run, replica, TOKENS, 0, 1e9)
        times_s = run.metrics.loc[where, "t_s"].to_numpy()
        run.metrics.loc[where, "value"] = made[np.searchsorted(mine, times_s)] + (times_s / 2).astype(int)


def judged(run: Run, tmp_path: Path) -> CheckResult:
    """The check's result, which names both replicas."""
    result = counters_agree.check().run(RunView(run.write(tmp_path / "run")))
    assert {"replica-1", "replica-2"} == set(result.details)
    return result


def made_more(run: Run, tokens: float, replica: str = "replica-1") -> None:
    """That replica counted so many tokens more (or fewer) from 30 s on."""
    where = samples(run, replica, TOKENS, 30, 1e9)
    before = run.metrics.loc[where, "value"].iloc[0]
    run.metrics.loc[where, "value"] = (run.metrics.loc[where, "value"] + tokens).clip(lower=before)


def cut(run: Run, number: int, **columns: Any) -> None:
    """The first requests of replica-1 broke after two content events, of 31 tokens that it had made."""
    rows = run.requests.index[run.requests["replica"].eq("replica-1")][:number]
    values = {"outcome": "broken_stream", "content_events": 2, "output_tokens": None, "finish_reason": None}
    for column, value in {**values, **columns}.items():
        run.requests.loc[rows, column] = value


def test_whole_streams_are_counted_exactly(run: Run, tmp_path: Path) -> None:
    """Every stream ended well: both sides are known to the token, and equal."""
    result = judged(run, tmp_path)
    assert result.status is Status.PASS, result.why
    for found in result.details.values():
        assert found["recorded"] == (found["counted"], found["counted"])


@pytest.mark.parametrize(("tokens", "says"), [(1, "1 that nobody asked for"), (-1, "1 that clients got are missing")])
def test_one_token_is_noticed(run: Run, tokens: int, says: str, tmp_path: Path) -> None:
    """Equal means equal: a single token more or less is a FAIL that names the numbers."""
    made_more(run, tokens)
    result = judged(run, tmp_path)
    assert result.status is Status.FAIL
    assert result.measured == 1
    assert says in result.why
    assert result.why.startswith("replica-1 made ")
    assert result.details["replica-2"]["status"] is Status.PASS


def test_a_broken_stream_lies_between_bounds(run: Run, tmp_path: Path) -> None:
    """Between what the client saw and what could be made until a second later; the others stay exact."""
    cut(run, 1)
    result = judged(run, tmp_path)
    low, high = result.details["replica-1"]["recorded"]
    counted = result.details["replica-1"]["counted"]
    assert result.status is Status.PASS, result.why
    assert (low, high) == (counted - 31 + 2, counted - 31 + 48)


def test_less_than_the_client_saw_of_a_broken_stream_is_noticed(run: Run, tmp_path: Path) -> None:
    """The client's own events are proof."""
    cut(run, 1)
    made_more(run, -30)
    assert judged(run, tmp_path).status is Status.FAIL


def test_generation_for_clients_that_have_gone_is_noticed(run: Run, tmp_path: Path) -> None:
    """Twenty streams cancelled at once may cost another second's work, not all that they had asked for."""
    run.requests.loc[run.requests["replica"].eq("replica-1"), "max_tokens"] = 1000
    at = float(run.requests["start_s"].min()) + 20
    cut(run, 20, outcome="cancelled_intended", start_s=at, e2e_ms=500.0)
    made_more(run, -20 * 31 + 40)
    assert judged(run, tmp_path).status is Status.PASS
    where = samples(run, "replica-1", TOKENS, 30, 1e9)
    run.metrics.loc[where, "value"] += 60 * (run.metrics.loc[where, "t_s"] - 30).clip(upper=60)
    result = judged(run, tmp_path)
    assert result.status is Status.FAIL
    assert "that nobody asked for" in result.why


def test_a_try_that_a_gateway_gave_up_is_allowed_for(run: Run, tmp_path: Path) -> None:
    """It may have cost any replica the tokens of one request, once."""
    row = run.requests.index[run.requests["replica"].eq("replica-2")][40]
    run.requests.loc[row, ["gateway_retries", "headers_ms"]] = [1, 500.0]
    made_more(run, 20)
    assert judged(run, tmp_path).status is Status.PASS
    made_more(run, 40)
    assert judged(run, tmp_path).status is Status.FAIL


def test_without_the_gateways_log_any_try_is_possible(run: Run, tmp_path: Path) -> None:
    """Nothing says that there was only one try: only bounds are known, and the sentence shows them."""
    run.requests["gateway_retries"] = None
    result = judged(run, tmp_path)
    assert result.status is Status.PASS
    low, high = result.details["replica-1"]["recorded"]
    assert low < high


def test_own_requests_that_failed_widen_the_bounds(run: Run, tmp_path: Path) -> None:
    """A probe that got nothing may have cost its token all the same."""
    run.metrics.loc[samples(run, "replica-1", "own_tokens_got_total", 30, 1e9, "by=harness"), "value"] -= 1
    assert judged(run, tmp_path).status is Status.PASS
    made_more(run, -1)
    assert judged(run, tmp_path).status is Status.PASS
    made_more(run, -1)
    assert judged(run, tmp_path).status is Status.FAIL


def test_what_the_exporter_asked_is_accounted_for(run: Run, tmp_path: Path) -> None:
    """Tokens of its synthetic generations are neither users' nor nobody's."""
    made_more(run, 4)
    assert judged(run, tmp_path).status is Status.FAIL
    for what in ("asked", "ended", "got"):
        where = samples(run, "replica-1", f"own_tokens_{what}_total", 30, 1e9, "by=exporter")
        run.metrics.loc[where, "value"] += 4
    assert judged(run, tmp_path).status is Status.PASS


def _restarts(run: Run) -> None:
    where = samples(run, "replica-1", TOKENS, 40, 1e9)
    run.metrics.loc[where, "value"] -= run.metrics.loc[where, "value"].iloc[0]


def _restarts_unseen(run: Run) -> None:
    rows = [(t_s, "replica-1", "restarts_total", "", float(t_s > 75)) for t_s in range(0, 140, 5)]
    run.metrics = pd.concat([run.metrics, pd.DataFrame(rows, columns=run.metrics.columns)], ignore_index=True)


@pytest.mark.parametrize("restart", [_restarts, _restarts_unseen])
def test_a_restart_leaves_that_replica_open(restart: Any, run: Run, tmp_path: Path) -> None:
    """A counter that began anew cannot be compared; the other replica still is."""
    restart(run)
    result = judged(run, tmp_path)
    assert result.status is Status.INCONCLUSIVE
    assert "replica-1 cannot be compared: it restarted" in result.why
    assert result.details["replica-2"]["status"] is Status.PASS
    made_more(run, 7, "replica-2")
    assert judged(run, tmp_path).status is Status.FAIL


def test_a_restart_that_a_fault_ordered_leaves_the_others_judged(run: Run, tmp_path: Path) -> None:
    """What a drill does on purpose is said, and no reason to judge nothing; without any other replica it is."""
    _restarts(run)
    order = {
        "t_s": 39.0,
        "kind": "fault_injecting",
        "phase": "one-replica",
        "expected_disruptions": ["restarts"],
        "fault": "x",
    }
    run.events.append({**order, "on": "replica-1"})
    result = judged(run, tmp_path)
    assert result.status is Status.PASS
    assert "replica-1, which a fault restarted, is left out: " in result.why
    assert result.details["replica-1"]["status"] is Status.INCONCLUSIVE
    for name in ("replica-1", "replica-2"):
        run.events.append({"t_s": 39.0, "kind": "component_restarted", "component": name})
    run.events.append({**order, "on": "replica-2"})
    assert judged(run, tmp_path).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("metric", "begin", "end"),
    [(TOKENS, 0, 1), (TOKENS, 134, 1e9), ("own_tokens_got_total", 0, 1e9), ("own_tokens_asked_total", 134, 1e9)],
)
def test_what_was_not_sampled_is_not_guessed(metric: str, begin: float, end: float, run: Run, tmp_path: Path) -> None:
    """Without samples before and after the load, of every counter: INCONCLUSIVE, never PASS."""
    m = run.metrics
    run.metrics = m[~(m["component"].eq("replica-1") & m["metric"].eq(metric) & m["t_s"].between(begin, end))]
    result = judged(run, tmp_path)
    assert result.status is Status.INCONCLUSIVE
    assert "not sampled" in result.why
