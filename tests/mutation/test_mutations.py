"""The mutator itself: what it makes of a run, that it spoils nothing, and that only reasons keep a survivor."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.evidence import records_kept
from harness.evidence.record import RunFolder
from harness.judge import drill, verdicts
from tests import runs
from tests.mutation import judging, record, survivors
from tests.mutation.judging import CRASHED, UNCHANGED, UNREADABLE, Subject, Tally
from tests.mutation.stored import Data, Stored
from tests.mutation.values import changes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A healthy run with all its mutations."""
    return judging.subject(runs.healthy_run(tmp_path_factory.mktemp("mutated") / "run").path)


def changed(values: list[object]) -> dict[str, list[object]]:
    """By name, what each change makes of these values."""
    series = pd.Series(values, dtype=None if values else object)
    return {name: change(series).tolist() for name, change in changes(series)}


def test_each_kind_of_value_is_changed_in_its_ways() -> None:
    """Numbers become impossible, words somebody else's; what is not there is not made up."""
    numbers = changed([1.0, 2.0, None, 0.0])
    assert {name: numbers[name][:2] for name in ("zero", "negative", "constant", "shift")} == {
        "zero": [0, 0],
        "negative": [-1, -2],
        "constant": [1, 1],
        "shift": [0, 1],
    }
    assert numbers["negative"][3] == -1
    assert math.isnan(numbers["zero"][2])  # type: ignore[arg-type]
    assert math.isinf(numbers["inf"][0])  # type: ignore[arg-type]
    assert changed(["a", "b", "a"])["relabel"] == ["b", "a", "b"]
    assert changed([True, True])["relabel"] == [False, False]
    assert changed([None, None]) == {}


def test_whole_numbers_with_gaps_are_changed() -> None:
    """What was not measured stays so, whatever the type of the column."""
    series = pd.Series([1, None, 0], dtype="Int64")
    assert {name: change(series).isna().tolist() for name, change in changes(series) if name in ("inf", "zero")} == {
        "inf": [False, True, False],
        "zero": [False, True, False],
    }


def test_another_type_is_no_change(run: Subject) -> None:
    """Zeros in a column of zeros are as it was, and so are gaps; a value is not."""
    data, column = run.data, "gateway_retries"

    def with_values(*values: object) -> Data:
        rows = data.requests.iloc[: len(values)]
        return replace(data, requests=rows.assign(**{column: pd.Series(values, index=rows.index)}))

    assert with_values(0, 0).same_as(with_values(0.0, 0.0))
    assert with_values(0.0, math.nan).same_as(with_values(0.0, None))
    assert not with_values(0, 1).same_as(with_values(0.0, 0.0))
    assert not with_values(0.0, 1.0).same_as(with_values(0.0, None))


def test_every_part_of_a_run_is_changed(run: Subject) -> None:
    """Names are unique, and there is one mutation at least of each column, component, series, phase and event kind."""
    names = [mutation.name for mutation in run.mutations]
    assert len(names) == len(set(names))
    wanted = {f"drop column requests.{column}" for column in run.data.requests.columns}
    wanted |= {f"drop samples of {component}" for component in run.data.metrics["component"].unique()}
    wanted |= {f"drop events {event['kind']}" for event in run.data.events}
    wanted |= {f"half requests of phase {phase}" for phase in run.data.requests["phase"].dropna().unique()}
    wanted |= {"relabel series replica-1 up", "nan events.fault_injected.t_s", "inf load-summary.json attempts"}
    assert wanted <= set(names)


def test_the_run_stays_as_it_was(run: Subject) -> None:
    """No mutation changes what the next one starts from, and of that the judge says what it says of the files."""
    before = judging.subject(run.path).data
    for mutation in run.mutations[::7]:
        mutation.apply(run.data)
    assert run.data.same_as(before)
    name = drill.load(run.drill)
    stored = verdicts.as_data(verdicts.judge(Stored(run.path, run.data), name))
    assert stored == verdicts.as_data(verdicts.judge(RunFolder(run.path), name))


def test_the_digest_is_of_the_mutated_attempts(run: Subject) -> None:
    """Whatever a mutation makes of the attempts is behind the digest that the judge compares, in every column."""
    digests = {"": records_kept.summary(Stored(run.path, run.data))}
    of_attempts = [one for one in run.mutations if one.name.startswith("drop column requests.")]
    for mutation in of_attempts:
        changed = mutation.apply(run.data)
        if not changed.same_as(run.data):
            digests[mutation.name] = records_kept.summary(Stored(run.path, changed))
    assert len(digests) > len(of_attempts) / 2
    assert len({found["requests_sha256"] for found in digests.values()}) == len(digests)


