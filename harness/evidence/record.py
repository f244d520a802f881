"""The run folder: everything that was seen, appended as it happens.

``runs/<id>/`` holds

=================== ========================================================================================
plan.json           what will be done: drill, scenario, seed, versions, topology, phases, time anchor (save 0);
                    ``defects`` names what was switched on on purpose, with its meaning
events.jsonl        one JSON object per line, see ``Event``
undo.jsonl          the undo journal (harness/model/journal.py)
requests.parquet    one row per *attempt*, columns of ``REQUEST_COLUMNS``
metrics.parquet     one row per sample, columns of ``METRIC_COLUMNS``; ``metrics.arrows`` while they are taken, and for
                    good where the harness was killed
metrics-summary.json
                    per series how many there were, when, and their sum (harness/evidence/samples_kept.py)
records.json        numbers of events and attempts, and digests of all that is judged (harness/evidence/records_kept.py)
<artifact>.json     what only some runs record: one module each in harness/model/artifacts/
load.json           what the load generator was told, and ``load-summary.json`` what it did
logs/               component logs; gateway access logs as ``logs/gateway-a.jsonl``
<file>.failed       why that file is not whole: it could not be written
verdict.json        harness/judge/verdicts.py (save 2)
report.html, report.md, junit.xml, ctrf.json
=================== ========================================================================================

All times are seconds since the run's zero on the monotonic clock of the load generator's host (``*_s``), with
one wall-clock anchor in the plan: ``plan["anchor"] = {"mono_s": …, "wall": ISO 8601}``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import errno
import itertools
import json
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.lib import ArrowException

from harness.model import redact
from harness.model.errors import RecordError, RunFolderError

SCHEMA_VERSION = 2
#: In ``drill`` of a folder that no drill has made: it measures capacity, and has nothing to be judged.
CAPACITY = "capacity"
#: The same of a folder of load that no drill had ordered: its requests are evidence, and nothing was promised of them.
LOAD = "load"
#: The same of a game day: it has a score, and no verdict.
GAME = "game"
#: What such folders are, for people.
NO_DRILLS = {CAPACITY: "a measurement of capacity", LOAD: "load without a drill", GAME: "a game day"}
#: Without these a run can be neither judged nor shown.
PLAN_KEYS = {"run_id": str, "drill": str, "scenario": dict, "anchor": dict}

#: Suffix of the file that says why its neighbour could not be written completely.
FAILED = ".failed"
_REGENERATED = ("verdict.json", "report.html", "report.md", "junit.xml", "ctrf.json")
#: Errors of the storage, not bugs: disk or quota full, file too large, read only, I/O error.
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

#: Outcome of an attempt: exactly one of these (docs/metrics.md).
OUTCOMES = (
    "ok", "shed_429", "shed_503", "http_4xx", "http_5xx", "dns_error", "connect_error", "tls_error",
    "protocol_error", "timeout_ttft", "timeout_stall", "timeout_total", "broken_stream", "inband_error",
    "empty", "wrong_model", "cancelled_intended", "cancelled_drain", "not_sent",
)  # fmt: skip

#: What a sensible client tries again. Not: 4xx, a wrong model, a TLS failure, a total time-out (the user's patience
#: is over), or what the load generator itself ended.
#: Ends of an attempt that say nothing about the service: Drillyard ended it, or never sent it.
NOT_OF_THE_SERVICE = ("cancelled_intended", "cancelled_drain", "not_sent")
RETRYABLE = frozenset(
    {
        "shed_429", "shed_503", "http_5xx", "dns_error", "connect_error", "protocol_error", "timeout_ttft",
        "timeout_stall", "broken_stream", "inband_error", "empty",
    }
)  # fmt: skip

#: Subtype of attempts that a heal cut.
CUT_BY_HEAL = "cut_by_heal"
#: How what was cut can have ended. Under any other outcome the subtype may be a word of the server.
CUT_OUTCOMES = ("broken_stream", "connect_error", "tls_error")

#: One row per attempt. Null means «not measured», never 0.
REQUEST_COLUMNS = pa.schema(
    [
        ("request_id", pa.string()),  # the same for all attempts of a request; sent as X-Request-Id
        ("attempt", pa.int16()),  # 1, 2, …
        ("final", pa.bool_()),  # the last attempt: its outcome is the request's
        ("user_id", pa.string()),
        ("cohort", pa.string()),
        ("deployment", pa.string()),  # the model name that was asked for
        ("served_version", pa.string()),  # the model name that the answer carried
        ("replica", pa.string()),  # X-Drillyard-Replica of the answer
        ("gateway", pa.string()),  # loopback address that the client connected to
        ("phase", pa.string()),  # of the intended start; filled in when the run is saved
        ("straddles", pa.string()),  # fault phase that began or was healed while the request was in flight
        ("intended_start_s", pa.float64()),  # of the request, by the schedule
        ("start_s", pa.float64()),  # of this attempt
        ("schedule_lag_ms", pa.float64()),  # first attempts only
        ("dns_ms", pa.float64()),
        ("connect_ms", pa.float64()),  # null on a reused connection
        ("first_byte_sent_s", pa.float64()),
        ("headers_ms", pa.float64()),  # response headers − start
        ("ttft_ms", pa.float64()),
        ("ttft_from_schedule_ms", pa.float64()),
        ("e2e_ms", pa.float64()),  # last byte (or the failure) − start
        ("e2e_from_schedule_ms", pa.float64()),
        ("queue_gateway_ms", pa.float64()),  # from the gateway's log, by request id; filled in at save 1
        ("gateway_replica", pa.string()),  # that it tried last, "" for none; from its log, as the next
        ("gateway_retries", pa.int16()),
        ("max_stall_ms", pa.float64()),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),  # the server's usage
        ("content_events", pa.int32()),  # events with content that were counted
        ("outcome", pa.string()),
        ("subtype", pa.string()),  # e.g. refused, no_answer, reset, fin, bad_usage, cut_by_heal; of ok: content_filter
        ("http_status", pa.int16()),
        ("finish_reason", pa.string()),
        ("error_type", pa.string()),  # as reported by the server (harness/model/server_error.py)
        ("error_code", pa.string()),
        ("error_message", pa.string()),  # what it quotes of the prompt or the answer is left out: […]
        ("error_request_id", pa.string()),
        ("retry_after_s", pa.float64()),  # Retry-After header of the answer
        ("retry_delay_ms", pa.float64()),  # how long the client waited before this attempt; null on the first
        ("max_tokens", pa.int32()),
        ("prompt_chars", pa.int32()),
        ("prompt_hash", pa.string()),  # keyed; the key lives as long as the run
        ("answer_chars", pa.int32()),
        ("answer_hash", pa.string()),
        ("answer_correct", pa.bool_()),  # eval prompts: it is the expected one, or as much of it as max_tokens allow
        ("prompt_text", pa.string()),  # this and the next: null unless the scenario says load.store_text
        ("answer_text", pa.string()),
    ]
)

#: Columns of few different words: as a category, each is a number per row and the list of its words.
WORDS = frozenset(
    {
        "user_id", "cohort", "deployment", "served_version", "replica", "gateway", "phase", "straddles",
        "gateway_replica", "outcome", "subtype", "finish_reason", "error_type", "error_code",
    }
)  # fmt: skip

#: In ``component`` of samples: whatever replica a gateway chose.
ANY_REPLICA = "any-replica"

#: One row per sample, long format. ``labels`` is "k=v,k=v" sorted, or "".
METRIC_COLUMNS = pa.schema(
    [
        ("t_s", pa.float64()),
        ("component", pa.string()),
        ("metric", pa.string()),
        ("labels", pa.string()),
        ("value", pa.float64()),
    ]
)
#: Samples while they are taken: an Arrow stream, which can be read up to the last batch whatever became of its writer.
METRICS_PART = "metrics.arrows"
GROUP_ROWS = 65_536
#: The series of each fault that lasts: 1 while it is there, else 0; its labels: ``of_fault``.
FAULT_PRESENT = "fault_present"

#: Kinds of events; ``Event`` says what they tell.
EVENT_KINDS = frozenset(
    {
        "planned", "stack_ready", "too_small", "alert_rules", "load_started", "load_stopped", "phase_started",
        "phase_ended", "phase_settled", "steady_state", "fault_injecting", "fault_injected", "fault_proven",
        "fault_unproven", "fault_proven_again", "fault_lost", "fault_healing", "fault_healed", "heal_proven",
        "heal_unproven", "fault_stays", "fault_step", "ask", "link_cut", "alert_before", "alert_fired", "alert_cleared",
        "probe_error", "metrics_unread", "machine_unread", "watchdog_died", "stop_condition", "component_restarted",
        "component_ready", "prefix_cache_reset", "cleanup_problem", "interrupted", "aborted", "note", "capacity_step",
    }
)  # fmt: skip


#: How text files hold what is no text (half a surrogate pair, of a path's bytes): as the escape that JSON has for it.
_AS_JSON = "backslashreplace"


def of_fault(fault: str) -> str:
    """The labels of a fault's samples."""
    return f"fault={fault}"


