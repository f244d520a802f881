"""What CI calls green and red: drills that interference kept from being judged, the budget, the parts of the night."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.judge import drill
from harness.judge.validity import STEADY_FIRST
from harness.run import outcome
from harness.run.outcome import Outcome
from tests import runs
from tests.ci import budget, drills
from tests.ci.drills import Subject
from tests.ci.night import PARTS, Part, call, night, tally
from tests.drills.outcome import TRIES, until_judged

PASS = Outcome("PASS", None, "all 32 checks passed", 150.0, "20260101-000000-a")
FAIL = Outcome("FAIL", None, "TTFT before: 900 ms", 150.0)
DISTURBED = Outcome("INCONCLUSIVE", "interference", "the machine was 97 % busy, 60 % by others", 150.0)
TOO_SMALL = Outcome("INCONCLUSIVE", "too_small", "capacity is 1.2/s", 20.0)
NO_EFFECT = Outcome("INCONCLUSIVE", None, "the fault had no effect", 150.0)
CRASHED = Outcome("exit 70", None, "a bug in the harness", 3.0)
SIX = [Subject(name) for name in "abcdef"]


def practised(**ends: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """The engines of the tries of the drills named, and what is red. Each of the others passes at once."""
    left = {subject: list(ends.get(subject.drill, [PASS])) for subject in SIX}
    attempts = drills.practise(SIX, drills.engines("vllm"), lambda subject, _: left[subject].pop(0))
    assert not any(left.values()), "as many tries as ends"
    tried = [f"{s.drill}:{one.engine}" for s, tries in attempts.items() if s.drill in ends for one in tries]
    return tried, drills.problems(attempts, "vllm")


@pytest.mark.parametrize(
    ("ends", "engines", "red"),
    [
        ([PASS], "vllm", None),
        ([DISTURBED, PASS], "vllm vllm", None),
        ([DISTURBED, FAIL], "vllm vllm", "a on vllm: FAIL: TTFT before"),
        ([DISTURBED, DISTURBED, PASS], "vllm vllm sim", None),
        ([DISTURBED, DISTURBED, DISTURBED, PASS], "vllm vllm sim sim", None),
        ([DISTURBED] * 4, "vllm vllm sim sim", "a was never judged, not on sim either"),
        ([DISTURBED, DISTURBED, FAIL], "vllm vllm sim", "a on sim: FAIL"),
        ([DISTURBED, DISTURBED, NO_EFFECT], "vllm vllm sim", "a on sim: INCONCLUSIVE: the fault had no effect"),
        ([FAIL], "vllm", "a on vllm: FAIL"),
        ([NO_EFFECT], "vllm", "a on vllm: INCONCLUSIVE"),
        ([TOO_SMALL], "vllm", "a on vllm: INCONCLUSIVE: capacity is 1.2/s"),
        ([CRASHED], "vllm", "a on vllm: exit 70"),
    ],
)
def test_only_interference_is_repeated_and_only_a_pass_is_green(
    ends: list[Outcome], engines: str, red: str | None
) -> None:
    """Once more on vLLM, then on the simulator; a FAIL or another INCONCLUSIVE ends it, and is red."""
    tried, found = practised(a=ends)
    assert [one.removeprefix("a:") for one in tried] == engines.split()
    assert len(found) == (red is not None)
    assert red is None or found[0].startswith(red)


def test_more_than_two_of_six_unjudged_is_red() -> None:
    """Two may be left to the simulator; with three CI has not looked at the real thing."""
    replaced = [DISTURBED, DISTURBED, PASS]
    assert practised(a=replaced, b=replaced)[1] == []
    (red,) = practised(a=replaced, b=replaced, c=replaced)[1]
    assert red == "3 of 6 drills were not judged on vllm (at most 2): a, b, c"
    assert [drills.unjudged_max(n) for n in (1, 2, 3, 6, 20)] == [0, 0, 1, 2, 6]


def test_no_drill_at_all_is_red() -> None:
    """Nothing run is nothing passed."""
    assert drills.problems({}, "vllm") == ["no drill was run"]


def test_the_others_have_their_turn_before_a_repetition() -> None:
    """What disturbed the machine has time to end, and the engine is changed once only."""
    left = {SIX[0]: [DISTURBED, DISTURBED, PASS], SIX[1]: [DISTURBED, PASS], SIX[2]: [PASS]}
    order = []

    def attempt(subject: Subject, engine: str) -> Outcome:
        order.append(f"{subject}:{engine}")
        return left[subject].pop(0)

    drills.practise(SIX[:3], drills.engines("vllm"), attempt)
    assert order == ["a:vllm", "b:vllm", "c:vllm", "a:vllm", "b:vllm", "a:sim"]
    assert drills.engines("sim") == ("sim", "sim")


def test_the_tally_names_what_was_not_judged() -> None:
    """Drill, verdict, cause, seconds of every run, and one plain line for a drill that vLLM was not judged by."""
    tried = [drills.Tried("vllm", DISTURBED), drills.Tried("vllm", DISTURBED), drills.Tried("sim", PASS)]
    text = drills.tally({SIX[0]: tried, SIX[1]: [drills.Tried("vllm", FAIL)]}, "vllm")
    lines = text.splitlines()
    assert lines[0].split() == ["drill", "engine", "verdict", "cause", "seconds", "run"]
    assert lines[1].split() == ["a", "vllm", "INCONCLUSIVE", "interference", "150", "-"]
    assert lines[3].split()[:4] == ["again,", "a", "sim", "PASS"]
    assert "NOT JUDGED on vllm: a (sim instead: PASS). The machine was disturbed: the machine was 97 % busy" in text
    assert "0 of 2 drills passed on vllm: RED\n  b on vllm: FAIL: TTFT before: 900 ms" in text
    assert drills.tally({SIX[0]: [drills.Tried("vllm", PASS)]}, "vllm").endswith("1 of 1 drills passed on vllm: green")


def test_every_shipped_scenario_belongs_to_a_drill() -> None:
    """The night runs each once: the drill's own, and its variants, but for those of an external target."""
    found = drills.subjects([], every_scenario=True)
    shipped = {path.stem for path in (drills.CHECKOUT / "scenarios").glob("*.yaml") if "." not in path.stem}
    assert sorted(str(one) for one in found) == sorted(shipped)
    assert [str(one) for one in drills.subjects([], every_scenario=False)] == drill.core()
    assert Subject("oom", "oom-wide").arguments[:2] == ("oom", "--scenario")


