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
from reports.incident.sections import survivors
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
    selector: str = "",
) -> Report:
    """The report of a server with these."""
    with serving(Server(series, now=lambda: FROM + lasts_s, rules=rules)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        fetch(client, Wanted(FROM, FROM + lasts_s, selector, mapping.shipped()), folder, lambda text: None)
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


def test_several_outages_are_not_told_as_one(paused: Report, tmp_path: Path) -> None:
    """From the first to the last it is 13 minutes, of which nearly all was well."""
    world = World(silent={"replica-1": (100, 160), "replica-2": (900, 960)})
    found = of_world(world, tmp_path)
    assert figures(found)["overview.stretches"] == "2 stretches, 15 s to 1 min 15 s outside an objective in all"
    assert " and users were served as promised again after 13 min" in texts(found, "overview")
    assert "overview.stretches" not in figures(paused)


def test_a_run_says_that_its_requests_count_by_when_they_were_due() -> None:
    """A request that was under way when the fault came was due before it."""
    said = texts(report(RunCase(RunFolder(RUNS / "gateway-failover" / "red"))), "timeline")
    assert said.count("by when it was due; it may have failed later") == 3


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
    mean, _, counted = shown["survivors.replica-2.during.waiting"].partition(" requests (n = ")
    assert float(mean) > 0.0
    assert counted == "36 samples)"
    assert shown["survivors.replica-2.during.most"] == "4 requests"
    assert shown["survivors.replica-1.before.waiting"] == "0 requests (n = 19 samples)"


def test_where_every_replica_was_hit_there_are_no_survivors(paused: Report, tmp_path: Path) -> None:
    """One sentence: one was silent, and a gateway did not use the other. Where one was hit, the other survived."""
    assert "There are none: every replica was hit." in texts(paused, "survivors")
    one = of_world(World(silent={"replica-1": (300, 340)}), tmp_path)
    assert "What was not hit had to carry the load" in texts(one, "survivors")


@pytest.mark.parametrize(("shown", "count"), [("0 requests", 0.0), ("fewer than 0.001 requests", 0.0004),
                                              ("0.007 requests", 0.00682), ("1,234 requests", 1234.2)])  # fmt: skip
def test_how_many_waited_has_a_unit_and_is_no_zero(shown: str, count: float) -> None:
    """Three digits after the point are enough."""
    assert survivors._requests(count) == shown


def test_a_silent_alert_is_told(paused: Report) -> None:
    """It is there, and did not fire."""
    assert "FailuresHigh" in texts(paused, "fired")
    assert "), page: fired" in texts(paused, "fired")
    assert "replica-1" in texts(paused, "fired"), "of which component"


def alert(name: str, from_s: int, **labels: str) -> Recorded:
    """One that fires for two minutes."""
    samples = [(FROM + t, 1.0) for t in range(from_s, from_s + 121, 15)]
    return Recorded("ALERTS", {"alertname": name, "alertstate": "firing", **labels}, samples)


@pytest.mark.parametrize(
    ("selector", "labels", "counts"),
    [
        ("", {"ns": "theirs"}, True),
        ('ns="ours"', {"ns": "ours"}, True),
        ("ns=~'ou.s', job!=\"x\"", {"ns": "ours"}, True),
        ('ns="ours"', {"ns": "theirs"}, False),
        ('ns="ours"', {}, False),
        ('ns="ours"', {"ns": "theirs", "pod": "replica-2"}, True),
    ],
)
def test_alerts_of_others_do_not_detect_it(
    tmp_path: Path, selector: str, labels: Mapping[str, str], counts: bool
) -> None:
    """An alert counts where SELECTOR leaves it, or where it names a component; others are counted, and named."""
    world = World(silent={"replica-1": (300, 340)})
    series = [Recorded(one.name, {"ns": "ours", **one.labels}, one.samples) for one in world.series()]
    found = of_series([*series, alert("DiskFull", 300, **labels)], world.lasts_s, tmp_path, selector=selector)
    assert figures(found)["times.detected"] == ("22:19:00.0 UTC" if counts else "22:19:15.0 UTC")
    assert ("alert fires: DiskFull" in texts(found, "timeline")) == counts
    assert figures(found).get("alerts.others") == (None if counts else "1")
    assert "DiskFull" in texts(found, "fired")


def test_alerts_by_the_hundred_are_not_all_listed(tmp_path: Path) -> None:
    """The first of them, and how many more; the same for rules that did not fire."""
    world, rules = World(), tuple(f"Rule{n:03d}" for n in range(100))
    alerts = [alert("PodDown", 300 + 15 * (n // 10), n=f"{n}") for n in range(100)]
    found = of_series([*world.series(), *alerts], world.lasts_s, tmp_path, rules=rules)
    assert texts(found, "fired").count("and 70 more") == 2
    assert texts(found, "timeline").count("alert fires: PodDown") == 30
    assert "100 alerts fired." in texts(found, "overview"), "although no objective was broken"
    assert "22:19:45.0 UTC | and 70 more alerts, from here on" in texts(found, "timeline")


def test_an_alert_that_was_firing_all_along_is_named(tmp_path: Path) -> None:
    """It fired before: «no alert fired» is not all that there is to say."""
    world = World()
    found = of_series([*world.series(), alert("Noisy", 15)], world.lasts_s, tmp_path)
    said = texts(found, "fired")
    assert "Alerts that had fired before, and still did at the beginning:\nNoisy" in said


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


def test_failures_that_another_target_counts_are_counted(tmp_path: Path) -> None:
    """It is scraped at other times than whoever counts all requests."""
    world = World(silent={"replica-1": (300, 340)})
    series = [one for one in world.series() if one.name != "drillyard_gateway_failures_total"]
    at_s = [t + 5 for t in world.scrapes() if t + 5 <= world.lasts_s]
    failed = [(FROM + t, float(sum(map(world.failures, range(t))))) for t in at_s]
    labels = {"pod": "litellm", "instance": "litellm:4000", "job": "litellm"}
    failures = Recorded("litellm_proxy_failed_requests_metric_total", labels, failed)
    good = [one for one in series if one.labels.get("status_class") != "5xx"]
    shown = figures(of_series([*good, failures], world.lasts_s, tmp_path))
    assert shown["overview.bad"] == "150 of 11,700 requests"
    assert shown["times.began"] == "22:18:50 – 22:19:05 UTC"


_WAITING = (("a-b", "1 request"), ("a-b-2", "2 requests"), ("--b", "3 requests"))


def test_replicas_whose_names_differ_in_signs_have_numbers_of_their_own(tmp_path: Path) -> None:
    """The same id for both would be an error."""
    of = {name: {"instance": name, "job": "vllm"} for name in ("a.b", "a_b", "ä-b")}
    waiting = [
        Recorded("vllm:num_requests_waiting", labels, [(FROM + t, float(n)) for t in World().scrapes()])
        for n, labels in enumerate(of.values(), 1)
    ]
    shown = figures(of_series(waiting, 1_200, tmp_path))
    found = {id_: text for id_, text in shown.items() if id_.endswith(".before.most")}
    assert found == {f"survivors.{id_}.before.most": n for id_, n in _WAITING}


TTFT = "vllm:time_to_first_token_seconds_bucket"


def test_replicas_with_other_buckets_are_not_late(tmp_path: Path) -> None:
    """Of two versions: how many were below an edge that one of them lacks is not known."""
    world, edges = World(), {"0.1": "0.5", "1.0": "2.5", "+Inf": "+Inf"}
    series = [
        Recorded(one.name, {**one.labels, "le": edges[one.labels["le"]]}, one.samples)
        if one.name == TTFT and one.labels["component"] == "replica-2" else one
        for one in world.series()
    ]  # fmt: skip
    assert figures(of_series(series, world.lasts_s, tmp_path))["severity"] == "none"


def test_without_the_last_bucket_nobody_knows_who_took_longer(tmp_path: Path) -> None:
    """No p95, and no objective."""
    world = World()
    whole = figures(of_series(world.series(), world.lasts_s, tmp_path / "whole"))
    assert whole["survivors.replica-1.before.ttft"].startswith("0 to 100 ms (n = ")
    cut = [one for one in world.series() if one.labels.get("le") != "+Inf"]
    shown = figures(of_series(cut, world.lasts_s, tmp_path / "cut"))
    assert shown["survivors.replica-1.before.ttft"] == NOT_MEASURED


@pytest.mark.parametrize(("last", "slowest"), [("+Inf", "0 to 5 s from"), ("20", NOT_MEASURED)])
def test_the_slowest_is_of_one_gateway(tmp_path: Path, last: str, slowest: str) -> None:
    """Two with other buckets: what one counts below an edge says nothing of the other."""
    world = World()
    times = [FROM + t for t in world.scrapes()]
    buckets = [
        Recorded("drillyard_gateway_e2e_seconds_bucket", {"gateway": gateway, "le": le, "instance": "e", "job": "e"},
                 [(at, float(n)) for n, at in enumerate(times)])
        for gateway, edges in (("gateway-a", ("1", "10", "+Inf")), ("gateway-b", ("5", last)))
        for le in edges
    ]  # fmt: skip
    shown = figures(of_series([*world.series(), *buckets], world.lasts_s, tmp_path))
    assert shown["impact.slowest"].startswith(slowest)


def test_the_clock_of_the_server_is_told(paused: Report) -> None:
    """How far it is from that of who asked: logs and silences are by other clocks."""
    assert "clock of the server | " in texts(paused, "environment")
    assert "that of the machine that asked, ± " in texts(paused, "environment")


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
    """The process restarted while it was silent."""
    world = World(silent={"replica-1": (300, 360)}, restarted=frozenset({"replica-1"}))
    said = texts(of_world(world, tmp_path), "trigger")
    assert "replica-1 stopped and restarted (kill)" in said


class Twice(World):
    """One replica is silent twice."""

    def is_silent(self, replica: str, t: int) -> bool:
        """For forty seconds each time."""
        return replica == "replica-1" and (300 <= t < 340 or 900 <= t < 940)


def test_an_ejection_of_who_was_silent_is_no_fault_of_its_own(tmp_path: Path) -> None:
    """Neither the first time nor the second."""
    said = texts(of_world(Twice(), tmp_path), "trigger")
    assert said.count("replica-1 was silent (pause)") == 2
    assert "did not use" not in said
    assert "times that a gateway ejected a replica | 2" in said


def test_of_a_server_that_nobody_scraped_it_is_not_said_that_it_answered(tmp_path: Path) -> None:
    """The gateway has names of its own: which replica it is, nothing tells."""
    world = World(unused={"replica-2": (300, 420)})
    series = [
        Recorded(one.name, {**one.labels, "server": "srv2"}, one.samples)
        if one.labels.get("server") == "replica-2" else one
        for one in world.series()
    ]  # fmt: skip
    said = texts(of_series(series, world.lasts_s, tmp_path), "trigger")
    assert "gateway-a did not use srv2 (drain) from" in said
    assert "Whether srv2 answered is not known: nothing that was scraped is called so." in said


def test_who_was_down_from_the_first_scrape_on_is_named(tmp_path: Path) -> None:
    """That every component answered would be wrong; when it stopped is not known."""
    said = texts(of_world(World(silent={"replica-1": (0, 100)}), tmp_path), "trigger")
    assert "replica-1 was silent (pause) from 22:14:00 – 22:14:15 UTC for 1 min 15 s to 1 min 45 s" in said
    assert "replica-1 did not answer the first scrape: it may have ended earlier." in said


def test_where_data_is_missing_nothing_is_said_to_have_gone_well(tmp_path: Path) -> None:
    """A component that was gone together with its scrapes cannot be told from one that was not scraped."""
    said = texts(of_world(World(holes=((400, 520),)), tmp_path / "hole"), "trigger")
    assert "no component stopped answering its scrapes, and no gateway stopped using a replica." in said
    assert "What became of gateway-a, replica-1, replica-2 where data is missing is not known." in said
    assert "where data is missing" not in texts(of_world(World(), tmp_path / "whole"), "trigger")


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


def late(one: Recorded) -> Recorded:
    """Of first tokens: none came before the last edge."""
    if one.name != TTFT or one.labels["le"] == "+Inf":
        return one
    return Recorded(one.name, one.labels, [(at, 0.0) for at, _ in one.samples])


def test_where_only_replicas_tell_that_it_was_late_no_failures_are_counted(tmp_path: Path) -> None:
    """Not none of none, nor the least severity: whether anybody was answered, and who, nothing tells."""
    world = World()
    found = of_series([late(one) for one in world.series() if one.labels["job"] == "replica"], world.lasts_s, tmp_path)
    shown = figures(found)
    assert (shown["overview.bad"], shown["severity"]) == (NOT_MEASURED, NOT_MEASURED)
    assert shown["overview.late.ttft"] == "11,850 of 11,850 requests"
    assert "How many requests were not answered is [not measured]" in texts(found, "overview")
    assert "nobody counted whether any failed" in texts(found, "timeline")
    lacking = of_series(
        [one for one in world.series() if one.labels["job"] == "replica"], world.lasts_s, tmp_path / "b"
    )
    assert figures(lacking)["times.began"] == NOT_MEASURED, "nobody knows whether anything began"


def test_who_was_answered_too_late_is_not_called_unanswered(tmp_path: Path) -> None:
    """Each has its count."""
    world = World()
    found = of_series([late(one) for one in world.series()], world.lasts_s, tmp_path)
    said = texts(found, "overview")
    assert "0 of 11,850 requests were not answered" in said
    assert "Too late were 11,850 of 11,850 requests (95 % of requests have their first token within 1 s)." in said


def test_a_healthy_hour_is_no_incident(tmp_path: Path) -> None:
    """No severity, no times, no actions."""
    found = of_world(World(), tmp_path)
    shown = figures(found)
    assert shown["severity"] == "none"
    assert {shown[f"times.{one}"] for one in ("began", "mitigated", "resolved", "gap")} == {"none"}
    assert "By minute" not in texts(found, "impact")
    assert "overview.alerts" not in shown
    assert "None is suggested" in texts(found, "actions")


def test_the_title_says_which_day_it_was(paused: Report) -> None:
    """Times below it have none."""
    assert paused.title == "Incident, 2023-11-14 22:14 to 2023-11-14 22:34 UTC"
    assert report(RunCase(RunFolder(RUNS / "gateway-failover" / "red"))).title.endswith(", 2026-11-27")


def test_a_time_of_another_day_says_which(tmp_path: Path) -> None:
    """Midnight is 6,360 seconds after the beginning: the day stands before what is after it."""
    found = of_world(World(lasts_s=7_200, silent={"replica-1": (6_330, 6_420)}), tmp_path)
    shown = figures(found)
    assert shown["times.began"] == "23:59:30 – 23:59:45 UTC"
    assert shown["times.mitigated"] == "23:59:45 – 2023-11-15 00:00:00 UTC"
    said = texts(found, "timeline")
    assert "2023-11-15 00:01:00 UTC | replica-1 answers its scrapes again" in said
    assert "\n2023-11-15 00:00 | " in texts(found, "impact")


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


def test_a_server_that_has_another_name_at_the_gateway_has_no_share_of_zero(tmp_path: Path) -> None:
    """The gateway counts it under its own name: who made the tokens tells it."""
    world = World()
    series = [
        Recorded(one.name, {**one.labels, "server": "srv2"}, one.samples)
        if one.labels.get("server") == "replica-2" else one
        for one in world.series()
    ]  # fmt: skip
    assert figures(of_series(series, world.lasts_s, tmp_path))["survivors.replica-2.before.share"] == "50 %"


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


def test_a_time_of_the_timeline_is_called_by_what_happened(tmp_path: Path) -> None:
    """Numbered where that happened again."""
    shown = figures(of_world(Twice(), tmp_path))
    prefix = "timeline.at-replica-1-does-not-answer-its-scrapes"
    assert shown[prefix] == "22:18:45 – 22:19:00 UTC"
    assert shown[f"{prefix}.2"] == "22:28:45 – 22:29:00 UTC"


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
