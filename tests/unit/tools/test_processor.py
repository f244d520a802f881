"""Which processors vLLM's CPU build is brought for, with faked flags; and what is said where it cannot run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.model.errors import UnfitProcessor
from harness.model.topology import Topology
from stack.runtimes.docker import DockerRuntime
from stack.stacks.vllm_haproxy import STACK
from stack.tools import __main__ as command_line
from stack.tools import processor
from stack.tools.processor import choose, concerns, flags_in, require

OLD = frozenset(["fpu", "sse2", "ssse3", "sse4_1", "sse4_2", "avx", "f16c"])
HASWELL = OLD | {"avx2", "fma", "bmi2"}
KNIGHTS_LANDING = HASWELL | {"avx512f", "avx512cd", "avx512er"}
SKYLAKE_SERVER = HASWELL | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}


class Machine:
    """Fakes ``/proc/cpuinfo`` and ``uname -m``."""

    def __init__(self, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cpuinfo, self._monkeypatch = cpuinfo, monkeypatch
        monkeypatch.setattr(processor, "CPUINFO", cpuinfo)

    def has(self, architecture: str, flags: frozenset[str] | None) -> None:
        """From now on; None: there is no ``/proc/cpuinfo``."""
        self._monkeypatch.setattr(processor.platform, "machine", lambda: architecture)
        self._cpuinfo.unlink(missing_ok=True)
        if flags is not None:
            self._cpuinfo.write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {' '.join(sorted(flags))}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose processor the test decides on; the user has chosen nothing."""
    for name in ("VLLM_WHEEL", "VLLM_IMAGE", "GPU", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return Machine(tmp_path / "cpuinfo", monkeypatch)


@pytest.mark.parametrize(
    ("architecture", "flags", "kernels"),
    [
        ("x86_64", SKYLAKE_SERVER, "AVX-512"),
        ("AMD64", SKYLAKE_SERVER, "AVX-512"),
        ("x86_64", KNIGHTS_LANDING, "AVX2"),
        ("x86_64", HASWELL, "AVX2"),
        ("x86_64", OLD, None),
        ("x86_64", None, "unknown"),
        ("aarch64", frozenset({"asimd"}), "aarch64"),
        ("aarch64", None, "aarch64"),
        ("ppc64le", None, None),
        ("", None, None),
    ],
)
def test_choice(architecture: str, flags: frozenset[str] | None, kernels: str | None) -> None:
    """As vLLM chooses: AVX-512 needs all four flags, AVX2 is the least; unreadable flags refuse nothing."""
    choice = choose(architecture, flags)
    assert choice.kernels == kernels
    assert choice.why


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", None),
        ("flags\t\t:\n", None),
        ("", None),
    ],
)
def test_flags_are_read(text: str, flags: set[str] | None) -> None:
    """Of the first processor; a file without any is unreadable, not a processor without any."""
    assert flags_in(text) == flags


@pytest.mark.parametrize("flags", [HASWELL, SKYLAKE_SERVER, None])
def test_what_may_run_is_not_refused(machine: Machine, flags: frozenset[str] | None) -> None:
    """Unreadable flags are no proof that anything is missing."""
    machine.has("x86_64", flags)
    assert require("process", "vllm") is not None


def test_less_than_avx2_is_refused_in_one_sentence(machine: Machine) -> None:
    """It names what is missing, what was found, what was expected and the ways out."""
    machine.has("x86_64", OLD)
    with pytest.raises(UnfitProcessor) as caught:
        require("process", "vllm")
    said = str(caught.value)
    for word in (
        "AVX2 is missing",
        "found an x86-64 processor with AVX,",
        "expected",
        "ENGINE=sim",
        "GPU=1",
        "machine",
    ):
        assert word in said
    assert said.endswith(".")
    assert len(re.findall(r"[.](\s|$)", said)) == 1


@pytest.mark.parametrize(
    ("runtime", "engine", "environment", "concerned"),
    [
        ("process", "vllm", {}, True),
        ("docker", "vllm", {}, True),
        ("docker", "vllm", {"GPU": "0"}, True),
        ("docker", "vllm", {"DOCKER_HOST": "unix:///run/other.sock"}, True),
        ("process", "vllm", {"VLLM_IMAGE": "mine", "GPU": "1"}, True),  # of no account without Docker
        ("docker", "vllm", {"VLLM_WHEEL": "mine.whl"}, True),  # of no account in an image
        ("process", "sim", {}, False),
        ("docker", "sim", {}, False),
        ("external", "vllm", {}, False),
        ("docker", "vllm", {"GPU": "1"}, False),
        ("docker", "vllm", {"VLLM_IMAGE": "mine"}, False),
        ("docker", "vllm", {"DOCKER_HOST": "ssh://elsewhere"}, False),
        ("process", "vllm", {"VLLM_WHEEL": "mine.whl"}, False),
    ],
)
def test_only_the_build_that_is_brought_is_asked_about(
    runtime: str, engine: str, environment: dict[str, str], concerned: bool
) -> None:
    """The simulator, a GPU, somebody else's machine and a build of the user's own are none of its business."""
    assert concerns(runtime, engine, environment) is concerned


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_set_up_ends_before_anything_is_downloaded(
    machine: Machine, runtime: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 64 and one line, no traceback; the simulator is set up on the same machine."""
    brought: list[object] = []
    monkeypatch.setattr(command_line, "bring", lambda parts, progress: brought.append(parts))
    machine.has("x86_64", OLD)
    assert command_line.main(["install", "--runtime", runtime, "--engine", "vllm"]) == 64
    assert brought == []
    said = capsys.readouterr().err
    assert said.startswith("set-up: vLLM's CPU build does not run on this processor (AVX2 is missing")
    assert said.count("\n") == 1
    assert command_line.main(["install", "--runtime", runtime, "--engine", "sim"]) == 0
    assert len(brought) == 1


def test_docker_builds_no_image_that_could_not_run(machine: Machine) -> None:
    """Nor is the daemon asked first."""
    machine.has("x86_64", OLD)
    for call in (DockerRuntime(Topology(STACK)).preflight, lambda: DockerRuntime(Topology(STACK)).up(print)):
        with pytest.raises(UnfitProcessor, match="AVX2 is missing"):
            call()
