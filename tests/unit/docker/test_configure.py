"""What the one-shot config service writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model.errors import UsageError
from harness.model.topology import GatewayPolicy, Topology
from stack import keys
from stack.engines import MIDDLEWARE
from stack.runtimes import configure
from stack.stacks.vllm_haproxy import STACK
from tests.unit.docker.test_compose import services


def test_topology_survives_the_way_into_the_container() -> None:
    """The fingerprints are equal: nothing was lost."""
    topology = Topology(
        STACK,
        instance=9,
        runtime="docker",
        engine="sim",
        models={"replica-2": "bad"},
        gateway_policy=GatewayPolicy(retries=0),
        defects=frozenset({"html_errors"}),
    )
    data = json.dumps(topology.as_data())
    assert configure.topology_from({"DRILLYARD_TOPOLOGY": data}).fingerprint() == topology.fingerprint()


def test_without_a_harness_the_variables_of_compose_decide() -> None:
    """A plain `docker compose up` gives a whole topology."""
    found = configure.topology_from({"INSTANCE": "3", "ENGINE": "sim", "MODEL": "bad", "DRILLYARD_TOPOLOGY": ""})
    assert (found.instance, found.engine, found.runtime) == (3, "sim", "docker")
    assert found.models == {"replica-1": "bad", "replica-2": "bad"}


@pytest.mark.parametrize(
    "environment",
    [{"INSTANCE": "x"}, {"INSTANCE": "256"}, {"ENGINE": "tgi"}, {"DRILLYARD_TOPOLOGY": '{"surprise": 1}'}],
)
def test_nonsense_is_refused(environment: dict[str, str]) -> None:
    """With an error that names the variable."""
    with pytest.raises(UsageError, match=next(iter(environment))):
        configure.topology_from(environment)


def test_every_file_that_compose_names_is_written(tmp_path: Path) -> None:
    """A component whose configuration is not there would restart for ever."""
    configure.write(Topology(STACK, runtime="docker", engine="sim"), tmp_path)
    text = json.dumps([service.get("command") for service in services().values()])
    named = re.findall(r"/etc/drillyard/([\w./-]+)", text)
    assert len(named) >= 8
    assert [name for name in named if not (tmp_path / "config" / name).exists()] == []


def test_the_middleware_lies_beside_each_start_script(tmp_path: Path) -> None:
    """As it is in the checkout; its token stands in that replica's script alone."""
    configure.write(Topology(STACK, runtime="docker", engine="sim"), tmp_path)
    token = keys.engine_token(keys.load(tmp_path / "keys.json").operator)
    for replica in STACK.of("replica"):
        folder = tmp_path / "config" / replica
        assert (folder / MIDDLEWARE.name).read_bytes() == MIDDLEWARE.read_bytes()
        assert token in (folder / "start.sh").read_text()


def test_only_gateways_see_a_key(tmp_path: Path) -> None:
    """What each container has mounted, searched for every key that there is: an engine's image may be foreign."""
    configure.write(Topology(STACK, runtime="docker", engine="sim"), tmp_path)
    secrets = [key for key, _ in keys.load(tmp_path / "keys.json").by_key()]
    for name, service in services().items():
        sources = [volume.split(":")[0] for volume in service["volumes"] if ".state/0/config" in volume]
        folders = [tmp_path / source.removeprefix("../.state/0/") for source in sources]
        text = "".join(file.read_text() for folder in folders for file in folder.rglob("*"))
        assert text or name == "config"
        assert any(secret in text for secret in secrets) == name.startswith("gateway")


def test_a_mounted_folder_stays_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    """A container that runs has the folder itself, not its name; and what an earlier version wrote is gone."""
    configure.write(Topology(STACK, runtime="docker", engine="sim"), tmp_path)
    folders = {folder: folder.stat().st_ino for folder in (tmp_path / "config").iterdir()}
    (tmp_path / "config" / "gateway-a" / "old.cfg").touch()
    configure.write(Topology(STACK, runtime="docker", engine="sim"), tmp_path)
    assert {folder: folder.stat().st_ino for folder in folders} == folders
    assert not (tmp_path / "config" / "gateway-a" / "old.cfg").exists()


def test_start_script_hands_over_arguments_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks, quotes and JSON arrive as they are; the exit status is the engine's own."""
    arguments, environment = ["-m", "engine", "--config", '{"a": "it\'s $HOME"}'], {"OMP_NUM_THREADS": "1", "X": "a b"}
    monkeypatch.setattr(configure, "engine_command", lambda *_: (arguments, environment))
    script, python = tmp_path / "start.sh", tmp_path / "python3"
    script.write_text(configure.start_script(replace(Topology(STACK), runtime="docker"), "replica-1", "token"))
    python.write_text('#!/bin/sh\nfor a in "$@" "$OMP_NUM_THREADS" "$X"; do printf "%s\\n" "$a"; done\nexit 7\n')
    python.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["sh", str(script)], env={"PATH": path}, capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines() == [*arguments, "1", "a b"]
    assert done.returncode == 7
