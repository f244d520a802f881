"""stack/runtimes/readiness.py: waiting with bounds, and saying for what."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import dns.resolver
import pytest

from harness.model.errors import StackError
from harness.model.topology import Topology
from stack.runtimes import readiness
from stack.runtimes.readiness import Condition, StableAnswer
from stack.stacks.vllm_haproxy import STACK


def _after(tries: int) -> Callable[[], str | None]:
    count = itertools.count(1)
    return lambda: None if next(count) >= tries else "not yet"


def test_all_conditions_are_waited_for() -> None:
    """Each is said when it is met, whatever their order."""
    said: list[str] = []
    readiness._wait_stage(
        (Condition("slow", 5, _after(4)), Condition("quick", 5, _after(1))), said.append, lambda: None
    )
    assert [line.rsplit(" ", 1)[1] for line in said] == ["quick", "slow"]


def test_what_is_late_is_named_with_its_reason() -> None:
    """The bound holds, and the message says what was seen last."""
    with pytest.raises(StackError, match=r"within 0 s: never \(not yet\)"):
        readiness._wait_stage((Condition("never", 0.3, lambda: "not yet"),), lambda line: None, lambda: None)


def test_a_vain_wait_ends_at_once() -> None:
    """What the watch raises ends the wait, long before the time is over."""

    def watch() -> None:
        raise StackError("replica-1 ended")

    with pytest.raises(StackError, match="replica-1 ended"):
        readiness._wait_stage((Condition("never", 300, lambda: "not yet"),), lambda line: None, watch)


class _Record:
    def __init__(self, address: str) -> None:
        self.address = address

    def to_text(self) -> str:
        return self.address


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the name server gives from now on."""
    given: list[str] = []
    monkeypatch.setattr(dns.resolver.Resolver, "resolve", lambda *args, **kwargs: [_Record(a) for a in given])
    return given


def test_an_answer_must_be_the_same_for_long_enough(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed answer starts the time again."""
    now_s = [0.0]
    monkeypatch.setattr(readiness.time, "monotonic", lambda: now_s[0])
    unmet = StableAnswer(Topology(STACK, instance=12), 3.0)
    answers[:] = ["127.0.12.111"]
    assert unmet() is not None
    now_s[0] = 2.9
    answers[:] = ["127.0.12.112"]
    assert unmet() is not None
    now_s[0] = 5.8
    assert unmet() is not None
    now_s[0] = 6.0
    assert unmet() is None


def test_an_answer_that_is_no_link_is_never_ready(answers: list[str]) -> None:
    """A gateway's own address would lead clients past toxiproxy."""
    answers[:] = ["127.0.12.11"]
    why = StableAnswer(Topology(STACK, instance=12), 0.0)()
    assert why is not None
    assert "127.0.12.111" in why
