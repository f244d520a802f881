"""Capacity: the search finds what holds, and what was measured is accepted only when it may be."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import capacity
from harness.judge.capacity import Capacity, Measured, Search, Signals, Step
from harness.model.errors import UsageError
from harness.plan import capacity_store
from harness.plan.capacity_store import Entry, Store

WHEN = "2026-11-01T12:00:00+00:00"
TWO = {"replica-1": 100, "replica-2": 100}


def step(concurrency: int = 8, rate: float = 10.0, good: float = 1.0, **more: Any) -> Step:
    """Ten seconds of a step, shared by two replicas."""
    count = round(rate * 10)
    half = {"replica-1": count // 2, "replica-2": count - count // 2}
    facts = {
        "begin_s": 0.0, "end_s": 10.0, "ended": count, "served": count, "good": round(good * count),
        "tokens": 20 * count, "replicas": 2, "by_replica": half, "wrong": 0, "ttft_ms": 60.0, "tps": 100.0,
        "lost": 0.0,
    }  # fmt: skip
    return Step(concurrency, **{**facts, **more})


def searched(stack: Callable[[int], Step], highest: int = 64, first: int = 4, single: Step | None = None) -> list[Step]:
    """The steps that the search takes on a stack that answers so."""
    search, steps = Search(first, highest), []
    if single is not None:
        search.saw(single)
    while (wanted := search.next()) is not None:
        steps.append(stack(wanted))
        search.saw(steps[-1])
        assert len(steps) < 20, "the search does not end"
    return steps


def up_to(limit: int, speed: float = 1.0) -> Callable[[int], Step]:
    """A stack whose rate grows with the users, until ``limit`` of them: more are served too late."""
    return lambda users: step(users, rate=speed * min(users, limit), good=1.0 if users <= limit else 0.4)


def measured(whole: list[Step], without: list[Step] | None = None, **more: Any) -> Measured:
    """A measuring that took these steps."""
    facts = {"single": step(1, rate=2.0), "cache_hit_ratio": 0.0, "measured": WHEN}
    fewer = [step(8, 8.0, replicas=1, by_replica={"replica-1": 80})] if without is None else without
    return Measured(whole, fewer, **{**facts, **more})


def healthy(speed: float = 1.0) -> Capacity:
    """What a sound measuring of a stack of that speed gives."""
    half = step(8, speed * 8, replicas=1, by_replica={"replica-1": 80})
    return capacity.judge(measured(searched(up_to(16, speed)), [half]))


@settings(max_examples=80, deadline=None)
@given(limit=st.integers(1, 80), highest=st.integers(1, 80), first=st.integers(1, 8))
def test_the_search_finds_the_highest_concurrency_that_holds(limit: int, highest: int, first: int) -> None:
    """Whatever the limit: what is found holds, it is within the resolution of the limit, in a dozen steps."""
    steps = searched(up_to(limit), highest, first)
    assert len(steps) <= 13
    assert all(1 <= one.concurrency <= highest for one in steps)
    found = capacity.point(steps)
    real = min(limit, highest)
    assert found is not None
    assert found.concurrency <= real
    assert real - found.concurrency <= max(1.0, capacity.RESOLUTION * (real + 1))


def test_a_stack_that_never_holds_has_no_capacity() -> None:
    """The search ends at one user; nothing is made up, and nothing is accepted."""
    steps = searched(lambda users: step(users, rate=0.5, good=0.0))
    assert steps[-1].concurrency == 1
    found = capacity.judge(measured(steps, single=step(1, rate=0.5, good=0.0)))
    assert found.whole is None
    assert found.per_s(without_replica=False) == 0.0
    assert "no step held" in found.provisional
    assert "not even one stream" in " ".join(found.lines)


def test_one_stream_that_is_slow_is_no_step_that_fails_all() -> None:
    """It counts as a step too: a stack that holds at one stream only has the capacity of that."""
    single = step(1, rate=2.0)
    steps = searched(up_to(0), single=single)
    assert [one.concurrency for one in steps] == [4, 2]
    found = capacity.judge(measured(steps, single=single))
    assert found.whole is not None
    assert (found.whole.concurrency, found.whole.rate_per_s) == (1, 2.0)


@pytest.mark.parametrize("without", [[], [step(8, rate=16.0, good=0.0, replicas=1)]], ids=["not measured", "none held"])
def test_without_a_value_for_one_replica_fewer_nothing_is_accepted(without: list[Any]) -> None:
    """Else every later drill that takes a replica away would be called too small, at 0 requests a second."""
    found = capacity.judge(measured(searched(up_to(16, 2.0)), without))
    assert any("one replica fewer" in doubt for doubt in found.provisional)


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ({"good": 1.0}, True),
        ({"good": 0.95}, True),
        ({"good": 0.94}, False),
        ({"ended": 0, "served": 0, "good": 0}, False),
        ({"concurrency": 101}, False),  # not every user was answered once
    ],
)
def test_what_holds(what: dict[str, Any], holds: bool) -> None:
    """95 % good and within the limits, and everybody was served."""
    ended = {k: v for k, v in what.items() if k != "good" or "ended" in what}
    share = what["good"] if "ended" not in what and "good" in what else 1.0
    one = step(**{"good": share, **{k: v for k, v in ended.items() if k == "concurrency"}})
    one = dataclasses.replace(one, **{k: v for k, v in ended.items() if k != "concurrency"})
    assert one.holds is holds


def test_a_lucky_step_beyond_one_that_fails_does_not_count() -> None:
    """Capacity lies below the first concurrency that does not hold."""
    found = capacity.point([step(4), step(8, good=0.5), step(16)])
    assert found is not None
    assert found.concurrency == 4


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"refused": 30}, "rate limit"),
        ({"signals": Signals(generator_cpu=0.97, engine_waiting=3)}, "generator"),
        ({"signals": Signals(lag_p99_ms=80.0)}, "generator"),
        ({"signals": Signals(kv_usage=0.99, engine_waiting=3)}, "KV cache"),
        ({"signals": Signals(gateway_queue=3, engine_waiting=3)}, "gateway queue"),
        ({"signals": Signals(kv_usage=0.5, engine_waiting=3, busy=1.0)}, "engine queue"),
        ({"signals": Signals(busy=0.98)}, "processor"),
        ({}, "latency: 50 of 100"),
    ],
)
def test_it_says_why_it_ends_there(more: dict[str, Any], why: str) -> None:
    """From what was sampled beside the first step that does not hold."""
    found = capacity.point([step(4), step(8, good=0.5, **more)])
    assert found is not None
    assert found.why.startswith(why)


def test_thousands_of_tokens_are_written_in_full() -> None:
    """No power of ten for people."""
    point = capacity.Point(64, 41.4, 1150.4, 36.7, 46.2, "engine queue")
    assert point.text == "41.4/s (36.7 to 46.2), 1,150 tokens/s, 64 at a time"


def test_it_says_when_nothing_ended_it() -> None:
    """All users were served, or the time was over: neither is a limit of the stack."""
    assert "no more users" in capacity.point([step(4)]).why  # type: ignore[union-attr]
    assert "time" in capacity.point([step(4)], unfinished=True).why  # type: ignore[union-attr]


def test_a_sound_measuring_may_be_accepted() -> None:
    """No doubt about a healthy stack."""
    found = healthy()
    assert found.provisional == ()
    assert found.whole is not None
    assert found.without is not None
    assert (found.whole.rate_per_s, found.per_s(without_replica=True)) == (16.0, 8.0)
    assert found.whole.low < 16.0 < found.whole.high


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"defects": ["no_queue_limit"]}, "defects are switched on: no_queue_limit"),
        ({"stopped": "too small: …"}, "too small"),
    ],
)
def test_a_doubtful_measuring_is_provisional(more: dict[str, Any], doubt: str) -> None:
    """With its reason."""
    found = capacity.judge(measured(searched(up_to(16)), **more))
    assert len(found.provisional) == 1
    assert found.provisional[0].startswith(doubt)


#: A hundred requests: a rate that may be off by 16 %.
HOLDS, FAILS = step(10, 10.0), step(16, 10.0, good=0.4)


@pytest.mark.parametrize(
    ("steps", "doubt"),
    [
        ([step(4), dataclasses.replace(HOLDS, lost=0.15), FAILS], None),
        (
            [step(4), dataclasses.replace(HOLDS, lost=0.17), FAILS],
            "others used up to 17% of the machine at concurrency 10",
        ),
        ([step(4), step(10, rate=1.0, lost=0.25), FAILS], None),
        (
            [step(4), step(10, rate=1.0, lost=0.5), FAILS],  # ten requests
            "others used up to 50% of the machine at concurrency 10",
        ),
        ([step(4), HOLDS, dataclasses.replace(FAILS, lost=0.04)], None),
        (
            [step(4), HOLDS, dataclasses.replace(FAILS, lost=0.06)],
            "others used up to 6% of the machine at concurrency 16",
        ),
        ([step(4, lost=0.9), HOLDS, FAILS], None),  # it held even so, and something above it did
        ([step(4), HOLDS, FAILS, step(32, good=0.1, lost=0.9)], None),  # less has failed undisturbed
        ([step(4), dataclasses.replace(HOLDS, lost=None), FAILS], "the machine was not watched"),
        # A lucky step beyond one that fails is not where the value comes from.
        ([step(4, lost=0.9), FAILS, step(32)], "others used up to 90% of the machine at concurrency 4"),
    ],
)
def test_a_disturbance_counts_where_it_may_have_moved_the_value(steps: list[Step], doubt: str | None) -> None:
    """Within the value's own interval it cannot; a step that failed may have needed very little."""
    found = capacity.judge(measured(steps)).provisional
    assert found == (() if doubt is None else (found[0],))
    assert doubt is None or found[0].startswith(f"interference: {doubt}")


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"by_replica": {"replica-1": 80, "replica-2": 20}}, "replica-2 gave 20 of 100"),
        ({"by_replica": {"replica-1": 100}}, "1 of 2 replicas answered nothing"),
        ({"wrong": 1}, "1 answers were wrong"),
    ],
)
def test_a_sick_replica_gets_no_accepted_capacity(more: dict[str, Any], doubt: str) -> None:
    """One that answers too little, nothing, or wrongly."""
    found = capacity.judge(measured([step(4), step(8, **more), step(16, good=0.1)]))
    assert any(doubt in one for one in found.provisional), found.provisional
    assert Entry().after(found).accepted is None


