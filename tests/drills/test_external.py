"""A drill of a service that Drillyard did not start: over TLS, by its own name, with its key, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import psutil
import pytest

from harness.adapters.toxiproxy import Toxiproxy
from harness.load.connections import Connections
from harness.load.job import Service
from harness.probes.path import PathProbe
from stack import state
from stack.engines import DEPLOYMENT
from stack.runtimes.external import ExternalRuntime
from stack.topology import Endpoint, Target, Topology
from tests.drills.drill_process import RUN_S_MAX, Ended
from tests.drills.lanes import judged
from tests.drills.outcome import CHECKOUT, VARIABLES, run_name, until_judged
from tests.integration.foreign_service import HOST, KEY, Foreign, foreign_service
from tests.integration.simulated_stack import free_topology
from tests.trust.lanes import latest_kept

pytestmark = [pytest.mark.trust, pytest.mark.timeout(300)]

SCENARIO = CHECKOUT / "tests" / "drills" / "external.yaml"
NEEDS_OUR_STACK = ("gateways take replica-2 out", "honest errors in all-replicas", "steady state in recovery-one")


class Drilled(NamedTuple):
    """One ended run, the service that it was of, what could be seen of it meanwhile, and what it left injected."""

    ended: Ended
    foreign: Foreign
    command_lines: set[str]
    toxics: int


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    """An instance for these runs; down afterwards."""
    with free_topology() as found:
        yield found
        ExternalRuntime(found).down(print)


def drill_once(topology: Topology, foreign: Foreign, seen: set[str]) -> Ended:
    """The short drill of the service to its end; ``seen`` gets the command lines of all processes meanwhile."""
    owned = ("--i-own-this-target", HOST, "--i-own-this-target", "127.0.0.1")
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    said = {"TARGET": f"{foreign.url}/v1", "API_KEY_ENV": "FOREIGN_KEY", "FOREIGN_KEY": KEY}
    said["METRICS_URL"] = foreign.metrics_url
    command = [sys.executable, "-m", "harness", "run", "timeout-spike", "--runtime", "external"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [*command, "--instance", str(topology.instance), "--scenario", str(SCENARIO), *owned],
            cwd=CHECKOUT, env=clean | foreign.environment | said, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + RUN_S_MAX
            while process.poll() is None and time.monotonic() < deadline:
                seen |= _command_lines()
                time.sleep(0.5)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        return Ended(process.returncode, out.read(), err.read())


def _command_lines() -> set[str]:
    found = set()
    for process in psutil.process_iter():
        try:
            found.add(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def drilled(topology: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    """The short drill of a service behind TLS; the folders of its runs go then."""
    folder, seen, made = tmp_path_factory.mktemp("foreign"), set[str](), list[Ended]()
    with latest_kept(), foreign_service(folder, tls=True) as foreign:
        try:
            made += until_judged(partial(drill_once, topology, foreign, seen))
            judged(made[-1])
            api = topology.component("toxiproxy")
            proxies = Toxiproxy(api.address, api.ports["api"]).proxies() if run_name(made[-1].err) else {}
            yield Drilled(made[-1], foreign, seen, sum(len(proxy["toxics"]) for proxy in proxies.values()))
        finally:
            for ended in made:
                if run_name(ended.err):
                    shutil.rmtree(ended.folder.path, ignore_errors=True)


def test_it_is_inconclusive_and_says_what_was_skipped(drilled: Drilled) -> None:
    """Exit 2: what could be asked passed, what needs gateways or replicas was skipped, each with its reason."""
    ended = drilled.ended
    assert ended.code == 2, ended
    statuses = {name: result["status"] for name, result in ended.results().items()}
    assert set(statuses.values()) == {"PASS", "SKIPPED"}, ended
    assert {statuses[name] for name in NEEDS_OUR_STACK} == {"SKIPPED"}
    for name in ("conservation", "no hang in silent-link", "recovery after silent-link", "availability before"):
        assert statuses[name] == "PASS"
    passed, skipped = (list(statuses.values()).count(word) for word in ("PASS", "SKIPPED"))
    assert ended.out.startswith(f"{passed} checks passed, {skipped} were skipped because ")
    assert {result["status"] for result in ended.results("validity").values()} == {"PASS"}
    assert 'class="badge skipped"' in (ended.folder.path / "report.html").read_text()


def test_the_fault_was_proven_and_healed(drilled: Drilled) -> None:
    """The silence crossed nothing, the target itself still answered, and afterwards no toxic is left."""
    kinds = [event.kind for event in drilled.ended.folder.events()]
    for kind in ("fault_injected", "fault_proven", "fault_healed", "heal_proven"):
        assert kinds.count(kind) == 1, kinds
    assert "cleanup_problem" not in kinds
    assert "stop_condition" not in kinds
    assert [c["objective"] for c in drilled.ended.folder.plan()["scenario"]["abort_when"]] == ["> 50 %"]
    assert "is put in" in drilled.ended.err
    assert drilled.toxics == 0


def test_load_is_tls_to_the_real_name(drilled: Drilled) -> None:
    """Through a proxy on another address every hello and every Host still name the target; connections are kept."""
    assert set(drilled.foreign.asked) == {HOST}
    sent = bytes(drilled.foreign.seen)
    chats = sent.count(b"POST /v1/chat/completions HTTP/1.1")
    assert chats > 100
    assert sent.count(f"Host: {HOST}:{drilled.foreign.port}\r\n".encode()) >= chats
    assert len(drilled.foreign.asked) < chats * 0.8
    assert sent.count(f"Bearer {KEY}".encode()) >= chats


def test_load_went_through_the_link(drilled: Drilled) -> None:
    """Every request was sent to the local proxy, none to the target's own address."""
    topology = state.as_topology(drilled.ended.folder.plan()["topology"])
    assert set(drilled.ended.folder.requests()["gateway"].dropna()) == {
        topology.link("client-to-target").listen_address
    }


