"""A server's history in a folder: holes are gaps, restarts lose nothing, other systems' names mean the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.evidence.history import HistoryView
from harness.model import mapping
from harness.model.errors import ScenarioError, UsageError
from harness.run.history import Wanted, fetch
from tests.prometheus_server import Recorded, Server, serving

FROM, UNTIL, STEP = 100_000.0, 101_200.0, 15.0
BEGIN = "system: x\nsource: y\ncomponent: [a]\n"
TIMES = [FROM + STEP * n for n in range(1, int((UNTIL - FROM) / STEP) + 1)]


def recorded(name: str, values: Sequence[float], times: Sequence[float] = TIMES, **labels: str) -> Recorded:
    """A series of these values, one per scrape."""
    return Recorded(name, labels, list(zip(times, values, strict=True)))


def fetched(folder: Path, *series: Recorded, selector: str = "") -> HistoryView:
    """What a server with these series has of the stretch."""
    with serving(Server(list(series), now=lambda: UNTIL)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        fetch(client, Wanted(FROM, UNTIL, selector, mapping.shipped()), folder, lambda text: None)
    return HistoryView(folder)


def rising(per_scrape: float = 1.0) -> list[float]:
    """A counter's values."""
    return [per_scrape * n for n in range(1, len(TIMES) + 1)]


def test_a_replica_is_read_under_our_names(tmp_path: Path) -> None:
    """Gauges as they are; a counter from its first sample on."""
    labels = {"instance": "10.0.0.1:8000", "job": "vllm"}
    view = fetched(
        tmp_path,
        recorded("vllm:num_requests_running", [2.0] * len(TIMES), **labels),
        recorded("vllm:generation_tokens_total", rising(100.0), **labels),
        recorded("up", [1.0] * len(TIMES), **labels),
    )
    assert view.replicas == ("10.0.0.1:8000",)
    assert set(view.metrics_of("10.0.0.1:8000")) == {"running", "generation_tokens_total", "up"}
    tokens = view.metrics("10.0.0.1:8000", "generation_tokens_total")["value"].tolist()
    assert tokens[0] == 0.0
    assert tokens[-1] == 100.0 * (len(TIMES) - 1)
    assert view.gaps() == ()


def test_a_restart_takes_back_nothing(tmp_path: Path) -> None:
    """The counter begins anew at 30: that was counted on top of what was there, and the restart is told."""
    values = [100.0, 110.0, 30.0, 40.0]
    view = fetched(tmp_path, recorded("vllm:generation_tokens_total", values, TIMES[:4], instance="a", job="v"))
    assert view.metrics("a", "generation_tokens_total")["value"].tolist() == [0.0, 10.0, 40.0, 50.0]
    assert view.history.resets == (("a", "generation_tokens_total", 3 * STEP),)


def test_what_appears_while_others_are_known_has_risen_from_zero(tmp_path: Path) -> None:
    """The first failures are the first series of their class: Prometheus' own increase() misses them."""
    labels = {"gateway": "gateway-a", "instance": "e", "job": "exporter"}
    view = fetched(
        tmp_path,
        recorded("drillyard_gateway_requests_total", rising(), status_class="2xx", **labels),
        recorded("drillyard_gateway_requests_total", [3.0, 4.0], TIMES[-2:], status_class="5xx", **labels),
    )
    failed = view.metrics("gateway-a", "requests_total", "class=5xx")["value"].tolist()
    assert failed[-1] == 4.0
    assert view.metrics("gateway-a", "requests_total", "class=2xx")["value"].iloc[-1] == len(TIMES) - 1


def test_a_hole_is_a_gap_and_no_zero(tmp_path: Path) -> None:
    """Ten scrapes are missing in the middle, and the end of another replica."""
    hole = TIMES[:20] + TIMES[30:]
    view = fetched(
        tmp_path,
        recorded("vllm:num_requests_running", [1.0] * len(hole), hole, instance="a", job="v"),
        recorded("vllm:num_requests_running", [1.0] * 10, TIMES[:10], instance="b", job="v"),
    )
    gaps = {gap.component: (gap.from_s, gap.until_s) for gap in view.gaps()}
    assert gaps == {"a": (20 * STEP, 31 * STEP), "b": (10 * STEP, UNTIL - FROM)}
    assert view.metrics("a", "running")["value"].eq(1.0).all()


def test_two_targets_of_one_name_are_not_added_up(tmp_path: Path) -> None:
    """They are scraped at different times: a sum of the one and not of the other would be half."""
    later = [at + 5.0 for at in TIMES]
    view = fetched(
        tmp_path,
        recorded("vllm:num_requests_running", [1.0] * len(TIMES), pod="p", instance="a", job="v"),
        recorded("vllm:num_requests_running", [2.0] * len(TIMES), later, pod="p", instance="b", job="v"),
    )
    assert view.replicas == ("p (a)", "p (b)")


