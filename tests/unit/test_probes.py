"""Probes: pages of metrics are read rightly, and a crashing probe is a recorded gap, not the end of the run."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.adapters.gateways import haproxy
from harness.evidence import samples_kept
from harness.evidence.record import METRIC_COLUMNS, METRICS_PART, EventLog, RunFolder
from harness.judge.drill import ROOT
from harness.model.topology import Component
from harness.probes import engine, exporter, readiness
from harness.probes.base import MetricWriter, Row, run_probe
from harness.probes.own_tokens import OwnTokens
from harness.probes.waves import Look, Waves

PAGE = """# HELP vllm:num_requests_running Number of requests running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="v1@x"} 3.0
vllm:num_requests_waiting{engine="0",model_name="v1@x"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="v1@x"} 0.25
vllm:generation_tokens_total{engine="0",model_name="v1@x"} 1200.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="v1@x"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="v1@x"} 2.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="v1@x"} 4.0
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="v1@x"} 7.0
process_cpu_seconds_total 17.0
"""

CSV = """# pxname,svname,qcur,scur,stot,status,weight,wretr,wredis,
front,FRONTEND,,1,90,OPEN,,,,
replicas,replica-1,1,2,50,UP,100,3,1,
replicas,replica-2,0,0,40,DOWN,100,4,2,
replicas,BACKEND,5,2,90,UP,200,7,3,
long,replica-1,0,1,10,UP,100,0,0,
long,replica-2,0,1,10,DOWN,100,0,0,
long,BACKEND,8,2,20,UP,200,0,0,
pin-replica-2,replica-2,0,0,9,no check,1,0,0,
link-replica-2-stream,replica-2,0,0,70,no check,1,0,0,
"""


def test_engine_page_is_summed_over_labels() -> None:
    """Counters that vLLM splits by reason are added; what is not wanted is left out."""
    values = engine.parse(PAGE)
    assert values["running", ""] == 3.0
    assert values["kv_usage_ratio", ""] == 0.25
    assert values["request_success_total", ""] == 7.0
    assert ("preemptions_total", "") not in values


def test_engine_histogram_keeps_its_edges() -> None:
    """The queue time of the engines is only known per bucket."""
    values = engine.parse(PAGE)
    assert values["request_queue_time_seconds_bucket", "le=0.3"] == 4.0
    assert values["request_queue_time_seconds_bucket", "le=+Inf"] == 7.0


def test_engine_page_has_what_the_timeline_shows() -> None:
    """Prefix-cache hits, and prefill and decode time as sum and count: their buckets are not read."""
    names = [theirs for theirs in engine.WANTED if "prefix" in theirs or "prefill" in theirs or "decode" in theirs]
    lines = [f'{name}{{engine="0",model_name="v1@x"}} 2.5' for name in names]
    lines.append('vllm:request_decode_time_seconds_bucket{engine="0",le="0.3",model_name="v1@x"} 4')
    values = engine.parse("\n".join(lines))
    assert values == {(engine.WANTED[name], ""): 2.5 for name in names}
    assert {metric for metric, _ in values} == {
        "prefix_cache_queries_total", "prefix_cache_hits_total", "request_prefill_time_seconds_sum",
        "request_prefill_time_seconds_count", "request_decode_time_seconds_sum", "request_decode_time_seconds_count",
    }  # fmt: skip


def test_several_engines_behind_one_page() -> None:
    """With data parallelism each has its series: requests add up, of the KV caches the fullest counts."""
    lines = (
        'vllm:num_requests_running{engine="0"} 3',
        'vllm:num_requests_running{engine="1"} 4',
        'vllm:kv_cache_usage_perc{engine="0"} 0.6',
        'vllm:kv_cache_usage_perc{engine="1"} 0.7',
        'vllm:generation_tokens_total{engine="0"} 100',
        'vllm:generation_tokens_total{engine="1"} 20',
        'vllm:request_queue_time_seconds_bucket{engine="0",le="0.3"} 4',
        'vllm:request_queue_time_seconds_bucket{engine="1",le="0.3"} 5',
    )
    assert engine.parse("\n".join(lines)) == {
        ("running", ""): 7.0,
        ("kv_usage_ratio", ""): 0.7,
        ("generation_tokens_total", ""): 120.0,
        ("request_queue_time_seconds_bucket", "le=0.3"): 9.0,
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["vllm:gpu_cache_usage_perc 0.4"], {("kv_usage_ratio", ""): 0.4}),
        (["vllm:kv_cache_usage_perc 0.5", "vllm:gpu_cache_usage_perc 0.4"], {("kv_usage_ratio", ""): 0.5}),
        (["vllm:gpu_cache_usage_perc 0.6", "vllm:kv_cache_usage_perc 0.5"], {("kv_usage_ratio", ""): 0.5}),
        (['vllm:time_in_queue_requests_bucket{le="1.0"} 2'], {("request_queue_time_seconds_bucket", "le=1.0"): 2.0}),
        (["vllm:cpu_cache_usage_perc 0.4"], {}),
    ],
)
def test_older_names_are_read_where_todays_are_missing(lines: list[str], expected: dict[object, float]) -> None:
    """Versions of a transition show both names: they are one thing, which is not counted twice."""
    assert engine.parse("\n".join(lines)) == expected


def test_an_older_name_is_nothing_to_who_wants_something_else() -> None:
    """Other readers of the page name what they want."""
    assert engine.parse("vllm:gpu_cache_usage_perc 0.4\na 1", {"a": "b"}) == {("b", ""): 1.0}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e999"])
def test_no_number_is_no_value(value: str) -> None:
    """Not 0, and it spoils no sum."""
    assert engine.parse(f"vllm:num_requests_running {value}") == {}
    page = f'vllm:num_requests_running{{engine="0"}} {value}\nvllm:num_requests_running{{engine="1"}} 2'
    assert engine.parse(page) == {("running", ""): 2.0}


def test_a_series_that_stands_twice_counts_once() -> None:
    """The same labels in another order are the same series; Prometheus keeps the first, too."""
    page = 'vllm:num_requests_running{a="1",b="2"} 3\nvllm:num_requests_running{b="2",a="1"} 5'
    assert engine.parse(page) == {("running", ""): 3.0}


def test_gateway_statistics_leave_pinned_servers_out() -> None:
    """The harness' own pinned backends are no serving capacity, and links would count requests a second time."""
    rows = {(row.metric, row.server): row.value for row in haproxy.KIND.statistics(CSV)}
    assert rows["server_up", "replica-1"] == 1.0
    assert rows["server_up", "replica-2"] == 0.0
    assert rows["server_sessions_total", "replica-2"] == 50.0
    assert rows["server_retries_total", "replica-1"] == 3.0


