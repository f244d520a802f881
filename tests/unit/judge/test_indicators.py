"""Was an alert true? Its own indicator from the run's records: over its limit, near it, or well within it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge import indicators
from harness.judge.alerts import Alert
from harness.judge.indicators import Standing
from harness.model.alert_rules import BY_NAME, FAILURES_MIN, GATEWAY_BUCKETS_S, RULES, TTFT_BUCKETS_S
from tests import runs
from tests.judge.defects import fail
from tests.runs import Run

AT_S = 30.0
GATEWAY, REPLICA = {"component": "gateway-a"}, {"component": "replica-2"}
SERVER, SYNTHETIC = {"server": "replica-2"}, {"replica": "replica-2"}
QUEUE, REFUSED, SCRAPE = (
    {"component": "gateway-a", "proxy": "replicas"},
    {"component": "replica-2"},
    {"job": "exporter"},
)


def standing(run: Run, path: Path, name: str, labels: dict[str, str]) -> indicators.Reading | None:
    """What the records say of that alert at ``AT_S``."""
    alert = Alert(name, BY_NAME[name].severity, labels, AT_S, AT_S + 0.5, before=False)
    return indicators.read(RunView(run.write(path)), alert, "drill", AT_S)


def took(column: str, ms: float) -> Callable[[Run], None]:
    """One request in ten takes so long, and ends or has its first token before the alert."""

    def change(run: Run) -> None:
        rows = run.requests["start_s"].between(AT_S - ms / 1000 - 4, AT_S - ms / 1000 - 0.5)
        run.requests.loc[rows, column] = ms

    return change


def failing(count: int) -> Callable[[Run], None]:
    """So many requests of the window fail."""

    def change(run: Run) -> None:
        fail(run, run.requests["request_id"].isin(run.requests["request_id"][80 : 80 + count]))

    return change


def sample(component: str, metric: str, value: float, labels: str = "") -> Callable[[Run], None]:
    """That series has that value for the last seconds before the alert."""

    def change(run: Run) -> None:
        m = run.metrics
        rows = m["component"].eq(component) & m["metric"].eq(metric) & m["labels"].eq(labels)
        run.metrics.loc[rows & m["t_s"].between(AT_S - 3, AT_S + 1), "value"] = value

    return change


def unseen(component: str, metric: str) -> Callable[[Run], None]:
    """Nobody saw that series for the last seconds before the alert."""

    def change(run: Run) -> None:
        m = run.metrics
        rows = m["component"].eq(component) & m["metric"].eq(metric) & m["t_s"].between(AT_S - 4, AT_S + 1)
        run.metrics = run.metrics[~rows]

    return change


def well(run: Run) -> None:
    """Nothing is the matter."""


#: Alert, its labels; what makes it true, and what leaves it undecided: near its limit, or not seen.
CASES = (
    ("TtftP95High", {}, took("ttft_ms", 1500), took("ttft_ms", 700)),
    ("E2eP95High", {}, took("e2e_ms", 9000), took("e2e_ms", 7000)),
    ("ExecutionP95High", {}, took("e2e_ms", 6000), took("e2e_ms", 4500)),
    ("FailuresHigh", {}, failing(FAILURES_MIN), failing(FAILURES_MIN - 1)),
    ("FailuresHighSlow", {}, failing(FAILURES_MIN), failing(FAILURES_MIN - 1)),
    ("ReplicaDown", REPLICA, sample("replica-2", "up", 0), unseen("replica-2", "up")),
    (
        "ReplicaDown",
        SERVER,
        sample("gateway-a", "server_up", 0, "server=replica-2"),
        unseen("gateway-a", "server_up"),
    ),
    ("ReplicaDeaf", SYNTHETIC, sample("replica-2", "synthetic_ok", 0), unseen("replica-2", "synthetic_ok")),
    (
        "ReplicaDeaf",
        SYNTHETIC,
        sample("replica-2", "synthetic_ttft_ms", 2100),
        sample("replica-2", "synthetic_ttft_ms", 1600),
    ),
    ("GatewayDown", GATEWAY, sample("gateway-a", "up", 0), unseen("gateway-a", "up")),
    ("ExporterDown", SCRAPE, sample("exporter", "alerts_readable", 0), unseen("exporter", "alerts_readable")),
    ("QueueSaturated", QUEUE, sample("gateway-a", "queue_current", 58), sample("gateway-a", "queue_current", 57)),
    ("QueueSaturated", REFUSED, sample("replica-2", "admission_rejections_total", 3), None),
)


@pytest.mark.parametrize(
    ("name", "labels", "bad", "near"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_alert_is_true_near_or_false(
    name: str, labels: dict[str, str], bad: Callable[[Run], None], near: Callable[[Run], None] | None, tmp_path: Path
) -> None:
    """The same alert over its limit, at it, and over records in which all is well; always with numbers or a name."""
    wanted = {bad: Standing.OVER, near: Standing.NEAR, well: Standing.WITHIN}
    for number, (change, expected) in enumerate(wanted.items()):
        if change is not None:
            run = runs.only_alerts("timeout-spike")
            change(run)
            found = standing(run, tmp_path / str(number), name, labels)
            assert found is not None
            assert found.standing is expected, found.why
            assert found.why


@pytest.mark.parametrize(("name", "labels"), [case[:2] for case in CASES])
def test_without_records_nothing_is_claimed(name: str, labels: dict[str, str], tmp_path: Path) -> None:
    """Neither true nor false."""
    run = runs.only_alerts("timeout-spike")
    run.requests, run.metrics = run.requests.iloc[:0], run.metrics.iloc[:0]
    found = standing(run, tmp_path / "run", name, labels)
    assert found is not None
    assert found.standing is Standing.UNKNOWN


def test_every_page_of_the_service_is_read_again() -> None:
    """But for what only the exporter knows: whether it can read a gateway's log."""
    pages = {rule.name for rule in RULES if rule.severity == "page" and rule.of == "service"}
    assert pages == {case[0] for case in CASES} == set(indicators._READERS)