def test_of_two_systems_that_count_the_same_requests_one_counts(tmp_path: Path) -> None:
    """HAProxy and the exporter both know the requests: twice would be wrong. Classes are named alike."""
    view = fetched(
        tmp_path,
        recorded("drillyard_gateway_requests_total", rising(), gateway="g", status_class="2xx", instance="e", job="x"),
        recorded("haproxy_backend_http_responses_total", rising(), proxy="r", code="2xx", instance="h", job="h"),
        recorded("haproxy_backend_current_queue", [0.0] * len(TIMES), proxy="r", instance="h", job="h"),
    )
    counted = {one.system for one in view.history.asked if one.signal == "requests_total"}
    assert counted == {"Drillyard's exporter"}


def test_alerts_are_stretches_of_evaluations(tmp_path: Path) -> None:
    """Twice with a pause is two; one that fires at the end has not cleared."""
    running = recorded("vllm:num_requests_running", [1.0] * len(TIMES), instance="a", job="v")
    labels = {"alertname": "Down", "alertstate": "firing", "severity": "page", "pod": "a"}
    twice = TIMES[10:14] + TIMES[40:43]
    open_ = TIMES[-3:]
    view = fetched(
        tmp_path,
        running,
        recorded("ALERTS", [1.0] * len(twice), twice, **labels),
        recorded("ALERTS", [1.0] * len(open_), open_, **{**labels, "alertname": "Slow"}),
        recorded("ALERTS", [1.0] * 4, TIMES[:4], **{**labels, "alertname": "Pending", "alertstate": "pending"}),
    )
    found = [(one.name, one.fired_s, one.cleared_s) for one in view.alerts]
    assert found == [
        ("Down", 11 * STEP, 14 * STEP),
        ("Down", 41 * STEP, 43 * STEP),
        ("Slow", (len(TIMES) - 2) * STEP, None),
    ]
    assert [event.kind for event in view.events("alert_cleared")] == ["alert_cleared"] * 2


UP = [1.0] * len(TIMES)


def two_gateways(exporter: Sequence[float] = UP, *more: Recorded) -> list[Recorded]:
    """An exporter that tells of two gateways, which tell of themselves, too."""
    own = {"instance": "exporter:9109", "job": "exporter"}
    good = [at for at, value in zip(TIMES, exporter, strict=True) if value]
    found = [recorded("up", exporter, component="exporter", **own), *more]
    for name in ("gateway-a", "gateway-b"):
        itself = {"component": name, "instance": f"{name}:8404", "job": "gateway"}
        counted = [float(n) for n in range(len(good))]
        found += [
            recorded("up", UP, **itself),
            recorded("drillyard_gateway_failures_total", [0.0] * len(good), good, gateway=name, **own),
            recorded("drillyard_gateway_requests_total", counted, good, gateway=name, status_class="2xx", **own),
            recorded("haproxy_backend_current_queue", [0.0] * len(TIMES), proxy="replicas", **itself),
        ]
    return found


def test_an_exporter_that_is_down_is_no_gateway_that_is_down(tmp_path: Path) -> None:
    """It tells of both: what it tells is missing of both, and neither stood still."""
    exporter = [0.0 if 20 <= place < 30 else 1.0 for place in range(len(TIMES))]
    view = fetched(tmp_path, *two_gateways(exporter))
    told = ("requests_total", "failures_total")
    assert [(gap.component, gap.target, gap.from_s, gap.until_s) for gap in view.gaps()] == [
        (name, "exporter:9109 (job exporter)", 20 * STEP, 31 * STEP) for name in ("gateway-a", "gateway-b")
    ]
    assert {gap.signals for gap in view.gaps()} == {told}
    for gateway in view.gateways:
        assert view.metrics(gateway, "up")["value"].eq(1.0).all()
        assert view.metrics(gateway, "scraped")["value"].eq(0.0).sum() == 10


def test_the_first_requests_of_all_are_counted(tmp_path: Path) -> None:
    """Their series appears with them: at the scrape before, the exporter had answered and had none."""
    late = TIMES[10:]
    own = {"instance": "e", "job": "x"}
    view = fetched(
        tmp_path,
        recorded("up", UP, **own),
        recorded("drillyard_gateway_requests_total", [7.0 + n for n in range(len(late))], late,
                 gateway="g", status_class="2xx", **own),
    )  # fmt: skip
    assert view.metrics("g", "requests_total")["value"].tolist() == [0.0] * 10 + [7.0 + n for n in range(len(late))]
    assert view.looks("g", "requests_total")[0] == STEP
    assert view.gaps() == ()


