"""Defects that are put into a healthy synthetic run of the oom drill."""

from __future__ import annotations

from typing import Any

from tests.judge.defects import Mutants, between, fail, not_steady, samples, unsteady
from tests.judge.oom.story import KILLED, LONG, OOM, OVERSIZED
from tests.judge.timeout_spike import mutants
from tests.runs import Run

MUTANTS = Mutants()
mutant = MUTANTS.mutant


# ── what every drill asks ──

mutant("conservation", recount=False)(mutants.request_vanishes)
mutant("no silent truncation")(mutants.ok_without_finish_reason)
mutant("replica counters and client records agree")(mutants.tokens_for_nobody)
mutant("steady state in baseline")(mutants.failures_before_the_first_fault)
mutant("availability before")(mutants.failures_in_the_baseline)
mutant("TTFT before")(mutants.slow_from_the_start)
mutant("end to end through the faults")(mutants.answers_drag)
mutant("stalls through the faults")(mutants.streams_stall)


@mutant("nothing left injected")
def limit_stays(run: Run) -> None:
    """The memory limit is never rolled back."""
    run.drop_events("fault_healed", fault=f"{OOM}/oom/{KILLED}")


def _hangs(run: Run, phase: str) -> None:
    """One request lasted longer than any limit allows."""
    begin, _ = run.span(phase)
    run.requests.loc[run.requests.index[between(run, begin + 6, begin + 8)][0], "e2e_ms"] = 45000.0


def _users_fail(run: Run, phase: str) -> None:
    """Two seconds of refusals."""
    begin, _ = run.span(phase)
    fail(run, between(run, begin + 6, begin + 8))


def _users_wait(run: Run, phase: str) -> None:
    """Every first token comes a second later."""
    run.requests.loc[run.in_phase(phase), ["ttft_ms", "ttft_from_schedule_ms"]] += 1000.0


def _dies(run: Run, phase: str) -> None:
    """A replica is started again in the middle of the phase."""
    begin, end = run.span(phase)
    run.metrics.loc[samples(run, "replica-1", "restarts_total", (begin + end) / 2, 1e6), "value"] = 1.0


def _ask_hangs(run: Run, phase: str) -> None:
    """One request of the fault is still open at its deadline."""
    ask_of(run, phase, 3).update(outcome="hung", status=None, layer=None, took_s=60.0)


MUTANTS.of_each(("recovery-oversized", "recovery-long", "rejoined"), "steady state in {}", not_steady)
MUTANTS.of_each((LONG, OOM), "recovery after {}", unsteady)
MUTANTS.of_each((OVERSIZED, LONG, OOM), "no hang in {}", _hangs)
MUTANTS.of_each((OVERSIZED, LONG), "no replica restarts in {}", _dies)
MUTANTS.of_each((OVERSIZED, LONG), "no request of the fault hangs in {}", _ask_hangs)
for _phase, _name in ((OVERSIZED, "oversized requests"), (LONG, "long contexts"), (OOM, "a replica out of memory")):
    MUTANTS.of_each((_phase,), f"availability with {_name}", _users_fail)
for _phase, _name in ((OVERSIZED, "oversized requests"), (LONG, "long contexts")):
    MUTANTS.of_each((_phase,), f"TTFT with {_name}", _users_wait)


# ── what was asked ──


def ask_of(run: Run, phase: str, number: int) -> dict[str, Any]:
    """One event about a request of the fault in that phase."""
    return [event for event in run.events if event["kind"] == "ask" and event["phase"] == phase][number]


_REFUSED, _NAMED = "oversized requests are refused in oversized", "refusals name limit and value in oversized"
_SERVED = "long contexts are served or honestly shed in long"


@mutant(_REFUSED)
def silent_success(run: Run) -> None:
    """Over the cap, and answered with less, as if all were well."""
    ask_of(run, OVERSIZED, 2).update(outcome="whole", status=200, layer="engine", finish_reason="length",
                                     output_tokens=1024, message=None, type=None)  # fmt: skip


@mutant(_REFUSED)
def it_broke_the_engine(run: Run) -> None:
    """A 500 is no refusal."""
    ask_of(run, OVERSIZED, -2).update(status=500)


