"""stack/state.py: the file that proves what is ours."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.model.errors import StackError, UsageError
from harness.model.topology import Topology
from harness.recover import lock
from stack import state
from stack.stacks.vllm_haproxy import STACK
from stack.state import ProcessMark, StackState


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    """What is saved is what is loaded, the supervisor's mark included."""
    data = Topology(STACK, instance=7, models={"replica-1": "v1"}).as_data()
    saved = StackState("process", "abc", data, "mine", supervisor=ProcessMark(12, "boot", 345), sockets="/tmp/x")
    state.save(tmp_path, saved)
    loaded = state.load(tmp_path)
    assert loaded is not None
    assert (loaded.instance_id, loaded.supervisor, loaded.sockets) == (saved.instance_id, saved.supervisor, "/tmp/x")
    assert loaded.topology["models"] == {"replica-1": "v1"}


def test_nothing_started_is_none(tmp_path: Path) -> None:
    """No file is no stack, and removing nothing is harmless."""
    assert state.load(tmp_path) is None
    state.remove(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99, "supervisor": null}', '{"schema": 1, "supervisor": null}'])
def test_a_broken_state_is_a_usage_error_naming_the_file(tmp_path: Path, text: str) -> None:
    """Nothing is guessed from a file that cannot be understood."""
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(UsageError, match=r"stack\.json"):
        state.load(tmp_path)


def test_the_state_of_an_earlier_version_names_no_supervisor(tmp_path: Path) -> None:
    """Its mark was a time of the wall clock, which is no identity: what it started is ended by its instance id."""
    state.save(tmp_path, StackState("process", "abc", {}, "mine", supervisor=ProcessMark(12, "boot", 345)))
    found = json.loads((tmp_path / "stack.json").read_text())
    found |= {"schema": 1, "supervisor": {"pid": 12, "created_s": 34.5}}
    (tmp_path / "stack.json").write_text(json.dumps(found))
    loaded = state.load(tmp_path)
    assert loaded is not None
    assert (loaded.instance_id, loaded.supervisor) == ("mine", None)


def test_every_instance_has_an_id_of_its_own_for_good(tmp_path: Path) -> None:
    """It is made once, also when two ask for it at the same time, and that of another checkout differs."""
    folder = tmp_path / "0"
    assert state.known_identity(folder) is None
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: state.identity(folder), range(8)))
    assert made == {state.known_identity(folder)}
    assert made != {state.identity(tmp_path / "elsewhere" / "0")}
    assert [path.name for path in folder.iterdir()] == ["instance_id"]


def test_the_lock_lets_one_in_and_names_its_holder(tmp_path: Path) -> None:
    """A second holder waits, says for whom, and gives up after its time."""
    said: list[str] = []
    with (
        state.locked(tmp_path, said.append),
        pytest.raises(StackError, match=str(os.getpid())),
        state.locked(tmp_path, said.append, timeout_s=0.2),
    ):
        pytest.fail("the lock let two in")
    assert str(os.getpid()) in said[0]


def test_the_lock_is_free_after_its_holder(tmp_path: Path) -> None:
    """Who waits gets it when the first one is done."""
    entered = threading.Event()

    def second() -> None:
        with state.locked(tmp_path, lambda line: None, timeout_s=5):
            entered.set()

    with state.locked(tmp_path, lambda line: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(5)
    thread.join()


def test_sockets_fit_into_their_limit() -> None:
    """The longest socket path of the largest instance is below the 108 bytes of sun_path."""
    assert len(str(state.admin_socket(state.socket_folder(Topology(STACK, instance=255)), "gateway-a"))) < 108


@pytest.mark.parametrize(
    "use", [lambda folder: state.locked(folder, print), lambda folder: lock.held(folder / "run.lock", "me", print)]
)
def test_the_folder_of_an_earlier_version_is_closed(
    use: Callable[[Path], AbstractContextManager[object]], tmp_path: Path
) -> None:
    """Others could enter it, and read what has their umask's modes."""
    folder = tmp_path / "0"
    folder.mkdir(mode=0o755)
    with use(folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    """In /tmp somebody else may have made the folder, or a link, first."""
    private, open_to_all, link = tmp_path / "private", tmp_path / "open", tmp_path / "link"
    state.make_private(private)
    state.make_private(private)
    assert private.stat().st_mode & 0o777 == 0o700
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    link.symlink_to(private)
    for folder in (open_to_all, link):
        with pytest.raises(UsageError, match=str(folder)):
            state.make_private(folder)
