"""A frozen component does nothing at all from the moment on that it is said to be frozen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from harness.model.errors import StackError
from stack.runtimes import family

#: A process of many threads that all want the processor, and its child.
BUSY = """
import os, threading
os.fork()
def spin():
    while True:
        sum(range(1000))
for _ in range(4):
    threading.Thread(target=spin).start()
print("up", flush=True)
"""


@pytest.fixture
def busy() -> Iterator[psutil.Process]:
    """Such a process, its group its own."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(2):
                assert process.stdout.readline()
            yield psutil.Process(process.pid)
        finally:
            for one in family.component_processes(process.pid):
                one.kill()


def test_a_process_is_itself_until_it_is_gone(busy: psutil.Process) -> None:
    """Frozen or not; its child is another."""
    first = family.incarnation(busy.pid)
    busy.suspend()
    assert family.incarnation(busy.pid) == first == f"{busy.pid}@{family.mark(busy.pid).start_ticks}"
    child = busy.children()[0]
    assert family.incarnation(child.pid) not in (None, first)
    child.kill()
    busy.kill()
    busy.wait()
    assert family.incarnation(busy.pid) is None


def test_no_thread_works_on(busy: psutil.Process) -> None:
    """Parent and child, each thread, at once: what still answered would hide that the fault works."""
    assert not family.is_frozen(busy.pid)
    family.freeze(lambda: family.component_processes(busy.pid))
    both = family.component_processes(busy.pid)
    used = [one.cpu_times()[:2] for one in both]
    assert len(both) == 2
    assert all(family.is_frozen(one.pid) for one in both)
    assert [one.cpu_times()[:2] for one in both] == used


def test_thawed_it_works_again(busy: psutil.Process) -> None:
    """What is_frozen says is what the threads do, not what they were sent."""
    family.freeze(lambda: family.component_processes(busy.pid))
    busy.resume()
    assert not family.is_frozen(busy.pid)


def test_it_is_waited_for(busy: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is sent in no time; that it was obeyed takes as long as it takes, but not for ever."""
    looks = iter([False, False])
    monkeypatch.setattr(family, "is_frozen", lambda pid: next(looks, True))
    family.freeze(lambda: [busy])
    assert next(looks, None) is None
    monkeypatch.setattr(family, "is_frozen", lambda pid: False)
    monkeypatch.setattr(family, "_FROZEN_WITHIN_S", 0.1)
    with pytest.raises(StackError, match="have not stopped"):
        family.freeze(lambda: [busy])
