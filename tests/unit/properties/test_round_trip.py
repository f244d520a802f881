"""A scenario is the same after a plan has stored it, after a file has, and after ``--set`` instead of an edit."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import drill
from harness.model.errors import ScenarioError, UsageError
from harness.model.scenario import Scenario
from harness.plan import loading
from tests.unit.properties.depth import depth, draws

SHIPPED = drill.ROOT / "scenarios" / "timeout-spike.yaml"

#: Durations and rates as people write them.
DURATIONS = st.one_of(
    st.integers(1, 5000).map(lambda n: f"{n}ms"), st.integers(1, 300).map(lambda n: f"{n}s"),
    st.integers(1, 20).map(lambda n: f"{n} m"), st.decimals("0.001", "900", places=3).map(lambda n: f"{n}s"),
)  # fmt: skip
RATES = st.one_of(
    st.integers(1, 500).map(lambda n: f"{n}/s"), st.decimals("0.001", "9", places=3).map(lambda n: f"{n} / m"),
    st.decimals("0.1", "1000", places=1).map(lambda n: f"{n} % of capacity"),
    st.integers(1, 100).map(lambda n: f"{n}% of  capacity without one replica"),
)  # fmt: skip
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)
COHORTS = st.fixed_dictionaries(
    {"name": TEXTS},
    optional={
        "share": st.floats(0.001, 100), "users": st.integers(1, 500),
        "prompts": st.sampled_from(["eval", "open", "long"]),
        "max_tokens": st.integers(1, 4096), "stream": st.booleans(), "cancel_after": st.one_of(st.none(), DURATIONS),
    },
)  # fmt: skip
LOADS = st.fixed_dictionaries(
    {"rate": RATES, "cohorts": st.lists(COHORTS, min_size=1, max_size=3)},
    optional={
        "model": st.sampled_from(["open", "closed"]), "arrivals": st.sampled_from(["poisson", "constant"]),
        "workers": st.integers(1, 64),
        "limits": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("connect", "first_token", "idle", "total"), DURATIONS)
        ),
        "retries": st.fixed_dictionaries({}, optional={"max": st.integers(0, 10), "base": DURATIONS, "cap": DURATIONS}),
    },
).filter(lambda load: load.get("model") != "closed" or "capacity" not in load["rate"])  # fmt: skip
FAULTS = st.one_of(
    st.fixed_dictionaries({"latency": DURATIONS}, optional={"jitter": DURATIONS}).map(
        lambda options: {"type": "latency", "on": "gateway-*", "options": options}
    ),
    st.fixed_dictionaries({"size": st.integers(1, 9000), "delay": DURATIONS}).map(
        lambda options: {"type": "slicer", "on": "*replica-2", "options": options}
    ),
    st.just({"type": "timeout", "on": "gateway-a-to-replica-1"}),
)  # fmt: skip
SCENARIOS = st.builds(
    lambda name, text, load, durations, faults, slos: {
        "name": name, "description": text, "load": load,
        "phases": [
            {"name": "before", "kind": "baseline", "duration": durations[0]},
            {"name": "bad", "kind": "fault", "duration": durations[1], "faults": faults},
            {"name": "after", "kind": "recovery", "duration": durations[2]},
        ],
        "slos": [{"name": n, "sli": "availability", "phases": ["bad"], "objective": f">= {p} %"} for n, p in slos],
        "abort_when": [{"sli": "error_ratio", "objective": f"> {p} %", "for": durations[0]} for _, p in slos],
    },
    TEXTS, TEXTS, LOADS, st.tuples(DURATIONS, DURATIONS, DURATIONS), st.lists(FAULTS, min_size=1, max_size=2),
    st.lists(st.tuples(TEXTS, st.decimals("0", "100", places=2)), max_size=2),
)  # fmt: skip


def loaded(data: Any, *overrides: str, as_json: bool = False) -> Scenario:
    """The scenario in a file with these data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.yaml"
        text = json.dumps(data) if as_json else yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return loading.load(path, overrides)


