"""What a report says: of a run what its records hold, of a history no more than counters and gauges can tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.evidence.history import HistoryView
from harness.evidence.record import RunFolder
from harness.model import mapping
from harness.model.incident import NOT_MEASURED, Items, Report, Table, Text
from harness.run.history import Wanted, fetch
from reports.incident import of_run
from reports.incident.make import report
from reports.incident.of_history import HistoryCase
from reports.incident.of_run import RunCase
from tests.incidents import FROM, World
from tests.prometheus_server import Recorded, Server, serving

RUNS = Path(__file__).parents[2] / "fixtures" / "runs"


def of_world(world: World, folder: Path) -> Report:
    """The report of what its server has."""
    return of_series(world.series(), world.lasts_s, folder)


def of_series(
    series: list[Recorded],
    lasts_s: float,
    folder: Path,
    rules: tuple[str, ...] | None = ("ReplicaDown", "FailuresHigh"),
) -> Report:
    """The report of a server with these."""
    with serving(Server(series, now=lambda: FROM + lasts_s, rules=rules)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        fetch(client, Wanted(FROM, FROM + lasts_s, "", mapping.shipped()), folder, lambda text: None)
    return report(HistoryCase(HistoryView(folder)))


def figures(found: Report) -> Mapping[str, str]:
    """Shown numbers by id."""
    return {id_: one.text for id_, one in found.figures().items()}


def texts(found: Report, section: str) -> str:
    """All that a section says, as one text."""
    said = []
    for block in next(one for one in found.sections if one.id == section).blocks:
        match block:
            case Text(parts):
                said.append("".join(part if isinstance(part, str) else getattr(part, "text", "") for part in parts))
            case Items(items):
                said += ["".join(str(getattr(p, "text", p)) for p in item.parts) for item in items]
            case Table(_, rows):
                said += [" | ".join("".join(str(getattr(p, "text", p)) for p in c.parts) for c in row) for row in rows]
    return "\n".join(said)


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A replica that stood still from second 300 to 340, then a gateway without the other from 700 to 820."""
    world = World(silent={"replica-1": (300, 340)}, unused={"replica-2": (700, 820)})
    return of_world(world, tmp_path_factory.mktemp("history"))


def test_requests_are_those_that_were_made(paused: Report) -> None:
    """Counted from the second scrape on, which is all that a server knows: 1,185 s of 10 a second."""
    shown = figures(paused)
    assert shown["impact.requests.is-status-2xx"] == f"{1_185 * 10 - 150:,}"
    assert shown["impact.requests.is-failed-5xx"] == "150"
    assert shown["impact.requests.is-failed-with-5xx-or-after-a-good-beginning"] == "150"
    assert shown["overview.bad"] == "150 of 11,850 requests"


def test_times_are_within_a_scrape_of_what_happened(paused: Report) -> None:
    """Began at 300 s, which is 22:19:00; the last failure at 330 s; the replica was back at 340 s."""
    shown = figures(paused)
    assert shown["times.began"] == "22:19:00 – 22:19:15 UTC"
    assert shown["times.first-failure"] == "22:19:00 – 22:19:15 UTC"
    assert shown["times.detected"] == "22:19:15.0 UTC"
    assert shown["times.mitigated"] == "22:19:15 – 22:19:30 UTC"


def test_what_metrics_do_not_know_is_not_measured(paused: Report) -> None:
    """Users, tokens that nobody got, who took it on: no zero."""
    shown = figures(paused)
    for id_ in ("impact.users", "impact.tokens.lost", "times.acknowledged", "impact.slowest", "design.redispatches"):
        assert shown[id_] == NOT_MEASURED


def test_the_trigger_is_the_nearest_fault_with_what_is_not_known(paused: Report) -> None:
    """Both faults, in their order, and that nobody can tell a pause from a cut network."""
    said = texts(paused, "trigger")
    assert "replica-1 was silent (pause)" in said
    assert "gateway-a did not use replica-2, which answered its scrapes (drain)" in said
    assert "is not in the metrics" in said


def test_survivors_carried_the_load(paused: Report) -> None:
    """The share of the replica that was not hit goes up while the other is silent, and its queue with it."""
    shown = figures(paused)
    assert shown["survivors.replica-2.before.share"] == "50 %"
    assert float(shown["survivors.replica-2.during.waiting"]) > 0.0
    assert shown["survivors.replica-1.before.waiting"] == "0"


