"""A share of capacity becomes absolute numbers, or the sentence that the machine is too small."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import drill, verdicts
from harness.judge.capacity import Capacity, Point
from harness.judge.drill import ReplicaSamples
from harness.model.errors import ScenarioError, UsageError
from harness.model.scenario import Scenario, Share, parse_load
from harness.model.topology import Endpoint, GatewayPolicy, Target, Topology
from harness.plan import fitting, loading
from harness.plan.fitting import RATE_MIN_PER_S, STRETCH_MAX, TOKENS_MIN, Fitted, Needs
from stack.stacks import external

SCENARIO = {
    "name": "mine",
    "description": "text",
    "load": {"rate": "40 % of capacity", "cohorts": [{"name": "chat", "max_tokens": 48}]},
    "phases": [
        {"name": "warm-up", "kind": "warmup", "duration": "10s"},
        {"name": "baseline", "kind": "baseline", "duration": "30s"},
    ],
    "slos": [{"name": "TTFT", "sli": "ttft_p95_ms", "phases": ["baseline"], "objective": "<= 800 ms"}],
}


CORES = 4


def load(tmp_path: Path, rate: str = "40 % of capacity", *overrides: str, topology: Topology | None = None) -> Scenario:
    """The scenario above, from a file, at that rate."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SCENARIO, sort_keys=False))
    return loading.load(path, [f"load.rate={rate}", *overrides], topology)


def share(scenario: Scenario) -> Share:
    """Its rate, which is one."""
    assert isinstance(scenario.load.rate, Share)
    return scenario.load.rate


#: No check needs samples of a single replica.
NOTHING = Needs((), 2)


def fit(scenario: Scenario, of: Share, capacity: Capacity, needs: Needs = NOTHING) -> Fitted:
    """Fitted behind gateways as they are shipped."""
    return fitting.fit(scenario, of, capacity, GatewayPolicy(), CORES, needs)


def machine(rate: float, without: float | None = None, tokens: float = 40.0) -> Capacity:
    """A capacity; one stream needs 0.1 s and 10 ms a token."""

    def point(per_s: float) -> Point:
        return Point(8, per_s, tokens * per_s, per_s * 0.9, per_s * 1.1, "processor")

    left = None if without is None else point(without)
    return Capacity(point(rate), left, 100.0, 100.0, None, "2026-11-01", saturated_per_s=rate)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("40 % of capacity", Share(40.0)),
        ("  40%  of  capacity ", Share(40.0)),
        ("12.5 % of capacity without one replica", Share(12.5, without_replica=True)),
        ("150 % of capacity", Share(150.0)),
        ("5/s", 5.0),
        ("120/m", 2.0),
    ],
)
def test_a_rate_is_a_number_or_a_share(text: str, found: float | Share) -> None:
    """Both ways to say it."""
    assert parse_load(text) == found
    if isinstance(found, Share):
        assert parse_load(str(found)) == found


@pytest.mark.parametrize(
    "text", ["0 % of capacity", "1001 % of capacity", "-4 % of capacity", "40 of capacity", "40 %", "% of capacity",
             "40 % of capacity without two replicas", "40 % of capacities", "5", "", "0/s",
             "40 % of capacity, at most 5/s"],
)  # fmt: skip
def test_what_is_neither_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    """One line with file and line, that shows what is expected."""
    data = {**SCENARIO, "load": {**SCENARIO["load"], "rate": text}}  # type: ignore[dict-item]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ScenarioError, match=r"mine\.yaml:\d+: load\.rate: found .*expected") as caught:
        loading.load(path)
    assert caught.value.line == 4 + ("rate" not in path.read_text().splitlines()[3])


def test_a_share_is_stored_as_it_was_said(tmp_path: Path) -> None:
    """In a plan, too; and it is no number before it was fitted."""
    scenario = load(tmp_path)
    data = scenario.model_dump(mode="json")
    assert data["load"]["rate"] == "40 % of capacity"
    assert Scenario.stored(data) == scenario
    with pytest.raises(ValueError, match="has to be fitted"):
        _ = scenario.load.per_s