def test_half_to_twice_the_even_share_is_shared_load() -> None:
    """At the edges; and where too few were served to tell, nothing is held against it."""
    assert step(by_replica={"replica-1": 75, "replica-2": 25}).uneven is None
    assert "replica-2 gave 24 of 100" in str(step(by_replica={"replica-1": 76, "replica-2": 24}).uneven)
    few = step(1, rate=1.0, by_replica={"replica-1": 10})
    assert capacity.judge(measured([few, step(8)])).provisional == ()


def test_where_nobody_knows_the_right_answer_none_is_wrong() -> None:
    """A model of somebody else's answers otherwise than ours: that is no defect."""
    assert capacity.judge(measured([step(8, wrong=None)])).provisional == ()


def test_a_stack_that_became_30_percent_slower_is_a_regression() -> None:
    """Said with both numbers, until it is accepted; load follows the accepted value all the while."""
    entry = Entry().after(healthy())
    later = entry.after(healthy(0.7))
    assert later.accepted == entry.accepted
    assert "with all replicas it carried 16/s" in str(later.regression)
    assert "30% less" in str(later.regression)
    accepted = later.after(healthy(0.7), accept=True)
    assert accepted.accepted == healthy(0.7)
    assert accepted.regression is None


def test_a_replica_that_became_slower_is_a_regression_too() -> None:
    """All replicas together may hide it."""
    before = healthy()
    assert before.without is not None
    slower = dataclasses.replace(before.without, rate_per_s=before.without.rate_per_s * 0.6)
    assert "one replica fewer" in str(capacity.regression(before, dataclasses.replace(before, without=slower)))