def test_a_silent_alert_is_told(paused: Report) -> None:
    """It is there, and did not fire."""
    assert "FailuresHigh" in texts(paused, "fired")
    assert "ReplicaDown (page): fired" in texts(paused, "fired")


def test_a_server_that_does_not_tell_its_rules_has_no_silent_alerts_and_no_loud_ones(tmp_path: Path) -> None:
    """Which of them did not fire is not measured: that is not the same as none."""
    world = World()
    found = of_series(world.series(), world.lasts_s, tmp_path / "a", rules=None)
    assert figures(found)["alerts.silent"] == NOT_MEASURED
    assert "the server does not tell its rules" in texts(found, "fired")
    none = of_series(world.series(), world.lasts_s, tmp_path / "b", rules=())
    assert "alerts.silent" not in figures(none)


def test_an_answer_that_was_cut_is_not_called_good(tmp_path: Path) -> None:
    """Its status was 200: only the gateway's count of failures has it, and the minutes have it from there."""
    world = World(silent={"replica-1": (300, 340)})
    cut = [one for one in world.series() if one.labels.get("status_class") != "5xx"]
    found = of_series(cut, world.lasts_s, tmp_path)
    shown = figures(found)
    assert shown["impact.requests.is-failed-with-5xx-or-after-a-good-beginning"] == "150"
    assert not any("good" in id_ and "2xx" in id_ for id_ in shown)
    assert any(id_.startswith("impact.minute.") for id_ in shown)


def test_what_the_counts_cannot_know_is_said(paused: Report) -> None:
    """Beside the counts: between which scrapes, and what is in none of them."""
    assert figures(paused)["impact.counted.1"] == "22:14:15 – 22:34:00 UTC"
    assert "reached no gateway" in texts(paused, "impact")


def test_a_duration_is_as_uncertain_as_its_ends(paused: Report) -> None:
    """Silent for 40 s, of which scrapes every 15 s know that it was 30 to 60; unused for 120 s."""
    said = texts(paused, "trigger")
    assert "replica-1 was silent (pause) from 22:18:45 – 22:19:00 UTC for 30 s to 1 min 00 s" in said
    assert "from 22:25:30 – 22:25:45 UTC for 1 min 45 s to 2 min 15 s" in said


def test_a_restart_is_told_from_a_pause(tmp_path: Path) -> None:
    """The process began anew while it was silent."""
    world = World(silent={"replica-1": (300, 360)}, restarted=frozenset({"replica-1"}))
    said = texts(of_world(world, tmp_path), "trigger")
    assert "replica-1 was gone and began anew (kill)" in said


def test_where_nobody_tells_when_it_was_started_it_may_have_been_started_again(tmp_path: Path) -> None:
    """A process that says when is known to have stood still."""
    world = World(silent={"replica-1": (300, 360)})
    untold = [one for one in world.series() if one.name != "process_start_time_seconds"]
    said = texts(of_series(untold, world.lasts_s, tmp_path / "a"), "trigger")
    assert "Whether replica-1 stood still, was started again, was cut off" in said
    assert "Whether replica-1 stood still, was cut off" in texts(of_world(world, tmp_path / "b"), "trigger")


def test_a_hole_in_the_monitoring_comes_first(tmp_path: Path) -> None:
    """Nobody scraped anything for two minutes: nothing is claimed of them."""
    found = of_world(World(holes=((400, 520),)), tmp_path)
    said = texts(found, "overview")
    assert said.index("Data incomplete") < said.index("Severity")
    assert "the monitoring itself has a hole" in said
    assert figures(found)["severity"] == NOT_MEASURED
    assert "No objective was broken" not in said


def test_without_a_count_of_requests_nothing_is_called_well(tmp_path: Path) -> None:
    """Replicas alone do not tell whether anybody was answered."""
    world = World()
    found = of_series([one for one in world.series() if one.labels["job"] == "replica"], world.lasts_s, tmp_path)
    assert figures(found)["severity"] == NOT_MEASURED
    assert "no request was counted" in texts(found, "overview")


def test_a_healthy_hour_is_no_incident(tmp_path: Path) -> None:
    """No severity, no times, no actions."""
    found = of_world(World(), tmp_path)
    shown = figures(found)
    assert shown["severity"] == "none"
    assert {shown[f"times.{one}"] for one in ("began", "mitigated", "resolved")} == {NOT_MEASURED}
    assert "None is suggested" in texts(found, "actions")


