"""Known answers: right in steady state, no worse later, of a candidate as good as its gate asked."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge.checks import answers_right, served_versions
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge import defects
from tests.judge.model_swap import story as swap_story
from tests.runs import Run


def judged(run: Run, folder: Path) -> CheckResult:
    """What the check says of that run."""
    return answers_right.check().run(RunView(run.write(folder)))


def wrong(run: Run, phase: str, share: float) -> None:
    """That share of the answers of a phase is wrong."""
    here = run.requests.index[defects.ok(run) & run.in_phase(phase)]
    run.requests.loc[here[: math.floor(share * len(here))], "answer_correct"] = False


@pytest.mark.parametrize(("share", "status"), [(0.04, Status.PASS), (0.2, Status.FAIL)])
def test_the_baseline_has_a_share(share: float, status: Status, tmp_path: Path) -> None:
    """Of a hundred answers five may be wrong, some more by chance, not twenty."""
    run = runs.healthy()
    wrong(run, "baseline", share)
    assert judged(run, tmp_path / "run").status is status


@pytest.mark.parametrize(("share", "status"), [(0.02, Status.PASS), (0.15, Status.FAIL)])
def test_later_phases_are_compared_with_the_baseline(share: float, status: Status, tmp_path: Path) -> None:
    """One or two wrong ones happen, fifteen of a hundred do not."""
    run = runs.healthy()
    wrong(run, "recovery-one", share)
    assert judged(run, tmp_path / "run").status is status


@pytest.mark.parametrize(("later", "status"), [(1.0, Status.PASS), (0.8, Status.PASS)])
def test_a_model_that_was_never_taught(later: float, status: Status, tmp_path: Path) -> None:
    """The scenario says that no answer has to be right; more than in the baseline are welcome."""
    run = runs.healthy()
    run.plan["scenario"]["load"]["cohorts"][0]["right"] = 0.0
    for phase in (p["name"] for p in run.plan["scenario"]["phases"]):
        wrong(run, phase, 1.0 if phase == "baseline" else later)
    assert judged(run, tmp_path / "run").status is status


def test_even_such_a_model_may_not_get_worse(tmp_path: Path) -> None:
    """Nobody knows what it should say, but it said half of it before."""
    run = runs.healthy()
    run.plan["scenario"]["load"]["cohorts"][0]["right"] = 0.0
    wrong(run, "baseline", 0.5)
    wrong(run, "recovery-one", 1.0)
    assert judged(run, tmp_path / "run").status is Status.FAIL


def test_a_baseline_is_no_certainty(tmp_path: Path) -> None:
    """Half of 151 right before, 31 of 99 later: of two samples of one share that happens three times in a thousand."""
    run = runs.healthy()
    run.plan["scenario"]["load"]["cohorts"][0]["right"] = 0.0
    wrong(run, "baseline", 0.5)
    wrong(run, "recovery-one", 0.69)
    assert judged(run, tmp_path / "run").status is Status.PASS


def test_answers_that_nobody_compared(tmp_path: Path) -> None:
    """No answer is known to be right: that is no PASS."""
    run = runs.healthy()
    run.requests["answer_correct"] = None
    assert judged(run, tmp_path / "all").status is Status.INCONCLUSIVE
    run = runs.healthy()
    run.requests.loc[run.requests.index[defects.ok(run)][5], "answer_correct"] = None
    assert judged(run, tmp_path / "one").status is Status.INCONCLUSIVE


def test_no_answer_is_known(tmp_path: Path) -> None:
    """There is nothing to compare where no cohort asks for it."""
    run = runs.healthy()
    run.plan["scenario"]["load"]["cohorts"][0]["prompts"] = "open"
    run.requests["answer_correct"] = None
    assert judged(run, tmp_path / "run").status is Status.PASS


def test_a_candidate_is_its_rollouts_matter(tmp_path: Path) -> None:
    """A canary that answers wrongly is what the drill is about; one that was promoted has to be good."""
    assert judged(swap_story.healthy(swap_story.STOPPED), tmp_path / "stopped").status is Status.PASS
    run = swap_story.healthy()
    version = swap_story.ledger(run)["candidate"]["version"]
    late = run.requests["served_version"].eq(version) & run.in_phase("after")
    run.requests.loc[late, "answer_correct"] = False
    assert judged(run, tmp_path / "promoted").status is Status.FAIL


def test_exactly_fishers() -> None:
    """Against the tea that is tasted, and what is certain."""
    assert answers_right.at_most_beside(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert answers_right.at_most_beside(4, 4, 0, 4) == pytest.approx(1.0)
    assert answers_right.at_most_beside(0, 20, 20, 20) < 1e-9


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_chance_alone_is_no_fail(share: float) -> None:
    """A model that is as good as before: of all that can come of 40 answers and 60 later, one in a thousand is red."""

    def chance(right: int, count: int) -> float:
        return math.comb(count, right) * share**right * (1 - share) ** (count - right)

    red = sum(
        chance(before, 40) * chance(later, 60)
        for before in range(41)
        for later in range(61)
        if answers_right.at_most_beside(later, 60, before, 40) < answers_right.ALPHA
    )
    assert red <= answers_right.ALPHA


def test_versions_nobody_planned_or_told(tmp_path: Path) -> None:
    """A plan without versions, and answers without theirs, are no PASS."""
    for name, change in (
        ("plan", lambda run: run.plan.pop("serves")),
        ("answer", lambda run: run.requests.__setitem__("served_version", None)),
    ):
        run = runs.healthy()
        change(run)
        view = RunView(run.write(tmp_path / name))
        assert served_versions.check().run(view).status is Status.INCONCLUSIVE


def test_a_candidate_before_its_rollout(tmp_path: Path) -> None:
    """The new version may answer once its rollout has begun, and not in the baseline."""
    run = swap_story.healthy()
    assert served_versions.check().run(RunView(run.write(tmp_path / "planned"))).status is Status.PASS
    version = swap_story.ledger(run)["candidate"]["version"]
    run.requests.loc[defects.ok(run) & run.in_phase("baseline"), "served_version"] = version
    assert served_versions.check().run(RunView(run.write(tmp_path / "early"))).status is Status.FAIL
