"""Nothing lands that was never seen to say no: checks, objectives, validity rules, proofs of faults."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from harness.evidence.view import RunView
from harness.faults.base import types
from harness.judge import drill, validity, verdicts
from harness.model.verdict import Status
from tests import runs
from tests.drills.live_defects import LIVE, LiveDefect
from tests.judge import alert_mutants, stories
from tests.unit.judge.test_validity import FINDINGS
from tests.unit.judge.verdicts import verdict_on

_LINK = "tests.integration.test_faults.test_fault_that_was_not_injected_is_not_proven"
_COMPONENT = "tests.integration.test_component_faults.test_fault_that_the_runtime_did_not_inject_is_not_proven"
_SERVER = "tests.integration.test_server_faults.test_orders_that_change_nothing_for_clients_are_not_proven"
#: Per fault, the test in which it has no effect and its proof says so.
UNPROVEN = {
    **dict.fromkeys(("bandwidth", "latency", "reset", "slicer", "slow_close", "timeout"), _LINK),
    **dict.fromkeys(("kill", "pause", "stop"), _COMPONENT),
    **dict.fromkeys(("drain", "weight"), _SERVER),
    **dict.fromkeys(("restart", "deaf"), "tests.integration.test_restart_faults.test_what_is_not_done_is_not_proven"),
    "cancel_wave": "tests.integration.test_cancel_wave.test_a_moment_that_never_comes_is_not_proven",
    "swap": "tests.integration.test_swap.test_a_runtime_that_restarts_nothing_is_not_proven",
    **dict.fromkeys(
        ("oversized", "long_contexts"), "tests.integration.test_oom_faults.test_what_reaches_nobody_is_not_proven"
    ),
    "widened": "tests.integration.test_oom_faults.test_a_cap_that_stays_is_not_lifted",
    "oom": "tests.integration.test_oom_faults.test_a_limit_that_kills_nobody_is_not_proven",
    "memory": "tests.integration.test_component_faults.test_memory_that_suffices_is_no_effect",
}


def asked(name: str) -> dict[str, str]:
    """Everything that a drill's runs are asked, by name: the question of a check, the indicator of an objective."""
    one = drill.load(name)
    questions = {check.name: check.question for check in verdicts.checks(one, external=True)}
    for path in (drill.ROOT / "scenarios").glob(f"{one.scenario}*.yaml"):
        questions |= {slo["name"]: slo["sli"] for slo in yaml.safe_load(path.read_text()).get("slos", [])}
    return questions


def seen_red() -> set[tuple[str, str]]:
    """What some defect has turned red, as name and question: two drills may ask the same."""
    mutants = [(name, mutant.check) for name in stories.names() for mutant in stories.mutants(name)]
    mutants += [(name, mutant.check) for name in drill.names() for mutant in alert_mutants.of(name)]
    mutants += [(live.drill, check) for live in LIVE for check in live.red]
    of_drill = {name: asked(name) for name in drill.names()}
    return {(check, of_drill[name][check]) for name, check in mutants if check in of_drill[name]}


@pytest.mark.parametrize("name", drill.names())
def test_every_check_of_every_drill_has_a_mutant(name: str) -> None:
    """Invariants, the drill's own checks and the objectives of its scenarios; the message lists what is missing."""
    red = seen_red()
    missing = sorted(check for check, question in asked(name).items() if (check, question) not in red)
    assert not missing, f"no defect has ever turned these red: {', '.join(missing)} (docs/creating-a-drill.md)"


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live.name)
def test_a_live_defect_names_checks_that_exist(live: LiveDefect) -> None:
    """A typing error in the table would be a check without its mutant."""
    known = asked(live.drill)
    assert [check for check in live.red if check not in known] == []


def test_every_validity_rule_has_a_mutant(tmp_path: Path) -> None:
    """Each rule has named something that a run could not measure."""
    view = RunView(runs.healthy_run(tmp_path / "run"))
    noticed = {finding for _, finding, _ in FINDINGS}
    missing = [rule.__name__ for rule in validity.RULES if not {found.result.name for found in rule(view)} & noticed]
    assert missing == []


def test_every_fault_was_seen_without_its_effect() -> None:
    """Each fault has a test, named above, in which nothing is broken and its proof must not claim otherwise."""
    assert sorted(UNPROVEN) == types()
    for where in set(UNPROVEN.values()):
        module, _, test = where.rpartition(".")
        assert hasattr(importlib.import_module(module), test), where


@pytest.mark.parametrize("fault", types())
def test_an_unproven_fault_makes_the_run_inconclusive(fault: str, tmp_path: Path) -> None:
    """Whatever the fault is: without its effect nothing passes that rests on it, and the first line says so."""
    run = runs.healthy()
    for event in run.events:
        if str(event.get("fault", "")).startswith("one-replica/"):
            event["fault"] = event["fault"].replace("latency", fault)
            if event["kind"] == "fault_proven":
                event |= {"kind": "fault_unproven", "why": "it is as before"}
    verdict = verdict_on(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert verdict.status is Status.INCONCLUSIVE
    assert "the fault had no effect" in verdict.reason
    assert f"/{fault}/" in verdict.reason
