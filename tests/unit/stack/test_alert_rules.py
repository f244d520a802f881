"""Every alert rule, in both time scales, under Prometheus' own unit tests: it fires when it must, and only then."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from harness.model.alert_rules import RULES, SCALES, Rule, Window, rule_file
from harness.model.topology import GatewayPolicy
from stack import tools
from stack.gateway import kind, kinds
from tests.unit.stack.alert_cases import CASES, unit_test

KINDS = [kind(name).conditions for name in kinds()]
OVER_KINDS = [rule.over(KINDS) for rule in RULES]
BY_NAME = {rule.name: rule for rule in OVER_KINDS}
_METRIC = re.compile(r"\b(?:up|(?:vllm:|haproxy_|drillyard_)[a-z0-9_]+)\b")


def promtool(folder: Path, rule: Rule) -> subprocess.CompletedProcess[str]:
    """Run the rule's cases against the rule as it stands in the rule files of both scales."""
    for scale in SCALES:
        group = {"name": "one", "rules": [rule.data(scale, GatewayPolicy())]}
        (folder / f"{scale}-rules.json").write_text(json.dumps({"groups": [group]}))
        test = unit_test(rule, CASES[rule.name], scale, f"{scale}-rules.json")
        (folder / f"{scale}.json").write_text(json.dumps(test))
    tool = tools.require("promtool")
    return subprocess.run(
        [tool.path, "test", "rules", *(f"{scale}.json" for scale in SCALES)],
        cwd=folder, env={**os.environ, **tool.env}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule_fires_when_it_must_and_only_then(name: str, tmp_path: Path) -> None:
    """Each bad change, not before its time, with its labels; no change that is only nearly bad."""
    done = promtool(tmp_path, BY_NAME[name])
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]
    assert done.stdout.count("SUCCESS") == len(SCALES)


@pytest.mark.parametrize("broken", ["vector(1)", "vector(0) > 1"])
def test_cases_find_a_broken_rule(broken: str, tmp_path: Path) -> None:
    """A rule that always fires and one that never does are both found, in both scales."""
    done = promtool(tmp_path, dataclasses.replace(BY_NAME["FailuresHigh"], expression=broken))
    assert (done.stdout + done.stderr).count("FAILED") >= len(SCALES)


def test_every_rule_has_a_case() -> None:
    """A rule without a case is not proven to fire; names are unique."""
    assert set(CASES) == set(BY_NAME)
    assert len(BY_NAME) == len(RULES)
    for case in CASES.values():
        assert case.bad
        assert case.nearly


@pytest.mark.parametrize("rule", OVER_KINDS, ids=lambda rule: rule.name)
def test_rule_names_the_series_that_feed_it(rule: Rule) -> None:
    """Those in its expression, and no others."""
    assert set(rule.series) == set(_METRIC.findall(re.sub(r'"[^"]*"', "", rule.expression)))


def test_both_scales_have_the_same_rules() -> None:
    """They differ in their windows only; in the drill everything is over within half a minute of its cause."""
    production, drill = (rule_file(scale, GatewayPolicy(), KINDS)["groups"][0]["rules"] for scale in SCALES)
    assert [rule["alert"] for rule in production] == [rule["alert"] for rule in drill]
    assert not any(re.search(r"\$[a-z]", rule["expr"]) for rule in production + drill)
    for rule in RULES:
        if rule.name != "DailyTokenSpend":
            assert rule.window.seconds("drill") + rule.hold.seconds("drill") <= 30


def test_windows_are_read() -> None:
    """One number and one unit."""
    assert Window("1d", "60s").seconds("production") == 86400
    assert Window("5m", "0s").seconds("drill") == 0
