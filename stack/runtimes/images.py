"""The stack's container images: built when their inputs have changed, else taken as they are.

An image's tag is a hash of what it is made from, so that «is it there?» is the whole question. Run
``python -m stack.runtimes.images [TARGET …]`` to build them ahead of ``up``, for instance before
``docker compose -f stack/compose.yaml up``, which expects the tag ``latest``.

Environment: ``BASE_IMAGE`` (default debian:bookworm-slim); ``EXTRA_CA_BUNDLE``, a file of certificates that downloads
inside a build trust in addition (default: ``SSL_CERT_FILE`` where that is set). It is served to the build on loopback
and removed in the RUN that fetched it, so that it is in no layer.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from harness.model.errors import RuntimeUnavailable, StackError, UsageError
from stack import proxies
from stack.runtimes.base import Say
from stack.state import CHECKOUT, STATE_ROOT

DEFAULT_BASE = "debian:bookworm-slim"
DOCKERFILE = "stack/images/Dockerfile"

#: What .dockerignore lets through of the harness, and the stack.
OUR_CODE = (
    "stack/images/requirements.lock",
    "harness/__init__.py",
    *(f"harness/model/{name}.py" for name in ("__init__", "alert_rules", "errors", "redact")),
    *(f"harness/model/{name}.py" for name in ("server_error", "sse", "stream", "topology")),
    "stack",
)
#: Target -> the files and folders that its stages copy.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "gateway": (),
    "dns": (),
    "monitoring": (),
    "toxiproxy": ("stack/images/install-toxiproxy", "stack/tools/go.lock", "stack/tools/toxiproxy-modules"),
    "drillyard": OUR_CODE,
    "sim": OUR_CODE,
    "vllm": ("stack/images/install-vllm", "stack/images/uv.lock", "stack/tools/vllm.lock"),
}
COMMON_FILES = (DOCKERFILE, "stack/images/with-extra-ca")

#: A build that prints nothing for so long hangs.
SILENCE_MAX_S = 900
PULL_MAX_S = 60
#: Fixed, so that it is the same build argument every time and Docker's own layer cache holds.
CA_PORT = 18471


def base_image() -> str:
    """What every image is made FROM."""
    return os.environ.get("BASE_IMAGE") or DEFAULT_BASE


def tag(target: str) -> str:
    """Hash of everything that goes into ``target``."""
    digest = hashlib.sha256(base_image().encode())
    for name in (*COMMON_FILES, *TARGETS[target]):
        for path in _files(CHECKOUT / name):
            digest.update(f"\0{path.relative_to(CHECKOUT)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def reference(target: str) -> str:
    """Name and tag of ``target``'s image."""
    return f"drillyard/{target}:{tag(target)}"


