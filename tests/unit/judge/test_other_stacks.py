"""Which components a run had is in its plan: it is judged by their names there, however many there were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.judge.drill import Drill
from harness.model.errors import RunFolderError
from harness.model.topology import Topology
from harness.model.verdict import Status, Verdict
from reports import render
from stack.stacks import vllm_haproxy
from tests import runs
from tests.judge.defects import planned_for
from tests.judge.timeout_spike.story import TIMEOUT_SPIKE
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict

#: How the components are called instead.
NAMES = {"replica-": "llm-", "gateway-": "edge-"}


def renamed(text: str) -> str:
    """With the other names."""
    for ours, theirs in NAMES.items():
        text = text.replace(ours, theirs)
    return text


def the_drill() -> Drill:
    """timeout-spike, as somebody writes it whose components are called so."""
    module: dict[str, Any] = {}
    exec(renamed((drill.ROOT / "drills" / "timeout_spike.py").read_text()), module)
    found = module["DRILL"]
    assert isinstance(found, Drill)
    return found


def the_run() -> Run:
    """A healthy run of it."""
    run = runs.healthy()
    run.plan["topology"] = runs.TOPOLOGY.as_data()
    run.plan, run.events = json.loads(renamed(json.dumps([run.plan, run.events])))
    for frame in (run.requests, run.metrics):
        for column in ("replica", "gateway_replica", "component", "labels"):
            if column in frame:
                frame[column] = [renamed(value) if isinstance(value, str) else value for value in frame[column]]
    planned_for(run, the_drill())
    return run


def not_passed(verdict: Verdict) -> dict[str, str]:
    """Checks and findings that are anything but PASS, with their reasons."""
    return {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS}


def test_a_run_with_other_names_passes(tmp_path: Path) -> None:
    """Every check and every rule finds its components, and so does the page."""
    folder = the_run().write(tmp_path / "run")
    verdict = whole_verdict(folder, the_drill())
    assert not_passed(verdict) == {}
    verdicts.write(folder, verdict)
    assert "llm-2" in render.render(folder).read_text()


def _never_out(run: Run) -> None:
    run.metrics.loc[run.metrics["metric"].eq("server_up"), "value"] = 1.0


def _one_is_not_sampled(run: Run) -> None:
    run.metrics = run.metrics[~run.metrics["component"].eq("llm-2")]


@pytest.mark.parametrize(
    ("defect", "red", "status"),
    [
        (_never_out, "gateways eject llm-2", Status.FAIL),
        (_one_is_not_sampled, "metrics of llm-2", Status.INCONCLUSIVE),
    ],
)
def test_its_defects_are_noticed(defect: Callable[[Run], None], red: str, status: Status, tmp_path: Path) -> None:
    """By the names of its plan."""
    run = the_run()
    defect(run)
    verdict = whole_verdict(run.write(tmp_path / "run"), the_drill())
    assert red in not_passed(verdict)
    assert verdict.status is status, verdict.reason


def test_a_replica_more_than_was_sampled_is_noticed(tmp_path: Path) -> None:
    """The same records do not do for a plan with a third one: what is not sampled is not known."""
    run = runs.healthy()
    run.plan["topology"] = Topology(vllm_haproxy.stack(replicas=3), instance=17).as_data()
    verdict = whole_verdict(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert verdict.status is Status.INCONCLUSIVE
    assert {"metrics of replica-3", "series sampled"} <= not_passed(verdict).keys()


def test_a_gateway_and_three_replicas_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all that this stack has was sampled."""
    monkeypatch.setattr(runs, "TOPOLOGY", Topology(vllm_haproxy.stack(gateways=1, replicas=3), instance=17))
    run = runs._healthy.__wrapped__(TIMEOUT_SPIKE)
    run.plan["topology"] = runs.TOPOLOGY.as_data()
    assert set(run.metrics["component"]) >= {"replica-1", "replica-2", "replica-3", "gateway-a"}
    folder = run.write(tmp_path / "run")
    assert not_passed(whole_verdict(folder, drill.load("timeout-spike"))) == {}
    assert RunView(folder).scraped == ("replica-1", "replica-2", "replica-3", "gateway-a")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plan: plan.pop("topology"), "topology"),
        (lambda plan: plan.update(topology={}), "topology: neither a stack nor an instance"),
        (lambda plan: plan.update(topology="vllm-haproxy"), "topology: "),
        (lambda plan: plan["topology"].update(stack={"name": "x"}), r"topology: stack\.components"),
    ],
)
def test_a_plan_without_a_topology_cannot_be_judged(
    change: Callable[[dict[str, Any]], object], says: str, tmp_path: Path
) -> None:
    """It is said of the file, and is no traceback."""
    run = runs.healthy()
    change(run.plan)
    with pytest.raises(RunFolderError, match=rf"plan\.json: {says}"):
        RunView(run.write(tmp_path / "run"))


def test_the_frames_of_a_renamed_run_have_no_old_name() -> None:
    """Else the tests above would prove less than they say."""
    run = the_run()
    for frame in (run.requests, run.metrics):
        assert not any(frame[column].astype(str).str.contains("replica-|gateway-").any() for column in _texts(frame))


def _texts(frame: pd.DataFrame) -> list[str]:
    return [column for column in frame.columns if frame[column].dtype == object]