@mutant(_REFUSED)
def shed_like_any_other(run: Run) -> None:
    """«Come again later» is no word about a size that will never fit."""
    ask_of(run, OVERSIZED, -1).update(status=503)


@mutant(_REFUSED)
def no_json(run: Run) -> None:
    """An HTML page."""
    ask_of(run, OVERSIZED, 0).update(message=None, type=None, code=None)


@mutant(_REFUSED)
def nobody_answers(run: Run) -> None:
    """The connection broke."""
    ask_of(run, OVERSIZED, 0).update(outcome="none", status=None, layer=None, message=None, type=None)


@mutant(_NAMED)
def unhelpful(run: Run) -> None:
    """The refusal says that it is one, and nothing else."""
    ask_of(run, OVERSIZED, 4).update(message="Bad request.")


@mutant(_SERVED)
def cut_short(run: Run) -> None:
    """A whole answer, by its looks, with half of its tokens."""
    ask_of(run, LONG, 0).update(output_tokens=128, finish_reason="stop")


@mutant(_SERVED)
def a_stream_breaks(run: Run) -> None:
    """The gateway grew tired of waiting for the next token."""
    ask_of(run, LONG, 0).update(outcome="cut", output_tokens=None, finish_reason=None)


@mutant(_SERVED)
def shed_without_a_word(run: Run) -> None:
    """No Retry-After."""
    ask_of(run, LONG, 1).update(retry_after_s=None)


# ── the replicas ──


@mutant("pressure on the KV cache in long")
def cache_full(run: Run) -> None:
    """The long contexts take all of it."""
    begin, end = run.span(LONG)
    run.metrics.loc[samples(run, "replica-1", "kv_usage_ratio", begin + 5, end), "value"] = 0.99


@mutant("pressure on the KV cache in long")
def somebody_is_preempted(run: Run) -> None:
    """The cache was full between two samples."""
    begin, _ = run.span(LONG)
    run.metrics.loc[samples(run, "replica-1", "preemptions_total", begin + 5, 1e6), "value"] = 2.0


@mutant("queues drain after long")
def somebody_waits_for_ever(run: Run) -> None:
    """What was asked for in the phase is still in a gateway's queue half a minute later."""
    _, end = run.span(LONG)
    run.metrics.loc[samples(run, "gateway-a", "queue_current", end - 1, end + 30), "value"] = 3.0


@mutant("memory of the replicas is bounded")
def memory_grows(run: Run) -> None:
    """Every long prompt is kept somewhere."""
    begin, end = run.span(LONG)
    run.metrics.loc[samples(run, "replica-2", "rss_bytes", begin, end), "value"] += 200.0 * 2**20


# ── the kill ──


def step(run: Run, name: str) -> dict[str, Any]:
    """That step of the kill."""
    return next(event for event in run.events if event["kind"] == "fault_step" and event["step"] == name)


@mutant("the kernel counted the kill in oom")
def nobody_counted(run: Run) -> None:
    """The process is gone, and no cgroup knows why."""
    step(run, "killed")["oom_kills"] = 0


@mutant("replica-2 is ready again in oom")
def never_ready(run: Run) -> None:
    """It is not started again, or never comes up."""
    run.drop_events("fault_step", step="ready")


@mutant("first token of replica-2 in oom")
def ready_and_mute(run: Run) -> None:
    """It says that it is ready, and gives no token."""
    run.drop_events("fault_step", step="first_token")


@mutant("kill breaks visibly in oom")
def never_answered(run: Run) -> None:
    """A user whose stream broke does not get another."""
    rows = run.requests
    broken = rows[rows["outcome"].eq("broken_stream")]["request_id"].iloc[0]
    run.requests = rows[~(rows["request_id"].eq(broken) & rows["attempt"].gt(1))]
    run.requests.loc[run.requests["request_id"].eq(broken), "final"] = True


@mutant("warm-up after rejoining")
def stays_slow(run: Run) -> None:
    """What was started again is three times as slow."""
    _, end = run.span(OOM)
    rows = run.requests["replica"].eq(KILLED) & run.requests["start_s"].ge(end)
    run.requests.loc[rows, ["ttft_ms", "ttft_from_schedule_ms"]] += 500.0