def test_plan_names_host_and_address(drilled: Drilled) -> None:
    """What was meant and what was connected to; the command can be typed again without the environment."""
    plan = drilled.ended.folder.plan()
    service = plan["topology"]["target"]["service"]
    assert (service["host"], service["address"], service["port"]) == (HOST, "127.0.0.1", drilled.foreign.port)
    assert plan["guard"] == f"you own {HOST} (pinned: 127.0.0.1), 127.0.0.1 (pinned: 127.0.0.1)"
    assert f"--target {drilled.foreign.url}" in plan["command"]
    assert "--api-key-env FOREIGN_KEY" in plan["command"]


def test_the_key_is_nowhere(drilled: Drilled) -> None:
    """Neither in a file of the run, nor in what was printed, nor in any command line that could be seen meanwhile."""
    files = [path for path in drilled.ended.folder.path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in drilled.ended.out + drilled.ended.err
    assert any("harness.load" in line for line in drilled.command_lines)
    assert [line for line in drilled.command_lines if KEY in line] == []


def test_a_certificate_is_for_its_name(drilled: Drilled, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is verified against the target's host: for a name that the certificate does not have nothing gets across."""
    monkeypatch.setenv("SSL_CERT_FILE", drilled.foreign.environment["SSL_CERT_FILE"])
    outcomes, port = {}, drilled.foreign.port
    for name in (HOST, "127.0.0.1"):
        target = Target(Endpoint("https", name, port, address="127.0.0.1"))
        outcomes[name] = asyncio.run(PathProbe(Topology(target=target), KEY, DEPLOYMENT).straight(target, 5.0)).outcome
    assert outcomes == {HOST: "ok", "127.0.0.1": "refused"}
    Connections(Service(name=HOST, port=port, address="127.0.0.1", tls=True)).connect("127.0.0.1", 5.0).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        Connections(Service(name="127.0.0.1", port=port, address="127.0.0.1", tls=True)).connect("127.0.0.1", 5.0)
