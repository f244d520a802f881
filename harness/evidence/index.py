"""The index of runs: ``runs/index.sqlite``, made from the run folders at any time and never the only copy.

``Index.open`` brings it up to date: a folder whose plan, verdict or events have another time or size is read again, one
that is gone is forgotten. An index that is damaged or of another version is made anew; where none can be written it
lives in memory. Nothing in a folder makes it raise: what is no run, or cannot be read, is in ``Index.unread`` with the
reason, and a run without a verdict is a run that was not judged.

A series is what one question measured, run after run (docs/metrics.md, «Trends over runs»): of the same scenario as it
was written, on the same machine, engine and runtime. Versions, model and commit are marks on it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import math
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.evidence.record import NO_DRILLS, RunFolder, schema_problem
from harness.model import digest
from harness.model.errors import RunFolderError
from harness.model.night import FILE as NIGHT_FILE
from harness.model.verdict import JUDGED, Status

FILE = "index.sqlite"
#: Goes up when a table, or what is read from a folder, changes.
_VERSION = 1
_VERDICT_SCHEMA = 1
#: Another process may be bringing it up to date.
_BUSY_S = 10.0
#: No plan or verdict of ours is near this; what is larger is not read.
_BYTES_MAX = 64 * 1024**2
#: Of the end of events.jsonl: longer than any line of ours.
_TAIL_BYTES = 65_536
#: What a run folder is read from; the index notices when one of them has changed.
_SOURCES = ("plan.json", "verdict.json", "events.jsonl")
_NOT_JUDGED = "no verdict: the run goes on, or was killed before it was judged"


@dataclass(frozen=True)
class IndexedRun:
    """One run. Without a verdict ``judged`` is False, ``status`` INCONCLUSIVE, and ``reason`` says why there is none.

    ``scenario_digest`` is of the scenario as it was written and of what it was played on (how many gateways and
    replicas, or which target), so one that was fitted to another capacity is the same. ``machine`` is the key of
    processor, flags, cores and memory, ``machine_name`` the same for people. ``night`` is the suite's run that started
    it, "" for none. With ``defects`` it was broken on purpose.
    """

    run_id: str
    folder: Path
    drill: str
    scenario: str
    scenario_digest: str
    engine: str
    runtime: str
    machine: str
    commit: str
    dirty: bool
    model: str
    started: dt.datetime  # UTC
    duration_s: float
    status: Status
    cause: str | None
    reason: str
    seed: int
    night: str = ""
    defects: bool = False
    judged: bool = True
    machine_name: str = ""


@dataclass(frozen=True)
class Value:
    """What one question measured in one run. ``value`` is None where it was not measured or could not be judged.

    ``series`` is ``id/phase/subject`` of a check or an objective, ``capacity``, or ``SLI/phase``, which nobody judges:
    its ``status`` is PASS.
    """

    series: str
    value: float | None
    unit: str
    status: Status
    samples: int | None


@dataclass(frozen=True)
class SeriesKey:
    """What makes two values comparable; ``id`` is ``Value.series``."""

    id: str
    scenario_digest: str
    machine: str
    engine: str
    runtime: str


@dataclass(frozen=True)
class Unread:
    """Something in ``runs/`` that is not in the table, and why."""

    path: Path
    reason: str


def series_id(id: str, phase: str | None, subject: str | None) -> str:
    """``id/phase/subject``, without the slashes at its end."""
    return f"{id}/{phase or ''}/{subject or ''}".rstrip("/")


_STORED = tuple(field.name for field in fields(IndexedRun) if field.name not in ("folder", "night"))
_COLUMNS = ", ".join(f'"{name}"' for name in _STORED)  # «commit» is a word of SQL, too
_TABLES = (
    "CREATE TABLE folders (name TEXT PRIMARY KEY, stamp TEXT NOT NULL, problem TEXT NOT NULL)",
    f"CREATE TABLE runs (folder TEXT PRIMARY KEY, {_COLUMNS})",
    "CREATE TABLE measured (folder TEXT, series TEXT, value REAL, unit TEXT, status TEXT, samples INTEGER, "
    "PRIMARY KEY (folder, series)) WITHOUT ROWID",
)


class Index:
    """The runs of one folder, and of those merged with it. Use ``Index.open``, as a context manager."""

    def __init__(self, root: Path, table: sqlite3.Connection, unread: Iterable[Unread]) -> None:
        self._root, self._table, self._others = root, table, list[Index]()
        self._runs, copies = _load(root, table)
        #: What is no run or cannot be read, by name.
        self.unread: list[Unread] = sorted([*unread, *copies], key=lambda one: one.path.name)

    @classmethod
    def open(cls, runs: Path) -> Index:
        """The index of the run folders in ``runs``, up to date. It need not exist: then there are none."""
        entries = _entries(runs)
        return cls(runs, _up_to_date(runs, entries), entries.unread())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file, and those of the merged ones."""
        self._table.close()
        for other in self._others:
            other.close()

    def merge(self, other: Path) -> None:
        """Add the runs of another folder, such as one from another machine; a run that is known already counts once."""
        found = Index.open(other)
        self._others.append(found)
        self.unread += found.unread

    def runs(
        self,
        drill: str | None = None,
        status: Status | None = None,
        since: dt.datetime | None = None,
        commit: str | None = None,
        machine: str | None = None,
        night: str | None = None,
    ) -> list[IndexedRun]:
        """The runs that match all that is given, newest last.

        ``drill`` is the name of a drill or of a scenario, ``status`` that of judged runs, ``commit`` and ``machine``
        may be the first characters, ``machine`` also a part of its name.
        """

        def wanted(run: IndexedRun) -> bool:
            return (
                drill in (None, run.drill, run.scenario)
                and (status is None or (run.judged and run.status is status))
                and (since is None or run.started >= since)
                and (commit is None or run.commit.startswith(commit))
                and (machine is None or run.machine.startswith(machine) or machine.lower() in run.machine_name.lower())
                and night in (None, run.night)
            )

        return sorted(filter(wanted, self._every().values()), key=lambda run: (run.started, run.run_id))

    def _every(self) -> dict[str, IndexedRun]:
        known = [one._every() for one in reversed(self._others)]
        return {run_id: run for runs in [*known, self._runs] for run_id, run in runs.items()}

    def values(self, run_id: str) -> list[Value]:
        """What that run measured, by series; nothing of a run that is not known."""
        if run_id not in self._runs:
            return next((found for one in self._others if (found := one.values(run_id))), [])
        rows = self._table.execute(
            "SELECT series, value, unit, status, samples FROM measured WHERE folder = ? ORDER BY series",
            [self._runs[run_id].folder.name],
        )
        return [Value(series, value, unit, Status(word), samples) for series, value, unit, word, samples in rows]

    def series(self) -> dict[SeriesKey, list[tuple[IndexedRun, Value]]]:
        """Every series, its oldest run first. Without runs that were broken on purpose.

        A run that is INCONCLUSIVE, or was not judged, is a gap (value None) in all series of its kind.
        """
        found: dict[SeriesKey, list[tuple[IndexedRun, Value]]] = {}
        kinds: dict[tuple[str, ...], list[IndexedRun]] = {}
        for run in self.runs():
            if not run.defects:
                kinds.setdefault(kind(run), []).append(run)
        for of_kind, runs in kinds.items():
            by_run = {run.run_id: {value.series: value for value in self.values(run.run_id)} for run in runs}
            for series in sorted(set(itertools.chain.from_iterable(by_run.values()))):
                line = [(run, _in_series(run, series, by_run[run.run_id].get(series))) for run in runs]
                found[SeriesKey(series, *of_kind)] = [(run, value) for run, value in line if value is not None]
        return found

    def last_good(self, run: IndexedRun) -> IndexedRun | None:
        """The newest earlier PASS of the same kind that was not broken on purpose; None when there is none."""
        earlier = [
            one
            for one in self.runs(status=Status.PASS)
            if kind(one) == kind(run) and not one.defects and one.started < run.started
        ]
        return earlier[-1] if earlier else None