def test_drills_that_are_no_core_drills_run_on_the_simulator() -> None:
    """Each drill runs once: with the core ones, or after them; all of them where everything runs."""
    core, others = drills.subjects([], every_scenario=False), drills.later([], every_scenario=False)
    assert len(core) == 6
    assert sorted(str(one) for one in (*core, *others)) == drill.names()
    assert [str(one) for one in others] == ["incident"]
    assert drills.later(["oom"], every_scenario=False) == drills.later([], every_scenario=True) == []


def stored(folder: Path, code: int = 2, **verdict: object) -> Outcome:
    """The outcome of a run that ended with ``code`` and left that verdict."""
    (folder / "verdict.json").write_text(json.dumps({"schema": 1, "reason": "why", "exit_code": 2, **verdict}))
    return outcome.read(code, "…\nlast line\n", 12.0, RunFolder(folder))


def test_the_recorded_cause_decides(tmp_path: Path) -> None:
    """Not judged is an INCONCLUSIVE with the cause interference, and nothing else; no cause recorded is no excuse."""
    assert stored(tmp_path, status="INCONCLUSIVE", cause="interference").not_judged
    assert not stored(tmp_path, status="INCONCLUSIVE", cause="too_small").not_judged
    assert not stored(tmp_path, status="INCONCLUSIVE", cause=None).not_judged
    assert not stored(tmp_path, status="INCONCLUSIVE").not_judged
    assert not stored(tmp_path, code=1, status="FAIL", exit_code=1, cause="interference").not_judged


