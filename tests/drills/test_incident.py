"""An incident report from a real stack's Prometheus: a script without a drill breaks it, and the report says when.

What it says is compared with the script's own times, and with the load's own records.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.record import RunFolder
from harness.model.alert_rules import SCRAPE_S
from harness.model.incident import NOT_MEASURED, Report, Table
from reports.incident import document
from stack.exporter.access import POLL_S
from tests.drills.by_hand import ByHand
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology, started

pytestmark = [pytest.mark.night, pytest.mark.timeout(600)]

PAUSED_S, FORGOTTEN_S, QUIET_S, STARTS_WITHIN_S = 40.0, 35.0, 12.0, 90.0
#: Streams that are long enough to be under way at a replica when it stops.
SCENARIO = """
name: by-hand
description: Load for a script that breaks things.
load:
  rate: 5/s
  cohorts: [{name: chat, users: 40, prompts: open, max_tokens: 300}]
  limits: {connect: 2s, first_token: 12s, idle: 12s, total: 30s}
phases: [{name: baseline, kind: baseline, duration: 30s}]
"""
UNDER_WAY = 8
FAILED = "failed-with-5xx-or-after-a-good-beginning"
WHO, WHY = "Ada <b>on call</b>", "looking at **it**"


@dataclass
class Incident:
    """What was done, by the script and by the load, and the report's folder."""

    script: ByHand
    load: RunFolder
    out: Path

    @property
    def report(self) -> Report:
        """As its JSON has it."""
        return document.read((self.out / "incident.json").read_text())

    def figure(self, id_: str) -> str:
        """A number of it."""
        return self.report.figures()[id_].text

    def span(self, shown: str) -> tuple[float, float]:
        """From when to when a time of the report is, in Unix seconds."""
        times = re.findall(r"(\d\d):(\d\d):(\d\d(?:\.\d)?)", shown)
        assert times, shown
        day = datetime.fromtimestamp(next(iter(self.script.done.values()))[0], UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        found = [day.timestamp() + 3600 * int(h) + 60 * int(m) + float(s) for h, m, s in times]
        return found[0], found[-1]

    def events(self) -> dict[str, str]:
        """The timeline: when by what, the first of each."""
        blocks = next(one for one in self.report.sections if one.id == "timeline").blocks
        rows = [row for block in blocks if isinstance(block, Table) and block.head[0] == "UTC" for row in block.rows]
        found: dict[str, str] = {}
        for when, what, _ in rows:
            found.setdefault("".join(map(str, what.parts)), "".join(map(str, when.parts)))
        return found

    def apart_s(self, shown: str, done: tuple[float, float]) -> float:
        """How far a time of the report and the script's are apart: 0 where they overlap."""
        low, high = self.span(shown)
        return max(low - done[1], done[0] - high, 0.0)

    def logged(self) -> list[dict[str, Any]]:
        """Requests of users in the gateways' logs, as the load has collected them."""
        lines = [line for name in ("gateway-a", "gateway-b")
                 for line in (self.load.path / "logs" / f"{name}.log").read_text().splitlines()]  # fmt: skip
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if not one["backend"].startswith("pin-")]