def test_what_only_the_exporter_knows_is_not_read_again(tmp_path: Path) -> None:
    """The records hold nothing of it."""
    assert (
        standing(runs.only_alerts("timeout-spike"), tmp_path / "run", "ExporterDown", {"gateway": "gateway-a"}) is None
    )


def test_a_gateway_that_does_not_answer_says_nothing_of_replicas(tmp_path: Path) -> None:
    """It is dead and known to be: that a replica is down, only the other one can have told."""
    run = runs.only_alerts("timeout-spike")
    sample("gateway-a", "up", 0)(run)
    unseen("gateway-a", "server_up")(run)
    found = standing(run, tmp_path / "run", "ReplicaDown", SERVER)
    assert found is not None
    assert found.standing is Standing.WITHIN, found.why


def test_a_prometheus_that_does_not_come_round_finds_nothing_down(tmp_path: Path) -> None:
    """Its scrapes fail for want of a processor; what they were of is well, as far as the harness saw."""
    run = runs.only_alerts("timeout-spike")
    unseen("prometheus", "rules_evaluated")(run)
    found = standing(run, tmp_path / "run", "GatewayDown", GATEWAY)
    assert found is not None
    assert found.standing is Standing.NEAR, found.why
    assert "prometheus" in found.why


def test_a_limit_is_kept_clearly_with_a_whole_bucket_to_spare() -> None:
    """The bucket in which the limit lies does not count, whatever part of it is below."""
    assert indicators.clear_below(0.8, TTFT_BUCKETS_S) == 0.5
    assert indicators.clear_below(8.0, GATEWAY_BUCKETS_S) == 6
    assert indicators.clear_below(5.0, GATEWAY_BUCKETS_S) == 4
    assert indicators.clear_below(0.04, GATEWAY_BUCKETS_S) < 0


def test_attempts_that_no_replica_was_asked_do_not_hide_slow_ones(tmp_path: Path) -> None:
    """Refusals are quick; the gateways' histogram does not have them, and neither has the indicator."""
    run = runs.only_alerts("timeout-spike")
    took("e2e_ms", 9000)(run)
    quick = run.requests[run.requests["start_s"].between(AT_S - 12, AT_S)].assign(
        outcome="shed_503", e2e_ms=5.0, gateway_replica="", ttft_ms=None
    )
    run.requests = pd.concat([run.requests, *[quick] * 5], ignore_index=True)
    found = standing(run, tmp_path / "run", "E2eP95High", {})
    assert found is not None
    assert found.standing is Standing.OVER, found.why