def ensure(client: docker.DockerClient, targets: Sequence[str], say: Say) -> dict[str, str]:
    """Build those of ``targets`` that are not there yet; target -> reference.

    Raises StackError when a build fails, UsageError when the base image cannot be had.
    """
    wanted = {target: reference(target) for target in targets}
    if not all(_is_there(client, image) for image in wanted.values()):
        # One build at a time on this machine: two would do the same work twice, and share the CA's port.
        with _build_lock(say):
            _ensure_base(client, say)
            for target, image in wanted.items():
                if not _is_there(client, image):
                    _build(client, target, image, say)
    return wanted


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _is_there(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


@contextmanager
def _build_lock(say: Say) -> Iterator[None]:
    STATE_ROOT.mkdir(parents=True, exist_ok=True)
    with (STATE_ROOT / "images.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("images: another build is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure_base(client: docker.DockerClient, say: Say) -> None:
    image = base_image()
    if _is_there(client, image):
        return
    say(f"images: pulling {image}")
    repository, _, version = image.partition(":")
    puller = docker.from_env(timeout=PULL_MAX_S)  # a client of its own: the other gives up much sooner
    try:
        puller.images.pull(repository, version or "latest")
    except DockerException as error:
        say(f"images: no registry gave {image} ({one_line(error)}); making it locally")
        _make_base(image, say)
    finally:
        puller.close()


def _make_base(image: str, say: Say) -> None:
    script = CHECKOUT / "stack" / "images" / "make-base.sh"
    with subprocess.Popen([str(script), image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        last = "no output"
        for line in process.stdout or ():
            last = line.strip()
            say(f"images: {last}")
    if process.returncode != 0:
        raise UsageError(
            f"the base image {image} could be neither pulled nor made here ({last}). "
            f"Run `sudo {script.relative_to(CHECKOUT)}` once, or name one that is there: BASE_IMAGE=…"
        )


def _build(client: docker.DockerClient, target: str, image: str, say: Say) -> None:
    """Docker's classic builder, through its API: there on every daemon, with or without plug-ins of the client."""
    say(f"images: building drillyard/{target} (once; kept until its inputs change)")
    started, step = time.monotonic(), ""
    lines: list[str] = []
    with extra_ca() as url:
        try:
            answer = client.api.build(
                path=str(CHECKOUT),
                dockerfile=DOCKERFILE,
                target=target,
                tag=image,
                buildargs={"BASE_IMAGE": base_image()} | ({"EXTRA_CA_URL": url} if url else {}),
                network_mode="host" if url else None,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=SILENCE_MAX_S,
            )
            for part in answer:
                text = (part.get("error") or part.get("stream") or "").strip()
                lines.extend(text.splitlines())
                step = text if text.startswith("Step ") else step
                if text.startswith("---> Running in") and " RUN " in step:  # a cached step never gets here
                    say(f"images: {target}: {step[:100]}")
                elif text.startswith(("Resolved ", "Prepared ", "Installed ")):
                    say(f"images: {target}: {text[:100]}")
                if "error" in part:
                    raise StackError(f"building drillyard/{target} failed:\n" + "\n".join(lines[-25:]))
        except (DockerException, OSError) as error:
            raise StackError(f"building drillyard/{target} broke off: {one_line(error)}") from error
    client.images.get(image).tag(f"drillyard/{target}", "latest")
    say(f"images: drillyard/{target} built in {time.monotonic() - started:.0f} s")


@contextmanager
def extra_ca() -> Iterator[str | None]:
    """URL of the extra certificates while a build runs; None where none are wanted. UsageError for a missing file."""
    named = os.environ.get("EXTRA_CA_BUNDLE")
    path = Path(named or os.environ.get("SSL_CERT_FILE", ""))
    if not path.is_file():
        if named:
            raise UsageError(f"EXTRA_CA_BUNDLE={named}: there is no such file")
        yield None
        return
    server = _serve(path.read_bytes())
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/extra-ca.pem"
    finally:
        server.shutdown()
        server.server_close()


def _serve(content: bytes) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server looks for
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            return  # the build's own output says what was fetched

    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", CA_PORT), Handler)
    except OSError:  # somebody else's port: any other does, only the layer cache is lost
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name="extra-ca", daemon=True).start()
    return server


def one_line(error: BaseException) -> str:
    """The error's message on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@functools.cache
def connect(timeout_s: float = 30.0) -> docker.DockerClient:
    """A client of the daemon that DOCKER_HOST names, or the local one. RuntimeUnavailable where none answers."""
    try:
        client = docker.from_env(timeout=int(timeout_s))
        client.ping()
    except DockerException as error:
        raise RuntimeUnavailable(
            f"no Docker daemon answers at {os.environ.get('DOCKER_HOST', 'unix:///var/run/docker.sock')} "
            f"({one_line(error)}). Start it, set DOCKER_HOST, or use RUNTIME=process"
        ) from error
    return client


def main(arguments: Sequence[str]) -> int:
    """Build the named targets, or all; 64 for a target that does not exist."""
    unknown = [name for name in arguments if name not in TARGETS]
    if unknown:
        print(f"no such image: {', '.join(unknown)}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return UsageError.exit_code
    proxies.exclude_loopback(os.environ)
    client = connect()
    for target, image in ensure(client, list(arguments) or list(TARGETS), print).items():
        client.images.get(image).tag(f"drillyard/{target}", "latest")
        print(image)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