def test_a_replica_in_two_backends_is_one_replica() -> None:
    """What it did there adds up, what it weighs does not; and everybody who waits is counted, whoever he waits for."""
    rows = {(row.metric, row.server): row.value for row in haproxy.KIND.statistics(CSV)}
    assert rows["server_sessions_current", "replica-1"] == 3.0
    assert rows["server_weight", "replica-1"] == 100.0
    assert rows["queue_current", ""] == 1 + 5 + 8


def test_the_exporters_tokens_are_read_per_replica() -> None:
    """Its token counters and what its synthetic generations found, as rows of the replica that they are about."""
    page = """# TYPE drillyard_synthetic_tokens_asked_total counter
drillyard_synthetic_tokens_asked_total{replica="replica-1"} 7.0
drillyard_synthetic_tokens_asked_created{replica="replica-1"} 1.7e9
drillyard_synthetic_ok{replica="replica-1"} 1.0
drillyard_synthetic_ttft_seconds{replica="replica-1"} 0.25
drillyard_synthetic_ok{replica="replica-2"} 0.0
drillyard_gateway_requests_total{gateway="gateway-a"} 9.0
"""
    assert exporter.parse(page) == [
        Row("replica-1", "own_tokens_asked_total", "by=exporter", 7.0),
        Row("replica-1", "synthetic_ok", "", 1.0),
        Row("replica-1", "synthetic_ttft_ms", "", 250.0),
        Row("replica-2", "synthetic_ok", "", 0.0),
    ]