def test_sample_sizes_of_a_share_are_counted_when_it_is_fitted(tmp_path: Path) -> None:
    """A phase that is too short at a rate is refused when it is loaded; at a share nobody knows yet."""
    with pytest.raises(ScenarioError, match="needs 100 requests"):
        load(tmp_path, "2/s")
    assert share(load(tmp_path, "2 % of capacity")).percent == 2.0


def test_somebody_else_s_service_is_not_measured(tmp_path: Path) -> None:
    """A share is refused there, and the sentence names the way out; a rate is not."""
    target = Target(Endpoint("https", "llm.example.com", 443))
    theirs = Topology(external.stack(target), runtime="external", target=target)
    with pytest.raises(ScenarioError, match=r"--set load\.rate=2/s"):
        load(tmp_path, topology=theirs)
    assert load(tmp_path, "9/s", topology=theirs).load.per_s == 9.0


def test_a_share_is_of_arrivals(tmp_path: Path) -> None:
    """In the closed model users wait for their answers: there is no arrival rate to share."""
    with pytest.raises(ScenarioError, match="only the open model has"):
        load(tmp_path, "40 % of capacity", "load.model=closed")


def test_enough_capacity_gives_the_share(tmp_path: Path) -> None:
    """Nothing else of the scenario changes, and it is said."""
    scenario = load(tmp_path)
    fitted = fit(scenario, share(scenario), machine(20))
    assert fitted.too_small is None
    assert fitted.scenario.load.rate == pytest.approx(8.0)
    assert fitted.scenario.phases == scenario.phases
    assert fitted.scenario.load.cohorts == scenario.load.cohorts
    assert fitted.notes == ("40 % of capacity, which is 20/s here: 8/s",)


def test_without_a_replica_the_smaller_capacity_counts(tmp_path: Path) -> None:
    """And where that was not measured there is none."""
    scenario = load(tmp_path, "80 % of capacity without one replica")
    fitted = fit(scenario, share(scenario), machine(40, 10))
    assert fitted.scenario.load.rate == pytest.approx(6.0)
    note = "80 % of capacity without one replica, which is 10/s here, 7.5/s while a replica starts beside it: 6/s"
    assert fitted.notes == (note,)
    assert fit(scenario, share(scenario), machine(20)).too_small is not None


@pytest.mark.parametrize(("cores", "room"), [(1, 0.5), (2, 0.5), (4, 0.75), (16, 15 / 16)])
def test_a_replica_that_starts_has_a_core(cores: int, room: float) -> None:
    """Of one core it has half, as whoever else wants it."""
    assert fitting.share_left_by_a_start(cores) == room


def test_no_user_comes_near_the_limit_of_their_key(tmp_path: Path) -> None:
    """A fast machine gets more users, not refusals: 600 a minute are allowed, 300 are asked for."""
    scenario = load(tmp_path)
    assert fit(scenario, share(scenario), machine(200)).scenario.load.cohorts[0].users == 20
    assert fit(scenario, share(scenario), machine(400)).scenario.load.cohorts[0].users == 32


def test_answers_are_shortened_first(tmp_path: Path) -> None:
    """Only as far as it needs, and phases stay as long as they can."""
    scenario = load(tmp_path, "40 % of capacity", "phases.baseline.duration=60s")
    fitted = fit(scenario, share(scenario), machine(8))
    tokens = fitted.scenario.load.cohorts[0].max_tokens
    assert TOKENS_MIN < tokens < 48
    assert fitted.scenario.load.per_s >= RATE_MIN_PER_S
    assert fitted.scenario.phases == scenario.phases
    assert any("answers have" in note for note in fitted.notes)


def test_then_phases_stretch(tmp_path: Path) -> None:
    """Only those that an objective with too few samples looks at, by 1.5 at most, with their bounds."""
    scenario = load(tmp_path)
    fitted = fit(scenario, share(scenario), machine(4.5))
    assert fitted.too_small is None
    assert fitted.scenario.load.cohorts[0].max_tokens == TOKENS_MIN
    warm, baseline = fitted.scenario.phases
    assert warm.duration == 10.0
    assert 30.0 < baseline.duration <= 30.0 * STRETCH_MAX
    assert any("baseline last" in note for note in fitted.notes)


