"""The rendered configuration is what the programs themselves accept, in both runtimes and with every defect."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from harness.model.alert_rules import rule_file
from harness.model.errors import UsageError
from harness.model.topology import DEFECTS, GatewayPolicy, Stack, Topology
from stack import config, keys, tools
from stack.gateway import kind
from stack.stacks.vllm_haproxy import REPLICAS_MAX, STACK, stack
from tests.integration.gateway_stack import INSTANCE, KEYS

RUNTIMES = ("process", "docker")


def accepted(tool: str, *arguments: str) -> str:
    """Run the tool; its output if it ends well, a failure with that output if not."""
    found = tools.require(tool)
    done = subprocess.run(
        [str(found.path), *arguments], env={**os.environ, **found.env}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rendered(folder: Path, runtime: str, *defects: str, of: Stack = STACK) -> Topology:
    """Render into ``folder``; what only exists in a container (paths, host names) is replaced by what is here."""
    topology = Topology(of, instance=INSTANCE, runtime=runtime, defects=frozenset(defects))
    config.render(topology, KEYS, folder)
    for path in folder.glob("*/*"):
        text = path.read_text().replace("/etc/drillyard", str(folder))
        if path.name == "haproxy.cfg":
            text = re.sub(r"(server \S+) (toxiproxy|replica-\d|exporter):", r"\1 127.0.0.1:", text)
        path.write_text(text)
    return topology


@pytest.mark.parametrize(
    ("runtime", "defects"),
    [
        ("docker", ()),
        ("docker", tuple(DEFECTS)),
        *[("process", (name,)) for name in DEFECTS],
        ("process", tuple(DEFECTS)),
    ],
)
def test_haproxy_accepts_it(tmp_path: Path, runtime: str, defects: tuple[str, ...]) -> None:
    """Valid, and without a warning."""
    rendered(tmp_path, runtime, *defects)
    gateway = STACK.of("gateway")[len(defects) % 2]
    output = accepted("haproxy", "-c", "-f", str(tmp_path / gateway / "haproxy.cfg"))
    assert "[WARNING]" not in output, output


@pytest.mark.parametrize("replicas", [1, 3, REPLICAS_MAX])
def test_haproxy_accepts_any_number_of_replicas(tmp_path: Path, replicas: int) -> None:
    """Valid, and without a warning, with all of their weights in one sum."""
    rendered(tmp_path, "process", of=stack(gateways=1, replicas=replicas))
    output = accepted("haproxy", "-c", "-f", str(tmp_path / "gateway-a" / "haproxy.cfg"))
    assert "[WARNING]" not in output, output


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_prometheus_accepts_it(tmp_path: Path, runtime: str) -> None:
    """Configuration and rules, in both time scales."""
    rendered(tmp_path, runtime)
    assert "rules found" in accepted("promtool", "check", "config", str(tmp_path / "prometheus/prometheus.yml"))
    for scale in ("production", "drill"):
        path = tmp_path / f"{scale}.json"
        path.write_text(json.dumps(rule_file(scale, GatewayPolicy(), [kind("haproxy").conditions])))
        accepted("promtool", "check", "rules", str(path))


def test_links(tmp_path: Path) -> None:
    """Every link of the topology is a proxy: loopback on the host, every interface in a container, never elsewhere."""
    for runtime in RUNTIMES:
        topology = rendered(tmp_path / runtime, runtime)
        proxies = json.loads((tmp_path / runtime / "toxiproxy/toxiproxy.json").read_text())
        assert [proxy["name"] for proxy in proxies] == [link.name for link in topology.links]
        hosts = {proxy["listen"].rsplit(":", 1)[0] for proxy in proxies}
        if runtime == "docker":
            assert hosts == {"0.0.0.0"}
            assert proxies[0]["upstream"] == "gateway-a:8080"
            assert proxies[2]["upstream"] == "replica-1:8000"
        else:
            assert all(host.startswith(f"127.0.{INSTANCE}.") for host in hosts)
        assert len({proxy["listen"] for proxy in proxies}) == len(proxies)


def test_rendering_is_private_and_repeatable(tmp_path: Path) -> None:
    """The folder is its owner's; equal arguments give equal bytes; files of an earlier version are gone."""
    topology = Topology(STACK, instance=INSTANCE)
    config.render(topology, KEYS, tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    first = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    (tmp_path / "gateway-a/old.map").touch()
    config.render(topology, KEYS, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == first


def test_keys_are_made_once_and_kept_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 600, stable, distinct, absent from repr; another file by the environment; wrong files are usage errors."""
    monkeypatch.delenv(keys.FILE_VARIABLE, raising=False)
    made = keys.load_or_create(tmp_path, users=3)
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load_or_create(tmp_path) == made
    assert list(made.users) == ["user-001", "user-002", "user-003"]
    assert len({key for key, _ in made.by_key()}) == 4
    assert made.operator not in repr(made)
    other = tmp_path / "other.json"
    monkeypatch.setenv(keys.FILE_VARIABLE, str(other))
    with pytest.raises(UsageError, match=r"other\.json"):
        keys.load_or_create(tmp_path)
    same = "k" * 20
    for wrong in ([], {"operator": "short", "users": {}}, {"operator": same, "users": {"u": same}},
                  {"operator": same, "users": {"User 1": "x" * 20}}, {"operator": "a b" * 9, "users": {}}):  # fmt: skip
        other.write_text(json.dumps(wrong))
        with pytest.raises(UsageError):
            keys.load_or_create(tmp_path)
    other.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(UsageError, match="cannot read the API keys"):
        keys.load_or_create(tmp_path)


def test_defect_alert_rule_missing(tmp_path: Path) -> None:
    """Without the rule for a dead replica the file is still one that Prometheus takes: nobody would notice."""
    rendered(tmp_path / "healthy", "process")
    rendered(tmp_path / "defect", "process", "alert_rule_missing")
    assert "ReplicaDown" in (tmp_path / "healthy/prometheus/rules.yml").read_text()
    assert "ReplicaDown" not in (tmp_path / "defect/prometheus/rules.yml").read_text()
    accepted("promtool", "check", "config", str(tmp_path / "defect/prometheus/prometheus.yml"))