@contextmanager
def load(script: ByHand, folder: Path) -> Iterator[Callable[[], RunFolder]]:
    """Load on the stack until the function that is given is called, which has its records."""
    (folder / "by-hand.yaml").write_text(SCENARIO)
    instance = ["--runtime", "process", "--instance", str(script.runtime.topology.instance), "--seed", "1"]
    out, err = folder / "out", folder / "err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "load", *instance, str(folder / "by-hand.yaml")], cwd=CHECKOUT,
            stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err, start_new_session=True,
        )  # fmt: skip

    def end() -> RunFolder:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, err.read_text()
        return RunFolder(Path(re.findall(r"^records: (.+)$", out.read_text(), re.MULTILINE)[0]))

    try:
        assert script.watch(lambda: " offered " in err.read_text(), STARTS_WITHIN_S), err.read_text()
        yield end
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def break_it(script: ByHand) -> None:
    """A replica stands still, and later one gateway has forgotten the other; in between all is well."""

    def passed(seconds: float) -> Callable[[], bool]:
        until = time.time() + seconds
        return lambda: time.time() >= until

    script.watch(passed(QUIET_S))
    assert script.watch(lambda: not script.firing)
    script.fired.clear()
    assert script.watch(lambda: script.under_way("replica-1") >= UNDER_WAY)
    script.pause("replica-1")
    over = passed(PAUSED_S)
    try:
        assert script.watch(lambda: script.fired)
        script.silence(next(iter(script.fired)), WHO, WHY)
        script.watch(over)
    finally:
        script.go_on("replica-1")
    assert script.watch(lambda: not script.firing)
    script.watch(passed(QUIET_S))
    config = script.forget("gateway-a", "replica-2")
    script.watch(passed(FORGOTTEN_S))
    script.restore("gateway-a", config)
    script.watch(passed(QUIET_S))


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Incident]:
    """A stack that was broken twice under load, and its report."""
    folder = tmp_path_factory.mktemp("incident")
    with free_topology() as topology, started(topology) as runtime, closing(ByHand(runtime)) as script:
        assert script.watch(lambda: len(script.asked("up == 1")) >= len(runtime.topology.replicas) + 3)
        from_s = time.time()
        script.watch(lambda: time.time() > from_s + 3 * SCRAPE_S)
        with load(script, folder) as end:
            break_it(script)
            records = end()
        try:
            ended_s = time.time()
            script.watch(lambda: time.time() > ended_s + POLL_S + 3 * SCRAPE_S)
            logs = folder / "logs"
            logs.mkdir()
            for name in runtime.topology.gateways:
                shutil.copyfile(runtime.logs(name), logs / f"{name}.log")
            place = ["--prom", script.url("prometheus"), "--alertmanager", script.url("alertmanager")]
            times = ["--from", f"{from_s:.3f}", "--to", f"{time.time():.3f}", "--logs", str(logs)]
            asked = command(*place, *times, "--out", str(folder / "report"))
            assert asked.returncode == 0, asked.stderr
            yield Incident(script, records, folder / "report")
        finally:
            shutil.rmtree(records.path)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """``harness incident``."""
    program = [sys.executable, "-m", "harness", "incident", *words]
    return subprocess.run(program, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("event", "done"),
    [
        ("replica-1 does not answer its scrapes", "pause replica-1"),
        ("replica-1 answers its scrapes again", "continue replica-1"),
        ("gateway-a no longer knows replica-2", "gateway-a without replica-2"),
        ("gateway-a knows replica-2 again", "gateway-a restored"),
    ],
)
def test_what_was_done_is_in_the_timeline_within_a_scrape(
    incident: Incident, event: str, done: str, record_property: Callable[[str, object], None]
) -> None:
    """When the script says that it did it: a scrape that was under way may tell of it a scrape earlier."""
    shown = incident.events()[event]
    apart_s = incident.apart_s(shown, incident.script.done[done])
    record_property("tally", f"{event}: {shown}, {apart_s:.2f} s from the script's")
    assert apart_s <= SCRAPE_S


def test_its_times_are_those_of_script_and_gateways(
    incident: Incident, record_property: Callable[[str, object], None]
) -> None:
    """Began with the first request that failed, detected when the alert was seen to fire, acknowledged by the silence,
    resolved when the gateway had its configuration again.
    """
    failed = min(end_s(one) for one in incident.logged() if has_failed(one) and end_s(one) > paused_s(incident))
    (alert, seen_s), *_ = incident.script.fired.items()
    expected = {
        "began": (failed, failed),
        "detected": (seen_s, seen_s),
        "acknowledged": incident.script.done["silence"],
        "resolved": incident.script.done["gateway-a restored"],
    }
    found = {name: incident.apart_s(incident.figure(f"times.{name}"), of) for name, of in expected.items()}
    for name, apart_s in found.items():
        record_property("tally", f"{name}: {incident.figure(f'times.{name}')}, {apart_s:.2f} s apart ({alert})")
    assert {name: apart_s for name, apart_s in found.items() if apart_s > SCRAPE_S} == {}