@pytest.mark.parametrize(
    ("steady", "disturbed", "watched", "cause"),
    [
        (False, False, True, "not_steady"),
        (False, True, True, None),
        (False, False, False, None),
        (True, False, True, None),
    ],
)
def test_not_steady_on_an_undisturbed_machine_is_a_cause(
    steady: bool, disturbed: bool, watched: bool, cause: str | None, tmp_path: Path
) -> None:
    """Where the machine was watched all the time and nothing disturbed it; not of a run that reached it."""
    run = runs.healthy()
    if disturbed:
        runs.disturb(run, 20.0, 22.0)
    if not watched:
        run.metrics = run.metrics[run.metrics["component"].ne("machine")]
    folder = run.write(tmp_path / "run")
    found = [{"name": STEADY_FIRST, "status": "PASS" if steady else "INCONCLUSIVE"}]
    assert stored(folder.path, status="INCONCLUSIVE", cause=None, validity=found).cause == cause


def test_a_red_drill_is_told_with_all_that_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the reason, every check that is FAIL, with why; nothing of what passed, nothing where no run began."""
    monkeypatch.setattr(outcome, "ROOT", tmp_path)
    (tmp_path / "runs" / "run-9").mkdir(parents=True)
    checks = [{"name": name, "status": status, "why": "why"} for name, status in (("a", "FAIL"), ("b", "PASS"))]
    (tmp_path / "runs" / "run-9" / "verdict.json").write_text(json.dumps({"checks": checks}))
    red = dataclasses.replace(FAIL, run="run-9")
    assert drills.problems({SIX[0]: [drills.Tried("vllm", red)]}, "vllm")[1:2] == ["  a: why"]
    assert FAIL.red == () == dataclasses.replace(FAIL, run="run-8").red


def test_a_verdict_that_the_exit_code_contradicts_is_none(tmp_path: Path) -> None:
    """An interrupted run, or a bug of the harness, is neither judged nor to be repeated."""
    ended = stored(tmp_path, code=70, status="INCONCLUSIVE", cause="interference")
    assert (ended.status, ended.not_judged) == ("exit 70", False)
    assert not stored(tmp_path, code=130, status="PASS", exit_code=0).passed


def test_without_a_verdict_the_last_line_is_the_reason(tmp_path: Path) -> None:
    """A refused run has no folder; one that was killed has no verdict."""
    refused = outcome.read(64, "drillyard: the port is taken\n\n", 1.0)
    assert (refused.status, refused.reason, refused.run) == ("exit 64", "drillyard: the port is taken", "")
    killed = outcome.read(-9, "", 1.0, RunFolder(tmp_path))
    assert killed.status == "exit -9"
    assert killed.reason.startswith("no verdict: ")


def test_another_run_that_was_spoken_of_is_not_this_one() -> None:
    """What an earlier run left is told first: its verdict is not the one that was asked for."""
    left = "   0.4s doctor: run 20251231-235959-oom-aaaa has no verdict: whoever should have judged it died\n"
    said = "   9.1s run 20260101-000000-oom-bbbb  runtime process (asked for)  engine vllm\n"
    assert outcome.run_name(left + said) == "20260101-000000-oom-bbbb"
    assert outcome.run_name(left) is None


def test_a_stack_that_does_not_go_down_in_time_takes_no_verdict_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said; what was found of the drills is printed all the same."""

    def hangs(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, drills.DOWN_S)

    monkeypatch.setattr(subprocess, "run", hangs)
    drills.Bench("process", 0).down()
    assert "not down after 120 s" in capsys.readouterr().out


def test_until_judged_is_bounded_and_ends_at_a_verdict() -> None:
    """A disturbed drill is made again, so often at most; a FAIL never."""
    for ends, made in (([PASS], 1), ([DISTURBED, FAIL], 2), ([FAIL, PASS], 1), ([NO_EFFECT], 1), ([DISTURBED] * 9, 3)):
        left = list(ends)
        assert list(until_judged(lambda left=left: left.pop(0))) == ends[:made]
    assert TRIES == 3


