"""What can be broken on purpose: names as users write them, refused in one line when they mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.judge import drill, verdicts
from harness.model.errors import UsageError
from harness.model.topology import DEFECTS
from harness.plan import defects
from reports import render
from stack.simulator.behaviour import Behaviour
from stack.stacks.vllm_haproxy import STACK
from tests import runs

RUN = ("run", "timeout-spike", "--runtime", "process", "--engine", "sim", "--instance", "69")


def test_both_kinds_are_told_apart() -> None:
    """Bare names are the stack's, «sim.» the simulator's; a switch without a replica is for all of them."""
    stack, switches = defects.sorted_out(
        ["html_errors", "sim.hang@replica-2", "sim.slow_factor=3"], STACK.of("replica")
    )
    assert stack == {"html_errors"}
    assert [(s.name, s.value, s.replicas) for s in switches] == [
        ("hang", True, ("replica-2",)),
        ("slow_factor", 3.0, STACK.of("replica")),
    ]
    assert defects.by_replica(switches) == {
        "replica-1": {"slow_factor": 3.0},
        "replica-2": {"hang": True, "slow_factor": 3.0},
    }


@pytest.mark.parametrize("name", Behaviour.model_fields)
def test_every_switch_can_be_written(name: str) -> None:
    """With its example where it needs a value: then it stands at something else than healthy, and has a meaning."""
    field = Behaviour.model_fields[name]
    text = f"sim.{name}" if field.annotation is bool else f"sim.{name}={(field.examples or [None])[0]}"
    _, (switch,) = defects.sorted_out([text], STACK.of("replica"))
    assert switch.value != getattr(Behaviour(), name)
    assert defects.meaning(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("html_error", "did you mean 'html_errors'?"),
        ("sim.hagn", "did you mean 'sim.hang'?"),
        ("zzz", "list --defects"),
        ("sim.", "no such defect"),
        ("sim.slow_factor", "needs a value, such as sim.slow_factor=5"),
        ("sim.slow_factor=0", "greater than 0"),
        ("sim.hang=perhaps", "found 'perhaps'"),
        ("sim.hang@replica-9", "expected one of replica-1, replica-2"),
        ("html_errors@replica-1", "no such defect"),
    ],
)
def test_what_means_nothing_is_refused(text: str, says: str) -> None:
    """A typing error must not pass for a defect that a drill did not notice."""
    with pytest.raises(UsageError, match=f"--defect {text}") as caught:
        defects.sorted_out([text], STACK.of("replica"))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*RUN[:4], "--engine", "vllm", "--defect", "sim.hang"), "ENGINE=vllm"),
        (("up", "--engine", "sim", "--defect", "sim.hang"), "only `run` takes it"),
        ((*RUN, "--defect", "sim.hagn"), "did you mean 'sim.hang'?"),
    ],
)
def test_a_switch_in_the_wrong_place_is_refused(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 64, nothing started."""
    assert main.main(arguments) == 64
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_all_are_listed_with_their_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    assert main.main(["list", "--defects"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DEFECTS) + len(Behaviour.model_fields)
    assert all(len(line.split()) > 3 for line in lines)


def test_the_report_says_what_was_switched_on(tmp_path: Path) -> None:
    """A red page of a run that was broken on purpose must not frighten anybody."""
    run = runs.healthy()
    run.plan["defects"] = {"sim.hang": defects.meaning("sim.hang")}
    folder = run.write(tmp_path / "run")
    verdicts.write(folder, verdicts.judge(folder, drill.load("timeout-spike")))
    page = render.render(folder).read_text()
    assert "defects switched on" in page
    assert "sim.hang" in page
    del run.plan["defects"]
    (folder.path / "plan.json").write_text(json.dumps(run.plan))
    assert "defects switched on" not in render.render(folder).read_text()
