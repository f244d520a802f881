"""The load under Locust: one process alone, or a master with workers, speaking Locust's own protocol over loopback.

Locust spawns, counts and stops users and carries messages between processes. Its user here is a dispatcher, one per
process: an open model cannot be made of users that wait for their answers before they go on. Requests are reported to
Locust's request event like anybody's; judged is what the recorder wrote (Locust's percentiles have two digits).
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.util import print_run_info
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from harness.evidence.record import RunFolder
from harness.load.generator import Generator, Report, Tally
from harness.load.job import Job
from harness.load.recorder import Recorder, merge
from harness.load.summary import summary
from harness.load.window import Lines, Window, merged
from harness.model.errors import DrillyardError, RecordError
from harness.model.lease import PipeLease

LINE_EVERY_S = 0.5
WATCH_EVERY_S = 0.25
WORKERS_READY_S = 60.0
END_S = 20.0  # beyond the drain: so long may the end take before it is taken for a hang
LEAD_S = 0.05  # the schedule begins so long after everybody was told


class LoadFailed(DrillyardError):
    """The load generator broke; what was recorded until then has been written."""


def run_alone(job: Job, stop: Event, lease: int | None = None) -> None:
    """One process, until ``stop`` is set or the harness is gone or stopped. LoadFailed after a crash, all written."""
    environment = Environment(user_classes=[])
    generator = Generator(job, Recorder(job.folder, 0), _report_to(environment))
    environment.user_classes.append(_dispatcher(generator))
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    generator.begin(time.monotonic() + LEAD_S, secrets.token_bytes(32))
    orphaned = _watch_parent(stop, lease)
    gevent.spawn(_end_for_certain, stop, job.drain_s + END_S, lambda: None)
    lines = gevent.spawn(_print_lines, job, generator.window, stop)
    if job.users_first is not None:
        gevent.spawn(_hear_users, generator)
    gevent.wait([stop, generator.stopping], count=1)
    stop.set()
    lines.join(timeout=LINE_EVERY_S * 2)
    tally = generator.drain(0.0 if orphaned.is_set() else job.drain_s)
    _write_summary(job, [tally])
    runner.quit()
    _raise_crash(generator, "the load generator broke")


def run_worker(job: Job, worker: int, master_port: int, stop: Event) -> None:
    """Worker ``worker`` of ``job.load.workers``: begins, reports and stops as the master's messages say."""
    environment = Environment(user_classes=[])
    generator = Generator(job, Recorder(job.folder, worker), _report_to(environment), worker, job.load.workers)
    environment.user_classes.append(_dispatcher(generator))
    runner = environment.create_worker_runner("127.0.0.1", master_port)
    runner.register_message("begin", lambda msg, **_: generator.begin(msg.data["zero_s"], msg.data["hash_key"]))
    patience_s = [job.drain_s]

    def on_drain(msg: Any, **_: Any) -> None:
        patience_s[0] = msg.data["patience_s"]
        stop.set()

    runner.register_message("drain", on_drain)
    orphaned = _watch_parent(stop)
    while not stop.wait(timeout=LINE_EVERY_S) and not generator.stopping.is_set():
        runner.send_message("window", {"worker": worker, "window": generator.window().message()})
    tally = generator.drain(0.0 if orphaned.is_set() else patience_s[0])
    crashed = generator.crash is not None
    runner.send_message("drained", {"worker": worker, "tally": asdict(tally), "crashed": crashed})
    gevent.sleep(0.1)  # the message is sent by a thread of the protocol library
    _raise_crash(generator, f"worker {worker} of the load generator broke")


def _raise_crash(generator: Generator, words: str) -> None:
    """RecordError after a write that failed, LoadFailed after a bug, by type: its text may quote a prompt."""
    if isinstance(generator.crash, RecordError):
        raise generator.crash
    if generator.crash is not None:
        raise LoadFailed(f"{words} ({type(generator.crash).__name__})") from generator.crash


