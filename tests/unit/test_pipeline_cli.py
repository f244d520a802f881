"""The command line without a stack: exit codes, one clear line for bad input, and judging stored runs offline."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.evidence.record import RunFolder
from harness.faults import base as faults
from harness.judge import drill, verdicts
from harness.model.errors import RecordError, RunFolderError, StackError
from harness.model.verdict import CheckResult, Status, Verdict
from harness.plan.options import StackOptions, build_topology
from harness.run import pipeline
from harness.run.pipeline import Job, Options
from harness.run.progress import Progress
from stack.runtimes.process import ProcessRuntime
from tests import runs
from tests.exhaustion import no_file_beyond

STACK = ("--runtime", "process", "--engine", "sim", "--instance", "69")


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to make a run folder or to start something is a failure (exit 70 with a traceback)."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(RunFolder, "create", refuse)
    monkeypatch.setattr(ProcessRuntime, "up", refuse)
    for variable in ("RUNTIME", "ENGINE", "INSTANCE", "MODEL", "WORKERS"):
        monkeypatch.delenv(variable, raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the program refuses these arguments; it ends with 64."""
    assert main.main(arguments) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("drillyard: ")
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def scenario(tmp_path: Path, find: str = "", put: str = "") -> str:
    """A copy of the shipped scenario with one change."""
    good = (drill.ROOT / "scenarios" / "timeout-spike.yaml").read_text()
    assert find in good
    path = tmp_path / "mine.yaml"
    path.write_text(good.replace(find, put, 1) if find else good)
    return str(path)


def test_unknown_drill_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error in the drill's name."""
    assert "did you mean 'timeout-spike'?" in refused(capsys, "run", "timeout-spkie", *STACK)
    assert "Known drills: " in refused(capsys, "run", "zzz", *STACK)