def test_a_counter_that_is_not_told_for_once_is_not_counted_twice(tmp_path: Path) -> None:
    """Its target answered and left it out; whether it was begun anew meanwhile is told to be unknown."""
    own = {"instance": "e", "job": "x"}
    some = [at for place, at in enumerate(TIMES) if place not in (20, 21)]
    counted = [100.0 + at for at in some]
    of = {"gateway": "g", "status_class": "2xx", **own}
    view = fetched(
        tmp_path, recorded("up", UP, **own), recorded("drillyard_gateway_requests_total", counted, some, **of)
    )
    assert view.metrics("g", "requests_total")["value"].iloc[-1] == TIMES[-1] - TIMES[0]
    assert view.history.resets == (("g", "requests_total", 21 * STEP),)


def test_samples_that_a_store_took_over_are_not_begun_at_zero(tmp_path: Path) -> None:
    """Their times are not those of the scrapes: that there is none at a scrape says nothing."""
    own = {"instance": "e", "job": "x"}
    taken = [at + 2.0 for at in TIMES[1:]]  # the last is after the stretch
    of = {"gateway": "g", "status_class": "2xx", **own}
    view = fetched(
        tmp_path, recorded("up", UP, **own), recorded("drillyard_gateway_requests_total", rising()[1:], taken, **of)
    )
    assert view.metrics("g", "requests_total")["value"].iloc[-1] == len(TIMES) - 3
    assert view.history.resets == ()


@pytest.mark.parametrize("others", [True, False])
def test_an_alert_of_a_single_evaluation_has_cleared(tmp_path: Path, others: bool) -> None:
    """How often rules are looked at, other alerts tell, or else scrapes; a minute would be too long."""
    labels = {"alertname": "Short", "alertstate": "firing"}
    running = recorded("vllm:num_requests_running", [1.0] * len(TIMES), instance="a", job="v")
    up = recorded("up", UP, instance="a", job="v")
    more = [recorded("ALERTS", [1.0] * 5, TIMES[:5], alertname="Long", alertstate="firing")] if others else []
    view = fetched(tmp_path, running, up, *more, recorded("ALERTS", [1.0], TIMES[-5:-4], **labels))
    (short,) = (one for one in view.alerts if one.name == "Short")
    assert short.cleared_s == short.fired_s


def test_native_units_become_ours(tmp_path: Path) -> None:
    """Envoy counts milliseconds; the edges of its buckets are seconds here."""
    view = fetched(
        tmp_path,
        recorded("envoy_http_downstream_rq_time_bucket", rising(), le="500", instance="a", job="v"),
        recorded("envoy_http_downstream_rq_time_bucket", rising(), le="+Inf", instance="a", job="v"),
    )
    edges = set(view.metrics("a", "e2e_seconds_bucket")["labels"])
    assert edges == {"le=0.5", f"le={math.inf:g}"}


def test_nothing_known_is_told_with_what_to_do(tmp_path: Path) -> None:
    """A server of something else."""
    with pytest.raises(UsageError, match="Check FROM, TO and SELECTOR"):
        fetched(tmp_path, recorded("node_load1", [1.0] * len(TIMES), instance="a", job="node"))


def test_a_selector_narrows_down(tmp_path: Path) -> None:
    """Another team's replicas are none of ours."""
    view = fetched(
        tmp_path,
        recorded("vllm:num_requests_running", [1.0] * len(TIMES), instance="a", job="v", ns="ours"),
        recorded("vllm:num_requests_running", [1.0] * len(TIMES), instance="b", job="v", ns="theirs"),
        selector='ns="ours"',
    )
    assert view.replicas == ("a",)


def test_every_shipped_mapping_is_one() -> None:
    """Read as a user's would be; each names where its names are documented."""
    found = mapping.shipped()
    assert len(found) >= 6
    assert all(one.source and one.signals for one in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "the file"),
        ("system: x\nsource: y\nrole: cache\ncomponent: [a]\nsignals: {}\n", "role"),
        (
            "system: x\nsource: y\nrole: replica\ncomponent: [a]\nsignals: {speed: {names: [a]}}\n",
            "speed: expected one",
        ),
        (
            "system: x\nsource: y\nrole: gateway\ncomponent: [a]\nsignals: {server_up: {names: [a]}}\n",
            "expected a label",
        ),
        (
            "system: x\nsource: y\nrole: replica\ncomponent: [a]\nsignals: {running: {names: ['a{']}}\n",
            "no name of a metric",
        ),
        ("a: [", "is no YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str, said: str) -> None:
    """File, place, what was found."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=said):
        mapping.read(path)