def test_own_tokens_are_asked_ended_and_got() -> None:
    """In flight, failed and answered requests of the harness can be told apart in its samples."""
    own = OwnTokens(("replica-1", "replica-2"))

    def counts() -> list[float]:
        return [row.value for row in asyncio.run(own.sample()) if row.component == "replica-1"]

    with own.asking("replica-1", 24) as ask:
        assert counts() == [24, 0, 0]
        ask.got = 24
    with pytest.raises(TimeoutError), own.asking("replica-1", 1):
        raise TimeoutError
    assert counts() == [25, 25, 24]


def test_a_crashing_probe_is_a_gap_with_an_event(tmp_path: Path) -> None:
    """The samples before and after the crash are kept; the reason is recorded once."""

    class Flaky:
        name, period_s, calls = "flaky", 0.01, 0

        async def sample(self) -> list[Row]:
            self.calls += 1
            if self.calls in (2, 3):
                raise ValueError("no number")
            return [Row("x", "m", "", float(self.calls))]

    async def run() -> None:
        task = asyncio.create_task(run_probe(probe, writer, log))
        while probe.calls < 6:  # noqa: ASYNC110 — the probe is what is watched
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    folder = RunFolder.create(tmp_path, "run")
    probe, log = Flaky(), EventLog(folder, 0.0)
    writer = MetricWriter(folder.path / "metrics.parquet")
    asyncio.run(run())
    writer.close()
    log.close()
    values = pq.read_table(folder.path / "metrics.parquet")["value"].to_pylist()
    assert values[:3] == [1.0, 4.0, 5.0]
    errors = [event for event in folder.events() if event.kind == "probe_error"]
    assert [event.data["probe"] for event in errors] == ["flaky"]


@pytest.mark.parametrize("samples", [0, 50_000])
def test_samples_are_one_table_when_all_is_over(samples: int, tmp_path: Path) -> None:
    """In the order in which they came, with the columns that a run's folder has; what was kept meanwhile is gone."""
    folder = RunFolder.create(tmp_path, "run")
    writer = MetricWriter(folder.path / "metrics.parquet")
    for number in range(samples):
        writer.add(number / 10, [Row("dns", "up", "", 1.0), Row("replica-1", "queue", f"n={number % 3}", number)])
    writer.close()
    assert {path.name for path in folder.path.iterdir()} == {"logs", "metrics.parquet", samples_kept.FILE}
    found = folder.metrics()
    assert found.columns.tolist() == METRIC_COLUMNS.names
    assert found["t_s"].tolist() == [number / 10 for number in range(samples) for _ in range(2)]
    queue = found[found["component"].eq("replica-1") & found["metric"].eq("queue")]
    assert queue["value"].tolist() == list(range(samples))
    assert queue["labels"].tolist() == [f"n={number % 3}" for number in range(samples)]


def test_a_killed_harness_leaves_its_samples(tmp_path: Path) -> None:
    """All but those of the last second, of a process that closes nothing; the summary of a whole run is not there."""
    child = (
        "import sys, time; from pathlib import Path; from harness.probes.base import MetricWriter, Row\n"
        "writer = MetricWriter(Path(sys.argv[1]) / 'metrics.parquet')\n"
        "for step in range(100): writer.add(step / 10, [Row('dns', 'up', '', 1.0), Row('load', 'cpu', 'n=1', step)])\n"
        "time.sleep(60)"
    )
    folder = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", child, str(tmp_path)], cwd=ROOT) as process:
        try:
            for _ in range(1000):
                if (tmp_path / METRICS_PART).exists() and len(folder.metrics()) >= 180:
                    break
                time.sleep(0.1)
        finally:
            process.kill()
    with (tmp_path / METRICS_PART).open("ab") as torn:
        torn.write(b"\xff\xff\xff\xff\x10")
    found = folder.metrics()
    assert found.columns.tolist() == METRIC_COLUMNS.names
    load = found[found["component"].eq("load")]
    assert load["value"].tolist() == [float(step) for step in range(len(load))]
    assert len(load) * 2 == len(found) >= 180
    assert load["t_s"].max() > 8.0
    assert not (tmp_path / samples_kept.FILE).exists()