def kind(run: IndexedRun) -> tuple[str, str, str, str]:
    """What makes runs comparable: scenario, machine, engine and runtime."""
    return run.scenario_digest, run.machine, run.engine, run.runtime


def _in_series(run: IndexedRun, series: str, value: Value | None) -> Value | None:
    """The value as a point of its series; None where the run did not ask: its checks are of another version."""
    if run.status is Status.INCONCLUSIVE:
        return Value(series, None, value.unit if value else "", Status.INCONCLUSIVE, value.samples if value else None)
    return value


@dataclass(frozen=True)
class _Entries:
    """What ``runs/`` holds: folders with the stamp of what they are read from, and what is none."""

    folders: Mapping[str, str]
    strange: Mapping[Path, str]

    def unread(self) -> list[Unread]:
        return [Unread(path, reason) for path, reason in self.strange.items()]


def _entries(root: Path) -> _Entries:
    folders: dict[str, str] = {}
    strange: dict[Path, str] = {}
    try:
        listed = sorted(os.scandir(root), key=lambda entry: entry.name)
    except FileNotFoundError:
        listed = []
    except OSError as error:
        return _Entries({}, {root: f"cannot be read: {error.strerror}"})
    for entry in listed:
        if _known(entry):
            continue
        if not entry.is_dir(follow_symlinks=False):
            what = "a link, which is not followed" if entry.is_symlink() else "a file, and no run folder"
            strange[root / entry.name] = what
        elif not entry.name.isprintable():
            strange[root / entry.name] = "a folder whose name is no text: no run of ours"
        elif not os.path.lexists(root / entry.name / NIGHT_FILE):  # what a suite made is no run
            folders[entry.name] = json.dumps([_stamp(root / entry.name / name) for name in _SOURCES])
    return _Entries(folders, strange)