def test_every_request_that_a_gateway_answered_is_counted(
    incident: Incident, record_property: Callable[[str, object], None]
) -> None:
    """By class, as the gateways logged it, and as the clients recorded it; whoever reached no gateway is in no count,
    and the report says so.
    """
    shown = {name: int(incident.figure(f"impact.requests.is-{name}").replace(",", "")) for name in classes(incident)}
    logged = Counter(_CLASSES[one["status"] // 100 if one["status"] > 0 else 0] for one in incident.logged())
    attempts = incident.load.requests()
    answered = Counter(_CLASSES[int(status) // 100] for status in attempts["http_status"].dropna())
    without = attempts[attempts["http_status"].isna()]["outcome"].astype(str)
    record_property(
        "tally",
        f"requests by report {shown}, by gateways' logs {dict(logged)}, by load {dict(answered)} of {len(attempts)} "
        f"attempts, without a status: {dict(Counter(without))}",
    )
    assert shown == dict(logged)
    assert {one["request_id"] for one in incident.logged()} <= set(attempts["request_id"])
    for name, count in answered.items():
        assert 0 <= shown.get(name, 0) - count <= len(without)
    assert sum(shown.values()) <= len(attempts)
    assert "reached no gateway" in (incident.out / "incident.md").read_text()


def test_bad_requests_are_those_that_failed_at_the_gateways(incident: Incident) -> None:
    """5xx, or cut by the service after a good beginning."""
    failed = sum(has_failed(one) for one in incident.logged())
    assert incident.figure(f"impact.requests.is-{FAILED}") == f"{failed:,}"
    assert incident.figure("overview.bad") == f"{failed:,} of {len(incident.logged()):,} requests"


def test_the_trigger_names_the_replica_and_the_gateway(incident: Incident) -> None:
    """The one that stood still, and the one that did not use the other."""
    text = (incident.out / "incident.md").read_text().replace("\\", "")
    assert "replica-1 was silent (pause)" in text
    assert "gateway-a did not use replica-2, which answered its scrapes (drain)" in text


def test_every_alert_has_cleared(incident: Incident) -> None:
    """One that fired for a single evaluation as well: the stack is well again."""
    assert "still firing at the end" not in (incident.out / "incident.md").read_text()
    assert incident.figure("times.all-clear") != NOT_MEASURED


def test_who_took_it_on_is_text(incident: Incident) -> None:
    """Whatever is written there."""
    page = (incident.out / "incident.html").read_text()
    assert "Ada &lt;b&gt;on call&lt;/b&gt;" in page
    assert "<b>on call</b>" not in page


def test_each_number_is_the_same_when_it_is_asked_for_again(incident: Incident) -> None:
    """In all three files; with one that was changed it is not."""
    for name in ("incident.md", "incident.html", "incident.json"):
        again = command("verify", str(incident.out / name))
        assert again.returncode == 0, again.stdout + again.stderr
    path = incident.out / "incident.md"
    before, number = path.read_text(), incident.figure("overview.bad")
    assert f"**{number}**" in before
    try:
        path.write_text(before.replace(f"**{number}**", f"**1{number}**"))
        again = command("verify", str(path))
    finally:
        path.write_text(before)
    assert again.returncode == 1
    assert f"overview.bad: the file says 1{number}, asked again it is {number}" in again.stdout


_CLASSES = {0: "without-an-answer", 2: "status-2xx", 4: "refused-as-wrong-4xx", 5: "failed-5xx"}


def classes(incident: Incident) -> list[str]:
    """The classes of answers that the report has."""
    prefix = "impact.requests.is-"
    found = [id_.removeprefix(prefix) for id_ in incident.report.figures() if id_.startswith(prefix)]
    return [name for name in found if name != FAILED]


def has_failed(logged: dict[str, Any]) -> bool:
    """Answered with 5xx, or cut by the service's side after a good beginning."""
    return logged["status"] >= 500 or (logged["status"] >= 200 and logged["termination_state"][0] in "SsRIDK")


def end_s(logged: dict[str, Any]) -> float:
    """When it was logged, in Unix seconds."""
    return (int(logged["t_ms"]) + max(logged["total_ms"], 0)) / 1000


def paused_s(incident: Incident) -> float:
    """When the replica was stopped."""
    return incident.script.done["pause replica-1"][0]
