"""The generator of one process: sends each arrival of its slice of the schedule at its time, and accounts for it."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.event import Event
from gevent.pool import Group

from harness.load.attempt import Attempt
from harness.load.connections import Connections
from harness.load.exchange import Call, Drained, Exchange, http_request
from harness.load.job import Job, Service
from harness.load.recorder import FLUSH_S, Recorder
from harness.load.resolver import Pinned, Resolver
from harness.load.retries import delay_s
from harness.load.schedule import Arrival, Schedule
from harness.load.window import Window
from harness.model import redact
from harness.model.scenario import Cohort, RequestLimits

NO_LIMITS = RequestLimits()
BEHIND_S = 10.0  # an arrival that comes later than this is not sent any more: the generator has failed, and says so

#: Tells Locust about a finished attempt: cohort, response time (ms), answer length, outcome unless ok.
Report = Callable[[str, float, int, str | None], None]


@dataclass
class Tally:
    """Counted by the dispatcher, independently of the recorded rows: conservation compares the two."""

    scheduled: int = 0  # arrivals whose time came before the load stopped
    started: int = 0  # of those, the ones that were begun by then
    in_flight_at_stop: int = 0
    in_flight_at_end: int = 0
    duration_s: float = 0.0  # from the beginning of the schedule to the stop
    cpu_ratio: float = 0.0
    unwritten_attempts: int = 0  # ended, but their rows could not be written
    unwritten_requests: int = 0  # final ones of these
    write_error: str | None = None


class Generator:
    """Produces worker ``worker`` of ``workers``' part of the load. Rows go to ``recorder``, news to ``window``."""

    def __init__(self, job: Job, recorder: Recorder, report: Report, worker: int = 0, workers: int = 1) -> None:
        self._job, self._recorder, self._report = job, recorder, report
        self._worker, self._workers = worker, workers
        self._connections = Connections(job.service)
        self._resolver = _resolver(job.service, self._connections)
        self._schedule = Schedule(job)
        self._requests = Group()
        self._in_flight: dict[str, Arrival] = {}
        self._hash_key = b""
        self._zero_s = 0.0  # monotonic time at which the schedule began
        self._stopped_s = float("inf")
        self._cpu_s = 0.0
        self._began = Event()
        self._dispatched = Event()
        self._users = math.inf if job.users_first is None else job.users_first
        self._called = Event()  # renewed whenever users may come or have to go
        self.stopping = Event()
        self.crash: BaseException | None = None
        self.tally = Tally()
        self._window = Window()

    # --- life ------------------------------------------------------------------------------------------------------

    def begin(self, zero_s: float, hash_key: bytes) -> None:
        """Start the schedule at monotonic ``zero_s``; prompts and answers are hashed with ``hash_key``."""
        self._zero_s, self._hash_key = zero_s, hash_key
        self._cpu_s = time.process_time()
        gevent.spawn(self._flush_regularly).link_exception(lambda broken: self._crashed(broken.exception))
        self._began.set()

    def dispatch(self) -> None:
        """Body of the Locust user: send arrivals until the load stops. Never raises; see ``crash``."""
        try:
            self._began.wait()
            if not self._zero_s:
                return  # stopped before it began
            if self._job.load.model == "closed":
                self._dispatch_visitors()
            else:
                self._dispatch_arrivals()
        except Exception as error:  # the load must end with what was recorded, not hang without arrivals
            self._crashed(error)
        finally:
            self._dispatched.set()

    def let_in(self, users: int) -> None:
        """Closed model: so many users from now on. Those who are too many finish the request that they wait for."""
        self._users = users
        called, self._called = self._called, Event()
        called.set()

    def stop(self) -> None:
        """No more arrivals from now on."""
        if not self.stopping.is_set():
            self._stopped_s = time.monotonic()
            self.stopping.set()
            self._began.set()
            self._called.set()

    def drain(self, patience_s: float) -> Tally:
        """Stop, give running requests ``patience_s``, cancel the rest, and write everything."""
        self.stop()
        tally = self.tally
        tally.duration_s = max(self._stopped_s - self._zero_s, 0.0) if self._zero_s else 0.0
        if tally.duration_s:
            tally.cpu_ratio = (time.process_time() - self._cpu_s) / tally.duration_s
            self._dispatched.wait(timeout=5.0)
        gevent.sleep(0)  # requests that were just spawned begin: who was never begun cannot say how it ended
        tally.in_flight_at_stop = len(self._in_flight)
        self._requests.join(timeout=patience_s)
        self._requests.kill(Drained, block=True, timeout=5.0)
        tally.in_flight_at_end = len(self._in_flight)
        self._connections.close()
        self._close_recorder()
        return tally

    def window(self) -> Window:
        """What happened since the last call."""
        window, self._window = self._window, Window()
        window.scheduled, window.in_flight = self.tally.scheduled, len(self._in_flight)
        return window

    # --- arrivals --------------------------------------------------------------------------------------------------

    def _dispatch_arrivals(self) -> None:
        """Open model. Arrivals whose time had come before the stop are sent, if late."""
        for arrival in self._schedule.arrivals(self._worker, self._workers):
            intended_s = self._zero_s + arrival.offset_s
            while (wait_s := intended_s - time.monotonic()) > 0 and not self.stopping.wait(timeout=wait_s):
                pass
            if intended_s >= self._stopped_s:
                return
            self._arrive(arrival, intended_s)

    def _arrive(self, arrival: Arrival, intended_s: float) -> None:
        self.tally.scheduled += 1
        late_s = time.monotonic() - intended_s
        if late_s > BEHIND_S:
            row = self._row(arrival, 1, intended_s)
            row.schedule_lag_ms, row.subtype = late_s * 1000, "generator_behind"
            self._end(row)
            return
        self.tally.started += 1
        self._spawn(arrival, intended_s)
        if late_s > 0.001:
            gevent.sleep(0)  # behind: the requests that were spawned must get their turn too

    def _dispatch_visitors(self) -> None:
        """Closed model: one greenlet per user, gone when the load stops."""
        visitors = Group()
        for place, (cohort, user_id) in enumerate(self._schedule.visitors(self._worker, self._workers)):
            visitors.spawn(self._visit_again_and_again, place, cohort, user_id)
        visitors.join()

    def _visit_again_and_again(self, place: int, cohort: Cohort, user_id: str) -> None:
        number = 0
        free_s = self._zero_s
        while True:
            while place >= self._users and not self.stopping.is_set():
                self._called.wait()
                free_s = time.monotonic()
            think_s, arrival = self._schedule.visit(cohort, user_id, number)
            intended_s = free_s + think_s
            self.stopping.wait(timeout=max(intended_s - time.monotonic(), 0.0))
            if self.stopping.is_set():
                return
            self.tally.scheduled += 1
            self.tally.started += 1
            self._spawn(arrival, intended_s).join()
            free_s, number = time.monotonic(), number + 1

    def _spawn(self, arrival: Arrival, intended_s: float) -> gevent.Greenlet:
        self._in_flight[arrival.request_id] = arrival
        request = self._requests.spawn(self._request, arrival, intended_s)
        request.link_exception(lambda broken: self._crashed(broken.exception))
        return request

    # --- one request -----------------------------------------------------------------------------------------------

    def _request(self, arrival: Arrival, intended_s: float) -> None:
        """All attempts of one request; exactly one of their rows is final.

        A request whose time is over while it waits for its next attempt ends as its last attempt did.
        """
        row = self._row(arrival, 1, intended_s)
        try:
            row.schedule_lag_ms = (row.start_mono_s - intended_s) * 1000
            self._window.lags_ms.append(row.schedule_lag_ms)
            self._window.started += 1
            while True:
                self._attempt(arrival, row)
                pause_s = self._pause_s(arrival, row)
                if pause_s is None:
                    return
                ended_s = time.monotonic()
                gevent.sleep(pause_s)
                self._record(row)
                row = self._row(arrival, row.attempt + 1, intended_s)
                row.retry_delay_ms = (row.start_mono_s - ended_s) * 1000
        except Drained:
            return  # the row says how the attempt ended
        except Exception as error:
            row.outcome, row.subtype = "not_sent", "harness_error"
            self._crashed(error)
        finally:
            self._in_flight.pop(arrival.request_id, None)
            self._end(row)

    def _pause_s(self, arrival: Arrival, row: Attempt) -> float | None:
        load = self._job.load
        return delay_s(load.retries, row.attempt, row.outcome, row.retry_after_s, load.limits.total, arrival.rng)

    def _attempt(self, arrival: Arrival, row: Attempt) -> None:
        load = self._job.load
        call = Call(arrival, self._http_request(arrival), load.limits, self._job.expect_versions, load.store_text)
        exchange = Exchange(call, row, self._resolver, self._connections, row.start_mono_s)
        text = ""
        try:
            exchange.run()
        finally:
            # Locust's own clients report nothing for a stream that breaks: report every attempt, however it ended.
            if row.http_status == 200:
                text = exchange.answer.text
                row.answer_chars, row.answer_hash = len(text), self._hash(text)
                row.answer_text = redact.text(text) if load.store_text else None
            if row.outcome == "ok" and arrival.prompt.answer is not None:
                row.answer_correct = _right(text.strip(), arrival.prompt.answer.strip(), row.finish_reason)
            failure = None if row.outcome == "ok" else row.outcome
            self._report(row.cohort, row.e2e_ms or 0.0, len(text), failure)

    def _row(self, arrival: Arrival, number: int, intended_s: float) -> Attempt:
        prompt = arrival.prompt.text
        return Attempt(
            request_id=arrival.request_id,
            attempt=number,
            user_id=arrival.user_id,
            cohort=arrival.cohort.name,
            deployment=self._job.deployment,
            intended_mono_s=intended_s,
            start_mono_s=time.monotonic(),
            max_tokens=arrival.cohort.max_tokens,
            prompt_chars=len(prompt),
            prompt_hash=self._hash(prompt),
            prompt_text=redact.text(prompt) if self._job.load.store_text else None,
        )

    def _http_request(self, arrival: Arrival) -> bytes:
        cohort, service = arrival.cohort, self._job.service
        body = {
            "model": self._job.deployment,
            "messages": [{"role": "user", "content": arrival.prompt.text}],
            "max_tokens": cohort.max_tokens,
            "temperature": 0,
            "stream": cohort.stream,
        }
        if cohort.stream:
            body["stream_options"] = {"include_usage": True}
        if arrival.prompt.endless:
            body["ignore_eos"] = True
        headers = {
            "Host": service.authority or f"{service.name}:{service.port}",
            "User-Agent": "drillyard-load",
            "Accept": "text/event-stream" if cohort.stream else "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "X-Request-Id": arrival.request_id,
            "Idempotency-Key": arrival.request_id,
        }
        if key := self._job.users[arrival.user_id]:
            headers["Authorization"] = f"Bearer {key}"
        return http_request(f"{service.path}/v1/chat/completions", headers, json.dumps(body).encode())

    # --- accounts --------------------------------------------------------------------------------------------------

    def _end(self, row: Attempt) -> None:
        row.final = True
        limits = self._job.request_limits.get(row.cohort, NO_LIMITS)
        self._window.finished(row.outcome, row.ttft_ms, row.e2e_ms, limits)
        self._record(row)

    def _record(self, row: Attempt) -> None:
        row.timed(self._job.zero_mono_s)
        self._recorder.add(row)
        self._check_recorder()

    def _hash(self, text: str) -> str:
        return hashlib.blake2s(text.encode(), key=self._hash_key, digest_size=16).hexdigest()

    def _flush_regularly(self) -> None:
        while not self.stopping.wait(timeout=FLUSH_S):
            self._recorder.flush()
            self._check_recorder()

    def _check_recorder(self) -> None:
        """End the load with the first write that fails: without records it proves nothing."""
        if self._recorder.failed is not None:
            self._crashed(self._recorder.failed)

    def _close_recorder(self) -> None:
        try:
            self._recorder.close()
        except Exception as error:  # the summary still has to count the lost rows
            self._crashed(error)
        self._check_recorder()
        lost = self._recorder.unwritten
        self.tally.unwritten_attempts, self.tally.unwritten_requests = len(lost), sum(lost)
        self.tally.write_error = None if self._recorder.failed is None else str(self._recorder.failed)

    def _crashed(self, error: BaseException) -> None:
        """A bug of the harness, or a write that failed: keep the first error and end the load."""
        self.crash = self.crash or error
        self.stop()


def _right(text: str, answer: str, finish_reason: str | None) -> bool:
    """Whether this is the answer; of one that ended at ``max_tokens``, its beginning."""
    return text == answer or (finish_reason == "length" and text != "" and answer.startswith(text))


def _resolver(service: Service, connections: Connections) -> Resolver | Pinned:
    if service.dns is None:
        return Pinned(service.address or "")
    return Resolver(service.name, service.dns, connections.retain)