@dataclass(frozen=True)
class Event:
    """Something that happened. Kinds in use:

    ``planned`` {digest} (of the plan, harness/model/digest.py), ``phase_started`` / ``phase_ended`` {phase, kind},
    ``fault_injecting`` / ``fault_injected`` / ``fault_proven`` / ``fault_unproven`` / ``fault_proven_again`` /
    ``fault_lost`` (no effect any more just before the heal) / ``fault_healing`` / ``fault_healed`` / ``heal_proven`` /
    ``heal_unproven`` {fault, phase, on, type, expected_disruptions, before, during, after, why; of
    ``heal_unproven`` also left: what is there in words, «» when nothing was found, null when that could not be told},
    ``link_cut`` {links, addresses, took_s, why} (healing cut the requests on them: the proxy, or all of toxiproxy, was
    recreated), ``fault_stays`` {fault, on, type} (a part that
    is rolled back when the users have gone, in no phase),
    ``fault_step`` {fault, phase, on, step, …} (a fault that takes its time has come so far), ``ask`` {fault, phase, on,
    name, must, …} (what came of a request that a fault has sent, harness/probes/ask.py),
    ``phase_settled`` {phase, after_s, unsettled} (the phase was held until its faults had
    settled or alerts had cleared, or was given up waiting for), ``steady_state`` {phase, reached, why,
    since_s} (the begin of its stretch), ``alert_rules`` {scale, rules},
    ``alert_before`` / ``alert_fired`` / ``alert_cleared`` {alert, severity, labels, started_s, ended_s,
    received_s} (as Alertmanager delivered it; ``t_s`` is when the harness read that), ``load_started``,
    ``load_stopped`` {status, why, ended} (the generator's exit status, why it was not 0, and how many requests it
    had reported as ended), ``probe_error`` {probe, why},
    ``metrics_unread`` {component, what} (what was received instead of metrics, once per kind), ``watchdog_died``,
    ``stop_condition`` {condition, why}, ``component_restarted`` {component}, ``component_ready`` {component, after_s}
    (it came back after the watchdog's heal), ``prefix_cache_reset`` {component, success, tries, why},
    ``cleanup_problem`` {why}, ``interrupted`` {signal}, ``note`` {text}, ``aborted`` {why, usage} (an error ended it
    early; ``usage`` is true where what the user gave was wrong),
    ``too_small`` {why, capacity_per_s, needed_per_s} (the machine cannot carry what the scenario asks
    for: no phase was begun), ``capacity_step`` {what, holds, step} (of a measuring of capacity). Those that only a
    game has are in harness/judge/games/times.py.
    """

    t_s: float
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