def stored(scenario: Scenario) -> Any:
    """What ``plan.json`` holds of it, read again."""
    return json.loads(json.dumps(scenario.model_dump(mode="json"), ensure_ascii=False))


@depth(quick=12, deep=400)
def test_a_plan_gives_back_the_scenario_that_was_loaded(examples: int) -> None:
    """File → Scenario → plan → the same Scenario, to the last digit; and the plan of that is the same again."""

    @draws(examples)
    @given(data=SCENARIOS, as_json=st.booleans())
    def holds(data: Any, as_json: bool) -> None:
        scenario = loaded(data, as_json=as_json)
        again = Scenario.stored(stored(scenario))
        assert again == scenario
        assert stored(again) == stored(scenario)

    holds()


def in_units(scenario: Scenario) -> Any:
    """The stored form with units put back, as a person would who copies it from a plan into a file."""
    durations = ("duration", "connect", "first_token", "idle", "total", "base", "cap", "cancel_after", "for")

    def told(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v if key == "options" else told(k, v) for k, v in value.items()}
        if isinstance(value, list):
            return [told(key, item) for item in value]
        if key == "rate":
            return value if isinstance(value, str) else f"{Decimal(value):f}/s"
        return f"{Decimal(value):f}s" if key in durations and value is not None else value

    return told("", stored(scenario))


@depth(quick=12, deep=400)
def test_a_stored_scenario_with_its_units_is_a_scenario_file(examples: int) -> None:
    """Plan → file → the same Scenario: a run can be made again from its plan alone."""

    @draws(examples)
    @given(data=SCENARIOS)
    def holds(data: Any) -> None:
        scenario = loaded(data)
        assert loaded(in_units(scenario)) == scenario

    holds()


#: (override's key, where that is in the data, values)
PLACES = (
    ("load.rate", ("load", "rate"), RATES),
    ("load.limits.total", ("load", "limits", "total"), DURATIONS),
    ("load.retries.max", ("load", "retries", "max"), st.integers(-1, 12)),
    ("load.workers", ("load", "workers"), st.one_of(st.integers(0, 70), st.text(max_size=3))),
    ("load.cohorts.chat.users", ("load", "cohorts", 0, "users"), st.integers(-2, 50)),
    ("phases.baseline.duration", ("phases", 1, "duration"), DURATIONS),
    ("phases.0.duration", ("phases", 0, "duration"), st.one_of(DURATIONS, st.integers(), st.booleans())),
    ("phases.one-replica.faults.0.options.latency", ("phases", 2, "faults", 0, "options", "latency"), DURATIONS),
    ("slos.0.objective", ("slos", 0, "objective"), st.sampled_from([">= 90 %", "<= 1 s", "> 1", ""])),
    ("name", ("name",), TEXTS),
    ("nmae", ("nmae",), TEXTS),
)


@depth(quick=15, deep=400)
def test_an_override_is_an_edit_of_the_file(examples: int) -> None:
    """``--set k=v`` and the same value in the file: the same Scenario, or the same refusal."""
    data = yaml.safe_load(SHIPPED.read_text())

    def outcome(data: Any, *overrides: str) -> Any:
        try:
            return loaded(data, *overrides)
        except ScenarioError as error:
            return error.problem
        except UsageError as error:  # a value that is none in any file names the override instead of a line
            return str(error).partition("': ")[2]

    @draws(examples)
    @given(place=st.sampled_from(PLACES), draw=st.data())
    def holds(place: tuple[str, tuple[Any, ...], Any], draw: st.DataObject) -> None:
        key, location, values = place
        value = draw.draw(values)
        text = json.dumps(value, ensure_ascii=True)
        edited = json.loads(json.dumps(data))
        target = edited
        for part in location[:-1]:
            target = target[part]
        target[location[-1]] = value
        assert outcome(data, f"{key}={text}") == outcome(edited)

    holds()
