"""Scenario files: what is wrong is said in one line with file and line, before anything is started."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from harness.judge import drill
from harness.model.errors import ScenarioError, UsageError
from harness.model.scenario import Scenario, Share
from harness.model.topology import Endpoint, Target, Topology
from harness.plan import loading
from stack.stacks import external
from stack.stacks.vllm_haproxy import STACK, stack

SHIPPED = sorted((drill.ROOT / "scenarios").glob("*.yaml"))
OWN_STACK = drill.ROOT / "scenarios" / "timeout-spike.yaml"
#: With a rate that is known, so that sample sizes are counted when it is loaded.
GOOD = re.sub(r"(?m)^  rate: .*$", "  rate: 5/s", OWN_STACK.read_text(), count=1)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_scenario_loads(path: Path) -> None:
    """What we ship is valid for the runtime that it is for, and is called like its file."""
    target = Target(Endpoint("https", "llm.example.com", 443))
    theirs = Topology(external.stack(target), target=target)
    assert loading.load(path, (), theirs if path.stem.endswith(".external") else Topology(STACK)).name == path.stem


@pytest.mark.parametrize("path", [p for p in SHIPPED if not p.stem.endswith(".external")], ids=lambda p: p.stem)
def test_every_shipped_scenario_fits_its_machine(path: Path) -> None:
    """Its load is a share of capacity; one that takes replicas away leaves those that stay enough room for it."""
    scenario = loading.load(path)
    rate = scenario.load.rate
    assert isinstance(rate, Share)
    assert rate.percent < 100
    taken = {"restart", "kill", "oom", "swap", "stop", "deaf", "latency", "pause"}
    away = any(f.type in taken and "replica" in f.on for phase in scenario.phases for f in phase.faults)
    assert rate.without_replica is away


#: Ten lines that stand for a thousand million values.
BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghij")
)

MISTAKES = [
    ("an unknown key", "rate: 5/s", "rte: 4/s", "unknown key 'load.rte'; did you mean 'rate'?"),
    ("a negative duration", "duration: 30s}", "duration: -30s}", "expected a duration with its unit"),
    ("a bare number", "duration: 30s}", "duration: 30}", "expected a duration with its unit"),
    ("a rate without unit", "rate: 5/s", "rate: 4", "expected a rate above zero"),
    ("a phase of no length", "duration: 20s,", "duration: 0s,", "lasts 0 s"),
    ("a phase too short for its percentile", "duration: 30s}", "duration: 3s}", "ttft_p95_ms needs 100 requests"),
    ("an unknown link", "gateway-*-to-replica-2", "gateway-c-*", "nothing is called 'gateway-c-*'"),
    ("an unknown fault", "type: latency", "type: latnecy", "did you mean 'latency'?"),
    ("an unknown fault option", "latency: 20s", "latncy: 20s", "unknown key 'latncy'; did you mean 'latency'?"),
    ("an unknown SLI", "sli: availability", "sli: availibility", "did you mean 'availability'?"),
    ("an unknown phase in an objective", "baseline.ttft", "baselin.ttft", "there is no phase 'baselin'"),
    ("an unknown number of DNS", "gateway.first_byte_timeout_ms", "dns.tll_s", "the policy of dns has no"),
    ("an unknown policy in an objective", "gateway.first_byte", "gateway.frist_byte", "the policy of gateway has no"),
    ("units that do not compare", '">= 99 %"', '">= 99 ms"', "is measured in %"),
    ("two phases of one name", "name: recovery-one", "name: baseline", "two phases are called 'baseline'"),
    ("a fault before any baseline", "kind: baseline", "kind: warmup", "no baseline phase before the first fault"),
    ("a fault in a phase that is none", "kind: fault\n    duration: 30s", "kind: quiet\n    duration: 30s",
     "must be fault"),
    ("an open end without a bound", "duration: 20s\n    faults", "duration: 20s\n    until: settled\n    faults",
     "at_most must bound that"),
    ("a bound of nothing", "duration: 20s\n    faults", "duration: 20s\n    at_most: 90s\n    faults",
     "without `until"),
    ("an end before the end", "duration: 20s\n    faults",
     "duration: 20s\n    until: settled\n    at_most: 5s\n    faults", "less than its duration"),
    ("an open end of nothing", "duration: 20s, until: alerts_cleared", "duration: 20s, until: settled",
     "injects nothing that could settle"),
    *((f"a {one} without the time that it needs", "type: latency, on: gateway-*-to-replica-2",
       f"type: {one}, on: replica-2", "give it `until: settled` and at_most")
      for one in ("restart", "swap", "kill", "oom")),
    ("alerts that cannot clear yet", "duration: 20s\n    faults",
     "duration: 20s\n    until: alerts_cleared\n    at_most: 90s\n    faults", "clear when it is over"),
    ("a quiet phase before the last", "name: recovery-one, kind: recovery", "name: recovery-one, kind: quiet",
     "a quiet phase must be the last"),
    ("broken YAML", "phases:", "phases: [", "not valid YAML"),
    ("a date that there is none", "rate: 5/s", "rate: 2001-99-99", "not a value we can use"),
    ("a date", "name: timeout-spike", "name: 2001-01-01", "found '2001-01-01' as timestamp, expected text"),
    ("a tag that does not fit", "users: 20", "users: !!int ''", "not a value we can use: tag:yaml.org,2002:int"),
    ("a number beyond all", "users: 20", "users: .inf", "found '.inf' as float"),
    ("a phase without end", "duration: 30s}", "duration: 99999999m}", "expected a week at most"),
    ("more load than any", "rate: 5/s", "rate: 99999999/s", "expected 1,000,000/s at most"),
    ("an objective that is always kept", '">= 99 %"', '">= 99 % - 9e999 %"', "cannot be read as an expression"),
    ("an objective without end", "<= gateway", "<= " + "1 ms + " * 100 + "gateway", "characters, expected 500 at most"),
    ("an objective nested too deeply", '">= 99 %"', '">= ' + "-" * 300 + '99 %"', "expected numbers with a unit"),
    ("nested too deeply", "retries: {max", "retries: " + "[" * 2000 + "{max", "nested too deeply"),
    ("aliases that grow without end", "load:", BOMB + "load:", "more than 20000 values"),
    ("a key twice", "name: timeout-spike", "name: x\nname: timeout-spike", "stands here twice"),
]  # fmt: skip


#: Stop conditions that nobody could watch, and what is said of them.
UNWATCHABLE = [
    ('{sli: e2e_p95_ms, objective: "> 9 s", for: 10s}', "'e2e_p95_ms' is not known while a run goes on"),
    ('{sli: error_ratio, objective: "> 50 ms", for: 10s}', "error_ratio is measured in %, '> 50 ms' in ms"),
    ('{sli: error_ratio, objective: "50 %", for: 10s}', "must begin with one of <=, >=, <, >"),
    ('{sli: ttft_p95_ms, objective: "> 3 * baseline.ttft_p95_ms", for: 10s}', "only numbers are known"),
    ('{sli: error_ratio, objective: "> 50 %", for: 0s}', "it would be met at once"),
    ('{sli: error_ratio, objective: "> 50 %"}', "the key 'abort_when.0.for' is missing"),
    ('{sli: error_ratio, objective: "> 50 %", fr: 10s}', "did you mean 'for'?"),
    ('{sli: error_ratio, objective: "> 50 %", for: 10}', "expected a duration with its unit"),
]


@pytest.mark.parametrize(("condition", "says"), UNWATCHABLE)
def test_a_stop_condition_that_cannot_be_watched_is_refused(tmp_path: Path, condition: str, says: str) -> None:
    """Before anything starts, with the line that it stands on and what could be watched instead."""
    good = GOOD.rstrip() + "\n"
    path = tmp_path / "mine.yaml"
    path.write_text(good + f"abort_when:\n  - {condition}\n")
    with pytest.raises(ScenarioError) as caught:
        loading.load(path)
    assert says in str(caught.value)
    assert (caught.value.line or 0) > len(good.splitlines())


def test_a_stop_condition_is_data(tmp_path: Path) -> None:
    """What stands in the file is what is watched, and what a plan has stored is read back."""
    path = tmp_path / "mine.yaml"
    condition = '{sli: error_ratio, objective: "> 50 %", for: 10s}'
    path.write_text(OWN_STACK.read_text().rstrip() + f"\nabort_when:\n  - {condition}\n")
    scenario = loading.load(path)
    (found,) = scenario.abort_when
    assert (found.sli, found.objective, found.hold) == ("error_ratio", "> 50 %", 10.0)
    assert Scenario.stored(scenario.model_dump(mode="json")) == scenario


@pytest.mark.parametrize(("find", "put", "says"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_gets_one_line_with_its_place(tmp_path: Path, find: str, put: str, says: str) -> None:
    """The message names the file, the line of the mistake, and what was expected."""
    assert find in GOOD
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(find, put, 1))
    with pytest.raises(ScenarioError) as caught:
        loading.load(path)
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    assert caught.value.exit_code == 64


def test_the_line_is_the_one_with_the_mistake(tmp_path: Path) -> None:
    """Line numbers are right, not only present."""
    lines = (drill.ROOT / "scenarios" / "timeout-spike.yaml").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "latency: 20s" in line)
    lines[at] = lines[at].replace("latency: 20s", "latency: -20s")
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ScenarioError) as caught:
        loading.load(path)
    assert caught.value.line == at + 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No traceback for a path that does not exist."""
    with pytest.raises(ScenarioError, match="there is no such file"):
        loading.load(tmp_path / "nowhere.yaml")