@pytest.mark.parametrize("model", ["v1", "truncated", "Qwen/Qwen3-0.6B", "someone/B-GGUF:Q4_K_M", "gpt2", "a folder"])
def test_whatever_names_a_model_is_taken(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hub ids in all their forms, and a folder whatever it is called."""
    (tmp_path / "a folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert set(build_topology(StackOptions("process", "vllm", model=model)).models.values()) == {model}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status", "--engine", "simm"), "ENGINE=simm: expected one of vllm, sim"),
        (("status", "--runtime", "podman"), "RUNTIME=podman: expected one of auto, docker, process, external"),
        (("status", "--instance", "seven"), "INSTANCE=seven: expected a number from 0 to 255"),
        (("status", "--model", "my model"), "MODEL='my model': found blanks"),
        (("status", "--model", " "), "MODEL=' ': found blanks"),
        (("status", "--model", "/nowhere/at/all", "--engine", "sim"), "MODEL=/nowhere/at/all: there is no such folder"),
        (
            ("status", "--model", "v3"),
            "MODEL=v3: there is no such folder, expected bad, slow, truncated, v1, v2, a folder",
        ),
        (
            ("status", "--model", "slwo", "--engine", "sim"),
            "MODEL=slwo: there is no such folder, expected bad, slow, slower, ",
        ),
        (("logs",), "found no component to show the log of, expected one of replica-1, "),
    ],
)
def test_settings_are_refused_in_a_sentence(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found and what was expected, in the words of the Makefile."""
    assert says in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("find", "put", "says"),
    [
        ("rate: ", "rte: ", "did you mean 'rate'?"),
        ("duration: 30s", "duration: -30s", "expected a duration"),
        ("gateway-*-to-replica-2", "gateway-*-to-replica-9", "nothing is called 'gateway-*-to-replica-9'"),
        ("phases:", "phases: [", "not valid YAML"),
    ],
)
def test_broken_scenario_is_refused(
    find: str, put: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong in a scenario is said with file and line before anything is started."""
    path = scenario(tmp_path, find, put)
    line = refused(capsys, "run", "timeout-spike", "--scenario", path, *STACK)
    assert says in line
    assert line.removeprefix(f"drillyard: {path}:").partition(":")[0].isdigit()


def renamed(name: str, phase: str) -> dict[str, Any]:
    """The scenario of a drill with another name for one of its phases, in its objectives, too."""
    data = yaml.load((drill.ROOT / "scenarios" / f"{name}.yaml").read_text(), Loader=yaml.BaseLoader)
    for one in data["phases"]:
        one["name"] = "another" if one["name"] == phase else one["name"]
    for slo in data["slos"]:
        slo["phases"] = ["another" if one == phase else one for one in slo["phases"]]
    return data


def phases_of(name: str) -> list[tuple[str, str]]:
    """Drill and phase."""
    data = yaml.safe_load((drill.ROOT / "scenarios" / f"{name}.yaml").read_text())
    return [(name, phase["name"]) for phase in data["phases"] if phase["kind"] != "warmup"]


@pytest.mark.parametrize(("name", "phase"), [one for name in drill.names() for one in phases_of(name)])
def test_a_phase_that_the_drill_asks_about_has_to_be_there(
    name: str, phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise it is refused before anything starts: with the question, the phase, and those that there are."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(renamed(name, phase)))
    said = refused(capsys, "run", name, "--scenario", str(path), *STACK)
    assert f"needs a phase {phase!r}; the phases are " in said
    assert "another" in said
    assert "?» (the check '" in said


@pytest.mark.parametrize("name", drill.names())
def test_a_fault_that_the_drill_asks_about_has_to_be_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A phase of that name in which nothing is injected is not enough."""
    data = renamed(name, "")
    phase = next(one for one in data["phases"] if one["kind"] == "fault")
    phase["kind"] = "recovery"
    for key in ("faults", "until", "at_most"):
        phase.pop(key, None)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    said = refused(capsys, "run", name, "--scenario", str(path), *STACK)
    assert f"needs a fault in the phase {phase['name']!r}" in said


@pytest.mark.parametrize("name", drill.names())
def test_a_fault_has_to_be_of_the_type_that_the_drill_asks_about(name: str) -> None:
    """Every other type is refused, as the limits of its checks are made for this one; of a drill of any fault none."""
    wanted, usual = drill.load(name), runs.scenario(name)
    assert verdicts.unanswerable(wanted, usual) is None
    for number, phase in enumerate(usual.phases):
        for fault in phase.faults:
            for other in set(faults.types()) - {fault.type}:
                changed = phase.model_copy(update={"faults": (fault.model_copy(update={"type": other}),)})
                phases = (*usual.phases[:number], changed, *usual.phases[number + 1 :])
                said = verdicts.unanswerable(wanted, usual.model_copy(update={"phases": phases}))
                if not wanted.faults:
                    assert said is None
                    continue
                assert said is not None
                assert f"needs {fault.type} in the phase {phase.name!r}; the phases are " in said
                assert f"{phase.name} ({other})" in said


def test_another_fault_is_refused_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line with the check, the phase, what is there and what is needed; not in a partial scenario."""
    data = renamed("timeout-spike", "")
    data["phases"][2]["faults"][0] = {"type": "timeout", "on": "gateway-*-to-replica-2"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    said = refused(capsys, "run", "timeout-spike", "--scenario", str(path), *STACK)
    assert "?» (the check '" in said
    assert "needs latency in the phase 'one-replica'; the phases are warm-up, baseline, one-replica (timeout), " in said
    path.write_text(yaml.safe_dump(data | {"partial": "true"}))
    assert main.main(("run", "timeout-spike", "--scenario", str(path), *STACK, "--dry-run")) == 0


@pytest.mark.parametrize("name", drill.names())
def test_a_cohort_of_an_objective_has_to_be_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is called otherwise is refused where an objective names it, and only there."""
    data = renamed(name, "")
    named = {slo["cohort"] for slo in data["slos"] if "cohort" in slo}
    path = tmp_path / "mine.yaml"
    for cohort in data["load"]["cohorts"]:
        was, cohort["name"] = cohort["name"], "others"
        path.write_text(yaml.safe_dump(data))
        arguments = ("run", name, "--scenario", str(path), *STACK)
        if was in named:
            assert f"there is no cohort {was!r}; cohorts are " in refused(capsys, *arguments)
        else:
            assert main.main((*arguments, "--dry-run")) == 0
        cohort["name"] = was


@pytest.mark.parametrize("path", sorted((drill.ROOT / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_has_what_its_drill_asks_about(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is refused; that of an external target, which lacks gateways and their phases, is not asked for them."""
    name = next(one for one in drill.names() if path.stem.startswith(one))
    target = ("--target", "http://127.0.0.1:1", "--i-own-this-target", "127.0.0.1")
    stack = ("--runtime", "external", *target) if ".external" in path.name else STACK
    assert main.main(("run", name, "--scenario", str(path), *stack, "--dry-run")) == 0
    capsys.readouterr()


def test_a_partial_scenario_may_lack_phases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who says so wants to try out one fault."""
    data = renamed("timeout-spike", "recovery-one") | {"partial": "true"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    assert main.main(("run", "timeout-spike", "--scenario", str(path), *STACK, "--dry-run")) == 0
    path.write_text(yaml.safe_dump(data | {"partial": "false"}))
    assert main.main(("run", "timeout-spike", "--scenario", str(path), *STACK, "--dry-run")) == 64
    assert "say `partial: true` in it" in capsys.readouterr().err


def test_missing_scenario_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named."""
    path = tmp_path / "nowhere.yaml"
    assert f"{path}: there is no such file" in refused(capsys, "run", "timeout-spike", "--scenario", str(path), *STACK)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("load.rate", "expected key=value"),
        ("load.rate=8", "expected a rate"),
        ("load.rte=8/s", "did you mean 'rate'?"),
        ("phases.basline.duration=60s", "nothing called 'basline'"),
        ("phases.baseline.duration=1s", "ttft_p95_ms needs"),
        ("phases.baseline=60s", "name a key of 'baseline'"),
        ("load.rate=[", "not valid YAML"),
    ],
)
def test_wrong_override_is_refused(override: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--set`` is as strict as the file, and is blamed itself: the file is sound without it."""
    known = ("--set", "load.rate=5/s")  # so that sample sizes are counted before anything is started
    said = refused(capsys, "run", "timeout-spike", *known, "--set", override, *STACK)
    assert says in said
    assert said.startswith("drillyard: --set ")
    assert override in said
    assert ".yaml" not in said


def test_a_broken_file_is_blamed_whatever_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An override is not to blame for what is wrong without it."""
    path = scenario(tmp_path, "duration: 30s", "duration: -30s")
    said = refused(capsys, "run", "timeout-spike", "--scenario", path, "--set", "load.rate=5/s", *STACK)
    assert said.startswith(f"drillyard: {path}:")


def test_a_scenario_of_another_drill_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its variants, too. One of its own and one of the user's are not."""
    shipped = drill.ROOT / "scenarios"
    for name in ("timeout-spike", "model-swap-bad"):
        said = refused(capsys, "run", "node-restart", "--scenario", str(shipped / f"{name}.yaml"), "--dry-run", *STACK)
        assert f"found {name}, a scenario of the drill" in said
    mine = scenario(tmp_path, "name: timeout-spike", "name: mine")
    for known in (mine, str(shipped / "timeout-spike.yaml")):
        assert main.main(["run", "timeout-spike", "--scenario", known, "--dry-run", *STACK]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "COMMAND"),
        (("rnu",), "rnu"),
        (("run",), "DRILL"),
        (("run", "timeout-spike", "--seed", "x"), "--seed"),
        (("run", "timeout-spike", "--nonsense"), "--nonsense"),
        (("run", "timeout-spike", "--runtime", "podman"), "podman"),
        (("run", "timeout-spike", "--defect", "none_such"), "none_such"),
        (("run", "timeout-spike", "--engine", "sim", "--runtime", "process", "--instance", "256"), "INSTANCE=256"),
        (("up", "--instance", "-1"), "INSTANCE=-1"),
        (("logs", "--instance", "69", "gateway-a", "more"), "more"),
    ],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """argparse's exit 2 would be INCONCLUSIVE here: wrong usage is 64 and one line."""
    assert says in refused(capsys, *arguments)


def test_wrong_environment_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """INSTANCE and its like come from make, so they are checked as well."""
    for value in ("seven", "²", "-1", "9" * 5000):
        monkeypatch.setenv("INSTANCE", value)
        assert f"INSTANCE is {value!r}, expected a number" in refused(capsys, "list")


@pytest.mark.parametrize("command", ["doctor", "status"])
def test_keys_of_tls_that_cannot_be_written_are_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python opens that file for every client that could speak TLS."""
    for path in (tmp_path / "missing" / "keys", tmp_path):
        monkeypatch.setenv("SSLKEYLOGFILE", str(path))
        said = refused(capsys, command)
        assert f"SSLKEYLOGFILE={path}: found " in said
        assert "expected a file that can be written; name one or unset it" in said


def test_list_names_every_drill(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per file in drills/, the bare names for scripts."""
    assert main.main(["list", "--names"]) == 0
    assert capsys.readouterr().out.split() == drill.names()
    assert main.main(["list"]) == 0
    assert drill.load("timeout-spike").title in capsys.readouterr().out


def test_judge_again_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stored run is judged and rendered from its folder alone; twice gives the same bytes."""
    folder = runs.healthy_run(tmp_path / "run")
    assert main.main(["judge", str(folder.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re_last(lines) == f"verdict: PASS  report: {folder.path / 'report.html'}"
    first = (folder.path / "verdict.json").read_bytes()
    assert main.main(["judge", str(folder.path)]) == 0
    assert (folder.path / "verdict.json").read_bytes() == first
    assert json.loads(first)["exit_code"] == 0
    assert (folder.path / "junit.xml").exists()


def re_last(lines: list[str]) -> str:
    """The last line; the one before it is the reason."""
    assert len(lines) == 2
    return lines[-1]


@pytest.mark.parametrize(("status", "code"), [(Status.FAIL, 1), (Status.INCONCLUSIVE, 2)])
def test_judge_ends_with_the_verdict(
    status: Status, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FAIL is 1, INCONCLUSIVE is 2, and the reason stands before the verdict."""
    folder = runs.healthy_run(tmp_path / "run")
    found = Verdict(status, "the reason", (), (CheckResult("a check", status, "why"),))
    monkeypatch.setattr(verdicts, "judge", lambda *_: found)
    assert main.main(["judge", str(folder.path)]) == code
    assert capsys.readouterr().out.splitlines() == [
        "the reason",
        f"verdict: {status.value}  report: {folder.path / 'report.html'}",
    ]


def test_report_again_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``report`` draws the page again from the stored verdict and says where it is."""
    folder = runs.healthy_run(tmp_path / "run")
    verdicts.write(folder, verdicts.judge(folder, drill.load("timeout-spike")))
    assert main.main(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out.strip() == str(folder.path / "report.html")


@pytest.mark.parametrize("command", ["judge", "report"])
def test_missing_run_is_refused(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there, or is no run, is named."""
    said = refused(capsys, command, str(tmp_path / "nowhere"))
    assert f"{tmp_path / 'nowhere'} is no folder; expected the folder of a run" in said
    assert "there is no such file; expected the folder of a run" in refused(capsys, command, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("plan.json", "{", "cannot be read as JSON"),
        ("plan.json", "[]", "expected a JSON object"),
        ("plan.json", '{"schema": 99}', "found schema 99"),
        ("plan.json", '{"schema": 2}', "plan.json: run_id, drill, scenario, anchor is missing"),
    ],
)
def test_broken_run_is_refused(
    name: str, content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run folder that is damaged or of another version gets one line that names the file."""
    folder = runs.healthy_run(tmp_path / "run")
    (folder.path / name).write_text(content)
    assert says in refused(capsys, "judge", str(folder.path))


@pytest.mark.parametrize("name", ["requests.parquet", "metrics.parquet"])
def test_damaged_table_is_inconclusive(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the other files still tell is shown; the reason names the file that cannot be read."""
    folder = runs.healthy_run(tmp_path / "run")
    (folder.path / name).write_text("no parquet")
    assert main.main(["judge", str(folder.path)]) == 2
    captured = capsys.readouterr()
    assert name in captured.out.splitlines()[0]
    assert captured.err == ""
    assert "INCONCLUSIVE" in (folder.path / "report.html").read_text()


def test_report_needs_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was never judged has no page to draw: the message names verdict.json."""
    folder = runs.healthy_run(tmp_path / "run")
    assert "verdict.json" in refused(capsys, "report", str(folder.path))


def options() -> Options:
    """A run that nobody starts."""
    return Options("timeout-spike", StackOptions("process", "sim", 69), "python -m harness run timeout-spike")


def test_steps_are_done_in_order_and_clean_up_is_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline folds its steps; what they leave to be cleaned up is, also when one of them fails."""
    done: list[str] = []

    def first(job: Job) -> None:
        done.append("first")
        job.cleanup.callback(done.append, "cleaned")

    def second(job: Job) -> None:
        done.append("second")
        raise StackError("it fell over")

    monkeypatch.setattr(pipeline, "STEPS", (first, second, first))
    with pytest.raises(StackError):
        pipeline.run(options(), Progress())
    assert done == ["first", "second", "cleaned"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StackError("a"), 2),
        (RuntimeError("b"), 70),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "full", "x"), 2),
        (OSError(errno.ENOENT, "gone", "x"), 70),
        (BrokenPipeError(errno.EPIPE, "a child has gone"), 70),
    ],
)
def test_errors_have_their_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stack that misbehaves is 2, a bug is 70 and asks for a report with its traceback, Ctrl-C is 130."""

    def step(job: Job) -> None:
        raise error

    monkeypatch.setattr(pipeline, "STEPS", (step,))
    assert main.main(["run", "timeout-spike", *STACK]) == code
    err = capsys.readouterr().err
    assert ("Traceback" in err) == (code == 70)
    assert ("this is a bug in the harness" in err) == (code == 70)


@pytest.mark.parametrize("error", [RunFolderError("plan.json: gone"), RuntimeError("a bug")])
def test_an_interrupt_is_130_whatever_comes_after(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went wrong on the way out is said, with a traceback if it is a bug."""

    def conducted(job: Job) -> None:
        job.caught.append(signal.SIGTERM)

    def judged(job: Job) -> None:
        raise error

    monkeypatch.setattr(pipeline, "STEPS", (conducted, judged))
    assert main.main(["run", "timeout-spike", *STACK]) == 130
    said = capsys.readouterr().err
    assert f"the run was interrupted; after that: {type(error).__name__}: {error}" in said
    assert ("Traceback" in said) == isinstance(error, RuntimeError)


def test_a_bug_while_conducting_is_70_after_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the way out, too: what was recorded is judged and shown all the same, and no PASS ends the program."""

    def conducted(job: Job) -> None:
        job.folder, job.drill = runs.healthy_run(tmp_path / "run"), drill.load("timeout-spike")
        job.bug = KeyError("of the way out")

    monkeypatch.setattr(pipeline, "STEPS", (conducted, pipeline.verdict, pipeline.page))
    assert main.main(["run", "timeout-spike", *STACK]) == 70
    captured = capsys.readouterr()
    assert "verdict: PASS" in captured.out
    assert "KeyError: 'of the way out'" in captured.err
    assert "this is a bug in the harness" in captured.err
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(("said", "code"), [({"usage": True}, 64), ({}, 2)])
def test_a_setting_that_the_run_found_wrong_is_64(
    said: dict[str, bool],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A metrics page that is none, say: there is a report all the same. Anything else that ends a run early is 2."""

    def conducted(job: Job) -> None:
        run = runs.healthy()
        run.events = [event for event in run.events if event["kind"] == "planned"]
        run.events.append({"t_s": 1.0, "kind": "aborted", "why": "METRICS_URL: found a page", **said})
        job.folder, job.drill = run.write(tmp_path / "run"), drill.load("timeout-spike")

    monkeypatch.setattr(pipeline, "STEPS", (conducted, pipeline.verdict, pipeline.page))
    assert main.main(["run", "timeout-spike", *STACK]) == code
    assert "verdict: INCONCLUSIVE" in capsys.readouterr().out


def test_what_is_not_written_down_is_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full when a good run is judged: the reason is told, the file is named, no traceback, and 2."""

    def conducted(job: Job) -> None:
        job.folder, job.drill = runs.healthy_run(tmp_path / "run"), drill.load("timeout-spike")

    def disk_is_full(job: Job) -> None:
        job.cleanup.enter_context(no_file_beyond(1000))

    monkeypatch.setattr(pipeline, "STEPS", (conducted, disk_is_full, pipeline.verdict, pipeline.page))
    assert main.main(["run", "timeout-spike", *STACK]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith("all ")
    assert "verdict.json cannot be written: File too large" in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "run" / "verdict.json").exists()
    assert main.main(["judge", str(tmp_path / "run")]) == 0, "once there is room it can be judged"


def test_events_that_were_not_written_are_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is left of them says that all went well."""

    def conducted(job: Job) -> None:
        job.folder, job.drill = runs.healthy_run(tmp_path / "run"), drill.load("timeout-spike")
        job.unwritten.append(RecordError("events.jsonl cannot be written: No space left on device"))

    monkeypatch.setattr(pipeline, "STEPS", (conducted, pipeline.verdict, pipeline.page))
    assert main.main(["run", "timeout-spike", *STACK]) == 2
    assert "drillyard: events.jsonl cannot be written: No space left" in capsys.readouterr().err


RUN = ("run", "timeout-spike")
OURS = {"RUNTIME": "process", "ENGINE": "sim", "INSTANCE": "69", "MODEL": "v2", "WORKERS": "2"}
OURS_TYPED = "--runtime process --engine sim --instance 69 --model v2 --workers 2"
THEIRS = {
    "RUNTIME": "external", "TARGET": "http://localhost:1/v1", "API_KEY_ENV": "A_KEY",
    "METRICS_URL": "http://localhost:2/m", "MODEL": "their/model", "A_KEY": "0123456789",
}  # fmt: skip
THEIRS_TYPED = (
    "--runtime external --target http://localhost:1/v1 --api-key-env A_KEY --metrics-url http://localhost:2/m "
    "--model their/model"
)
OWNED = "--i-own-this-target localhost"


@pytest.mark.parametrize(
    ("given", "environment", "added"),
    [
        ("", OURS, OURS_TYPED),
        (OURS_TYPED, {}, ""),
        (OURS_TYPED, OURS, ""),
        ("--instance 7 --runtime=process", OURS, "--engine sim --model v2 --workers 2"),
        ("", {"RUNTIME": "auto", "ENGINE": "vllm", "INSTANCE": "0", "TARGET": "http://unused"}, ""),
        (OWNED, THEIRS, THEIRS_TYPED),
        (f"{OWNED} {THEIRS_TYPED}", {"A_KEY": "0123456789"}, ""),
        ("--seed 3 --set load.rate=5/s --stack vllm-haproxy --scenario x.yaml --defect html_errors", {}, ""),
    ],
)
def test_the_command_can_be_typed_again_without_the_environment(
    given: str, environment: dict[str, str], added: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was set as a variable is in it as an option, and nothing twice; it leads to the same run."""
    ran: list[Options] = []
    monkeypatch.setattr(pipeline, "run", lambda options, progress: ran.append(options) or 0)
    # The program tells its own children which variable holds the key: what it sets is undone with this.
    for variable, value in {"API_KEY_ENV": "", **environment}.items():
        monkeypatch.setenv(variable, value)
    assert main.main([*RUN, *given.split()]) == 0
    typed = ran[0].command.split()
    begin = [".venv/bin/python", "-m", "harness", *RUN, *given.split()]
    assert typed[: len(begin)] == begin
    pairs = zip(typed[len(begin) :: 2], typed[len(begin) + 1 :: 2], strict=True)
    wanted = added.split()
    assert sorted(pairs) == sorted(zip(wanted[::2], wanted[1::2], strict=True))
    for variable in environment.keys() - {"A_KEY"}:
        monkeypatch.delenv(variable)
    assert main.main(typed[3:]) == 0
    assert replace(ran[1], command="") == replace(ran[0], command="")


def test_replay_command_carries_the_seed() -> None:
    """What the page offers for running it again repeats the draws: versions and git state are known, too."""
    versions = pipeline.versions()
    assert {"python", *pipeline.VERSIONED} == set(versions)
    assert all(versions.values())
    assert set(pipeline.git_state()) == {"commit", "dirty"}