def test_the_title_says_which_day_it_was(paused: Report) -> None:
    """Times below it have none."""
    assert paused.title == "Incident, 2023-11-14 22:14 to 2023-11-14 22:34 UTC"
    assert report(RunCase(RunFolder(RUNS / "gateway-failover" / "red"))).title.endswith(", 2026-11-27")


def test_an_outage_without_a_good_answer_has_its_minutes(tmp_path: Path) -> None:
    """The worst one: nothing was answered well in all the time that was looked at."""
    world = World(silent={"replica-1": (300, 340)})
    series = [one for one in world.series() if one.labels.get("status_class") != "2xx"]
    shown = figures(of_series(series, world.lasts_s, tmp_path))
    failed = int(shown["impact.requests.is-failed-5xx"])
    minutes = [one for id_, one in shown.items() if id_.startswith("impact.minute.") and id_.endswith("is-failed-5xx")]
    assert sum(map(int, minutes)) == failed > 0


def test_a_share_by_tokens_says_that_it_is_by_tokens(tmp_path: Path) -> None:
    """A gateway that does not count by server leaves only what each replica made."""
    world = World()
    series = [one for one in world.series() if one.name != "haproxy_server_sessions_total"]
    shares = [one for id_, one in of_series(series, world.lasts_s, tmp_path).figures().items() if id_.endswith("share")]
    assert {one.source.question for one in shares if one.source} == {"vllm:generation_tokens_total{}"}


RED = sorted(path.parent for path in RUNS.glob("*/red/plan.json"))


@pytest.mark.parametrize("run", RED, ids=lambda path: path.parent.name)
def test_a_run_says_what_its_records_hold(run: Path) -> None:
    """Counted anew from the file; every failed check is there, and has an action."""
    found = report(RunCase(RunFolder(run)))
    shown = figures(found)
    final = pd.read_parquet(run / "requests.parquet").query("final")
    good = int(final["outcome"].eq("ok").sum())
    assert shown["impact.requests.is-good"] == f"{good:,}"
    counted = [int(text.replace(",", "")) for id_, text in shown.items() if id_.startswith("impact.requests.")]
    assert sum(counted) == len(final)
    served = final[~final["outcome"].isin(["cancelled_intended", "cancelled_drain", "not_sent"])]
    bad = served[served["outcome"].ne("ok")]
    assert shown["impact.users"] == f"{bad['user_id'].nunique()} of {served['user_id'].nunique()}"
    assert "None is suggested" not in texts(found, "actions")


def test_every_number_says_where_it_is_from(paused: Report) -> None:
    """Of both kinds, except what was not measured."""
    of_run = report(RunCase(RunFolder(RUNS / "gateway-failover" / "red")))
    for found in (paused, of_run):
        without = [one.id for one in found.figures().values() if one.measured and one.source is None]
        assert without == []


@pytest.mark.parametrize("run", RED, ids=lambda path: path.parent.name)
def test_a_first_token_of_a_survivor_is_from_enough_requests(run: Path) -> None:
    """From the records, whose source it names; a p95 of fewer than 100 is no answer."""
    found = report(RunCase(RunFolder(run))).figures()
    first = [one for id_, one in found.items() if id_.startswith("survivors.") and id_.endswith(".ttft")]
    assert {one.source.place for one in first if one.source} == {"requests.parquet"}
    counts = [int(one.text.split("n = ")[1].rstrip(")").replace(",", "")) for one in first if one.measured]
    assert all(n >= 100 for n in counts)


def test_an_error_that_says_nothing_is_no_refusal_by_design() -> None:
    """A gateway's 503 without a reason is a failure; one that says that it is full is what it is for."""
    for drill, refused in (("timeout-spike", "0"), ("gateway-failover", "1,992")):
        assert figures(report(RunCase(RunFolder(RUNS / drill / "red"))))["design.refused"] == refused


def test_a_counter_that_began_again_counts_from_zero() -> None:
    """Of a gateway that was restarted: what it counted before, and all that it has counted since."""
    samples = pd.DataFrame({"t_s": [0.0, 1.0, 2.0, 3.0, 9.0], "value": [10.0, 12.0, 1.0, 4.0, 99.0]})
    assert of_run._rise(samples, 0.0, 3.0) == 6.0
    assert of_run._rise(samples, 4.0, 5.0) == 0.0
