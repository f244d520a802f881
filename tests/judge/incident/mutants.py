"""Defects that are put into a healthy synthetic run of the incident drill."""

from __future__ import annotations

from tests.judge.defects import Mutants, between, fail, ok
from tests.judge.timeout_spike import mutants
from tests.runs import Run

PHASE = "incident"
MUTANTS = Mutants()
mutant = MUTANTS.mutant


@mutant("no hang in incident")
def runs_into_its_limit(run: Run) -> None:
    """A request waits until its client gives up."""
    first = run.requests.index[run.in_phase(PHASE) & ok(run)][5]
    run.requests.loc[first, ["e2e_ms", "outcome"]] = [30_000.0, "timeout_total"]


@mutant("recovery after incident")
def slow_recovery(run: Run) -> None:
    """Every third request fails until 13 s after the heal."""
    healed = run.span(PHASE)[1]
    fail(run, between(run, healed, healed + 13) & run.requests["request_id"].str[-1].isin(list("147")))


@mutant("steady state in recovery")
def not_steady_in_the_end(run: Run) -> None:
    """It has left something behind."""
    next(e for e in run.events if e["kind"] == "steady_state" and e["phase"] == "recovery")["reached"] = False


@mutant("availability in the incident")
def no_gateway_retries(run: Run) -> None:
    """What meets the frozen replica fails."""
    begin, _ = run.span(PHASE)
    fail(run, between(run, begin + 1, begin + 4))


@mutant("TTFT in the incident")
def waits_twice(run: Run) -> None:
    """Every retry goes to the frozen replica again."""
    run.requests.loc[run.in_phase(PHASE), ["ttft_ms", "ttft_from_schedule_ms"]] += 3000.0


mutant("end to end in the incident")(mutants.answers_drag)
mutant("stalls in the incident")(mutants.streams_stall)