@pytest.mark.parametrize(("answer", "ready"), [("200 OK", 1.0), ("503 Service Unavailable", 0.0), ("", 0.0)])
def test_readiness_is_the_status_and_nothing_else(answer: str, ready: float) -> None:
    """200 is ready; another status is not, and neither is a gateway that closes without an answer, or is not there."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n"))
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode() if answer else b"")
        writer.close()

    async def look() -> list[Row]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            gateway = Component("gateway-a", "gateway", "127.0.0.1", {"http": port}, readiness_path="/readyz")
            probe = readiness.ReadinessProbe(gateway)
            found = [*await probe.sample()]
        return [*found, *await probe.sample()]  # nobody listens any more

    assert asyncio.run(look()) == [Row("gateway-a", "ready", "", ready), Row("gateway-a", "ready", "", 0.0)]
    assert asked == [b"GET /readyz HTTP/1.1\r\n"]


def test_readiness_of_a_silent_gateway_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that takes the connection and says nothing, as a frozen one does, is not ready."""
    monkeypatch.setattr(readiness, "TIMEOUT_S", 0.1)

    async def look() -> list[Row]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            gateway = Component("gateway-a", "gateway", "127.0.0.1", {"http": port}, readiness_path="/readyz")
            return [*await readiness.ReadinessProbe(gateway).sample()]

    assert asyncio.run(look()) == [Row("gateway-a", "ready", "", 0.0)]


def looked_at(looks: list[Look], now_s: float = 2.0) -> Waves:
    """A ledger of waves with these looks at its only replica."""
    waves = Waves([Component("replica-1", "replica", "127.0.0.1", {"http": 1})], time.monotonic() - now_s, print)
    waves.probes[0].looks.extend(looks)
    return waves


@pytest.mark.parametrize(
    ("running", "stands_s", "unseen_s"), [(3.0, 0.0, 0.1), (3.0, 0.9, 0.9), (0.0, 0.9, 0.1)], ids=str
)
def test_an_engine_in_a_step_shows_nothing(running: float, stands_s: float, unseen_s: float) -> None:
    """Figures that stand still while something runs tell nothing new; of an idle engine they tell all."""
    looks = []
    for number in range(20):
        t_s = number / 10
        tokens = 0.5 if 0.5 <= t_s <= 0.5 + stands_s else t_s
        looks.append(Look(t_s, t_s, {"running": running, "generation_tokens_total": tokens if running else 1.0}))
    assert looked_at(looks).unseen_s(0.2) == pytest.approx(unseen_s, abs=0.15)


@pytest.mark.parametrize(
    ("states", "queues"),
    [
        ([(20, 9, 100), (20, 9, 120)], {"replica-1": 9}),  # a step, and nobody was let in
        ([(14, 9, 100), (21, 28, 120)], {}),  # they wait for the next step only
        ([(20, 9, 100), (20, 9, 100)], {}),  # the same step
        ([(20, 0, 100), (20, 9, 120)], {}),  # nobody waited in the step before
        ([(20, 9, 120)], {}),
        ([], {}),
    ],
    ids=str,
)
def test_a_queue_is_where_no_place_is_free(states: list[tuple[int, int, int]], queues: dict[str, int]) -> None:
    """Somebody waits, tokens are made, and nobody is let in; what was seen before all was sent does not count."""
    names = ("running", "waiting", "generation_tokens_total")
    seen = [(50, 9, 80), (50, 9, 90), *states]
    looks = [Look(n - 2.0, n - 1.9, dict(zip(names, map(float, one), strict=True))) for n, one in enumerate(seen)]
    assert looked_at(looks).queues(0.0) == queues
