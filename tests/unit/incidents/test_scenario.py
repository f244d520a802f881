"""``incident.yaml``: the run's own scenario, which the program takes, and which people may edit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness.adapters.prometheus import Access, Prometheus
from harness.cli import main
from harness.evidence.history import HistoryView
from harness.evidence.record import RunFolder
from harness.model import mapping
from harness.model.scenario import FaultSpec, Scenario, Share
from harness.plan import loading
from harness.run.history import Wanted, fetch
from reports.incident import scenario
from reports.incident.of_history import HistoryCase
from reports.incident.of_run import RunCase
from reports.incident.scenario import Again
from tests.incidents import FROM, World
from tests.prometheus_server import Server, serving

RUNS = Path(__file__).parents[2] / "fixtures" / "runs"
RED = sorted(path.parent for path in RUNS.glob("*/red/plan.json"))
FAILOVER = RUNS / "gateway-failover" / "red"


def of_run(run: Path) -> Again:
    """What brings a run about again."""
    again = RunCase(RunFolder(run)).again()
    assert isinstance(again, Again), again
    return again


@pytest.mark.parametrize("run", RED, ids=lambda path: path.parent.name)
def test_a_runs_scenario_is_the_one_that_was_run(run: Path, tmp_path: Path) -> None:
    """Read from the file it has the same phases, faults, users, limits and objectives; the load is as asked for."""
    again = of_run(run)
    assert scenario.write(again, tmp_path) is None
    found = loading.load(tmp_path / scenario.NAME)
    plan = json.loads((run / "plan.json").read_text())
    recorded = Scenario.stored(plan["scenario"])
    assert again.drill == plan["drill"]
    assert str(found.load.rate) == plan["capacity"]["asked"]
    assert isinstance(found.load.rate, Share)
    assert found == recorded.model_copy(
        update={"load": recorded.load.model_copy(update={"rate": found.load.rate})}
    )  # fmt: skip


@pytest.mark.parametrize("run", RED, ids=lambda path: path.parent.name)
def test_a_runs_scenario_is_taken_by_its_drill(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """Its plan holds the very faults of the run."""
    again = of_run(run)
    scenario.write(again, tmp_path)
    words = ["run", again.drill, "--scenario", str(tmp_path / scenario.NAME), "--runtime", "process", "--dry-run"]
    assert main.main(words) == 0
    said = capsys.readouterr().out
    for phase in again.scenario.phases:
        assert phase.name in said
        assert [fault.type for fault in phase.faults if fault.type not in said] == []


def test_the_commands_name_drill_file_and_defects(tmp_path: Path) -> None:
    """As it should be, and as it was; the file says both."""
    again = of_run(FAILOVER)
    run = json.loads((FAILOVER / "plan.json").read_text())["run_id"]
    assert again.command.startswith(f"make drill-gateway-failover SCENARIO=runs/{run}/incident.yaml ENGINE=vllm ")
    assert again.as_it_was == f"{again.command} 'ARGS=--defect dns_health_checks_off'"
    assert of_run(RUNS / "gateway-failover" / "green").as_it_was is None
    assert f"# On the stack as it was: {again.as_it_was}\n" in again.text()


def test_a_drill_that_is_no_longer_there_is_one_sentence(tmp_path: Path) -> None:
    """No file is made up."""
    run = tmp_path / "run"
    shutil.copytree(FAILOVER, run)
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | {"drill": "flood"}))
    assert RunCase(RunFolder(run)).again() == (
        "No scenario brings it about again: there is no drill flood here any more."
    )  # fmt: skip


def test_hostile_words_are_no_yaml() -> None:
    """They stay in a comment or in a text, whatever they are."""
    hostile = "x\nname: y\n\u2028# z\x1b[2J\x00\x85phases: []\udc80"
    again = of_run(FAILOVER)
    practised = again.scenario.model_copy(update={"description": hostile.replace("\udc80", "")})
    text = Again(again.drill, practised, "runs/a\nb", ("SEED=1\n2",), ("d e",), (hostile,)).text()
    assert yaml.safe_load(text) == practised.written()
    assert text.encode("utf-8")


def test_what_people_edited_stays(tmp_path: Path) -> None:
    """Generated again it is replaced only as long as it is as it was generated."""
    again = of_run(FAILOVER)
    path = tmp_path / scenario.NAME
    assert scenario.write(again, tmp_path) is None
    other = Again("oom", again.scenario, "runs/other")
    assert scenario.write(other, tmp_path) is None
    assert path.read_text() == other.text()
    path.write_text(path.read_text().replace("duration: 30s", "duration: 40s"))
    edited = path.read_text()
    said = scenario.write(again, tmp_path)
    assert said is not None
    assert "was edited, so it stays" in said
    assert path.read_text() == edited


def of_world(world: World, folder: Path) -> Again | str:
    """What brings about again what happened there."""
    with serving(Server(world.series(), now=lambda: FROM + world.lasts_s, rules=())) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        fetch(client, Wanted(FROM, FROM + world.lasts_s, "", mapping.shipped()), folder, lambda text: None)
    return HistoryCase(HistoryView(folder)).again()


DOWN = {"replica-1": (300, 360)}
WORLDS = {
    "paused": (World(silent=DOWN), FaultSpec(type="pause", on="replica-2"), 60.0),
    "for long": (World(silent={"replica-1": (300, 900)}), FaultSpec(type="pause", on="replica-2"), 120.0),
    "killed": (
        World(silent=DOWN, restarted=frozenset(DOWN)),
        FaultSpec(type="kill", on="replica-2", options={"down_for": "60s"}),
        60.0,
    ),
    "missing": (
        World(unused={"replica-2": (300, 420)}),
        FaultSpec(type="drain", on="replica-2", options={"gateways": ["gateway-a"]}),
        120.0,
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_a_history_gets_the_nearest_fault_and_how_long_it_was(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the component of Drillyard's stack that stands for the one that was hit; the drill takes it."""
    world, fault, lasted_s = WORLDS[name]
    again = of_world(world, tmp_path / "history")
    assert isinstance(again, Again), again
    assert scenario.write(again, tmp_path) is None
    found = loading.load(tmp_path / scenario.NAME)
    phase = next(one for one in found.phases if one.name == "incident")
    assert (phase.faults, phase.duration) == ((fault,), lasted_s)
    words = ["run", again.drill, "--scenario", str(tmp_path / scenario.NAME), "--runtime", "process", "--dry-run"]
    assert main.main(words) == 0
    assert f"{fault.type} on replica-2" in capsys.readouterr().out


def test_what_a_history_does_not_tell_is_in_the_file(tmp_path: Path) -> None:
    """Whose component is whose, how long it was, and what metrics cannot know; all of it in comments."""
    again = of_world(World(silent={"replica-1": (300, 900)}), tmp_path)
    assert isinstance(again, Again)
    comment = " ".join(line[2:] for line in again.text().splitlines() if line.startswith("# "))
    assert "replica-1 is replica-2" in comment
    assert "It lasted 10 min 00 s or more; the phase incident lasts 2 min 00 s" in comment
    assert "Not known: Whether replica-1 stood still, was cut off or was too busy to answer" in comment
    assert f"make drill-incident SCENARIO=runs/{tmp_path.name}/incident.yaml" in comment


def test_of_nothing_known_there_is_no_scenario(tmp_path: Path) -> None:
    """But a sentence."""
    assert of_world(World(), tmp_path) == (
        "No scenario brings it about again: nothing in the metrics shows what set it off."
    )  # fmt: skip