class Master:
    """Starts the workers, gives them one beginning, and puts their reports together."""

    def __init__(self, job: Job) -> None:
        self._job = job
        environment = Environment(user_classes=[_dispatcher(None)])
        self._runner = environment.create_master_runner("127.0.0.1", 0)
        self._windows: list[Window] = []
        self._levels: dict[int, tuple[int, int]] = {}  # worker → scheduled and in flight, as it last said
        self._tallies: dict[int, Tally] = {}
        self._crashed: set[int] = set()
        self._runner.register_message("window", self._on_window)
        self._runner.register_message("drained", self._on_drained)
        self._workers: list[gevent.subprocess.Popen] = []

    def run(self, stop: Event, lease: int | None = None) -> None:
        """As ``run_alone``, with ``job.load.workers`` processes."""
        count = self._job.load.workers
        orphaned = _watch_parent(stop, lease)
        gevent.spawn(_end_for_certain, stop, self._job.drain_s + END_S, self._kill_workers)
        self._workers = [_start_worker(self._job.folder, n, self._runner.server.port) for n in range(count)]
        if self._wait(lambda: len(self._runner.clients.ready) >= count, WORKERS_READY_S, stop):
            self._runner.start(count, spawn_rate=count)
            begin = {"zero_s": time.monotonic() + LEAD_S, "hash_key": secrets.token_bytes(32)}
            self._runner.send_message("begin", begin)
            lines = gevent.spawn(_print_lines, self._job, self._take_window, stop)
            self._wait(lambda: False, float("inf"), stop)
            lines.kill()
        stop.set()
        patience_s = 0.0 if orphaned.is_set() else self._job.drain_s
        self._runner.send_message("drain", {"patience_s": patience_s})
        never = Event()
        self._wait(lambda: len(self._tallies) == count, patience_s + 10.0, never, dead_end_it=False)
        self._end_workers()
        _write_summary(self._job, list(self._tallies.values()))
        if lost := next((tally.write_error for tally in self._tallies.values() if tally.write_error), None):
            raise RecordError(lost)
        if self._crashed or len(self._tallies) < count:
            silent = sorted(set(range(count)) - set(self._tallies))
            raise LoadFailed(f"workers that broke: {sorted(self._crashed)}, that never reported their end: {silent}")

    def _wait(self, done: Callable[[], bool], limit_s: float, stop: Event, dead_end_it: bool = True) -> bool:
        """Until ``done()``. False after ``limit_s``, at ``stop``, or when all (``dead_end_it``: some) workers died."""
        deadline_s = time.monotonic() + limit_s
        while not done():
            dead = [worker.poll() is not None for worker in self._workers]
            if time.monotonic() > deadline_s or (any(dead) if dead_end_it else all(dead)):
                return done()
            if stop.wait(timeout=0.05):
                return False
        return True

    def _on_window(self, msg: Any, **_: Any) -> None:
        window = Window(**msg.data["window"])
        self._windows.append(window)
        self._levels[msg.data["worker"]] = (window.scheduled, window.in_flight)

    def _on_drained(self, msg: Any, **_: Any) -> None:
        self._tallies[msg.data["worker"]] = Tally(**msg.data["tally"])
        if msg.data["crashed"]:
            self._crashed.add(msg.data["worker"])

    def _take_window(self) -> Window:
        windows, self._windows = self._windows, []
        total = merged(windows)
        total.scheduled = sum(scheduled for scheduled, _ in self._levels.values())
        total.in_flight = sum(in_flight for _, in_flight in self._levels.values())
        return total

    def _end_workers(self) -> None:
        """Only processes that this master started, and each of them within a bound."""
        for worker in self._workers:
            try:
                worker.wait(timeout=3.0)
            except gevent.subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(timeout=3.0)

    def _kill_workers(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()


def _dispatcher(generator: Generator | None) -> type[User]:
    """The Locust user that produces ``generator``'s arrivals. The master only counts them: it has no generator."""

    class Dispatcher(User):
        @task
        def dispatch(self) -> None:
            """Send arrivals until the load stops."""
            if generator is not None:
                generator.dispatch()
            raise StopUser

    return Dispatcher


def _report_to(environment: Environment) -> Report:
    def report(cohort: str, response_ms: float, length: int, failure: str | None) -> None:
        environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="SSE",
            name=cohort,
            response_time=response_ms,
            response_length=length,
            exception=failure,
            context={},
        )

    return report


def _start_worker(folder: Path, worker: int, port: int) -> gevent.subprocess.Popen:
    command = [sys.executable, "-m", "harness.load", str(folder), "--worker", str(worker), "--master-port", str(port)]
    return gevent.subprocess.Popen(command, stdin=gevent.subprocess.DEVNULL, stdout=gevent.subprocess.DEVNULL)


def _watch_parent(stop: Event, lease: int | None = None) -> Event:
    """Set ``stop`` and the returned event when the parent process has gone, or when its ``lease`` (the descriptor of a
    pipe) has lapsed: nobody is left to stop this load.
    """
    orphaned = Event()
    parent = os.getppid()
    held = None if lease is None else PipeLease(lease)

    def watch() -> None:
        while os.getppid() == parent and not (held and held.lapsed):
            gevent.sleep(WATCH_EVERY_S)
        orphaned.set()
        stop.set()

    gevent.spawn(watch)
    return orphaned


def _end_for_certain(stop: Event, limit_s: float, last_act: Callable[[], None]) -> None:
    """The bound on every wait between ``stop`` and the exit, also those inside Locust: a hang says where, and ends."""
    stop.wait()
    gevent.sleep(limit_s)
    print(f"the load did not end within {limit_s:g} s of its stop; where it stands:", file=sys.stderr)
    print_run_info(file=sys.stderr)
    sys.stderr.flush()
    last_act()
    os._exit(70)


def _hear_users(generator: Generator) -> None:
    """Lines ``users N`` on stdin, until whoever writes them has gone."""
    with FileObject(sys.stdin.fileno(), "r", close=False) as lines:
        for line in lines:
            word, _, number = line.partition(" ")
            if word == "users" and number.strip().isdigit():
                generator.let_in(int(number))


def _print_lines(job: Job, take_window: Callable[[], Window], stop: Event) -> None:
    """A line of JSON every half second; a reader that has gone ends the load."""
    lines = Lines(sys.stdout.fileno())
    while not stop.wait(timeout=LINE_EVERY_S):
        if not lines.write(take_window().line(time.monotonic() - job.zero_mono_s)):
            stop.set()


def _write_summary(job: Job, tallies: list[Tally]) -> None:
    counts = merge(job.folder)
    RunFolder(job.folder).write_json("load-summary.json", summary(job, tallies, counts))