def test_answers_become_shorter_still_where_stretching_alone_is_not_enough(tmp_path: Path) -> None:
    """An objective that needs more than 4/s, on a machine that reaches it with the shortest answers only."""
    scenario = load(tmp_path, "40 % of capacity", "phases.baseline.duration=16s")
    fitted = fit(scenario, share(scenario), machine(7))
    assert fitted.too_small is None
    assert TOKENS_MIN <= fitted.scenario.load.cohorts[0].max_tokens < 30
    assert fitted.scenario.load.per_s > 1.2 * RATE_MIN_PER_S


def test_too_small_is_said_with_both_numbers(tmp_path: Path) -> None:
    """What is needed, what there is; the scenario stays as it was asked."""
    scenario = load(tmp_path)
    fitted = fit(scenario, share(scenario), machine(1.0))
    assert fitted.scenario == scenario
    needed = fitting.needed_per_s(scenario, share(scenario), machine(1.0), CORES, NOTHING)
    assert f"needs a capacity of {needed:.3g}/s, this machine has 1/s" in str(fitted.too_small)
    assert fit(scenario, share(scenario), dataclasses.replace(machine(1.0), whole=None)).too_small is not None


def test_a_measuring_that_cannot_reach_what_is_needed_is_hopeless(tmp_path: Path) -> None:
    """The highest rate of any step is a bound; the sentence of the measuring is that of the run."""
    scenario = load(tmp_path)
    assert fitting.hopeless(scenario, share(scenario), machine(20), CORES, NOTHING) is None
    why = fitting.hopeless(scenario, share(scenario), machine(1.0), CORES, NOTHING)
    assert "1/s at most" in str(why)
    stopped = dataclasses.replace(machine(20), hopeless=str(why))
    assert fit(scenario, share(scenario), stopped).too_small == why