class RunFolder:
    """One run on disk. Reading needs nothing but the folder; writing appends and fsyncs events."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, run_id: str, latest: bool = True) -> RunFolder:
        """Make ``root/run_id`` with its ``logs/``; as the ``latest`` run, ``root/latest`` points at it.

        Runs of two stacks may begin in the same second: the later one's folder gets a number.
        """
        root.mkdir(parents=True, exist_ok=True)
        for name in itertools.chain([run_id], (f"{run_id}-{n}" for n in itertools.count(2))):
            try:
                (root / name).mkdir(mode=0o700)  # what it holds is for whoever ran it
                break
            except FileExistsError:
                continue
        (root / name / "logs").mkdir(mode=0o700)
        if latest:
            pointer = root / f".latest-{name}"
            pointer.symlink_to(name)
            pointer.replace(root / "latest")  # at once: another run may be doing the same
        return cls(root / name)

    def plan(self) -> dict[str, Any]:
        """plan.json. RunFolderError when missing, broken or of another schema version."""
        plan = self.read_json("plan.json")
        if problem := schema_problem(plan, SCHEMA_VERSION):
            raise RunFolderError(f"{self.path / 'plan.json'}: {problem}")
        if missing := [key for key in PLAN_KEYS if key not in plan]:
            raise RunFolderError(f"{self.path / 'plan.json'}: {', '.join(missing)} is missing")
        for key, kind in PLAN_KEYS.items():
            if not isinstance(plan[key], kind):
                raise RunFolderError(
                    f"{self.path / 'plan.json'}: {key} is {type(plan[key]).__name__}, not {kind.__name__}"
                )
        return plan

    def zero_wall_s(self) -> float:
        """The run's zero on the wall clock, in seconds since the epoch."""
        return dt.datetime.fromisoformat(self.plan()["anchor"]["wall"]).timestamp()

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder. RunFolderError when it is missing or broken."""
        try:
            data = json.loads((self.path / name).read_bytes())
        except FileNotFoundError as error:
            what = f"{self.path / name}: there is no such file" if self.path.is_dir() else f"{self.path} is no folder"
            raise RunFolderError(f"{what}; expected the folder of a run, such as runs/latest") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{self.path / name}: cannot be read as JSON ({error})") from error
        if not isinstance(data, dict):
            raise RunFolderError(f"{self.path / name}: found {type(data).__name__}, expected a JSON object")
        return data

    def write_json(self, name: str, data: dict[str, Any]) -> None:
        """Write atomically, without secrets: readers see the old file or the new one. RecordError when it fails."""
        text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, default=str)
        with replacing(self.path / name) as temporary:
            temporary.write_text(redact.text(text) + "\n", "utf-8", _AS_JSON)

    def unwritten(self) -> dict[str, str]:
        """Files of evidence that are incomplete, with the reason; not verdict and report, which can be regenerated."""
        found = {path.name.removesuffix(FAILED): path for path in sorted(self.path.glob(f"*{FAILED}"))}
        return {name: _reason(path) for name, path in found.items() if name not in _REGENERATED}

    def events(self) -> list[Event]:
        """All events in order; lines that are none, such as a torn last one (the harness died), are left out."""
        return [event for event in map(_event, self._event_lines()) if event is not None]

    def unreadable_events(self) -> int:
        """How many lines are no event."""
        return sum(_event(line) is None for line in self._event_lines())

    def _event_lines(self) -> list[bytes]:
        path = self.path / "events.jsonl"
        return path.read_bytes().splitlines() if path.exists() else []

    def requests(
        self, columns: Sequence[str] = REQUEST_COLUMNS.names, categories: Collection[str] = ()
    ) -> pd.DataFrame:
        """These columns of all attempts, of ``REQUEST_COLUMNS``; an empty frame with them when there are none.

        Texts of ``categories`` are read as such, without a text per row.
        """
        return self._table("requests.parquet", REQUEST_COLUMNS, columns, categories)

    def requests_by_column(self) -> Iterator[tuple[pa.Field, Iterator[pa.Array]]]:
        """Each of ``REQUEST_COLUMNS`` as it is stored, ``GROUP_ROWS`` at a time; nulls where the file has none."""
        path = self.path / "requests.parquet"
        if not path.exists():
            yield from ((field, iter([])) for field in REQUEST_COLUMNS)
            return
        with _reading(path), pq.ParquetFile(path, read_dictionary=WORDS, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            for field in REQUEST_COLUMNS:
                if field.name in names:
                    yield field, (batch.column(0) for batch in file.iter_batches(GROUP_ROWS, columns=[field.name]))
                else:
                    yield field, iter([pa.nulls(file.metadata.num_rows)])

    def attempts_count(self) -> int:
        """How many rows ``requests`` has, without reading them."""
        path = self.path / "requests.parquet"
        with _reading(path):
            return int(pq.read_metadata(path).num_rows) if path.exists() else 0

    def metrics(self) -> pd.DataFrame:
        """All samples, columns of ``METRIC_COLUMNS``; of a harness that was killed those until then."""
        part = self.path / METRICS_PART
        if part.exists() and not (self.path / "metrics.parquet").exists():
            found: pd.DataFrame = pa.Table.from_batches(batches(part), METRIC_COLUMNS).to_pandas()
            return found
        return self._table("metrics.parquet", METRIC_COLUMNS, METRIC_COLUMNS.names)

    def _table(
        self, name: str, schema: pa.Schema, columns: Sequence[str], categories: Collection[str] = ()
    ) -> pd.DataFrame:
        path = self.path / name
        if unknown := sorted(set(columns) - set(schema.names)):
            raise KeyError(f"{name} has no {unknown[0]}")
        if not path.exists():
            empty: pd.DataFrame = schema.empty_table().to_pandas()
            return empty[list(columns)]
        coded = [name for name in columns if name in categories]
        with _reading(path), pq.ParquetFile(path, read_dictionary=coded, page_checksum_verification=True) as file:
            # Runs of earlier versions have fewer columns: what they did not record is not measured.
            recorded = frozenset(file.schema_arrow.names)
            known = [column for column in columns if column in recorded]
            rows = pd.RangeIndex(file.metadata.num_rows)
            frame = file.read(known).to_pandas() if known else pd.DataFrame(index=rows)
        return frame.reindex(columns=list(columns))


def batches(part: Path) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow stream; a torn last one (its writer was killed) ends it."""
    with pa.OSFile(str(part), "rb") as file:
        try:
            yield from pa.ipc.open_stream(file)
        except (pa.ArrowInvalid, OSError):  # pyarrow: cut in a header, cut in a body
            return