def test_the_budget_tells_what_is_over() -> None:
    """Per group and for the whole, with the stages of each; what did not run is no zero."""
    text = "set-up\t100\tset-up\ntests\t20\tlint\ntests\t500\tmake test\n"
    lines = budget.table(budget.stages(text), 700).splitlines()
    assert lines[1].split() == ["set-up", "10", "1:40"]
    assert lines[3].split(maxsplit=2) == ["tests", "8", "8:40, OVER BUDGET by 0:40"]
    assert lines[5].split() == ["8:20", "make", "test"]
    assert lines[6].split() == ["drills", "30", "did", "not", "run"]
    assert lines[-1].split() == ["whole", "65", "11:40"]
    assert sum(budget.BUDGET_MIN.values()) < budget.WHOLE_MIN
    with pytest.raises(ValueError, match="no budget for 'lunch'"):
        budget.stages("lunch\t1\teat")


def test_the_budget_needs_nothing_but_python(tmp_path: Path) -> None:
    """It has to speak where set-up has failed: isolated, without site packages and without the checkout."""
    (tmp_path / "stages").write_text("set-up\t12\tmake setup\n")
    command = [sys.executable, "-I", "-S", str(drills.CHECKOUT / "tests" / "ci" / "budget.py")]
    done = subprocess.run(
        [*command, str(tmp_path / "stages"), "3901"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("65:01, OVER BUDGET by 0:01\n")


def test_every_group_of_ci_has_a_budget() -> None:
    """The stages of `.ci/run` are in the groups that the budget knows, and each group has one."""
    lines = [line.split() for line in (drills.CHECKOUT / ".ci" / "run").read_text().splitlines()]
    groups = {words[1] for words in lines if len(words) > 3 and words[0] == "stage" and words[2][0] in "'\""}
    assert groups == set(budget.BUDGET_MIN)


@pytest.fixture
def parts() -> tuple[Part, Part, Part]:
    """A part of two commands, one that needs Docker, one more."""
    return (
        Part("a", "", (("x", "1"), ("x", "2"))),
        Part("b", "", (("x", "3"),), docker=True),
        Part("c", "", (("x", "4"),)),
    )


@pytest.mark.parametrize(
    ("red", "trouble", "ends"),
    [
        ((), None, ["passed", "passed", "passed"]),
        (("1",), None, ["FAILED: exit 1 of 1", "passed", "passed"]),
        ((), "no daemon", ["passed", "did not run: no daemon", "passed"]),
    ],
)
def test_the_night_goes_on_after_a_part_that_failed(
    parts: tuple[Part, ...], red: tuple[str, ...], trouble: str | None, ends: list[str]
) -> None:
    """All commands of all parts are run; without Docker its part is reported, not passed."""
    called: list[str] = []

    def call(command: Sequence[str]) -> int:
        called.append(command[1])
        return int(command[1] in red)

    done = night(parts, call, lambda: trouble)
    assert called == ["1", "2", *([] if trouble else ["3"]), "4"]
    assert [one.how for one in done] == ends
    assert [one.failed for one in done] == [bool(red), False, False]
    assert all(end in tally(done) for end in ends)


def test_a_command_that_hangs_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At its limit, as Ctrl-C does it, so that it can put its things away; any other keeps its exit code."""
    hangs = 'trap "echo put away > $0; exit" INT; while :; do sleep 0.1; done'
    assert call(("sh", "-c", hangs, str(tmp_path / "left")), limit_s=2.0) == 124
    assert (tmp_path / "left").read_text() == "put away\n"
    assert "not over after 2 s: -c trap" in capsys.readouterr().out
    assert call(("sh", "-c", "exit 7")) == 7


def test_the_night_holds_what_ci_leaves_out() -> None:
    """Every marker that CI does not run, storm, stability, and every scenario in both runtimes."""
    text = "\n".join(" ".join(command) for part in PARTS for command in part.commands)
    for needed in ("trust or night", "tests.trust.storm", "tests.trust.stability", "--runtime docker"):
        assert needed in text
    assert text.count("--every-scenario") == 2
