"""The meter of the machine: whose CPU is whose, what the kernel's files say, and that it ends with its harness."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.evidence.record import EventLog, RunFolder
from harness.judge.drill import ROOT
from harness.model.topology import Topology
from harness.probes import machine, meter, owners
from harness.probes.base import MetricWriter
from harness.probes.owners import Owners, Used
from stack.runtimes.base import Runtime
from stack.stacks.vllm_haproxy import STACK

CONTAINER = "ab" * 32
HARNESS = 100


class Proc:
    """A /proc that tests fill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.born(1, 0)
        self.born(HARNESS, 1)

    def born(self, pid: int, parent: int, *, instance: str = "", container: str = "", group: int = 0) -> None:
        """A process that starts now (its start is its pid), and has used nothing."""
        (self.path / str(pid)).mkdir(parents=True)
        (self.path / str(pid) / "environ").write_text(
            f"A=1\0DRILLYARD_INSTANCE_ID={instance}\0" if instance else "A=1\0"
        )
        (self.path / str(pid) / "cgroup").write_text(f"4:memory:/docker/{container}\n" if container else "0::/\n")
        self.says(pid, parent, 0.0, 0.0, group or pid)

    def says(self, pid: int, parent: int, own_s: float, children_s: float, group: int = 0) -> None:
        """What its stat says from now on."""
        ticks = [round(seconds * os.sysconf("SC_CLK_TCK")) for seconds in (own_s, children_s)]
        fields = ["S", parent, group or pid, 0, 0, 0, 0, 0, 0, 0, 0, ticks[0], 0, ticks[1], 0, 20, 0, 1, 0, pid]
        (self.path / str(pid) / "stat").write_text(f"{pid} (a (name) ) {' '.join(map(str, fields))} 0\n")

    def gone(self, *pids: int) -> None:
        """They have ended and were collected."""
        for pid in pids:
            shutil.rmtree(self.path / str(pid))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """Init and a harness."""
    return Proc(tmp_path)


def used(look: Used) -> float:
    """Rounded CPU seconds."""
    return round(look.cpu_s, 6)


def test_ours_are_those_that_descend_or_carry_the_mark(proc: Proc) -> None:
    """A child of the harness, a component of the stack, its child, and its group's orphan; no stranger."""
    found = Owners(HARNESS, "i1", proc.path)
    proc.born(201, HARNESS)
    proc.born(202, 1, instance="i1")
    proc.born(203, 202)
    proc.born(204, 1, group=202)
    for pid in (205, 206):
        proc.born(pid, 1, instance="i2" if pid == 205 else "")
    found.look(0.5)
    for pid, parent in ((201, HARNESS), (202, 1), (203, 202), (204, 1), (205, 1), (206, 1)):
        proc.says(pid, parent, 1.0, 0.0, 202 if pid == 204 else pid)
    assert used(found.look(0.5)) == 4.0


def test_a_warm_stack_begins_at_nothing(proc: Proc) -> None:
    """What was used before the run is not the run's."""
    proc.born(202, 1, instance="i1")
    proc.says(202, 1, 500.0, 70.0)
    found = Owners(HARNESS, "i1", proc.path)
    assert used(found.look(0.5)) == 0.0
    proc.says(202, 1, 500.5, 70.0)
    assert used(found.look(0.5)) == 0.5


def test_children_that_nobody_saw_count_once(proc: Proc) -> None:
    """They lived between two looks: their parent has collected them."""
    found = Owners(HARNESS, None, proc.path)
    proc.says(HARNESS, 1, 0.1, 0.3)
    assert used(found.look(0.5)) == 0.4
    assert used(found.look(0.5)) == 0.0


def test_a_child_that_is_collected_is_not_counted_twice(proc: Proc) -> None:
    """Its seconds move to its parent; what it used since it was last seen comes on top, once."""
    found = Owners(HARNESS, None, proc.path)
    proc.born(201, HARNESS)
    proc.says(201, HARNESS, 2.0, 0.0)
    assert used(found.look(0.5)) == 2.0
    proc.gone(201)
    proc.says(HARNESS, 1, 0.0, 2.2)
    look = found.look(0.5)
    assert (used(look), look.unsure_s) == (0.2, 0.0)


def test_a_family_that_ends_at_once_is_not_counted_twice(proc: Proc) -> None:
    """A shell and its program end between two looks: the shell has collected the one, the harness the shell."""
    found = Owners(HARNESS, None, proc.path)
    proc.born(201, HARNESS)
    proc.born(202, 201)
    proc.says(202, 201, 2.0, 0.0)
    assert used(found.look(0.5)) == 2.0
    proc.gone(201, 202)
    proc.says(HARNESS, 1, 0.0, 2.1)
    assert used(found.look(0.5)) == 0.1