def _known(entry: os.DirEntry[str]) -> bool:
    """Whether it is the index, a comparison, the pointer to the newest run, or something hidden."""
    ours = entry.name.startswith((".", FILE)) or (entry.name == "latest" and entry.is_symlink())
    return ours or (entry.name.startswith("compare-") and entry.name.endswith(".html"))


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size]


def _up_to_date(root: Path, entries: _Entries) -> sqlite3.Connection:
    """The table: the file where it is sound, else one made anew, else one in memory."""
    path = root / FILE
    for make in (_existing, _replacing):
        try:
            return _updated(make(path), root, entries)
        except (sqlite3.Error, OSError):
            continue
    return _updated(_empty(":memory:"), root, entries)


def _existing(path: Path) -> sqlite3.Connection:
    """The file of an earlier call. sqlite3.Error or OSError when there is none that is sound."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError("no file")
    table = _connected(path)
    try:
        version = table.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION or table.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged, or of another version")
    except BaseException:
        table.close()
        raise
    return table


def _replacing(path: Path) -> sqlite3.Connection:
    """A new file in its place: readers see the old one or the whole new one. OSError where something else is there."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(f"{path} is no file")
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        _empty(temporary).close()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return _connected(path)


def _empty(where: Path | str) -> sqlite3.Connection:
    table = _connected(where)
    for statement in _TABLES:
        table.execute(statement)
    table.execute(f"PRAGMA user_version = {_VERSION}")
    return table


def _connected(where: Path | str) -> sqlite3.Connection:
    table = sqlite3.connect(where, timeout=_BUSY_S, isolation_level=None)
    # It can be made again at any time: no journal beside it that could outlive it.
    table.execute("PRAGMA journal_mode = MEMORY")
    table.execute("PRAGMA synchronous = OFF")
    return table


def _updated(table: sqlite3.Connection, root: Path, entries: _Entries) -> sqlite3.Connection:
    """``table`` with what has changed since, in one transaction."""
    try:
        if _differences(table, entries):  # most often there are none: no lock then
            table.execute("BEGIN IMMEDIATE")
            for name in _differences(table, entries):
                for of_it, column in (("folders", "name"), ("runs", "folder"), ("measured", "folder")):
                    table.execute(f"DELETE FROM {of_it} WHERE {column} = ?", [name])
                if name in entries.folders:
                    _add(table, root / name, entries.folders[name])
            table.execute("COMMIT")
    except BaseException:
        table.close()
        raise
    return table


def _differences(table: sqlite3.Connection, entries: _Entries) -> list[str]:
    """Names of folders that are new, have changed, or are gone."""
    known = dict(table.execute("SELECT name, stamp FROM folders"))
    return sorted(name for name in {*known, *entries.folders} if known.get(name) != entries.folders.get(name))


def _add(table: sqlite3.Connection, folder: Path, stamp: str) -> None:
    try:
        run, values = read(folder)
        columns = [_stored(getattr(run, name)) for name in _STORED]
        table.execute(f"INSERT INTO runs VALUES (?{', ?' * len(_STORED)})", [folder.name, *columns])
        rows = [(folder.name, v.series, v.value, v.unit, v.status.value, v.samples) for v in values]
        table.executemany("INSERT OR IGNORE INTO measured VALUES (?, ?, ?, ?, ?, ?)", rows)
    except RunFolderError as error:
        problem = str(error).removeprefix(f"{folder}{os.sep}")
    else:
        problem = ""
    table.execute("INSERT INTO folders VALUES (?, ?, ?)", [folder.name, stamp, _text(problem)])