def test_noise_within_the_interval_is_no_regression() -> None:
    """Neither a little less nor more."""
    entry = Entry().after(healthy())
    for speed in (0.9, 1.0, 1.4):
        assert entry.after(healthy(speed)).regression is None


def test_a_provisional_measuring_changes_nothing() -> None:
    """It neither becomes what load follows, nor shows a regression, however slow it was."""
    entry = Entry().after(healthy())
    disturbed = capacity.judge(measured([dataclasses.replace(step(8, rate=3.0), lost=0.9)]))
    for accept in (False, True):
        after = entry.after(disturbed, accept)
        assert after.accepted == entry.accepted
        assert after.regression is None


def test_repeats_span_an_interval() -> None:
    """It holds every repeat, is narrower where they agree, and one doubtful repeat makes all doubtful."""
    one = healthy()
    same = capacity.pooled([one, one, one])
    assert one.whole is not None
    assert same.whole is not None
    assert (same.repeats, same.whole.rate_per_s) == (3, one.whole.rate_per_s)
    assert same.whole.high - same.whole.low < one.whole.high - one.whole.low
    apart = capacity.pooled([healthy(0.5), one, healthy(1.5)])
    assert apart.whole is not None
    assert (apart.whole.low, apart.whole.high) == (8.0, 24.0)
    doubtful = dataclasses.replace(one, provisional=("interference: others",))
    assert capacity.pooled([one, doubtful, one]).provisional == ("interference: others",)