def test_an_orphan_stays_ours_and_what_init_collects_is_kept(proc: Proc) -> None:
    """Its end takes nothing away from what was used, and how much is unsure is said."""
    found = Owners(HARNESS, None, proc.path)
    proc.born(201, HARNESS)
    proc.born(202, 201)
    found.look(0.5)
    proc.gone(201)
    proc.says(202, 1, 3.0, 0.0)
    assert used(found.look(0.5)) == 3.0
    proc.gone(202)
    look = found.look(0.5)
    assert (used(look), look.unsure_s) == (0.0, 0.5)
    proc.says(HARNESS, 1, 0.25, 0.0)
    assert used(found.look(0.5)) == 0.25


def test_a_group_that_is_killed_loses_nothing(proc: Proc) -> None:
    """Parent and child at once: the harness collects the one, init the other, whose seconds must not be missing."""
    found = Owners(HARNESS, None, proc.path)
    proc.born(201, HARNESS)
    proc.born(202, 201)
    proc.says(201, HARNESS, 1.0, 0.0)
    proc.says(202, 201, 90.0, 0.0)
    assert used(found.look(0.5)) == 91.0
    proc.gone(201, 202)
    proc.says(HARNESS, 1, 0.0, 1.0)
    look = found.look(0.5)
    assert (used(look), look.unsure_s) == (0.0, 0.5)


def test_a_pid_that_is_somebody_elses_by_now(proc: Proc) -> None:
    """The start time tells: a stranger with the pid of one of ours is a stranger."""
    found = Owners(HARNESS, None, proc.path)
    proc.born(201, HARNESS)
    found.look(0.5)
    proc.gone(201)
    proc.born(201, 1)
    stat = proc.path / "201" / "stat"
    stat.write_text(stat.read_text().replace(" 201 0\n", " 999 0\n"))
    found.look(0.5)
    stat.write_text(stat.read_text().replace(" 0 0 0 20 ", " 700 0 0 20 "))
    assert used(found.look(0.5)) == 0.0


def test_what_runs_in_a_declared_container_is_ours(proc: Proc) -> None:
    """Its cgroup names it, also of what is started in it later; not what runs in another one."""
    found = Owners(HARNESS, "i1", proc.path)
    proc.born(201, 1, container=CONTAINER)
    proc.born(202, 1, container="cd" * 32)
    proc.says(201, 1, 5.0, 0.0)
    found.look(0.5)
    found.declare([201])
    assert used(found.look(0.5)) == 0.0  # it was used before anybody knew whose it was
    proc.born(203, 1, container=CONTAINER)
    for pid in (201, 202, 203):
        proc.says(pid, 1, 6.0, 0.0)
    assert used(found.look(0.5)) == 7.0


def test_the_container_engine_works_for_the_stack(proc: Proc) -> None:
    """Its daemon and proxies are ours where containers of ours run, and what it runs for others is not."""
    found = Owners(HARNESS, "i1", proc.path)
    proc.born(201, 1, container=CONTAINER)
    proc.born(202, 1)
    (proc.path / "202" / "comm").write_text("dockerd\n")
    proc.born(203, 202)
    (proc.path / "203" / "comm").write_text("docker-proxy\n")
    proc.born(204, 202, container="cd" * 32)
    proc.says(202, 1, 1.0, 0.0)
    assert used(found.look(0.5)) == 0.0  # without a container of ours it is somebody else's
    found.declare([201])
    found.look(0.5)
    for pid, parent in ((201, 1), (202, 1), (203, 202), (204, 202)):
        proc.says(pid, parent, 3.0, 0.0)
    assert used(found.look(0.5)) == 8.0


def test_containers_that_this_host_does_not_show(proc: Proc) -> None:
    """A daemon elsewhere, or outside our process namespace: whose CPU is whose cannot be told, and that is said."""
    found = Owners(HARNESS, "i1", proc.path)
    proc.born(201, 1)
    assert not found.declare([201, 999])
    proc.born(202, 1, container=CONTAINER)
    assert found.declare([201, 202])


