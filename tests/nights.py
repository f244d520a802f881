"""Nights made from a seed: entries with their attempts, the runs behind them, and the series that those are part of."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.evidence.index import IndexedRun, SeriesKey, Value
from harness.model.night import Attempt, Entry, Night
from harness.model.verdict import Status
from reports.pages.nightly import History

FIRST = dt.datetime(2026, 10, 1, 2, 0, tzinfo=dt.UTC)
MACHINE = "Xeon-2c-24g"
SCENARIOS = {
    "cancel-storm": "cancel-storm", "gateway-failover": "gateway-failover", "model-swap": "model-swap",
    "model-swap-bad": "model-swap", "node-restart": "node-restart", "oom": "oom", "timeout-spike": "timeout-spike",
}  # fmt: skip
PHASES = ("baseline", "fault", "recovery")
#: SLI → unit, and its usual value.
SLIS = {
    "availability": ("%", 99.6), "goodput": ("%", 98.9), "ttft_p50_ms": ("ms", 110.0), "ttft_p95_ms": ("ms", 320.0),
    "tps_p50": ("tokens/s", 61.0), "e2e_p95_ms": ("ms", 2100.0), "max_stall_p90_ms": ("ms", 140.0),
}  # fmt: skip
SPREAD = 0.05
_COMMIT = "{:040x}"


@dataclass
class Made:
    """What ``make`` fills in, night by night."""

    nights: list[Night] = field(default_factory=list)
    runs: list[IndexedRun] = field(default_factory=list)
    series: dict[SeriesKey, list[tuple[IndexedRun, Value]]] = field(default_factory=dict)

    def history(self) -> History:
        """As the page takes it."""
        return History(self.nights, self.runs, self.series)


def make(
    count: int,
    runs: Path,
    *,
    machine: str = MACHINE,
    seed: int = 1,
    scenarios: Mapping[str, str] = SCENARIOS,
    slower_since: int | None = None,
    proves: Mapping[str, Sequence[str]] | None = None,
) -> Made:
    """``count`` nights on one machine; ``slower_since`` is the night from which on TTFT is half as much again.

    With ``proves`` (scenario → types) each run's folder is written below ``runs``: a page, and the proofs.
    """
    made, draw = Made(), random.Random(seed)
    for number in range(count):
        began = FIRST + dt.timedelta(days=number)
        name = f"nightly-{began:%Y-%m-%d}"
        commit = _COMMIT.format(1000 + number // 2)
        entries = []
        for place, (scenario, drill) in enumerate(scenarios.items()):
            entry = _entry(scenario, drill, draw, f"{began:%Y%m%d}-{place:02}-{drill}-{seed:04x}")
            entries.append(entry)
            for attempt in entry.attempts:
                run = _run(entry, attempt, runs, machine, commit, began + dt.timedelta(minutes=4 * place), name)
                made.runs.append(run)
                slower = 1.5 if slower_since is not None and number >= slower_since else 1.0
                _measure(made, run, draw, slower)
                if proves is not None:
                    write_folder(run, proves.get(scenario, ()))
        ended = None if number == 3 else began + dt.timedelta(hours=1)
        made.nights.append(
            Night(suite="nightly", run_id=name, seed=number, started=began, ended=ended, commit=commit,
                  machine=machine, entries=tuple(entries))
        )  # fmt: skip
    return made


def _entry(scenario: str, drill: str, draw: random.Random, run_id: str) -> Entry:
    """Mostly PASS, some FAIL, some that were retried or not run."""
    chance = draw.random()
    entry_id = f"{scenario}/process/sim"
    if chance < 0.04:
        return Entry(
            id=entry_id, drill=drill, scenario=scenario, runtime="process", engine="sim", not_run="budget spent"
        )
    found = [Status.PASS]
    if chance > 0.94:
        found = [Status.FAIL]
    elif chance > 0.86:
        found = [Status.INCONCLUSIVE, Status.PASS if chance > 0.9 else Status.INCONCLUSIVE]
    reasons = {
        Status.PASS: "all 45 checks passed", Status.FAIL: "2 of 45 checks failed: TTFT before, users recover",
        Status.INCONCLUSIVE: "the machine was 97 % busy, 41 % by others",
    }  # fmt: skip
    attempts = tuple(
        Attempt(
            run_id=f"{run_id}-{n}",
            status=status,
            exit_code=status.exit_code,
            reason=reasons[status],
            duration_s=130.0,
        )
        for n, status in enumerate(found)
    )
    return Entry(
        id=entry_id,
        drill=drill,
        scenario=scenario,
        runtime="process",
        engine="sim",
        attempts=attempts,
        status=found[-1],
    )


def _run(
    entry: Entry, attempt: Attempt, runs: Path, machine: str, commit: str, started: dt.datetime, night: str
) -> IndexedRun:
    return IndexedRun(
        run_id=attempt.run_id, folder=runs / attempt.run_id, drill=entry.drill, scenario=entry.scenario,
        scenario_digest=f"{abs(hash_of(entry.scenario)):016x}", engine=entry.engine, runtime=entry.runtime,
        machine=machine, commit=commit, dirty=False, model="v1", started=started, duration_s=130.0,
        status=attempt.status, cause=None, reason=attempt.reason, seed=1, night=night, defects=False,
    )  # fmt: skip


def hash_of(text: str) -> int:
    """The same in every process, unlike ``hash``."""
    return int.from_bytes(text.encode()[:7].ljust(7, b"."), "big")


def _measure(made: Made, run: IndexedRun, draw: random.Random, slower: float) -> None:
    for sli, (unit, usual) in SLIS.items():
        for phase in PHASES:
            spread = SPREAD if unit != "%" else 0.002
            value = usual * draw.gauss(1.0, spread) * (slower if sli.startswith("ttft") else 1.0)
            _add(made, run, f"{sli}/{phase}", min(value, 100.0) if unit == "%" else value, unit)
    _add(made, run, "capacity", 40.0 * draw.gauss(1.0, SPREAD), "requests/s")
    _add(made, run, "no-replica-restarts/fault", 0.0, "restarts")


def _add(made: Made, run: IndexedRun, series: str, value: float, unit: str) -> None:
    lost = run.status is Status.INCONCLUSIVE
    key = SeriesKey(series, run.scenario_digest, run.machine, run.engine, run.runtime)
    one = Value(series, None if lost else value, unit, run.status, None if lost else 215)
    made.series.setdefault(key, []).append((run, one))


def write_folder(run: IndexedRun, proves: Sequence[str]) -> None:
    """A run folder as far as the page reads it: the report's place, and what was proven."""
    run.folder.mkdir(parents=True)
    (run.folder / "report.html").write_text("<p>a report")
    lines = [
        json.dumps({"t_s": 1.0, "kind": "fault_proven", "fault": f"fault/{one}/x", "on": "x", "type": one})
        for one in proves
    ]
    (run.folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
