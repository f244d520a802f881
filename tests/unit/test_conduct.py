"""How a run ends early: what people can mend is an event; what nobody foresaw is a bug, and said to be one."""

from __future__ import annotations

from harness.conduct import _first_known
from harness.errors import FaultError, StackError


def test_errors_for_people_are_found_inside_task_groups() -> None:
    """A phase runs in a task group, which wraps what its tasks raise."""
    wrapped = ExceptionGroup("tasks", [ExceptionGroup("inner", [StackError("load died")]), FaultError("later")])
    assert str(_first_known(wrapped)) == "load died"


def test_a_bug_beside_an_error_for_people_stays_a_bug() -> None:
    """One unforeseen exception in the group must not be hidden behind an expected one."""
    assert _first_known(ExceptionGroup("tasks", [StackError("load died"), KeyError("x")])) is None
    assert _first_known(KeyError("x")) is None