def test_a_clock_that_is_too_coarse_for_the_work(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing then, and does not end the meter."""
    took = iter([0.0, 0.0, 0.0, 0.01, 0.01, 0.02, 0.03, 0.02])
    monkeypatch.setattr(meter, "work_s", lambda: next(took))
    found = meter.Meter(Owners(HARNESS, None, proc.path))
    assert [found.sample().get("work_ratio") for _ in range(3)] == [None, 1.0, 2.0]


def test_a_quota_that_cannot_be_read_once_is_no_leap(
    proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter is left out of that sample, and does not fall to nothing and come back."""
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("throttled_usec 7000000\n")
    monkeypatch.setattr(meter, "cpu_groups", lambda text, root: files)
    found = meter.Meter(Owners(HARNESS, None, proc.path))
    assert found.sample()["throttled_s_total"] == 14.0
    files[1].unlink()
    assert "throttled_s_total" not in found.sample()


def test_processor_times() -> None:
    """Of the processors that we may use: idle and waiting are no work, steal is apart."""
    page = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 100 0 50 800 40 0 5 5 0 0\ncpu1 900 0 0 100 0 0 0 0 0 0\nintr 5\n"
    tick = 1 / os.sysconf("SC_CLK_TCK")
    found = meter.cpu(page, {0})
    assert (found.count, found.all_s, found.busy_s, found.steal_s) == pytest.approx(
        (1, 1000 * tick, 155 * tick, 5 * tick)
    )
    assert meter.cpu(page, {0, 1}).busy_s == pytest.approx(1055 * tick)
    assert meter.cpu("cpu0 100 0 50 800\n", {0}).busy_s == pytest.approx(150 * tick)  # as a sandbox shows it
    assert meter.cpu("", {0}) == meter.Cpu(0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("page", "seconds"),
    [
        ("nr_periods 4\nnr_throttled 2\nthrottled_time 1500000000\n", 1.5),
        ("usage_usec 9\nnr_periods 4\nnr_throttled 2\nthrottled_usec 250000\n", 0.25),
        ("usage_usec 9\nuser_usec 5\n", None),  # the root of version 2 has no quota
        ("", None),
    ],
)
def test_throttling_of_either_version(page: str, seconds: float | None) -> None:
    """Seconds, or that it cannot be read: never 0 for what is not there."""
    assert meter.throttled_s(page) == seconds


@pytest.mark.parametrize(("line", "mount"), [("1:cpu,cpuacct:/a/b\n", "cpu"), ("0::/a/b\n", ".")])
def test_quotas_above_us_count(line: str, mount: str, tmp_path: Path) -> None:
    """Our own control group and those above it, in either version; what is not mounted is not read."""
    folder = tmp_path / mount / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("nr_throttled 0\nthrottled_time 0\n")
    (folder.parent / "cpu.stat").write_text("nr_throttled 0\nthrottled_usec 0\n")
    assert meter.cpu_groups(line, tmp_path) == [folder / "cpu.stat", folder.parent / "cpu.stat"]
    assert meter.cpu_groups("3:memory:/a/b\n", tmp_path) == []


def test_pressure() -> None:
    """The total, in seconds; None on a kernel without it."""
    assert meter.psi_s("some avg10=5.35 avg60=2.80 avg300=5.70 total=2500000\nfull total=0\n") == 2.5
    assert meter.psi_s("") is None


class _Stack:
    """Stands for a runtime whose stack was never started."""

    name = "process"
    topology = Topology(STACK, instance=93)


async def _watched(folder: RunFolder, log: EventLog, enough: int) -> MetricWriter:
    writer = MetricWriter(folder.path / "metrics.parquet")
    stack: Runtime = _Stack()  # type: ignore[assignment]
    task = asyncio.create_task(machine.watch(stack, writer, log))
    for _ in range(600):
        if writer.counts["machine", "busy_cores", ""] >= enough:
            break
        await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    writer.close()
    return writer


def test_samples_carry_the_times_at_which_they_were_taken(tmp_path: Path) -> None:
    """At least one in a second of what this machine shows, in the run's own time."""
    folder = RunFolder(tmp_path)
    log = EventLog(folder, time.monotonic())
    asyncio.run(_watched(folder, log, 6))
    until_s = log.now_s()
    log.close()
    table = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    busy = table[table["metric"].eq("busy_cores")]
    assert set(table["component"]) == {"machine", "harness"}  # what the meter itself used is the observer's
    assert {"late_wakeup_ms", "work_ratio", "steal_ratio", "ours_cores", "others_cores"} <= set(table["metric"])
    assert busy["t_s"].between(0, until_s).all()
    assert float(busy["t_s"].diff().median()) <= 1.0
    assert table[table["metric"].eq("work_ratio")]["value"].ge(1.0).all()


def test_the_meter_ends_with_whoever_started_it() -> None:
    """Its stdin does, however that happens."""
    started = subprocess.Popen(
        [sys.executable, "-m", "harness.probes.meter", "-", "-"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdin
    assert started.stdout
    assert "others" in started.stdout.readline()  # what cannot be known of a target's processes is said
    started.stdin.close()
    assert started.wait(timeout=60) == 0
    started.stdout.close()


def test_cpu_of_a_stranger_is_not_ours() -> None:
    """For real: our child's busy second is ours, and looks at others cost nothing of it."""
    found = Owners(os.getpid(), None)
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert found.look(1.0).cpu_s >= 0.4
    assert owners.parse(Path("/proc/self/stat").read_text()).total_s > 0