def test_a_disturbed_machine_is_not_called_small_without_saying_so(tmp_path: Path) -> None:
    """What makes the measurement provisional stands in the sentence, but for the sentence itself."""
    scenario = load(tmp_path)
    disturbed = dataclasses.replace(machine(1.0), provisional=("interference: others used 1 core",))
    assert "(provisional: interference: others used 1 core)" in str(fit(scenario, share(scenario), disturbed).too_small)
    stopped = dataclasses.replace(disturbed, hopeless="too small: …", provisional=("too small: …", "interference: x"))
    assert fit(scenario, share(scenario), stopped).too_small == "too small: … (provisional: interference: x)"


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.01, 200), percent=st.integers(1, 200), tokens=st.floats(1, 60))
def test_a_fitted_scenario_has_its_samples(
    rate: float, percent: int, tokens: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the machine: either it is too small, or the fitted scenario could have been written so."""
    scenario = load(tmp_path_factory.getbasetemp(), f"{percent} % of capacity")
    capacity = machine(rate, tokens=tokens)
    fitted = fit(scenario, share(scenario), capacity)
    if fitted.too_small is None:
        problems = [p for slo in fitted.scenario.slos for p in loading.slo_problems(fitted.scenario, slo)]
        assert problems == []
        assert fitted.scenario.load.per_s >= rate * percent / 100
        assert fitting.hopeless(scenario, share(scenario), capacity, CORES, NOTHING) is None
        ratios = [new.duration / old.duration for new, old in zip(fitted.scenario.phases, scenario.phases, strict=True)]
        assert all(1 <= ratio <= STRETCH_MAX for ratio in ratios)
    else:
        assert fitted.scenario == scenario
        assert rate <= fitting.needed_per_s(scenario, share(scenario), capacity, CORES, NOTHING) * 1.05


@pytest.mark.parametrize(
    ("cohort", "usual", "gain"),
    [
        ({"prompts": "eval", "max_tokens": 48}, 40, 1.0),  # what capacity is measured with
        ({"prompts": "eval", "max_tokens": 48}, 20, 1.0),  # shorter by itself
        ({"prompts": "eval", "max_tokens": 10}, 40, 0.5 / 0.2),
        ({"prompts": "open", "max_tokens": 90}, 40, 0.5 / 1.0),
        ({"prompts": "long", "max_tokens": 40}, 20, 0.3 / 0.5),
    ],
)
def test_other_answers_cost_what_their_tokens_cost(
    cohort: dict[str, Any], usual: float, gain: float, tmp_path: Path
) -> None:
    """By the speed of one stream, 0.1 s and 10 ms a token; without it nobody knows, and nothing changes."""
    scenario, capacity = load(tmp_path), machine(5, tokens=usual)
    changed = scenario.load.cohorts[0].model_copy(update=cohort)
    scenario = scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": (changed,)})})
    assert fitting.gain(scenario, capacity) == pytest.approx(gain)
    assert fitting.gain(scenario, dataclasses.replace(capacity, tps=None)) == 1.0


def test_cohorts_cost_by_their_share(tmp_path: Path) -> None:
    """Three who ask as usual and one whose answer takes twice as long: five for four."""
    scenario, capacity = load(tmp_path), machine(5, tokens=40)
    usual = scenario.load.cohorts[0].model_copy(update={"share": 3})
    writer = usual.model_copy(update={"name": "writers", "share": 1, "prompts": "open", "max_tokens": 90})
    both = scenario.model_copy(update={"load": scenario.load.model_copy(update={"cohorts": (usual, writer)})})
    assert fitting.gain(both, capacity) == pytest.approx(4 / 5)


def test_an_override_may_name_either(tmp_path: Path) -> None:
    """``--set load.rate=`` as in a file; what is wrong is refused in words."""
    assert load(tmp_path, "9/s").load.rate == 9.0
    with pytest.raises((UsageError, ScenarioError), match="expected more than 0 %"):
        load(tmp_path, "0 % of capacity")


def test_short_answers_bring_no_more_than_was_measured(tmp_path: Path) -> None:
    """One stream's speed would promise eight times as much: a share of capacity is no multiple of it."""
    scenario = load(tmp_path, "40 % of capacity", "load.cohorts.0.max_tokens=1")
    quick = dataclasses.replace(machine(10), ttft_ms=1.0)
    assert fitting.gain(scenario, quick) > 8
    assert fit(scenario, share(scenario), quick).numbers["rate_per_s"] == 10


def test_a_machine_that_told_no_times_is_no_crash(tmp_path: Path) -> None:
    """No tokens and no time to the first one say nothing about answers of another length."""
    scenario = load(tmp_path)
    assert fitting.gain(scenario, dataclasses.replace(machine(10, tokens=0.0), ttft_ms=0.0)) == 1.0


#: What restarts one replica, and what is seen of it afterwards.
RESTART = [
    {"name": "kill", "kind": "fault", "duration": "10s", "faults": [{"type": "stop", "on": "replica-1"}]},
    {"name": "rejoined", "kind": "recovery", "duration": "40s"},
    {"name": "again", "kind": "fault", "duration": "10s", "faults": [{"type": "stop", "on": "replica-1"}]},
    {"name": "end", "kind": "recovery", "duration": "10s"},
]
REJOINED = ReplicaSamples(100, ("kill",), from_s=3.0)


def restarting(tmp_path: Path) -> Scenario:
    """The scenario above, with the restarts."""
    path = tmp_path / "restarting.yaml"
    phases = [*SCENARIO["phases"], *RESTART]  # type: ignore[misc]
    path.write_text(yaml.safe_dump({**SCENARIO, "phases": phases}, sort_keys=False))
    return loading.load(path)


def seconds(scenario: Scenario, name: str) -> float:
    """How long that phase lasts."""
    return next(phase.duration for phase in scenario.phases if phase.name == name)


def test_the_samples_of_a_single_replica_are_counted(tmp_path: Path) -> None:
    """5/s for 40 s are enough for a p95 of everybody, and too few for one of two replicas: that phase lasts longer."""
    scenario, capacity = restarting(tmp_path), machine(12.5)
    assert fit(scenario, share(scenario), capacity).scenario.phases == scenario.phases
    fitted = fit(scenario, share(scenario), capacity, Needs((REJOINED,), 2))
    assert fitted.too_small is None
    assert seconds(fitted.scenario, "rejoined") > 40
    assert [seconds(fitted.scenario, name) for name in ("baseline", "end")] == [30, 10]
    assert any(note.startswith("rejoined last") for note in fitted.notes)


def test_a_share_of_fewer_replicas_is_larger(tmp_path: Path) -> None:
    """One replica of one answers everybody; of eight even the longest phase is too short, and that is said first."""
    scenario, capacity = restarting(tmp_path), machine(12.5)
    alone = fit(scenario, share(scenario), capacity, Needs((REJOINED,), 1))
    assert alone.scenario.phases == scenario.phases
    needs = Needs((REJOINED,), 8)
    fitted = fit(scenario, share(scenario), capacity, needs)
    assert fitted.scenario == scenario
    assert "this machine has 12.5/s" in str(fitted.too_small)
    needed = fitting.needed_per_s(scenario, share(scenario), capacity, CORES, needs)
    assert f"needs a capacity of {needed:.3g}/s" in str(fitted.too_small)
    assert fitting.hopeless(scenario, share(scenario), capacity, CORES, needs) is not None
    assert fit(scenario, share(scenario), machine(needed * 1.1), needs).too_small is None


def test_answers_that_the_next_fault_cuts_do_not_count(tmp_path: Path) -> None:
    """Where an answer takes ten seconds, those that begin in the last ten of the phase are not among the samples."""
    scenario, quick = restarting(tmp_path), machine(20)
    slow = dataclasses.replace(quick, tps=4.0)
    needs = Needs((REJOINED,), 2)
    assert seconds(fit(scenario, share(scenario), quick, needs).scenario, "rejoined") == 40
    assert seconds(fit(scenario, share(scenario), slow, needs).scenario, "rejoined") > 40


def test_a_phase_that_is_not_practised_needs_nothing(tmp_path: Path) -> None:
    """A partial scenario is not too small for a check that cannot be answered in it anyway."""
    scenario = restarting(tmp_path)
    needs = Needs((dataclasses.replace(REJOINED, after=("kill", "restart")),), 4)
    assert fit(scenario, share(scenario), machine(12.5), needs).scenario.phases == scenario.phases


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.5, 100), replicas=st.integers(1, 5), tps=st.floats(5, 200), count=st.sampled_from([20, 100]))
def test_a_fitted_scenario_has_the_samples_of_each_replica(
    rate: float, replicas: int, tps: float, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the machine and the stack: they come, or it is too small by a number that would have been enough."""
    scenario = restarting(tmp_path_factory.getbasetemp())
    capacity = dataclasses.replace(machine(rate), tps=tps)
    needs = Needs((dataclasses.replace(REJOINED, count=count),), replicas)
    fitted = fit(scenario, share(scenario), capacity, needs)
    needed = fitting.needed_per_s(scenario, share(scenario), capacity, CORES, needs)
    if fitted.too_small is None:
        lasts_s = seconds(fitted.scenario, "rejoined") - REJOINED.from_s
        assert loading.at_least(fitted.scenario.load.per_s / replicas * lasts_s) >= count
        assert fitting.hopeless(scenario, share(scenario), capacity, CORES, needs) is None
    else:
        assert rate <= needed * 1.05


@pytest.mark.parametrize("name", ["node-restart", "oom"])
def test_shipped_scenarios_give_a_restarted_replica_its_samples(name: str) -> None:
    """At 4/s, the lowest rate, too: on a machine where they would be too few the phases after a restart last longer."""
    scenario = loading.load(drill.ROOT / "scenarios" / f"{name}.yaml")
    needs = Needs.of(verdicts.checks(drill.load(name)), 2)
    (needed,) = needs.samples
    (slow, quick) = (machine(one, one * 0.6) for one in (14.0, 100.0))
    for capacity in (slow, quick):
        fitted = fit(scenario, share(scenario), capacity, needs)
        assert fitted.too_small is None
        assert list(needs.lacking(fitted.scenario, capacity)) == []
    unaware = fit(scenario, share(scenario), slow)
    assert list(needs.lacking(unaware.scenario, slow)) == [needed]
