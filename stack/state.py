"""What this checkout started, one folder per instance: ``.state/<instance>/``.

============== =======================================================================================
stack.json     ``StackState``: what runs, and the instance id that proves it to be ours
instance_id    that id: made once, the same for every stack of the instance, and in the plan of every run on it
keys.json      the gateways' keys (stack/keys.py)
config/        rendered configuration, a folder per component (stack/config.py)
data/          what components write, a folder per component
logs/          ``<component>.log``; kept by ``down`` until the next ``up``
lock           held by whoever brings the instance up or down
============== =======================================================================================

A loopback address or a name proves nothing (another checkout may use the same); the random instance id does: every
process of a stack carries it in its environment as ``DRILLYARD_INSTANCE_ID``, and the instance's folder as
``DRILLYARD_STATE``, which says whose it was when the state file knows nothing of it any more. Paths that were recorded
(``sockets``) are used as they are: where the checkout lies now says nothing about a stack that was started before.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import hashlib
import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.errors import StackError, UsageError
from harness.model.topology import Topology

CHECKOUT = Path(__file__).resolve().parents[1]
STATE_ROOT = CHECKOUT / ".state"
#: The checkout, wherever it is moved to. Open as long as the process lasts.
_OPENED = os.open(CHECKOUT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
#: In an instance's folder: held by whoever brings it up or down.
LOCK = "lock"
SCHEMA_VERSION = 2
#: Of an earlier version, whose mark of the supervisor was a time of the wall clock.
_WALL_CLOCK_VERSION = 1
INSTANCE_VARIABLE = "DRILLYARD_INSTANCE_ID"
FOLDER_VARIABLE = "DRILLYARD_STATE"
COMPONENT_VARIABLE = "DRILLYARD_COMPONENT"


@dataclass(frozen=True)
class ProcessMark:
    """One process of this host. A pid alone may be somebody else's by now; with boot and start it may not.

    Neither is a time of the wall clock, which is set now and then.
    """

    pid: int
    boot_id: str  # /proc/sys/kernel/random/boot_id
    start_ticks: int  # field 22 of /proc/PID/stat: clock ticks since the boot


@dataclass(frozen=True)
class StackState:
    """stack.json. ``fingerprint`` covers the topology and all that was rendered from it."""

    runtime: str
    fingerprint: str
    topology: dict[str, Any]  # ``Topology.as_data``
    instance_id: str  # as ``identity`` gives it
    started: str = dataclasses.field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat())
    supervisor: ProcessMark | None = None  # process runtime only
    sockets: str | None = None  # folder of the unix sockets, process runtime only


def instance_folder(topology: Topology, root: Path | None = None) -> Path:
    """``.state/<instance>``, in ``root`` instead of ``STATE_ROOT`` where one is given; not made here."""
    return (root or STATE_ROOT) / str(topology.instance)


def follow_checkout() -> None:
    """Let ``STATE_ROOT`` lead to where the checkout is now: it may have been renamed since this process began."""
    global STATE_ROOT
    now = Path(os.readlink(f"/proc/self/fd/{_OPENED}"))
    if now != CHECKOUT and now.is_dir():  # one that was deleted is nowhere
        STATE_ROOT = now / ".state"


def socket_folder(topology: Topology) -> Path:
    """Where this instance's unix sockets lie: a short path (their limit is 108 bytes), not made here.

    In /tmp whatever TMPDIR and XDG_RUNTIME_DIR say: those differ between a user's shells, and the latter is removed
    at logout while the stack runs on. The name holds user, checkout and instance; see ``make_private`` for its safety.
    """
    checkout = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    return Path("/tmp") / f"drillyard-{os.getuid()}-{checkout}-{topology.instance}"


def admin_socket(sockets: Path, gateway: str) -> Path:
    """The admin socket of a gateway in the process runtime, in the folder of the stack's sockets."""
    return sockets / f"{gateway}.sock"


def identity(folder: Path) -> str:
    """The random id of the instance in ``folder``; made when there is none yet."""
    if (known := known_identity(folder)) is not None:
        return known
    make_for_user(folder)
    made = folder / f".instance_id.{uuid.uuid4().hex}"
    made.write_text(uuid.uuid4().hex)
    with suppress(FileExistsError):  # another process was first: its id counts
        os.link(made, folder / "instance_id")
    made.unlink()
    return (folder / "instance_id").read_text()


def known_identity(folder: Path) -> str | None:
    """The id of the instance in ``folder``; None where nothing of it was ever started."""
    with suppress(FileNotFoundError):
        return (folder / "instance_id").read_text()
    return None


def make_for_user(folder: Path) -> None:
    """Make an instance's folder, which nobody else can enter; one of an earlier version is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def make_private(folder: Path) -> None:
    """Make ``folder`` with mode 700, or take the one that is there.

    Raises UsageError when it is not a folder of this user that only they can enter: /tmp is everybody's.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{folder}: found owner {found.st_uid} and mode {stat.S_IMODE(found.st_mode):o}, expected a folder of "
            f"user {os.getuid()} with mode 700; remove it and try again"
        )


def load(folder: Path) -> StackState | None:
    """The state in ``folder``, None when nothing was started. UsageError when the file is broken or too new.

    A stack that an earlier version started counts as one without a supervisor: ``up``, ``down`` and the doctor end it
    by its instance id.
    """
    path = folder / "stack.json"
    try:
        raw = json.loads(path.read_text())
        schema, mark = raw.pop("schema"), raw.pop("supervisor")
        if schema == _WALL_CLOCK_VERSION:
            mark = None
        elif schema != SCHEMA_VERSION:
            raise ValueError(f"expected schema {SCHEMA_VERSION}")
        return StackState(**raw, supervisor=ProcessMark(**mark) if mark else None)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a state that this version wrote ({error}). End what runs of instance {folder.name} "
            f"by hand, then remove that file"
        ) from error


def save(folder: Path, state: StackState) -> None:
    """Write stack.json; a reader sees the old one or the whole new one."""
    data = {"schema": SCHEMA_VERSION, **dataclasses.asdict(state)}
    temporary = folder / ".stack.json.tmp"
    with temporary.open("w") as file:
        file.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "stack.json")


def remove(folder: Path) -> None:
    """Forget what was started; harmless when there is nothing."""
    (folder / "stack.json").unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, say: Callable[[str], None], timeout_s: float = 600.0) -> Iterator[None]:
    """Hold the instance's lock; the kernel drops it when its holder dies. StackError after ``timeout_s``."""
    make_for_user(folder)
    path = folder / LOCK
    with path.open("a+") as file:
        deadline, said = time.monotonic() + timeout_s, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                holder = path.read_text().strip() or "unknown"
                if time.monotonic() >= deadline:
                    raise StackError(
                        f"process {holder} has been bringing instance {folder.name} up or down for more than "
                        f"{timeout_s:.0f} s; look at it, end it if it hangs, and try again"
                    ) from error
                if not said:
                    say(f"waiting for process {holder}, which brings instance {folder.name} up or down right now")
                    said = True
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
