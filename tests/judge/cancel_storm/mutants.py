"""Defects that are put into a healthy synthetic run of the cancel-storm drill; each says which check must notice it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from drills.cancel_storm import WAVES
from tests.judge.cancel_storm.story import CANCELLED_S, SENT_S, WATCHED_S, watch_on
from tests.judge.defects import Mutants, fail, samples
from tests.judge.timeout_spike import mutants
from tests.runs import Run

MUTANTS = Mutants()
mutant = MUTANTS.mutant


def _waves(run: Run, phase: str) -> list[dict[str, Any]]:
    return [wave for wave in run.files["waves.json"]["waves"] if wave["phase"] == phase]


def _after(run: Run, phase: str, replica: str, metric: str, last: bool = False) -> pd.Series:
    """Marks the close samples of one figure after the cancel of a wave: the first one or the last one of a phase."""
    wave = _waves(run, phase)[-1 if last else 0]
    return samples(run, replica, f"wave_{metric}", wave["began_s"] + CANCELLED_S, wave["watched_until_s"])


def zombies(run: Run, phase: str) -> None:
    """Four streams go on in one replica as if nobody had hung up."""
    run.metrics.loc[_after(run, phase, "replica-2", "running"), "value"] += 4


def late_cancel(run: Run, phase: str) -> None:
    """The engine hears of it a second later."""
    began = _waves(run, phase)[0]["began_s"] + CANCELLED_S
    run.metrics.loc[samples(run, "replica-1", "wave_running", began, began + 1.0), "value"] += 6


def tokens_for_nobody(run: Run, phase: str) -> None:
    """One replica makes tokens all the while after the last wave of a phase."""
    rows = _after(run, phase, "replica-1", "generation_tokens_total", last=True)
    made = [20.0 * n for n in range(int(rows.sum()))]
    later = samples(run, "replica-1", "wave_generation_tokens_total", run.metrics["t_s"][rows].max() + 0.001, 1e9)
    run.metrics.loc[rows, "value"] += made
    run.metrics.loc[later, "value"] += made[-1]


def queue_stays(run: Run, phase: str) -> None:
    """Requests of clients that have gone wait in one replica."""
    watch_on(run, phase)
    run.metrics.loc[_after(run, phase, "replica-2", "waiting", last=True), "value"] += 9


def cache_stays(run: Run, phase: str) -> None:
    """Blocks of cancelled streams are held."""
    watch_on(run, phase)
    run.metrics.loc[_after(run, phase, "replica-1", "kv_usage_ratio", last=True), "value"] += 0.2


def cache_leaks(run: Run) -> None:
    """Each wave leaves half a per cent of the cache behind."""
    for number, wave in enumerate(_waves(run, "repeated")):
        rows = samples(run, "replica-2", "wave_kv_usage_ratio", wave["began_s"], wave["began_s"] + WATCHED_S)
        run.metrics.loc[rows, "value"] += 0.005 * number


def memory_leaks(run: Run) -> None:
    """Each wave leaves eight megabytes behind."""
    for number, wave in enumerate(_waves(run, "repeated")):
        wave["rss_bytes"]["replica-1"] += 8e6 * number


def wrong_canary(run: Run) -> None:
    """After one wave a replica answers something else."""
    run.files["waves.json"]["waves"][3]["canaries"][1] |= {"right": False, "why": "another answer than the right one"}


def slots_lost(run: Run) -> None:
    """Afterwards fewer run side by side."""
    began = _waves(run, "afterwards")[0]["began_s"]
    rows = samples(run, "replica-1", "wave_running", began, began + CANCELLED_S + 0.3)
    run.metrics.loc[rows, "value"] = run.metrics.loc[rows, "value"].clip(upper=2.0)


def block_held(run: Run) -> None:
    """In the end one replica cannot reset its prefix cache."""
    found = next(e for e in run.events if e["kind"] == "prefix_cache_reset" and e["component"] == "replica-2")
    found |= {"success": False, "why": "it cannot reset its prefix cache"}


def others_refused(run: Run) -> None:
    """Users are turned away while waves are on."""
    fail(run, run.in_phase("repeated") & (run.requests.index.to_series() % 5 == 0))


def others_wait(run: Run) -> None:
    """Users wait for their first word while waves are on."""
    run.requests.loc[run.in_phase("repeated"), ["ttft_ms", "ttft_from_schedule_ms"]] = 4000.0


def latecomers_wait(run: Run) -> None:
    """Those who come while no wave is on wait longer for their first word than ever; the others do not."""
    waves = run.files["waves.json"]["waves"]
    start = run.requests["start_s"]
    on = pd.Series(False, index=run.requests.index)
    for wave in waves:
        on |= start.between(wave["began_s"] + SENT_S, wave["began_s"] + CANCELLED_S + 0.5)
    run.requests.loc[~on & ~run.in_phase("baseline"), ["ttft_ms", "ttft_from_schedule_ms"]] = 650.0


def slow_before(run: Run) -> None:
    """The service is slow before anything was cancelled."""
    run.requests.loc[run.in_phase("baseline"), ["ttft_ms", "ttft_from_schedule_ms"]] = 900.0


def not_steady_in_the_end(run: Run) -> None:
    """The storm has left something behind."""
    found = next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery")
    found["reached"] = False


for _defect, _check in (
    (zombies, "cancels reach the engines in {}"),
    (late_cancel, "cancels reach the engines in {}"),
    (tokens_for_nobody, "tokens after the cancels in {}"),
    (queue_stays, "queue and KV cache back after {}"),
    (cache_stays, "queue and KV cache back after {}"),
):
    MUTANTS.of_each(tuple(WAVES), _check, _defect)
mutant("no leak over repeated")(cache_leaks)
mutant("no leak over repeated")(memory_leaks)
mutant("right answers after each wave")(wrong_canary)
mutant("full concurrency in afterwards")(slots_lost)
mutant("no KV block held in the end")(block_held)
mutant("availability of the others")(others_refused)
mutant("TTFT of the others")(others_wait)
mutant("TTFT unaffected by mass cancellation")(others_wait)
mutant("TTFT unaffected by mass cancellation")(latecomers_wait)
mutant("TTFT before")(slow_before)
mutant("end to end of the others")(mutants.answers_drag)
mutant("stalls of the others")(mutants.streams_stall)
mutant("steady state in recovery")(not_steady_in_the_end)
