"""Building images, without a daemon."""

from __future__ import annotations

import ast
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from docker.errors import DockerException, ImageNotFound

from harness.model.errors import RuntimeUnavailable, StackError, UsageError
from stack.runtimes import images

CHECKOUT = Path(__file__).resolve().parents[3]


class FakeDaemon:
    """What ``ensure`` needs of a Docker client. ``answer`` is what a build says."""

    def __init__(self, *there: str, answer: tuple[dict[str, str], ...] = ({"stream": "done"},)) -> None:
        self.there, self.answer, self.built = set(there), answer, list[dict[str, Any]]()
        self.images = SimpleNamespace(get=self._get)
        self.api = SimpleNamespace(build=self._build)

    def _get(self, name: str) -> SimpleNamespace:
        if name not in self.there:
            raise ImageNotFound(name)
        return SimpleNamespace(tag=lambda repository, version: self.there.add(f"{repository}:{version}"))

    def _build(self, **options: Any) -> Iterator[dict[str, str]]:
        self.built.append(options)
        yield from self.answer
        self.there.add(options["tag"])


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock file of the checkout, no certificates of this machine."""
    monkeypatch.setattr(images, "STATE_ROOT", tmp_path)
    for name in ("EXTRA_CA_BUNDLE", "SSL_CERT_FILE", "BASE_IMAGE"):
        monkeypatch.delenv(name, raising=False)


def test_only_what_is_missing_is_built() -> None:
    """A second time nothing is; compose alone finds the tag `latest`."""
    daemon = FakeDaemon(images.DEFAULT_BASE, images.reference("dns"))
    first = images.ensure(daemon, ["dns", "gateway"], [].append)  # type: ignore[arg-type]
    assert [build["target"] for build in daemon.built] == ["gateway"]
    assert "drillyard/gateway:latest" in daemon.there
    assert images.ensure(daemon, ["dns", "gateway"], [].append) == first  # type: ignore[arg-type]
    assert len(daemon.built) == 1


def test_a_failed_build_shows_its_last_lines() -> None:
    """What the package manager said is what people need."""
    daemon = FakeDaemon(
        images.DEFAULT_BASE, answer=({"stream": "E: no such package"}, {"error": "returned a non-zero code: 100"})
    )
    with pytest.raises(StackError, match=r"gateway failed:\n(?s:.*)no such package(?s:.*)code: 100"):
        images.ensure(daemon, ["gateway"], [].append)  # type: ignore[arg-type]


def test_the_tag_follows_the_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file, its name or the base give another tag; bytecode does not; other targets keep theirs."""
    for name in (*images.COMMON_FILES, *images.TARGETS["vllm"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in (
        "stack/images/requirements.lock",
        "harness/__init__.py",
        "harness/model/errors.py",
        "harness/model/topology.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(images, "CHECKOUT", tmp_path)
    vllm, sim = images.tag("vllm"), images.tag("sim")
    (tmp_path / "stack" / "__pycache__").mkdir()
    (tmp_path / "stack" / "__pycache__" / "topology.pyc").write_text("x")
    assert (images.tag("vllm"), images.tag("sim")) == (vllm, sim)
    (tmp_path / "stack" / "topology.py").write_text("changed")
    assert images.tag("vllm") == vllm
    assert images.tag("sim") != sim
    monkeypatch.setenv("BASE_IMAGE", "debian:trixie-slim")
    assert images.tag("vllm") != vllm


def test_extra_certificates_are_served_only_while_the_build_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build gets a URL on loopback, never the content."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN-----")
    monkeypatch.setenv("EXTRA_CA_BUNDLE", str(bundle))
    with images.extra_ca() as url:
        assert url is not None
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(url, trust_env=False).content == b"-----BEGIN-----"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_a_bundle_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a build fails for a reason that nobody would guess."""
    monkeypatch.setenv("EXTRA_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(UsageError, match=r"/nowhere/ca\.pem"):
        images.ensure(FakeDaemon(images.DEFAULT_BASE), ["gateway"], [].append)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves its socket open
def test_no_daemon_is_said_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with what to do instead."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    images.connect.cache_clear()
    with pytest.raises(RuntimeUnavailable, match=r"unix:///nowhere/docker\.sock.*RUNTIME=process"):
        images.connect()
    images.connect.cache_clear()
    gc.collect()  # now, while the warning is expected


def test_one_line_is_never_empty() -> None:
    """An error without a message is named by its kind."""
    assert images.one_line(DockerException()) == "DockerException"
    assert images.one_line(DockerException("a\n  b")) == "a b"


def imported(module: str, seen: dict[str, set[str]]) -> None:
    """Follow the imports of ``module`` through harness and stack; ``seen``: module -> what it imports."""
    path = CHECKOUT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not file.exists():
        return
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    seen[module] = names
    for name in names:
        parts = name.split(".")
        if parts[0] in ("harness", "stack"):
            for end in range(1, len(parts) + 1):
                imported(".".join(parts[:end]), seen)


def test_the_image_has_all_that_its_code_imports() -> None:
    """Third parties are in requirements.lock; of the harness only what .dockerignore lets through."""
    seen: dict[str, set[str]] = {}
    for entry in ("stack.simulator.__main__", "stack.exporter.__main__", "stack.runtimes.configure"):
        imported(entry, seen)
    assert len(seen) > 20
    ignored = (CHECKOUT / ".dockerignore").read_text()
    files = re.findall(r"^!(harness/[\w/]+\.py)$", ignored, re.MULTILINE)
    let_through = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files}
    assert {name for name in seen if name.startswith("harness.")} <= let_through
    assert set(files) <= set(images.OUR_CODE)
    lock = (CHECKOUT / "stack" / "images" / "requirements.lock").read_text()
    locked = {name.lower().replace("-", "_") for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)} | {"yaml"}
    tops = {name.split(".")[0] for names in seen.values() for name in names}
    assert tops - locked - set(sys.stdlib_module_names) - {"harness", "stack"} == set()


def test_a_base_that_no_registry_gives_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches no registry makes the base itself; the pull that failed is said."""
    asked: list[str] = []
    said: list[str] = []

    def pull(repository: str, tag: str) -> None:
        asked.append(f"{repository}:{tag}")
        raise DockerException("no route to the registry")

    puller = SimpleNamespace(images=SimpleNamespace(pull=pull), close=lambda: asked.append("closed"))
    monkeypatch.setattr(images.docker, "from_env", lambda **_: puller)
    monkeypatch.setattr(images, "_make_base", lambda image, say: asked.append(f"made {image}"))
    monkeypatch.setattr(images, "_is_there", lambda client, image: False)
    images._ensure_base(SimpleNamespace(), said.append)
    base = images.base_image()
    assert asked == [base, f"made {base}", "closed"]
    assert any("no route to the registry" in line for line in said)
