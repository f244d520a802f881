"""Every configuration follows the stack: one gateway and three replicas are rendered as two and two are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from harness.model.errors import UsageError
from harness.model.topology import Topology
from stack import config
from stack.gateway.haproxy import config as haproxy_config
from stack.keys import Keys
from stack.runtimes.docker import DockerRuntime
from stack.stacks import vllm_haproxy

TOPOLOGY = Topology(vllm_haproxy.stack(gateways=1, replicas=3), instance=7, engine="sim")
REPLICAS = ["replica-1", "replica-2", "replica-3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of its configuration."""
    made = tmp_path_factory.mktemp("config")
    config.render(TOPOLOGY, Keys("operator-0123456789", {"user-001": "first-user-0123456789"}), made)
    return made


def test_there_is_a_folder_for_each_component_that_has_files(folder: Path) -> None:
    """And for no other."""
    assert sorted(path.name for path in folder.iterdir()) == [
        "alertmanager",
        "dns",
        "exporter",
        "gateway-a",
        "prometheus",
        "toxiproxy",
    ]


def test_the_gateway_has_every_replica_in_every_backend(folder: Path) -> None:
    """For users, for long prompts, pinned, and as a link of its own; the readiness agent is asked about each."""
    text = (folder / "gateway-a" / "haproxy.cfg").read_text()
    backends = {part.split("\n", 1)[0]: part for part in re.split(r"^backend ", text, flags=re.M)[1:]}
    for name in ("replicas", "long"):
        assert re.findall(r"^    server (\S+)", backends[name], re.M) == REPLICAS
    assert [name for name in backends if name.startswith("pin-")] == [f"pin-{name}" for name in REPLICAS]
    assert re.findall(r"^frontend link-(\S+)", text, re.M) == REPLICAS
    assert re.findall(r'agent-send "(\S+)\\n"', backends["replicas"]) == REPLICAS
    addresses = {re.search(rf"server {name} (127\S+)", backends[f"link-{name}-check"])[1] for name in REPLICAS}  # type: ignore[index]
    assert addresses == {f"127.0.7.5:{port}" for port in (21011, 21012, 21013)}


def test_weights_decide_between_any_number_of_replicas(folder: Path) -> None:
    """Each replica has its part of the lot, up to the sum of all; with a single one there is nothing to draw."""
    text = (folder / "gateway-a" / "haproxy.cfg").read_text()
    drawn = re.findall(r"^    use-server (\S+) if all_weigh unlike(.*)$", text, re.M)[:3]
    assert drawn == [("replica-1", " below_1"), ("replica-2", " !below_1 below_2"), ("replica-3", " !below_2")]
    assert "set-var(txn.until_3) var(txn.weight_3),add(txn.until_2)" in text
    assert "rand(1000000),mul(txn.until_3),div(1000000)" in text
    single = Topology(vllm_haproxy.stack(gateways=1, replicas=1))
    assert "use-server" not in haproxy_config.files(single, Keys("operator-0123456789", {}), "gateway-a")["haproxy.cfg"]


def test_toxiproxy_has_every_link(folder: Path) -> None:
    """From clients to the gateway, and from it to each replica."""
    proxies = json.loads((folder / "toxiproxy" / "toxiproxy.json").read_text())
    assert {one["name"]: (one["listen"], one["upstream"]) for one in proxies} == {
        "client-to-gateway-a": ("127.0.7.111:8080", "127.0.7.11:8080"),
        **{f"gateway-a-to-replica-{n}": (f"127.0.7.5:{21010 + n}", f"127.0.7.{20 + n}:8000") for n in range(1, 4)},
    }


def test_dns_knows_the_one_gateway(folder: Path) -> None:
    """By its link, and by where its readiness is asked."""
    zone = (folder / "dns" / "service.zone").read_text()
    assert "ifurlextup({{['127.0.7.111']='http://127.0.7.11:8080/readyz'}}," in zone


def test_prometheus_scrapes_all_of_them(folder: Path) -> None:
    """Under their names."""
    jobs = yaml.safe_load((folder / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: [one["labels"]["component"] for one in job["static_configs"]] for job in jobs}
    assert found["replica"] == REPLICAS
    assert found["gateway"] == ["gateway-a"]
    assert jobs[0]["static_configs"][2]["targets"] == ["127.0.7.23:8000"]


def test_the_exporter_asks_all_of_them(folder: Path) -> None:
    """Each replica for tokens; each gateway's log is read."""
    found = json.loads((folder / "exporter" / "exporter.json").read_text())
    assert found["replicas"] == {f"replica-{n}": f"http://127.0.7.{20 + n}:8000" for n in range(1, 4)}
    assert list(found["gateway_logs"]) == ["gateway-a"]


def test_containers_of_another_stack_are_refused() -> None:
    """compose.yaml describes one stack: the sentence says what differs, and where the other runs."""
    with pytest.raises(UsageError, match="differs in gateway-b, replica-3: RUNTIME=process"):
        DockerRuntime(TOPOLOGY)._check_stack()
    DockerRuntime(Topology(vllm_haproxy.STACK))._check_stack()
