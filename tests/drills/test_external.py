"""A drill of a service that Drillyard did not start: over TLS, by its own name, with its key, nothing left behind.

Services of several kinds pass when they are well, and a service that does not come back fails by the check of that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest

from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxiproxy
from harness.load.connections import Connections
from harness.load.job import Service
from harness.model.topology import Endpoint, Target, Topology
from harness.probes.path import PathProbe
from harness.run.outcome import VARIABLES, run_name
from stack import stacks
from stack.engines import DEPLOYMENT
from stack.runtimes.external import ExternalRuntime
from stack.stacks import external
from tests.connect_proxy import NAME, PASSWORD, connect_proxy
from tests.drills.drill_process import RUN_S_MAX, Ended
from tests.drills.lanes import judged
from tests.drills.outcome import CHECKOUT, until_judged
from tests.integration.foreign_service import HOST, KEY, Foreign, foreign_service
from tests.integration.simulated_stack import free_topology
from tests.trust.lanes import latest_kept
from tests.wire import Wire, server

pytestmark = [pytest.mark.trust, pytest.mark.timeout(300)]

SCENARIO = CHECKOUT / "tests" / "drills" / "external.yaml"
NEEDS_OUR_STACK = ("gateways eject replica-2", "honest errors in all-replicas", "steady state in recovery-one")


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


def drill_once(topology: Topology, foreign: Foreign, meanwhile: Callable[[str], object], *arguments: str) -> Ended:
    """The short drill of the service to its end; ``meanwhile`` hears twice a second what the program has said."""
    owned = ("--i-own-this-target", str(urlsplit(foreign.url).hostname), "--i-own-this-target", "127.0.0.1")
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    said = {"TARGET": f"{foreign.url}/v1", "API_KEY_ENV": "FOREIGN_KEY", "FOREIGN_KEY": KEY}
    said["METRICS_URL"] = foreign.metrics_url
    command = [sys.executable, "-m", "harness", "run", "timeout-spike", "--runtime", "external"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [*command, "--instance", str(topology.instance), "--scenario", str(SCENARIO), *owned, *arguments],
            cwd=CHECKOUT, env=clean | foreign.environment | said, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + RUN_S_MAX
            while process.poll() is None and time.monotonic() < deadline:
                meanwhile(Path(f"/proc/{os.getpid()}/fd/{err.fileno()}").read_text(errors="replace"))
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
            made += until_judged(partial(drill_once, topology, foreign, lambda _: seen.update(_command_lines())))
            judged(made[-1])
            api = topology.component("toxiproxy")
            proxies = Toxiproxy(api.address, api.ports["api"]).proxies() if run_name(made[-1].err) else {}
            yield Drilled(made[-1], foreign, seen, sum(len(proxy["toxics"]) for proxy in proxies.values()))
        finally:
            for ended in made:
                if run_name(ended.err):
                    shutil.rmtree(ended.folder.path, ignore_errors=True)


def test_it_passes_and_says_what_was_not_asked(drilled: Drilled) -> None:
    """Exit 0: all that could be asked passed; what needs gateways or replicas was no part of it, in one line."""
    ended = drilled.ended
    assert ended.code == 0, ended
    assert_passed(ended)
    unasked = ended.verdict["not_asked"]
    assert set(NEEDS_OUR_STACK) <= set(unasked)
    first = ended.out.splitlines()[0]
    assert first.startswith(
        f"all {len(ended.results())} checks passed; not asked of an external target: {len(unasked)} "
    )
    page = (ended.folder.path / "report.html").read_text()
    assert f"{len(unasked)} not asked" in page
    assert 'class="badge skipped"' not in page


def assert_passed(ended: Ended) -> None:
    """Every check of the drill that an external target can answer was asked and held; so did every validity rule."""
    results = ended.results()
    assert {name: result["why"] for name, result in results.items() if result["status"] != "PASS"} == {}, ended
    assert {
        "conservation", "no hang in slow-link", "recovery after slow-link", "availability with a slow link",
        "steady state in recovery-slow", "no hang in silent-link", "recovery after silent-link",
        "steady state in recovery-silent",
    } <= results.keys()  # fmt: skip
    assert {result["status"] for result in ended.results("validity").values()} == {"PASS"}, ended


def test_the_fault_was_proven_and_healed(drilled: Drilled) -> None:
    """The silence crossed nothing, the target itself still answered, and afterwards no toxic is left."""
    kinds = [event.kind for event in drilled.ended.folder.events()]
    for kind in ("fault_injected", "fault_proven", "fault_healed", "heal_proven"):
        assert kinds.count(kind) == 2, kinds  # the slow link and the silent one
    assert "cleanup_problem" not in kinds
    assert "link_cut" not in kinds
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
    topology = stacks.restored(drilled.ended.folder.plan()["topology"])
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
        probe = PathProbe(Topology(external.stack(target), target=target), KEY, DEPLOYMENT)
        outcomes[name] = asyncio.run(probe.straight(target, 5.0)).outcome
    assert outcomes == {HOST: "ok", "127.0.0.1": "refused"}
    Connections(Service(name=HOST, port=port, address="127.0.0.1", tls=True)).connect("127.0.0.1", 5.0).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        Connections(Service(name="127.0.0.1", port=port, address="127.0.0.1", tls=True)).connect("127.0.0.1", 5.0)


# ── settings that only the target can tell to be wrong ──


def refused_drill(topology: Topology, foreign: Foreign, *arguments: str) -> str:
    """The first line of a drill that ends with 64, before there is any load."""
    with latest_kept():
        ended = drill_once(topology, foreign, lambda _: None, *arguments)
    try:
        assert ended.code == 64, ended
        assert not {"load_started", "phase_started", "fault_injecting"} & {e.kind for e in ended.folder.events()}
        return ended.out.splitlines()[0]
    finally:
        shutil.rmtree(ended.folder.path, ignore_errors=True)


def test_a_wrong_metrics_url_ends_it_before_the_load(topology: Topology, tmp_path: Path) -> None:
    """A page that is there, and is none of metrics."""
    with foreign_service(tmp_path) as foreign:
        first = refused_drill(topology, replace(foreign, metrics_url=f"{foreign.metrics_url}-of-somebody"))
    assert "the run ended early: METRICS_URL=http://127.0.0.1:" in first
    assert "/metrics-of-somebody: found status 404" in first
    assert "expected vLLM's metrics page" in first


def test_a_wrong_key_ends_it_before_the_load(topology: Topology) -> None:
    """Also where the model is named, so that nothing else has to be asked."""
    wire = Wire((b'{"error": {"message": "no such key"}}',), 401, framing="length")
    with server(lambda: wire) as port:
        foreign = Foreign(f"http://127.0.0.1:{port}", "", port, Simulator(""))
        first = refused_drill(topology, foreign, "--model", "their/model")
    assert "/v1/chat/completions answers 401: the variable FOREIGN_KEY holds no key that it takes" in first


# ── services of other kinds ──


@dataclass(frozen=True)
class Kind:
    """A sort of service: what it is started with, and what its owner says about it."""

    arguments: tuple[str, ...] = ()
    base: str = ""
    said: tuple[str, ...] = ()


#: Patient enough to know whether a service has come back within ten seconds: who asked then has waited five in vain.
PATIENT = ("--set", "abort_when=[{sli: error_ratio, objective: '> 50 %', for: 25s}]")
KINDS = {
    # Slower than the scenario expects, and slow enough for a delay of the link to meet streams that run.
    "slow": Kind(
        ("--ttft-ms", "1200", "--tokens-per-second", "30"), said=("--set", "slos.TTFT before.objective=<= 3 s")
    ),
    "gzip": Kind(("--gzip",)),
    "base path": Kind(base="/gpu/llm"),
}


def drilled_kind(topology: Topology, folder: Path, kind: Kind, hangs_at: str = "") -> Ended:
    """The short drill of such a service; it hangs from the moment on at which the program says ``hangs_at``."""
    hung: list[bool] = []
    with latest_kept(), foreign_service(folder, base=kind.base, arguments=kind.arguments) as foreign:

        def meanwhile(said: str) -> None:
            if hangs_at and hangs_at in said and not hung:
                foreign.switches.behave({"hang": True})
                hung.append(True)

        def once() -> Ended:
            hung.clear()
            foreign.switches.heal()
            return drill_once(topology, foreign, meanwhile, *PATIENT, *kind.said)

        *repeated, ended = until_judged(once)
        for one in repeated:
            shutil.rmtree(one.folder.path, ignore_errors=True)
    return judged(ended)


@pytest.mark.night
@pytest.mark.parametrize("name", KINDS)
def test_a_service_that_is_well_passes(name: str, topology: Topology, tmp_path: Path) -> None:
    """Slow by design, compressing for whoever asks, below a path with metrics behind a redirect: PASS, nobody cut."""
    ended = drilled_kind(topology, tmp_path, KINDS[name])
    try:
        assert ended.code == 0, ended
        assert_passed(ended)
        assert "metrics of target" in ended.results("validity")
        slow = ended.folder.requests()[lambda rows: rows["phase"].eq("slow-link")]
        assert set(slow["outcome"]) == {"ok"}
    finally:
        shutil.rmtree(ended.folder.path, ignore_errors=True)


@pytest.mark.night
def test_a_service_behind_a_proxy_passes(topology: Topology, tmp_path: Path) -> None:
    """All of the load, the probes and the proofs go through it; the plan says so, and nothing tells its password."""
    with latest_kept(), connect_proxy() as proxy, foreign_service(tmp_path) as foreign:
        environment = {"http_proxy": proxy.url()}
        led = replace(foreign, url=f"http://{NAME}:{foreign.port}", environment=environment)
        *repeated, ended = until_judged(lambda: drill_once(topology, led, lambda _: None, *PATIENT))
        for one in repeated:
            shutil.rmtree(one.folder.path, ignore_errors=True)
    try:
        assert judged(ended).code == 0, ended
        assert_passed(ended)
        assert ended.folder.plan()["proxy"] == f"{NAME} through the proxy that http_proxy names; 127.0.0.1 directly"
        assert set(proxy.asked) == {f"{NAME}:{foreign.port}"}
        files = [path for path in ended.folder.path.rglob("*") if path.is_file()]
        assert [path.name for path in files if PASSWORD.encode() in path.read_bytes()] == []
        assert PASSWORD not in ended.out + ended.err
    finally:
        shutil.rmtree(ended.folder.path, ignore_errors=True)


@pytest.mark.night
@pytest.mark.parametrize("name", KINDS)
def test_a_service_that_does_not_come_back_fails(name: str, topology: Topology, tmp_path: Path) -> None:
    """It hangs from the heal of the silence on: FAIL, by the checks of what comes after that heal, and by no other."""
    ended = drilled_kind(topology, tmp_path, KINDS[name], hangs_at="phase recovery-silent")
    try:
        assert ended.code == 1, ended
        red = {name for name, result in ended.results().items() if result["status"] == "FAIL"}
        assert "recovery after silent-link" in red, ended
        assert red <= {"recovery after silent-link", "steady state in recovery-silent", "broken attempts bounded"}, (
            ended
        )
    finally:
        shutil.rmtree(ended.folder.path, ignore_errors=True)
