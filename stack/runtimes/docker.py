"""The docker runtime: the stack as containers, described by stack/compose.yaml, driven through the Docker SDK.

Compose (`docker compose` or docker-compose) brings the containers up and down; everything else goes through the SDK.
What this runtime touches carries the instance id of its state file as a label, see stack/state.py; the project name
holds a hash of the checkout, so that another checkout's containers are never meant.

Environment: ``VLLM_IMAGE`` another image for the replicas, ``GPU=1`` the official GPU image; stack/runtimes/images.py
says what concerns building.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import requests
import yaml
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from harness.model.errors import AdapterError, RuntimeUnavailable, StackError, UsageError
from harness.model.topology import Topology
from stack import engines, keys, models, state
from stack.runtimes import cgroup, configure, family, images, ports, priority, readiness
from stack.runtimes.base import ComponentState, ComponentStats, Say
from stack.state import CHECKOUT, StackState
from stack.tools import processor

COMPOSE_FILE = CHECKOUT / "stack" / "compose.yaml"
IMAGE_FILE = CHECKOUT / "stack" / "compose.image.yaml"
GPU_FILE = CHECKOUT / "stack" / "compose.gpu.yaml"
INSTANCE_LABEL = "drillyard.instance_id"
SERVICE_LABEL = "com.docker.compose.service"
COMPOSE_TIMEOUT_S = 240
#: Docker sometimes loses what a process in a container has written, all of it or the beginning, and says that it went
#: well (moby issue 27289): an answer without this line before and after it is not whole.
_EXEC_EDGE = "-- answer --"
_EXEC_TRIES = 4
KILL_TIMEOUT_S = 10.0
_WATCH_EVERY_S = 1.0
_ADMIN_SOCKET = "/run/drillyard/admin.sock"

_STATE_WORDS = {"running": "running", "paused": "paused", "restarting": "failed", "dead": "failed"}


class DockerRuntime:
    """Runtime (stack/runtimes/base.py) of containers. All calls block; RuntimeUnavailable where no daemon answers."""

    name = "docker"

    def __init__(self, topology: Topology) -> None:
        self.topology = replace(topology, runtime="docker")
        self.folder = state.instance_folder(self.topology)
        checkout = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]
        self.project = f"drillyard-{self.topology.instance}-{checkout}"
        self._ids: dict[str, str] = {}

    # Bringing the whole stack up and down

    def preflight(self) -> None:
        """Raise RuntimeUnavailable, MissingTool, PortTaken or UsageError for what would make ``up`` fail."""
        processor.require(self.name, self.topology.engine)
        self._check_stack()
        compose_program()
        with _daemon("answer") as client:
            client.ping()
            self._check_models()
            if not self._containers(client):
                ports.require_free(self.topology)

    def up(self, say: Say) -> bool:
        """Start what is not running; wait until all is ready. True if the whole stack was warm already."""
        processor.require(self.name, self.topology.engine)  # before the image is built
        self._check_stack()
        program = compose_program()
        self._check_models()
        with state.locked(self.folder, say), _daemon("come up") as client:
            self._require_own(client)
            found, wanted = self._state(), images.ensure(client, self._targets(), say)
            fingerprint = self._fingerprint(wanted)
            if found is not None and found.fingerprint == fingerprint:
                if self._is_warm(client):
                    return True
            elif found is not None:
                say(f"instance {self.topology.instance} runs something else: taking it down first")
                self._take_down(program, say)
                found = None
            if found is None:
                ports.require_free(self.topology)
                topology, id = self.topology.as_data(), state.identity(self.folder)
                found = StackState(self.name, fingerprint, topology, id)
                state.save(self.folder, found)  # before anything runs: from here on it can be proven ours
            self._launch(program, client, found, wanted, say)
            return False

    def down(self, say: Say) -> None:
        """Stop everything that this checkout started for this instance and remove its state."""
        program = compose_program()
        with state.locked(self.folder, say), _daemon("go down") as client:
            self._require_own(client)
            if self._state() is None:
                say(f"instance {self.topology.instance}: nothing runs")
                return
            self._take_down(program, say)

    # One component

    def start(self, name: str) -> None:
        """Start one stopped component; does not wait for readiness."""
        with self._container(name) as container:
            container.start()

    def serve(self, name: str, model: str | None) -> None:
        """From its next start on the replica serves ``model``; None: what the topology says."""
        topology = engines.serving(self.topology, name, model)
        if foreign := engines.mounts(topology).keys() - engines.mounts(self.topology).keys() - _own_models():
            raise UsageError(
                f"{', '.join(foreign)} is not mounted in the containers: only models of ours can be swapped"
            )
        script = self.folder / "config" / name / "start.sh"
        token = keys.engine_token(keys.load_or_create(self.folder).operator)
        script.write_text(configure.start_script(topology, name, token))

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM, SIGKILL after ``grace_s``; the component stays down until ``start``."""
        self.unpause(name)  # a frozen process could not obey
        with self._container(name) as container:
            container.stop(timeout=math.ceil(grace_s))

    def kill(self, name: str) -> None:
        """SIGKILL the container's first process from outside, and with it all others; Docker starts it again.

        Not `docker kill`: that counts as a stop by hand and switches the restart policy off.
        """
        with self._container(name) as container:
            now = container.attrs["State"]
            pid = int(now["Pid"])
            if not pid:
                raise StackError(f"{name} does not run (Docker says {now['Status']})")
            before = _incarnation(container.attrs)
            self._signal(container, [pid], signal.SIGKILL)
            if now["Paused"]:
                container.unpause()  # a frozen process dies when it is thawed
            deadline = time.monotonic() + KILL_TIMEOUT_S
            while _incarnation(container.attrs) == before:
                if time.monotonic() > deadline:
                    raise StackError(f"{name}: process {pid} survived SIGKILL for {KILL_TIMEOUT_S:.0f} s")
                time.sleep(0.05)
                container.reload()

    def pause(self, name: str) -> None:
        """Freeze all processes of the component."""
        with self._container(name) as container:
            container.pause()

    def unpause(self, name: str) -> None:
        """Undo ``pause``; harmless when not paused."""
        with self._container(name) as container:
            if container.attrs["State"]["Paused"]:
                container.unpause()

    def pause_engine(self, name: str) -> None:
        """SIGSTOP the container's engine core, by its pid on the host."""
        with self._container(name) as container:
            pids = _engine_pids(container)
            if not pids:
                raise StackError(f"{name} has no process of an engine core beside its API server")
            self._signal(container, pids, signal.SIGSTOP)

    def unpause_engine(self, name: str) -> None:
        """SIGCONT the engine core; harmless when it is not frozen or not running."""
        with self._container(name) as container:
            if container.attrs["State"]["Status"] == "running" and (pids := _engine_pids(container)):
                self._signal(container, pids, signal.SIGCONT)

    def limit_memory(self, name: str, limit_bytes: int | None) -> None:
        """Limit the container's memory, without swap; None lifts the limit."""
        with self._container(name) as container, _daemon(f"limit the memory of {name}") as client:
            # Docker knows no way back to «no limit»: as much as the machine has comes to the same.
            wanted = int(client.info()["MemTotal"]) if limit_bytes is None else limit_bytes
            container.update(mem_limit=wanted, memswap_limit=wanted)

    def memory_limit(self, name: str) -> int | None:
        """The container's memory limit; None without one."""
        with self._container(name) as container, _daemon("tell how much memory there is") as client:
            limit = int(container.attrs["HostConfig"]["Memory"])
            return limit if 0 < limit < int(client.info()["MemTotal"]) else None

    # Looking

    def logs(self, name: str) -> str:
        """The component's log since it was created, all its restarts included."""
        with self._container(name) as container:
            return _text(container.logs())

    def stats(self, name: str) -> ComponentStats:
        """Memory and CPU of the container, OOM kills of its memory cgroup where the host lets us read them."""
        with _daemon(f"tell what {name} uses") as client:
            identity = self._identity(client, name)
            raw = cgroup.statistics(identity)
            try:
                raw = raw or client.api.stats(identity, stream=False, one_shot=True)
            except NotFound:  # it was made anew since we last looked
                self._ids.clear()
                identity = self._identity(client, name)
                raw = client.api.stats(identity, stream=False, one_shot=True)
        return cgroup.stats(raw, cgroup.of_container(identity))

    def states(self) -> tuple[ComponentState, ...]:
        """All components of the topology, in its order; ``missing`` where no stack runs."""
        with _daemon("list its containers") as client:
            found = self._containers(client)
            return tuple(
                _component_state(c.name, found[c.name].attrs)
                if c.name in found
                else ComponentState(c.name, "missing", None, None, 0)
                for c in self.topology.components
            )

    def usage(self) -> tuple[tuple[ComponentState, ComponentStats], ...]:
        """All components with what they use."""
        return tuple((component, self.stats(component.name)) for component in self.states())

    def gateway_command(self, gateway: str, command: str) -> str:
        """Send one command to a gateway's admin socket; its answer, stripped. AdapterError when it does not answer.

        It may be sent more than once: all that is said there asks, or sets what may be set again.
        """
        send = f'said=$(printf "%s\\n" "$1" | socat -t 2 -T 2 - UNIX-CONNECT:{_ADMIN_SOCKET} 2>&1); code=$?'
        tell = 'printf "%s\\n%s\\n%s\\n" "$2" "$said" "$2"; exit $code'
        with self._container(gateway) as container:
            for _ in range(_EXEC_TRIES):
                code, output = container.exec_run(["sh", "-c", f"{send}; {tell}", "sh", command, _EXEC_EDGE])
                parts = [part.strip() for part in _text(output).split(_EXEC_EDGE)]
                if code != 0:
                    why = "".join(parts) or f"exit {code}"
                    raise AdapterError(f"{gateway} does not answer {command!r} on its admin socket: {why}")
                if len(parts) == 3:
                    return parts[1]
        raise AdapterError(f"Docker lost what {gateway} answered to {command!r}, {_EXEC_TRIES} times")

    # Inside

    def _state(self) -> StackState | None:
        found = state.load(self.folder)
        if found is not None and found.runtime != self.name:
            raise UsageError(
                f"instance {self.topology.instance} runs in the {found.runtime} runtime: "
                f"`make down INSTANCE={self.topology.instance}` first, or choose another INSTANCE"
            )
        return found

    def _containers(self, client: docker.DockerClient) -> dict[str, Container]:
        """Component -> container, of those that carry this stack's instance id."""
        found = self._state()
        if found is None:
            return {}
        label = f"{INSTANCE_LABEL}={found.instance_id}"
        listed = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return {container.labels.get(SERVICE_LABEL, ""): container for container in listed}

    def _require_own(self, client: docker.DockerClient) -> None:
        """UsageError when containers use our project's name without our instance id: Compose would remove them."""
        label = f"com.docker.compose.project={self.project}"
        own = {container.id for container in self._containers(client).values()}
        listed = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        foreign = sorted(str(container.name) for container in listed if container.id not in own)
        if foreign:
            raise UsageError(
                f"found containers of the project {self.project} that {self.folder / 'stack.json'} does not prove to "
                f"be started by this checkout: {', '.join(foreign)}. A label proves nothing; if they are yours, "
                f"`docker rm --force {' '.join(foreign)}`, then try again"
            )

    @contextmanager
    def _container(self, name: str) -> Iterator[Container]:
        self.topology.component(name)  # KeyError for a name that is none: a mistake of ours
        with _daemon(f"obey for {name}") as client:
            container = self._containers(client).get(name)
            if container is None:
                raise StackError(
                    f"no container of {name} in instance {self.topology.instance}; `make up RUNTIME=docker` makes it"
                )
            yield container

    def _identity(self, client: docker.DockerClient, name: str) -> str:
        if name not in self._ids:
            self._ids = {service: str(container.id) for service, container in self._containers(client).items()}
        if name not in self._ids:
            raise StackError(f"no container of {name} in instance {self.topology.instance}")
        return self._ids[name]

    def _targets(self) -> list[str]:
        replica = [] if self._foreign_image() else [self.topology.engine]
        return ["gateway", "dns", "monitoring", "toxiproxy", "drillyard", *replica]

    def _foreign_image(self) -> bool:
        return self.topology.engine == "vllm" and processor.foreign_image(os.environ)

    def _check_stack(self) -> None:
        """UsageError for a stack that compose.yaml does not describe."""
        services = yaml.safe_load(COMPOSE_FILE.read_text())["services"].keys() - {"config"}
        if differing := sorted(services ^ {component.name for component in self.topology.components}):
            raise UsageError(
                f"containers are those of stack/compose.yaml, and this stack differs in {', '.join(differing)}: "
                "RUNTIME=process runs it"
            )

    def _check_models(self) -> None:
        """MissingTool for a model that is not trained yet, before anything is built or started."""
        engines.mounts(self.topology)

    def _fingerprint(self, wanted: Mapping[str, str]) -> str:
        """Hash of everything that shapes what runs: topology, images (with the code in them), models, Compose files."""
        digest = hashlib.sha256(self.topology.fingerprint().encode())
        served = {name: engines.served_version(self.topology, name) for name in self.topology.replicas}
        chosen = [wanted, served, os.environ.get("VLLM_IMAGE"), processor.gpu(os.environ)]
        digest.update(json.dumps(chosen, sort_keys=True).encode())
        digest.update(json.dumps(self._additions(), sort_keys=True).encode())
        for path in (COMPOSE_FILE, IMAGE_FILE, GPU_FILE):
            digest.update(path.read_bytes())
        key_file = keys.path(self.folder)
        digest.update(key_file.read_bytes() if key_file.exists() else b"none")
        return digest.hexdigest()[:16]

    def _additions(self) -> dict[str, Any]:
        """What this machine adds to compose.yaml, as a Compose document: cores, foreign models, a foreign key file."""
        mounts = engines.mounts(self.topology)
        foreign = {host: inside for host, inside in mounts.items() if host not in _own_models()}
        volumes = {
            "config": [f"{host}:{host}:ro" for host in foreign],
            **{name: [f"{host}:{inside}:ro" for host, inside in foreign.items()] for name in self.topology.replicas},
        }
        services: dict[str, Any] = {name: {"volumes": found} for name, found in volumes.items() if found}
        # An engine on a GPU leaves its core to others.
        cores = {} if processor.gpu(os.environ) else priority.own_cores(self.topology.replicas)
        for name, core in cores.items():
            services.setdefault(name, {})["cpuset"] = str(core)
        if chosen := os.environ.get(keys.FILE_VARIABLE):
            config = services.setdefault("config", {"volumes": []})
            config["volumes"].append(f"{Path(chosen).resolve()}:/keys.json:ro")
            config["environment"] = {keys.FILE_VARIABLE: "/keys.json"}
        return {"services": services} if services else {}

    def _environment(self, found: StackState, wanted: Mapping[str, str]) -> dict[str, str]:
        tags = {target: image.partition(":")[2] for target, image in wanted.items()}
        tags["replica"] = tags.get(self.topology.engine, "latest")
        return {
            "INSTANCE": str(self.topology.instance),
            "ENGINE": self.topology.engine,
            "DRILLYARD_TOPOLOGY": json.dumps(self.topology.as_data()),
            "DRILLYARD_INSTANCE_ID": found.instance_id,
            "DRILLYARD_FINGERPRINT": found.fingerprint,
            "DRILLYARD_USER": f"{os.getuid()}:{os.getgid()}",
            **{f"DRILLYARD_TAG_{target.upper()}": tag for target, tag in tags.items()},
        }

    def _files(self) -> list[str]:
        files = [COMPOSE_FILE]
        if self._foreign_image():
            files.append(GPU_FILE if processor.gpu(os.environ) else IMAGE_FILE)
        if additions := self._additions():
            path = self.folder / "compose.additions.json"  # JSON is YAML
            path.write_text(json.dumps(additions, indent=2))
            files.append(path)
        return [part for file in files for part in ("-f", str(file))]

    def _launch(
        self,
        program: list[str],
        client: docker.DockerClient,
        found: StackState,
        wanted: Mapping[str, str],
        say: Say,
    ) -> None:
        say(f"starting the stack in containers, published on {self.topology.host(0)}/24, engine {self.topology.engine}")
        configuration = (self.folder / "config" / component.name for component in self.topology.components)
        for folder in (*configuration, models.FOLDER):
            folder.mkdir(parents=True, exist_ok=True)  # else the daemon makes them, as root's
        try:
            arguments = [*self._files(), "up", "--detach", "--no-build", "--remove-orphans"]
            self._compose(program, arguments, self._environment(found, wanted))
            # The keys may have been made by this very start: only now is the fingerprint the one to compare with.
            state.save(self.folder, replace(found, fingerprint=self._fingerprint(wanted)))
            readiness.wait_ready(self.topology, say, self._watch(client))
        except BaseException:
            say("the stack did not come up: taking it down")
            self._keep_logs(client)
            self._take_down(program, say)
            raise

    def _compose(self, program: list[str], arguments: list[str], environment: Mapping[str, str]) -> None:
        command = [*program, "-p", self.project, *arguments]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **environment, "COMPOSE_HTTP_TIMEOUT": str(COMPOSE_TIMEOUT_S)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMPOSE_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{' '.join(program)} did not end within {COMPOSE_TIMEOUT_S} s") from error
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise StackError(f"{' '.join(program)} ended with {done.returncode}:\n{said}")

    def _is_warm(self, client: docker.DockerClient) -> bool:
        found = self._containers(client)
        names = [c.name for c in self.topology.components]
        running = all(name in found and found[name].status == "running" for name in names)
        return running and not readiness.unready(self.topology)

    def _watch(self, client: docker.DockerClient) -> Callable[[], None]:
        """A function that raises StackError with the end of its log as soon as a component has died."""
        asked_s = 0.0

        def watch() -> None:
            nonlocal asked_s
            if time.monotonic() - asked_s < _WATCH_EVERY_S:
                return
            asked_s = time.monotonic()
            for name, container in self._containers(client).items():
                died = container.status in ("exited", "dead", "restarting") or container.attrs["RestartCount"]
                if died and name != "config":
                    tail = _text(container.logs(tail=15))
                    code = container.attrs["State"]["ExitCode"]
                    raise StackError(f"{name} ended while it was starting (exit status {code}). Its log:\n{tail}")

        return watch

    def _keep_logs(self, client: docker.DockerClient) -> None:
        folder = self.folder / "logs"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, container in self._containers(client).items():
            (folder / f"{name}.log").write_text(_text(container.logs()))

    def _take_down(self, program: list[str], say: Say) -> None:
        say(f"taking instance {self.topology.instance} down")
        # Compose finds what to remove by the project's labels; the variables only have to be there.
        arguments = ["-f", str(COMPOSE_FILE), "down", "--volumes", "--remove-orphans", "--timeout", "5"]
        self._compose(program, arguments, {"INSTANCE": str(self.topology.instance)})
        self._ids.clear()
        shutil.rmtree(self.folder / "config", ignore_errors=True)
        (self.folder / "compose.additions.json").unlink(missing_ok=True)
        state.remove(self.folder)

    def _signal(self, container: Container, pids: list[int], number: signal.Signals) -> None:
        # The pids are the daemon's: they are ours only where they are this very container's processes here as well.
        if all(cgroup.belongs_to(pid, str(container.id)) for pid in pids):
            try:
                for pid in pids:
                    with suppress(ProcessLookupError):  # it has just ended by itself
                        os.kill(pid, number)
                return
            except PermissionError:
                pass  # an ordinary user of the docker group: the daemon does it below
        images.connect().containers.run(
            container.attrs["Image"],
            ["-c", f"kill -{int(number)} {' '.join(map(str, pids))}"],
            entrypoint="sh",
            pid_mode="host",
            network_mode="none",
            remove=True,
        )


