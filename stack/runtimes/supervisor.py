"""supervisord: keeps the components of the process runtime running after the harness has gone.

It is configured with ``configuration`` and driven over its XML-RPC interface on a unix socket that only this user can
reach. It restarts what exits, whatever the exit code (vLLM's API process exits 0 when its engine died), as Docker's
``restart: always`` does; what was stopped on purpose stays down.
"""

from __future__ import annotations

import http.client
import re
import shlex
import socket
import sys
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.errors import StackError, UsageError
from stack.commands import Command

LOG_BYTES_MAX = 64 * 1024 * 1024  # per component, twice: the current file and the one before
ANSWER_TIMEOUT_S = 5.0
#: Supervisord must not end a component sooner than the caller of ``stop`` wants; the runtime itself keeps the grace.
STOP_WAIT_S = 3600


@dataclass(frozen=True)
class Program:
    """What supervisord says about one component. ``state`` is its word: RUNNING, BACKOFF, …"""

    name: str
    state: str
    pid: int | None
    since_s: float
    exit_status: int
    spawn_error: str


def configuration(commands: Mapping[str, Command], instance_id: str, sockets: Path, logs: Path, state: Path) -> str:
    """supervisord.conf for these components; none is started by itself.

    ``sockets``, ``logs`` and ``state`` are folders; ``write_start`` completes the last. UsageError for a
    value that supervisord's syntax cannot carry.
    """
    socket_path = control_socket(sockets)
    head = f"""[supervisord]
identifier = drillyard-{instance_id}
logfile = {_literal(str(logs / "supervisord.log"))}
logfile_maxbytes = {LOG_BYTES_MAX}
logfile_backups = 1
pidfile = {_literal(str(state / "supervisord.pid"))}
nodaemon = false
umask = 077
strip_ansi = false

[unix_http_server]
file = {_literal(str(socket_path))}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_program(name, command, logs, state) for name, command in commands.items())


def control_socket(sockets: Path) -> Path:
    """The unix socket of supervisord's XML-RPC interface."""
    return sockets / "supervisord.sock"


def arguments(configuration_file: Path) -> list[str]:
    """How supervisord is started; it puts itself into the background and out of the terminal's session."""
    return [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration_file)]


def start_folder(state: Path) -> Path:
    """Where the scripts that start components lie; some hold secrets, so it goes with the stack."""
    return state / "start"


def start_file(state: Path, name: str) -> Path:
    """The script that starts the component ``name``."""
    return start_folder(state) / f"{name}.sh"


def write_start(name: str, command: Command, state: Path) -> None:
    """Write what ``configuration`` refers to, for this user only: tokens and passwords of proxies stand there.

    It is read at each start, so that a replica can be given another model without telling supervisord.
    """
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(command.env.items()))
    argv = ["nice", "-n", str(command.nice), *command.argv] if command.nice else command.argv
    file, temporary = start_file(state, name), start_file(state, name).with_suffix(".tmp")
    file.parent.mkdir(mode=0o700, exist_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(f"{exports}exec {shlex.join(argv)}\n", "utf-8", "surrogateescape")  # PATH may be no text
    temporary.replace(file)


def _program(name: str, command: Command, logs: Path, state: Path) -> str:
    # Not supervisord's own `environment`: that one adds to supervisord's environment and cannot carry quotes. Not
    # arguments of env: everybody may read those. env, sh and nice replace themselves by the component, so its pid is
    # the one supervisord knows.
    argv = ["/usr/bin/env", "-i", "/bin/sh", str(start_file(state, name))]
    return f"""
[program:{name}]
command = {_literal(shlex.join(argv))}
directory = {_literal(str(command.cwd))}
autostart = false
autorestart = true
startsecs = 1
startretries = 10
stopsignal = TERM
stopwaitsecs = {STOP_WAIT_S}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {_literal(str(logs / f"{name}.log"))}
stdout_logfile_maxbytes = {LOG_BYTES_MAX}
stdout_logfile_backups = 1
"""


def _literal(value: str) -> str:
    if re.search(r"\s[;#]|[\r\n]", value):
        raise UsageError(f"supervisord cannot be told {value!r}: a space before ';' or '#' starts a comment there")
    return value.replace("%", "%%")


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.host)
        except OSError:
            self.sock.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket with a deadline; supervisor's own transport would wait for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(str(self._path), timeout=ANSWER_TIMEOUT_S)
        self._connection = host, connection  # what ``close`` closes
        return connection


class Supervisor:
    """The running supervisord behind the socket in ``sockets``; every call raises StackError without an answer."""

    def __init__(self, sockets: Path) -> None:
        self._socket = control_socket(sockets)

    def pid(self) -> int:
        """Supervisord's own process."""
        return int(self._call("getPID"))

    def programs(self) -> dict[str, Program]:
        """All components by name."""
        return {raw["name"]: _as_program(raw) for raw in self._call("getAllProcessInfo")}

    def program(self, name: str) -> Program:
        """One component."""
        return _as_program(self._call("getProcessInfo", name))

    def start(self, name: str) -> bool:
        """Start a component without waiting; False when it is running already.

        One that ends before supervisord has answered (SPAWN_ERROR) was started, too, and is started again.
        """
        return self._told("startProcess", name, {"ALREADY_STARTED": False, "SPAWN_ERROR": True})

    def stop(self, name: str) -> bool:
        """SIGTERM to a component's process group without waiting; False when it was not running at that instant."""
        return self._told("stopProcess", name, {"NOT_RUNNING": False})

    def shutdown(self) -> None:
        """End supervisord; it stops what still runs first."""
        self._call("shutdown")

    def _told(self, method: str, name: str, harmless: Mapping[str, bool]) -> bool:
        """Whether it was done. ``harmless`` are faults that are no refusal, and what each of them means."""
        try:
            self._call(method, name, False)
        except xmlrpc.client.Fault as fault:
            word = fault.faultString.partition(":")[0]
            if word in harmless:
                return harmless[word]
            raise StackError(f"supervisord refused {method} {name}: {fault.faultString}") from fault
        return True

    def _call(self, method: str, *parameters: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(self._socket))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*parameters)
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise StackError(
                f"supervisord does not answer {method} on {self._socket} ({error}); `make down` removes what is left"
            ) from error


def _as_program(raw: dict[str, Any]) -> Program:
    alive = raw["statename"] in ("STARTING", "RUNNING", "STOPPING")
    return Program(
        name=raw["name"],
        state=raw["statename"],
        pid=raw["pid"] or None,
        since_s=max(0.0, float(raw["now"] - (raw["start"] if alive else max(raw["stop"], raw["start"])))),
        exit_status=raw["exitstatus"],
        spawn_error=raw["spawnerr"],
    )


def restarts(log: str) -> dict[str, int]:
    """How often each component was started again by itself, read from supervisord's own log.

    A start that follows an exit is a restart; one that follows a deliberate stop is not.
    """
    counts: dict[str, int] = {}
    exited: set[str] = set()
    for event, name in re.findall(r" (exited|stopped|spawned): '?([\w-]+)", log):
        if event == "spawned":
            counts[name] = counts.get(name, 0) + (name in exited)
        exited = exited | {name} if event == "exited" else exited - {name}
    return counts
