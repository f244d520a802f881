"""The process runtime: the real components as processes of this host, on loopback addresses, without root.

supervisord (stack/runtimes/supervisor.py) keeps them running when the harness has gone. What this runtime touches is
what the instance's state file proves to be its own, see stack/state.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from harness.model.errors import AdapterError, StackError, UsageError
from harness.model.topology import Topology
from stack import config, engines, keys, state
from stack.commands import Command, command, data_folder
from stack.runtimes import family, memory, ports, priority, readiness, supervisor
from stack.runtimes.base import ComponentState, ComponentStats, Say
from stack.state import StackState

#: What one of two vLLM replicas with small models was measured to need, with some air.
VLLM_MEMORY_BYTES = 5 * 1024**3 // 2
DOWN_GRACE_S = 10.0
LOG_TAIL_LINES = 15
_DIFFERENCES_TOLD = 3
_SUPERVISOR_TIMEOUT_S = 15.0
_ADMIN_TIMEOUT_S = 2.0

_STATE_WORDS = {
    "RUNNING": "running",
    "STARTING": "starting",
    "STOPPING": "running",
    "STOPPED": "stopped",
    "EXITED": "failed",
    "BACKOFF": "failed",
    "FATAL": "failed",
}


class ProcessRuntime:
    """Runtime (stack/runtimes/base.py) of host processes. ``root`` is the folder of all instances' state."""

    name = "process"

    def __init__(self, topology: Topology, root: Path | None = None) -> None:
        self.topology = replace(topology, runtime=self.name)
        self.folder = state.instance_folder(self.topology, root)
        self.config_folder = self.folder / "config"

    # Bringing the whole stack up and down

    def preflight(self) -> None:
        """Raise MissingTool, PortTaken or UsageError for what would make ``up`` fail."""
        self._commands()
        running = self._state()
        if running is None or not family.of_instance(running.instance_id):
            self._require_room()

    def up(self, say: Say) -> bool:
        """Start what is not running; wait until all is ready. True if the whole stack was warm already."""
        commands = self._commands()
        with state.locked(self.folder, say):
            found = self._state()
            fingerprint = self._render(commands)
            if found is not None and found.fingerprint != fingerprint:
                say(
                    f"instance {self.topology.instance} runs something else ({self._difference(found)}): taking it down"
                )
                self._take_down(found, say)
                found = None
            elif found is not None and not self._supervised(found):
                say("the stack's supervisor is gone: taking down what is left of it")
                self._take_down(found, say)
                found = None
            if found is not None:
                return self._complete(found, say)
            self._require_room()
            self._render(commands)
            self._launch(commands, fingerprint, say)
            return False

    def down(self, say: Say) -> None:
        """Stop everything that this checkout started for this instance and remove its state; logs stay."""
        if not self.folder.exists():
            return say(f"instance {self.topology.instance}: nothing runs")
        with state.locked(self.folder, say):
            found = self._state()
            if found is None:
                return say(f"instance {self.topology.instance}: nothing runs")
            self._take_down(found, say)
        return None

    # One component

    def start(self, name: str) -> None:
        """Start one component that does not run, whatever became of it; does not wait for readiness."""
        control = self._supervisor()
        if control.program(name).state in ("STOPPING", "BACKOFF"):  # supervisord says it is started and does nothing
            self.stop(name, grace_s=0)
        control.start(name)

    def serve(self, name: str, model: str | None) -> None:
        """From its next start on the replica serves ``model``; None: what the topology says."""
        found = self._state()
        if found is None:
            raise StackError(f"no stack of instance {self.topology.instance} runs; `make up` starts it")
        topology = engines.serving(self.topology, name, model)
        process = command(topology, topology.component(name), self.config_folder, self._engine_token())
        supervisor.write_start(name, self._owned(found, process), self.folder)

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM, SIGKILL after ``grace_s``; the component stays down until ``start``."""
        control = self._supervisor()
        self.unpause(name)  # a frozen process could not obey
        pid = control.program(name).pid
        processes = family.component_processes(pid) if pid else []
        deadline = time.monotonic() + _SUPERVISOR_TIMEOUT_S
        while not control.stop(name):  # it may just have exited: then it is stopped after its restart
            if control.program(name).state in ("STOPPING", "STOPPED", "FATAL"):
                break
            if time.monotonic() > deadline:
                raise StackError(f"{name} could not be stopped: supervisord says {control.program(name).state}")
            time.sleep(0.05)
        now = control.program(name).pid
        if now is not None and now != pid:  # started again after a crash, just before supervisord was told to stop it
            processes += family.component_processes(now)
        left = family.wait_gone(processes, grace_s)
        family.signal_all(left, signal.SIGKILL)
        if still := family.wait_gone(left, 5.0):
            raise StackError(f"{name} could not be stopped: processes {[p.pid for p in still]} survived SIGKILL")
        self._await_state(control, name, "STOPPED", "FATAL")

    def kill(self, name: str) -> None:
        """SIGKILL all processes of the component at once; supervisord starts it again as after a crash."""
        processes = family.component_processes(self._pid(name))
        family.signal_all(processes, signal.SIGKILL)
        if still := family.wait_gone(processes, 5.0):
            raise StackError(f"{name} could not be killed: processes {[p.pid for p in still]} survived SIGKILL")

    def pause(self, name: str) -> None:
        """SIGSTOP all processes of the component."""
        pid = self._pid(name)
        family.freeze(lambda: family.component_processes(pid))

    def unpause(self, name: str) -> None:
        """SIGCONT all processes of the component; harmless when it is not paused or not running."""
        pid = self._supervisor().program(name).pid
        if pid is not None:
            family.signal_all(family.component_processes(pid), signal.SIGCONT)

    def pause_engine(self, name: str) -> None:
        """SIGSTOP the engine core and what it has started."""
        pid = self._pid(name)
        if not self._engine_cores(pid):
            raise StackError(f"{name} has no process of an engine core beside its API server")
        family.freeze(lambda: self._engine_cores(pid))

    def unpause_engine(self, name: str) -> None:
        """SIGCONT the engine core; harmless when it is not frozen or not running."""
        pid = self._supervisor().program(name).pid
        if pid is not None:
            family.signal_all(self._engine_cores(pid), signal.SIGCONT)

    def _engine_cores(self, pid: int) -> list[psutil.Process]:
        found = {}
        for process in family.component_processes(pid):
            with suppress(psutil.Error):
                if family.is_engine_core(" ".join(process.cmdline())):
                    found.update({below.pid: below for below in family.tree(process.pid)})
        return list(found.values())

    def limit_memory(self, name: str, limit_bytes: int | None) -> None:
        """Limit what the component asks for from now on, in a cgroup of its own; None removes that."""
        group = self._memory_group(name)
        if limit_bytes is None:
            group.release()
        else:
            pid = self._pid(name)
            group.limit(limit_bytes, lambda: [process.pid for process in family.component_processes(pid)])

    def memory_limit(self, name: str) -> int | None:
        """The limit that is in force for the component now; None without one, and when it was started again since."""
        group, pid = self._memory_group(name), self._supervisor().program(name).pid
        return group.in_force() if pid is not None and group.holds(pid) else None

    # Looking

    def logs(self, name: str) -> Path:
        """The component's log file."""
        return self.folder / "logs" / f"{self.topology.component(name).name}.log"

    def stats(self, name: str) -> ComponentStats:
        """Memory and CPU of the component's process tree; the kernel counts the rest while its memory is limited."""
        found = self._state()
        pid = self._supervisor(found).program(name).pid
        return self._stats(name, found, family.used_by_trees([pid] if pid else []).get(pid or 0))

    def _stats(self, name: str, found: StackState | None, used: family.Used | None) -> ComponentStats:
        group = self._memory_group(name, found)
        counted = group.counts()
        return ComponentStats(
            None if used is None else used.rss_bytes,
            None if used is None else used.cpu_s,
            counted.oom_kills,
            group.charged_bytes(),
            counted.limit_hits,
        )

    def states(self) -> tuple[ComponentState, ...]:
        """All components of the topology, in its order; ``missing`` where no stack runs."""
        found = self._state()
        if found is None or not self._supervised(found):
            return tuple(ComponentState(c.name, "missing", None, None, 0) for c in self.topology.components)
        programs = self._supervisor(found).programs()
        log = self.folder / "logs" / "supervisord.log"
        restarts = supervisor.restarts(log.read_text() if log.exists() else "")
        return tuple(_as_state(programs[c.name], restarts.get(c.name, 0)) for c in self.topology.components)

    def usage(self) -> tuple[tuple[ComponentState, ComponentStats], ...]:
        """All components with what they use: one question to supervisord, one pass over the process table."""
        found = self._state()
        self._supervisor(found)  # StackError where nothing runs: nobody has restarted 0 times
        states = self.states()
        used = family.used_by_trees([one.pid for one in states if one.pid is not None])
        return tuple((one, self._stats(one.name, found, used.get(one.pid or 0))) for one in states)

    def gateway_command(self, gateway: str, command: str) -> str:
        """Send one command to a gateway's admin socket; its answer, stripped. AdapterError when it does not answer."""
        found = self._state()
        if found is None or found.sockets is None:
            raise AdapterError(f"{gateway} does not run: no stack of instance {self.topology.instance} does")
        path = state.admin_socket(Path(found.sockets), gateway)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ADMIN_TIMEOUT_S)
                connection.connect(str(path))
                connection.sendall(command.encode() + b"\n")
                return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()
        except OSError as error:
            raise AdapterError(f"{gateway} does not answer {command!r} on its admin socket {path}: {error}") from error

    # Inside

    def _state(self) -> StackState | None:
        found = state.load(self.folder)
        if found is not None and found.runtime != self.name:
            raise UsageError(
                f"instance {self.topology.instance} runs in the {found.runtime} runtime: "
                f"`make down INSTANCE={self.topology.instance}` first, or choose another INSTANCE"
            )
        return found

    def _supervised(self, found: StackState) -> bool:
        return found.supervisor is not None and family.marked(found.supervisor) is not None

    def _supervisor(self, found: StackState | None = None) -> supervisor.Supervisor:
        found = found or self._state()
        if found is None or found.sockets is None or not self._supervised(found):
            raise StackError(f"no stack of instance {self.topology.instance} runs; `make up` starts it")
        return supervisor.Supervisor(Path(found.sockets))

    def _memory_group(self, name: str, found: StackState | None = None) -> memory.MemoryGroup:
        found = found or self._state()
        if found is None or found.supervisor is None:
            raise StackError(f"no stack of instance {self.topology.instance} runs; `make up` starts it")
        return memory.MemoryGroup(found.supervisor.pid, memory.group_name(found.instance_id, name))

    def _pid(self, name: str) -> int:
        program = self._supervisor().program(name)
        if program.pid is None:
            raise StackError(f"{name} does not run (supervisord says {program.state})")
        return program.pid

    def _commands(self) -> dict[str, Command]:
        token = self._engine_token()
        return {c.name: command(self.topology, c, self.config_folder, token) for c in self.topology.components}

    def _engine_token(self) -> str:
        return keys.engine_token(keys.load_or_create(self.folder).operator)

    def _render(self, commands: Mapping[str, Command]) -> str:
        """Write all configuration; returns a hash of everything that shapes what runs."""
        state.make_for_user(self.folder)
        config.render(self.topology, keys.load_or_create(self.folder), self.config_folder)
        digest = hashlib.sha256(self.topology.fingerprint().encode())
        for name, process in sorted(commands.items()):
            environment = {k: v for k, v in process.env.items() if k not in process.incidental}
            digest.update(json.dumps([name, process.argv, environment, process.nice], sort_keys=True).encode())
        files = [path for path in sorted(self.config_folder.rglob("*")) if path.is_file()]
        ours = [
            path
            for name in ("simulator", "middleware", "exporter")
            for path in (state.CHECKOUT / "stack" / name).glob("*.py")
        ]
        for path in files + sorted(ours):
            digest.update(f"{path}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def _difference(self, found: StackState) -> str:
        wanted = json.loads(json.dumps(self.topology.as_data()))
        changed = list(_changed("", found.topology, wanted))
        told = [f"{key}: {_short(before)} → {_short(now)}" for key, before, now in changed[:_DIFFERENCES_TOLD]]
        more = [f"and {len(changed) - len(told)} more"] if len(changed) > len(told) else []
        return ", ".join([*told, *more]) or "its configuration or a program has changed since it was started"

    def _require_room(self) -> None:
        ports.require_free(self.topology)
        available, replicas = psutil.virtual_memory().available, len(self.topology.replicas)
        if self.topology.engine == "vllm" and available < (needed := replicas * VLLM_MEMORY_BYTES):
            raise UsageError(
                f"{replicas} vLLM replicas need about {needed / 1e9:.1f} GB of memory, "
                f"{available / 1e9:.1f} GB are free: end something else, or use ENGINE=sim"
            )

    def _launch(self, commands: Mapping[str, Command], fingerprint: str, say: Say) -> None:
        """Start supervisord and everything below it; when that fails, nothing is left running."""
        say(f"starting the stack as processes on {self.topology.host(0)}/24, engine {self.topology.engine}")
        found = StackState(
            self.name,
            fingerprint,
            self.topology.as_data(),
            state.identity(self.folder),
            sockets=str(state.socket_folder(self.topology)),
        )
        state.save(self.folder, found)  # before anything runs: from here on it can be proven ours
        try:
            found = replace(found, supervisor=self._start_supervisor(found, commands))
            state.save(self.folder, found)
            self._start_components(found, say)
        except BaseException:
            say(f"the stack did not come up: taking it down, its logs stay in {self.folder / 'logs'}")
            self._take_down(found, say)
            raise

    def _start_supervisor(self, found: StackState, commands: Mapping[str, Command]) -> state.ProcessMark:
        sockets, logs = state.socket_folder(self.topology), self.folder / "logs"
        state.make_private(sockets)
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        for name in commands:
            data_folder(self.config_folder, name).mkdir(parents=True, exist_ok=True)
        for name, process in commands.items():
            supervisor.write_start(name, self._owned(found, process), self.folder)
        path = self.folder / "supervisord.conf"
        path.touch(mode=0o600)
        path.write_text(supervisor.configuration(commands, found.instance_id, sockets, logs, self.folder))
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **self._identity(found)}
        started = subprocess.run(
            supervisor.arguments(path), env=environment, capture_output=True, text=True, timeout=_SUPERVISOR_TIMEOUT_S
        )
        if started.returncode != 0:
            raise StackError(f"supervisord did not start: {(started.stderr or started.stdout).strip()}")
        mark = self._await_supervisor(supervisor.Supervisor(sockets))
        priority.set_session(mark.pid, priority.STACK)
        return mark

    def _identity(self, found: StackState) -> dict[str, str]:
        return {state.INSTANCE_VARIABLE: found.instance_id, state.FOLDER_VARIABLE: str(self.folder)}

    def _owned(self, found: StackState, process: Command) -> Command:
        return replace(process, env={**process.env, **self._identity(found)})

    def _await_supervisor(self, control: supervisor.Supervisor) -> state.ProcessMark:
        deadline = time.monotonic() + _SUPERVISOR_TIMEOUT_S
        while True:
            try:
                return family.mark(control.pid())
            except StackError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _complete(self, found: StackState, say: Say) -> bool:
        """Bring a running stack that may lack something to readiness; True when it lacked nothing."""
        idle = [s for s in self.states() if s.state not in ("running", "starting")]
        if not idle and not (reasons := readiness.unready(self.topology)):
            return True
        words = [f"{s.name} is {s.state}" for s in idle] or [f"{what}: {why}" for what, why in reasons.items()]
        say("the stack runs but is not ready: " + "; ".join(words))
        for component in idle:
            if component.state == "paused":
                self.unpause(component.name)
        self._start_components(found, say)
        return False

    def _start_components(self, found: StackState, say: Say) -> None:
        control = self._supervisor(found)
        for component in self.topology.components:  # dependencies come first
            if control.start(component.name):
                say(f"started {component.name} on {component.address}")
        readiness.wait_ready(self.topology, say, self._watch(control))

    def _watch(self, control: supervisor.Supervisor) -> Callable[[], None]:
        """A function that raises StackError with the end of its log as soon as a component has died."""
        first_pids: dict[str, int] = {}

        def watch() -> None:
            for name, program in control.programs().items():
                first = first_pids.setdefault(name, program.pid) if program.pid else first_pids.get(name)
                if program.state in ("BACKOFF", "FATAL", "EXITED") or (program.pid and program.pid != first):
                    raise StackError(self._obituary(program))

        return watch

    def _obituary(self, program: supervisor.Program) -> str:
        path = self.logs(program.name)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        why = program.spawn_error or f"exit status {program.exit_status}"
        return f"{program.name} ended while it was starting ({why}). The end of {path}:\n" + "\n".join(lines)

    def _await_state(self, control: supervisor.Supervisor, name: str, *wanted: str) -> None:
        deadline = time.monotonic() + _SUPERVISOR_TIMEOUT_S
        while (found := control.program(name).state) not in wanted:
            if time.monotonic() > deadline:
                raise StackError(f"{name} is {found} for supervisord, expected {' or '.join(wanted)}")
            time.sleep(0.05)

    def _take_down(self, found: StackState, say: Say) -> None:
        """End every process of the instance, the supervisor's restarts first; then remove its files."""
        say(f"taking instance {self.topology.instance} down")
        overseer = family.marked(found.supervisor) if found.supervisor else None
        processes = family.of_instance(found.instance_id)
        if overseer is not None and found.sockets is not None:
            try:
                supervisor.Supervisor(Path(found.sockets)).shutdown()
            except StackError as error:
                say(f"{error}; ending it by force")
                family.signal_all([overseer], signal.SIGKILL)
        family.end([p for p in processes if overseer is None or p.pid != overseer.pid], DOWN_GRACE_S)
        left = family.end(family.of_instance(found.instance_id), 5.0)
        if left:
            raise StackError(f"processes {[p.pid for p in left]} of instance {self.topology.instance} survived SIGKILL")
        memory.remove_all(found.instance_id)
        if found.sockets is not None:
            shutil.rmtree(found.sockets, ignore_errors=True)
        for folder in (self.folder / "data", self.config_folder, supervisor.start_folder(self.folder)):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("supervisord.conf", "supervisord.pid"):
            (self.folder / name).unlink(missing_ok=True)
        state.remove(self.folder)


def _changed(path: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where the data of two topologies differ: the name of the part, what it was and what it is now."""
    if not isinstance(before, dict) or not isinstance(now, dict) or "components" in now:
        if before != now:
            yield path, before, now
        return
    for key in now:
        yield from _changed(f"{path}.{key}" if path else key, before.get(key), now[key])


def _short(value: Any) -> str:
    """A part of a topology's data; of a stack the names of its components."""
    if isinstance(value, dict) and "components" in value:
        return " ".join(one["name"] for one in value["components"])
    return str(value)


def _as_state(program: supervisor.Program, restarts: int) -> ComponentState:
    word, pid = _STATE_WORDS.get(program.state, "failed"), program.pid
    if pid is None:
        return ComponentState(program.name, word, None, program.since_s, restarts)
    incarnation = family.incarnation(pid)
    if family.is_stopped(pid):
        return ComponentState(program.name, "paused", pid, None, restarts, incarnation)
    return ComponentState(program.name, word, pid, program.since_s, restarts, incarnation)