def _engine_pids(container: Container) -> list[int]:
    """Pids on the host of the engine core in the container."""
    table = container.top(ps_args="-eo pid,args")
    column, title = table["Titles"].index("PID"), table["Titles"].index("COMMAND")
    return [int(row[column]) for row in table["Processes"] if family.is_engine_core(row[title])]


def compose_program() -> list[str]:
    """`docker compose` where the plug-in is there, else docker-compose. RuntimeUnavailable with neither."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, stdin=subprocess.DEVNULL)
        if asked.returncode == 0:
            return ["docker", "compose"]
    if found := shutil.which("docker-compose"):
        return [found]
    raise RuntimeUnavailable(
        "neither `docker compose` nor docker-compose is there: Docker's Compose plug-in or Debian's docker-compose "
        "is what is missing"
    )


def _own_models() -> set[str]:
    """Folders that every replica has mounted."""
    return {str(models.FOLDER / name) for name in models.TRAINED}


@contextmanager
def _daemon(what: str) -> Iterator[docker.DockerClient]:
    """The client; what Docker refuses or leaves unanswered becomes an error for people."""
    client = images.connect()
    try:
        yield client
    except (APIError, DockerException) as error:
        raise AdapterError(f"Docker did not {what}: {images.one_line(error)}") from error
    except requests.exceptions.RequestException as error:
        raise AdapterError(f"the Docker daemon did not {what} in time: {images.one_line(error)}") from error


def _text(output: Any) -> str:
    return bytes(output).decode(errors="replace")


def _component_state(name: str, attributes: Mapping[str, Any]) -> ComponentState:
    now = attributes["State"]
    word = _STATE_WORDS.get(now["Status"], "stopped")  # an exit without a stop is followed by `restarting`
    moment = now["StartedAt"] if word in ("running", "paused") else now["FinishedAt"]
    restarts, incarnation = int(attributes["RestartCount"]), _incarnation(attributes)
    return ComponentState(name, word, now["Pid"] or None, _since_s(moment), restarts, incarnation)


def _incarnation(attributes: Mapping[str, Any]) -> str | None:
    """The container and its last start: it keeps its id when it is started again. None while it does not run."""
    now = attributes["State"]
    return f"{attributes['Id']}@{now['StartedAt']}" if now["Pid"] else None


def _since_s(moment: str) -> float | None:
    if moment.startswith("0001-"):  # Docker's «never»
        return None
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
