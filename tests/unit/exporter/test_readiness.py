"""Who is deaf: neither a busy replica, nor one that others have to judge."""

from __future__ import annotations

from stack.exporter.readiness import Readiness


def test_deaf_is_who_misses_deadlines_while_its_counter_stands_still() -> None:
    """Two in a row, not one; and a token is enough to be ready again."""
    readiness = Readiness(fall=2)
    assert readiness.ready("replica-1")
    readiness.timed_out("replica-1", 40.0)
    assert readiness.ready("replica-1")
    readiness.timed_out("replica-1", 40.0)
    assert not readiness.ready("replica-1")
    assert readiness.ready("replica-2"), "of which nothing is known"
    readiness.answered("replica-1")
    assert readiness.ready("replica-1")


def test_who_makes_tokens_for_others_is_not_deaf() -> None:
    """However many deadlines it misses."""
    readiness = Readiness(fall=2)
    for tokens in range(20):
        readiness.timed_out("replica-1", float(tokens))
        assert readiness.ready("replica-1")


def test_who_does_not_even_tell_its_counter_is_left_to_the_health_checks() -> None:
    """A frozen container, a replica that starts: others see those."""
    readiness = Readiness(fall=2)
    for _ in range(5):
        readiness.timed_out("replica-1", None)
    assert readiness.ready("replica-1")