def test_what_comes_of_a_mutation(run: Subject) -> None:
    """Caught, alive, without any effect, or no run any more; each is counted as what it is."""
    names = ("drop events fault_proven", "drop column requests.prompt_text", "drop plan.json scenario.phases")
    tally = judging.tally(run, [mutation for mutation in run.mutations if mutation.name in names], processes=2)
    assert [tally.found[name] for name in names] == ["INCONCLUSIVE", UNCHANGED, UNREADABLE]
    assert tally.share_caught == 1
    mixed = Tally({"a": "PASS", "b": "FAIL", "c": UNCHANGED, "d": f"{CRASHED}: why"})
    assert (mixed.survivors, mixed.of(CRASHED)) == (["a"], ["d"])
    assert "66.67%" in mixed.row("x")


def test_only_a_reason_justifies_a_survivor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wildcard, no empty reason, no line twice; writing keeps the reasons that are known."""
    monkeypatch.setattr(survivors, "FOLDER", tmp_path)
    fixture = tmp_path / "runs" / "oom" / "green"
    (tmp_path / "oom-green.txt").write_text("gone\tit was so\nnan x\tnobody reads x\n")
    survivors.write(fixture, ["nan x", "zero y"])
    assert survivors.listed(fixture) == {"nan x": "nobody reads x", "zero y": survivors.MISSING}
    assert survivors.unjustified(survivors.listed(fixture)) == ["zero y"]
    assert survivors.unjustified({"nan *": "all of them", "a": " ", "b": "a reason"}) == ["nan *", "a"]
    for text in ("no tab\n", "a\tx\na\ty\n"):
        (tmp_path / "oom-green.txt").write_text(text)
        with pytest.raises(ValueError, match=r"oom-green\.txt:\d: found"):
            survivors.listed(fixture)


def test_a_kept_run_gets_the_same_verdict(tmp_path: Path) -> None:
    """The compact form loses nothing that is judged, and holds no path of the machine."""
    folder, practised = runs.healthy_run(tmp_path / "run"), drill.load("timeout-spike")
    verdict = verdicts.judge(folder, practised)
    verdicts.write(folder, verdict)
    kept = record.keep(folder.path, tmp_path / "fixtures")
    assert kept == tmp_path / "fixtures" / "timeout-spike" / "green"
    assert verdicts.as_data(verdicts.judge(RunFolder(kept), practised)) == verdicts.as_data(verdict)
    plan = json.loads((folder.path / "plan.json").read_text())
    (folder.path / "plan.json").write_text(json.dumps({**plan, "guard": "/".join(("", "root", "x"))}))
    with pytest.raises(ValueError, match="no fixture may hold"):
        record.keep(folder.path, tmp_path / "fixtures")


def test_what_is_too_large_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture that is there stays, and the others are still recorded."""
    folder = runs.healthy_run(tmp_path / "run")
    verdicts.write(folder, verdicts.judge(folder, drill.load("timeout-spike")))
    kept = record.keep(folder.path, tmp_path / "fixtures")
    before = {path: path.read_bytes() for path in kept.parent.rglob("*") if path.is_file()}
    monkeypatch.setattr(record, "BYTES_MAX", 1000)
    with pytest.raises(ValueError, match="at most 1000 are kept"):
        record.keep(folder.path, tmp_path / "fixtures")
    assert {path: path.read_bytes() for path in kept.parent.rglob("*") if path.is_file()} == before
    assert "NOT RECORDED" in record._kept(folder.path)


def test_what_was_not_judged_is_no_fixture_of_mutations(tmp_path: Path) -> None:
    """An INCONCLUSIVE run is neither green nor red: it is kept apart, for the sample of its report."""
    folder = runs.healthy_run(tmp_path / "run")
    folder.write_json("verdict.json", {"status": "INCONCLUSIVE", "reason": "too few"})
    kept = record.keep(folder.path, tmp_path / "fixtures", tmp_path / "not-judged")
    assert kept == tmp_path / "not-judged" / "timeout-spike"
    assert not (tmp_path / "fixtures").exists()


def test_every_drill_can_be_made_red() -> None:
    """By a defect of its stack, and with a check that this drill has."""
    assert sorted(record.RED) == drill.core()
    for name, (_, check) in record.RED.items():
        assert check in [one.name for one in verdicts.checks(drill.load(name))]