def test_set_reaches_into_phases_by_name() -> None:
    """``--set phases.baseline.duration=60s`` changes that phase only."""
    scenario = loading.load(OWN_STACK, ["phases.baseline.duration=60s", "load.rate=8/s"])
    durations = {phase.name: phase.duration for phase in scenario.phases}
    assert durations["baseline"] == 60.0
    assert durations["warm-up"] != 60.0
    assert scenario.load.rate == 8.0


@pytest.mark.parametrize(
    "override",
    ["load.rate", "=3", "phases.nowhere.duration=3s", "load.rate.x=3", "phases.².duration=3s", "load.rate=2001-99-99",
     "load.rate=[" + "[" * 2000],
)  # fmt: skip
def test_set_that_fits_nowhere_is_refused(override: str) -> None:
    """An override that would change nothing, or something else, is an error."""
    with pytest.raises(UsageError):
        loading.load(OWN_STACK, [override])


@pytest.mark.parametrize(
    ("name", "counts", "says"),
    [
        ("timeout-spike", {"replicas": 1}, "nothing is called 'gateway-*-to-replica-2' that latency can be put on"),
        ("node-restart", {"replicas": 1}, "nothing is called 'replica-2' that restart can be put on"),
        ("model-swap", {"replicas": 1}, "nothing is called 'replica-2' that swap can be put on"),
    ],
)
def test_a_scenario_that_names_what_the_stack_has_not_is_refused(name: str, counts: dict[str, int], says: str) -> None:
    """With the line, and with what it has; on a larger stack than it was written for it is right."""
    path = drill.ROOT / "scenarios" / f"{name}.yaml"
    with pytest.raises(ScenarioError, match=re.escape(says)):
        loading.load(path, (), Topology(stack(**counts)))
    assert loading.load(path, (), Topology(stack(gateways=1, replicas=3)))


def test_a_fault_at_a_gateway_that_the_stack_has_not_is_refused(tmp_path: Path) -> None:
    """An option that names one is as wrong as a target."""
    path = tmp_path / "one.yaml"
    fault = "{type: drain, on: replica-2, options: {gateways: [gateway-b]}}"
    path.write_text(
        OWN_STACK.read_text().replace("{type: latency, on: gateway-*-to-replica-2, options: {latency: 20s}}", fault)
    )
    assert loading.load(path, (), Topology(STACK))
    with pytest.raises(ScenarioError, match="found 'gateway-b', expected some of gateway-a"):
        loading.load(path, (), Topology(stack(gateways=1)))