def test_a_repeat_without_a_value_leaves_none() -> None:
    """No mean over what was not measured."""
    assert capacity.pooled([healthy(), dataclasses.replace(healthy(), without=None)]).without is None


INTEL = "processor : 0\nmodel name : Some CPU\nflags : avx2 avx512f\n\nprocessor : 1\nmodel name : Some CPU\n"


def test_a_machine_is_known_by_what_shapes_speed(tmp_path: Path) -> None:
    """Processor, flags, cores, runtime, engine: each gives another machine; the order of flags does not."""
    one = capacity_store.machine("process", "vllm", INTEL, 2)
    assert (one.processor, one.cores) == ("Some CPU", 2)
    assert one.key == capacity_store.machine("process", "vllm", INTEL.replace("avx2 avx512f", "avx512f avx2"), 2).key
    others = [
        capacity_store.machine("process", "vllm", INTEL.replace(" avx512f", ""), 2),
        capacity_store.machine("process", "vllm", INTEL.replace("Some", "Other"), 2),
        capacity_store.machine("process", "vllm", INTEL, 1),
        capacity_store.machine("docker", "vllm", INTEL, 2),
        capacity_store.machine("process", "sim", INTEL, 2),
    ]
    assert len({one.key, *(other.key for other in others)}) == 6
    # The machine itself is the same whatever runs on it.
    assert len({one.hardware["key"], *(other.hardware["key"] for other in others)}) == 4
    assert str(one) == f"{one.hardware['name']}, process, vllm"


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    """Accepted and last, to the last digit; nothing where nothing was stored."""
    store = Store(tmp_path, capacity_store.machine("process", "sim", INTEL, 2))
    assert store.load() == Entry()
    entry = Entry(healthy(), capacity.judge(measured([step(8, wrong=2)])))
    store.save(entry)
    assert store.load() == entry
    assert json.loads(store.path.read_text())["machine"]["processor"] == "Some CPU"
    told = "\n".join(capacity_store.lines(store, entry))
    assert "provisional: 2 answers were wrong" in told
    assert "accepted: measured" in told


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("whole", "rate_per_s"), "10"),
        (("whole", "rate_per_s"), None),
        (("whole", "low"), None),
        (("without", "rate_per_s"), float("nan")),
        (("without", "rate_per_s"), float("inf")),
        (("without", "rate_per_s"), -5),
        (("without",), []),
        (("tps",), "x"),
        (("ttft_ms",), -1000.0),
        (("cache_hit_ratio",), "x"),
        ((), []),
        ((), 0),
    ],
)
def test_a_number_that_is_none_is_named(where: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    """A file that somebody has changed by hand is refused as well: load would follow it."""
    store = Store(tmp_path, capacity_store.machine("process", "sim", INTEL, 2))
    store.save(Entry(healthy(), healthy()))
    data = json.loads(store.path.read_text())
    *folders, last = ("accepted", *where)
    inside = data
    for name in folders:
        inside = inside[name]
    inside[last] = value
    store.path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"cannot be read .*remove it"):
        store.load()


def test_a_processor_that_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox without /proc/cpuinfo is a machine with an unknown processor."""

    def hidden(self: Path, errors: str = "") -> str:
        raise PermissionError(str(self))

    monkeypatch.setattr(Path, "read_text", hidden)
    assert capacity_store.machine("process", "sim", cores=2).processor == "unknown processor"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "accepted": {"whole": 3}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """One line that says which file, and that it may be removed."""
    store = Store(tmp_path, capacity_store.machine("process", "sim", INTEL, 2))
    store.path.parent.mkdir()
    store.path.write_text(text)
    with pytest.raises(UsageError, match=r"cannot be read .*remove it"):
        store.load()