def _stored(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _load(root: Path, table: sqlite3.Connection) -> tuple[dict[str, IndexedRun], list[Unread]]:
    """All runs by id, and what is none: folders that cannot be read, and copies of a run."""
    nights = _nights(root)
    runs: dict[str, IndexedRun] = {}
    rows = table.execute("SELECT name, problem FROM folders WHERE problem != ''")
    unread = [Unread(root / name, problem) for name, problem in rows]
    # The folder that has a run's name comes first: any other is a copy of it.
    ordered = "ORDER BY folder != run_id, folder"
    for name, *columns in table.execute(f"SELECT folder, {_COLUMNS} FROM runs {ordered}"):
        data = dict(zip(_STORED, columns, strict=True))
        run_id = data["run_id"]
        if run_id in runs:
            unread.append(Unread(root / name, f"a copy: its plan is that of {runs[run_id].folder.name}"))
            continue
        data |= {name: bool(data[name]) for name in ("dirty", "defects", "judged")}
        data |= {"status": Status(data["status"]), "started": dt.datetime.fromisoformat(data["started"])}
        runs[run_id] = IndexedRun(folder=root / name, night=nights.get(run_id, ""), **data)
    return runs, unread


def _nights(root: Path) -> dict[str, str]:
    """Which suite's run has started a run, by their ids."""
    found: dict[str, str] = {}
    for path in sorted(root.glob(f"*/{NIGHT_FILE}")):
        with contextlib.suppress(RunFolderError, KeyError, TypeError, AttributeError):
            night = _json(path.parent, NIGHT_FILE)
            attempts = itertools.chain.from_iterable(entry["attempts"] for entry in night["entries"])
            found |= {_text(attempt["run_id"]): _text(night["run_id"]) for attempt in attempts}
    return found


def read(folder: Path) -> tuple[IndexedRun, list[Value]]:
    """One run as the index has it, and what it measured. RunFolderError when it is none, or has no readable plan."""
    _require_file(folder, "plan.json")
    plan = RunFolder(folder).plan()
    if (what := NO_DRILLS.get(plan["drill"])) is not None:
        raise RunFolderError(f"{what}, and no run")
    try:
        run = _planned(folder, plan)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise RunFolderError(f"plan.json: {type(error).__name__}: {error}") from None
    try:
        if not os.path.lexists(folder / "verdict.json"):
            raise RunFolderError(_NOT_JUDGED)
        judged, values = _judged(_json(folder, "verdict.json"))
    except RunFolderError as error:
        why = str(error).removeprefix(f"{folder}{os.sep}")
        judged, values = {"status": Status.INCONCLUSIVE, "cause": None, "reason": _text(why), "judged": False}, []
    return IndexedRun(**run, **judged), [*values, *_capacity(plan)]


def _planned(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    git, topology = plan.get("git") or {}, plan.get("topology") or {}
    machine, machine_name = _machine(plan)
    started = dt.datetime.fromisoformat(plan["anchor"]["wall"])
    return {
        "run_id": _text(plan["run_id"]),
        "folder": folder,
        "drill": _text(plan["drill"]),
        "scenario": _text(plan["scenario"]["name"]),
        "scenario_digest": _of_scenario(plan, topology),
        "engine": _text(plan.get("engine") or ""),
        "runtime": _text(plan.get("runtime") or ""),
        "machine": machine,
        "machine_name": machine_name,
        "commit": _text(git.get("commit") or ""),
        "dirty": bool(git.get("dirty")),
        "model": _model(plan, topology),
        "started": started.replace(tzinfo=started.tzinfo or dt.UTC).astimezone(dt.UTC),
        "duration_s": _duration_s(folder),
        "seed": _number(plan.get("seed") or 0),
        "defects": bool(plan.get("defects") or topology.get("defects")),
    }


def _of_scenario(plan: Mapping[str, Any], topology: Mapping[str, Any]) -> str:
    """Plans of earlier versions hold the scenario as it was fitted only."""
    written = {key: value for key, value in (plan.get("written") or plan["scenario"]).items() if key != "description"}
    service = (topology.get("target") or {}).get("service") or {}
    target = [service[part] for part in ("scheme", "host", "port", "path") if part in service]
    stack = topology.get("stack") or {}
    roles = Counter(str(component["role"]) for component in stack.get("components") or ())
    # Before stacks were data, all had two of each.
    size = [roles[role] if stack else 2 for role in ("gateway", "replica")]
    return digest.of([written, target or size])[:16]


def _machine(plan: Mapping[str, Any]) -> tuple[str, str]:
    """Its key and its name. A plan of an earlier version has the name, with runtime and engine at its end."""
    found = plan.get("machine") or {}
    if found.get("key"):
        return _text(found["key"]), _text(found.get("name") or "")
    name = str((plan.get("capacity") or {}).get("machine") or "")
    name = name.removesuffix(f", {plan.get('runtime')}, {plan.get('engine')}")
    name = name or f"{found.get('cores', '?')} cores, {found.get('system', 'unknown system')}"
    return digest.of(name)[:8], _text(name)


def _model(plan: Mapping[str, Any], topology: Mapping[str, Any]) -> str:
    """The version that answers carry, of each replica that has another one; of a target the model asked for."""
    served = sorted(set(map(str, (plan.get("serves") or {}).values())))
    return _text(", ".join(served) or (topology.get("target") or {}).get("model") or "")


def _duration_s(folder: Path) -> float:
    """When the last event was, in seconds since the run's zero; 0 without one that can be read."""
    with contextlib.suppress(OSError, RunFolderError):
        _require_file(folder, "events.jsonl", math.inf)
        with (folder / "events.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return _finite(json.loads(line)["t_s"]) or 0.0
    return 0.0


def _judged(verdict: Mapping[str, Any]) -> tuple[dict[str, Any], list[Value]]:
    """Columns and values of a verdict. RunFolderError when it is none."""
    if problem := schema_problem(dict(verdict), _VERDICT_SCHEMA):
        raise RunFolderError(f"verdict.json: {problem}")
    try:
        cause = verdict.get("cause")
        columns = {
            "status": Status(verdict["status"]),
            "cause": None if cause is None else _text(cause),
            "reason": _text(verdict["reason"]),
            "judged": True,
        }
        return columns, [*map(_value, verdict["checks"]), *map(_in_phase, verdict.get("slis") or ())]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = f"no verdict that can be read ({type(error).__name__}: {error}); judge the run again"
        raise RunFolderError(f"verdict.json: {why}") from None


def _value(check: Mapping[str, Any]) -> Value:
    """A check's value. What was not judged is none, whatever number stands beside it."""
    status, samples = Status(check["status"]), check.get("samples")
    return Value(
        series=_text(series_id(check.get("id") or check["name"], check.get("phase"), check.get("subject"))),
        value=_finite(check.get("measured")) if status in JUDGED else None,
        unit=_text(check.get("unit") or ""),
        status=status,
        samples=None if samples is None else _number(samples),
    )


def _in_phase(found: Mapping[str, Any]) -> Value:
    """An indicator as it was measured in one phase, which is no judgement."""
    series = _text(series_id(found["sli"], found["phase"], None))
    return Value(series, _finite(found["value"]), _text(found["unit"]), Status.PASS, _number(found["samples"]))


def _capacity(plan: Mapping[str, Any]) -> list[Value]:
    """What all replicas carry by the last measurement before the run: a provisional one is no value."""
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
        known = plan["capacity"].get("measured") or plan["capacity"]["used"]
        status = Status.INCONCLUSIVE if known["provisional"] else Status.PASS
        rate = _finite(known["whole"]["rate_per_s"]) if status is Status.PASS else None
        return [Value("capacity", rate, "requests/s", status, _number(known["repeats"]))]
    return []


def _json(folder: Path, name: str) -> dict[str, Any]:
    _require_file(folder, name)
    return RunFolder(folder).read_json(name)


def _require_file(folder: Path, name: str, bytes_max: float = _BYTES_MAX) -> None:
    """RunFolderError where reading would wait or fill the memory: a pipe, a device, gigabytes."""
    try:
        found = (folder / name).stat()
    except FileNotFoundError:
        raise RunFolderError(f"there is no {name}: no run, or one that ended before it was written") from None
    except OSError as error:
        raise RunFolderError(f"{name}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise RunFolderError(f"{name} is no file")
    if found.st_size > bytes_max:
        raise RunFolderError(f"{name} has {found.st_size} bytes: that is none of ours")


def _text(value: Any) -> str:
    """As the table can hold it: half a surrogate pair is written out."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _finite(value: Any) -> float | None:
    """A measured number; None for none. TypeError for what is no number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"found {type(value).__name__}, expected a number")
    return float(value) if math.isfinite(value) else None


def _number(value: Any) -> int:
    """A whole number that the table can hold. ValueError or TypeError for any other."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError(f"found {value!r:.40}, expected a whole number")
    return value