def grouped(found: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows of small batches as tables of ``GROUP_ROWS`` at least but for the last: row groups of a Parquet file."""
    group: list[pa.RecordBatch] = []
    for batch in found:
        group.append(batch)
        if sum(one.num_rows for one in group) >= GROUP_ROWS:
            yield pa.Table.from_batches(group)
            group = []
    if group:
        yield pa.Table.from_batches(group)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Around reading ``path``: what is wrong with its content names the file."""
    try:
        yield
    except (OSError, ArrowException) as error:
        raise pa.ArrowInvalid(f"{path.name}: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around writing ``path``: an OSError becomes RecordError, and ``path`` is marked as incomplete."""
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that atomically replaces ``path`` after the block. RecordError when that fails."""
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            yield temporary
            temporary.replace(path)
            path.with_name(path.name + FAILED).unlink(missing_ok=True)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def not_written(path: Path, error: OSError) -> RecordError:
    """Mark ``path`` as incomplete in a file beside it, if that can be written; the error to raise."""
    why = os.strerror(error.errno) if error.errno else str(error)
    with suppress(OSError):
        path.with_name(path.name + FAILED).write_text(json.dumps({"why": why}) + "\n")
    return RecordError(f"{path} cannot be written: {why}")


def storage_failure(error: BaseException) -> RecordError | None:
    """RecordError for an error of the storage (``_STORAGE_ERRORS``); None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _STORAGE_ERRORS:
        return None
    return RecordError(f"{error.filename or 'a file'} cannot be written: {os.strerror(error.errno)}")


def _reason(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["why"])
    except (OSError, ValueError, LookupError, TypeError):
        return "why cannot be read"


def _event(line: bytes) -> Event | None:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    t_s, kind = raw.pop("t_s", None), raw.pop("kind", None)
    if not isinstance(t_s, int | float) or not math.isfinite(t_s) or not isinstance(kind, str):
        return None
    return Event(t_s, kind, raw)


def schema_problem(data: dict[str, Any], known: int) -> str | None:
    """Why this version cannot read ``data``; None when it can."""
    found = data.get("schema")
    if found == known:
        return None
    hint = ""
    if isinstance(found, int):
        age = "a newer" if found > known else "an older"
        hint = f"; it was written by {age} Drillyard, which can read it"
    return f"found schema {found!r}, this version reads {known}{hint}"


class EventLog:
    """Appends events to a run folder, stamped with seconds since the run's zero.

    A write that fails does not raise, because no error may keep a fault from being rolled back: it is kept in
    ``failed``, which the run checks while it goes on.
    """

    def __init__(self, folder: RunFolder, zero_mono_s: float) -> None:
        self.folder, self.zero_mono_s = folder, zero_mono_s
        self.failed: RecordError | None = None
        self._path = path = folder.path / "events.jsonl"
        torn = False
        try:
            written = path.read_bytes() if path.exists() else b""
            torn = written != b"" and not written.endswith(b"\n")
            self._file = path.open("a", 1, "utf-8", _AS_JSON)
        except OSError as error:  # the folder is gone: what is still injected is rolled back all the same
            self.failed = not_written(path, error)
            self._file = Path(os.devnull).open("a")  # noqa: SIM115 - closed by ``close``
        if torn:  # the harness died while writing: what is recorded from here on is not part of that line
            self._write("\n")

    @classmethod
    def later(cls, folder: RunFolder) -> EventLog:
        """For a run of the past. Its wall clock counts: the monotonic one begins anew with the machine."""
        began = dt.datetime.fromisoformat(folder.plan()["anchor"]["wall"])
        return cls(folder, time.monotonic() - (dt.datetime.now(dt.UTC) - began).total_seconds())

    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return time.monotonic() - self.zero_mono_s

    def add(self, kind: str, **data: Any) -> Event:
        """Record one event now; no secret reaches the file."""
        event = Event(round(self.now_s(), 6), kind, data)
        flat = {"t_s": event.t_s, "kind": kind, **data}
        text = redact.text(json.dumps(flat, ensure_ascii=False, default=_as_json))
        self._write(text + "\n")
        return event

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            self.failed = self.failed or not_written(self._path, error)

    def close(self) -> None:
        """Close the file; events cannot be added any more."""
        try:
            self._file.close()
        except OSError as error:
            self.failed = not_written(self._path, error)


def anchor() -> dict[str, Any]:
    """The monotonic and the wall clock, read together: the zero of a run."""
    return {"mono_s": time.monotonic(), "wall": dt.datetime.now(dt.UTC).isoformat()}


def _as_json(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)
