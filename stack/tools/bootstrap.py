"""Make ``.venv``, the harness' own environment, with nothing but a plain python3: `python3 stack/tools/bootstrap.py`.

Runs before anything is installed, so it uses the standard library alone. A Debian python3 without python3-venv cannot
give an environment pip: then pip is taken from the machine, else out of Debian's python3-pip-whl, which is downloaded
and unpacked under ``.tools/`` (no root). Ends with 0, or with 64 and a line that says what to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv"
LOCK = CHECKOUT / "requirements.lock"
#: make compares its age with that of the lock file; its text is the hash of what was installed.
READY = VENV / ".ready"
PYTHON_NEEDED = (3, 11)


class Impossible(Exception):
    """The environment cannot be made; the message says what to do."""


def main() -> int:
    """Make or update the environment; returns the exit code."""
    try:
        if sys.version_info < PYTHON_NEEDED:
            found = ".".join(map(str, sys.version_info[:3]))
            raise Impossible(f"found Python {found}, 3.11 or newer is needed: make PYTHON=/path/to/a/newer/python3 …")
        VENV.mkdir(exist_ok=True)
        with (VENV / ".making").open("w") as file:  # not ".lock": that one is uv's
            fcntl.flock(file, fcntl.LOCK_EX)  # a second `make` waits here, then finds it done
            if not READY.exists() or READY.read_text() != _recipe() or not _python_runs():
                _make()
            READY.write_text(_recipe())
    except Impossible as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 64
    return 0


def _recipe() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest() + f" {sys.version_info.major}.{sys.version_info.minor}\n"


def _pin(package: str) -> str:
    """The lines of the lock file about one package: its version, and a hash for each file that it may be."""
    found = re.search(rf"^{package}==.*(\n +--hash=.*)+\n", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise Impossible(f"{LOCK}: found no {package} with hashes, expected one: stack/tools/lock-requirements.sh")
    return found[0]


def _python_runs() -> bool:
    python = VENV / "bin" / "python"
    return python.exists() and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def _make() -> None:
    print("▸ environment of the harness (.venv)", flush=True)
    READY.unlink(missing_ok=True)
    python = VENV / "bin" / "python"
    if not _python_runs():
        python.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--without-pip", VENV], "python3 could not make a virtual environment")
    if not (VENV / "bin" / "uv").exists():
        with tempfile.TemporaryDirectory() as folder:
            pip, uv = _pip(Path(folder)), Path(folder) / "uv.lock"
            uv.write_text(_pin("uv"))
            options: list[str | Path] = ["--quiet", "--disable-pip-version-check", "-r", uv]
            _run([*pip, "install", "--require-hashes", *options], "pip could not install uv")
    install: list[str | Path] = [
        VENV / "bin" / "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--no-deps",
        "--require-hashes",
        "-r",
        LOCK,
    ]
    _run(install, "the packages of requirements.lock could not be installed")
    print("✓ environment of the harness (.venv)", flush=True)


def _pip(scratch: Path) -> list[str | Path]:
    """A command line that is pip, installing into the new environment."""
    python = VENV / "bin" / "python"
    if _works([python, "-m", "pip", "--version"]) or _works([python, "-m", "ensurepip"]):
        return [python, "-m", "pip"]
    if _works([sys.executable, "-m", "pip", "--python", python, "--version"]):
        return [sys.executable, "-m", "pip", "--python", python]
    wheel = _pip_wheel(scratch)
    if wheel is None:
        raise Impossible(
            "this python3 brings no pip, and Debian's python3-pip-whl could not be downloaded either. As root: "
            "`apt-get install python3-venv`; then run this again."
        )
    return [python, wheel / "pip"]  # a wheel is a zip file, and Python runs the package inside it


def _pip_wheel(scratch: Path) -> Path | None:
    """pip's own wheel out of Debian's package, fetched and unpacked without root; None where that is not possible."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    for name in ("lists/partial", "cache/archives/partial", "log", "root"):
        (scratch / name).mkdir(parents=True)
    settings = {
        "Dir::State::lists": scratch / "lists",
        "Dir::Cache": scratch / "cache",
        "Dir::Log": scratch / "log",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", "python3-pip-whl"]):
        argv: list[str | Path] = ["apt-get", "-q", *options, *command]
        subprocess.run(argv, cwd=scratch, check=False, capture_output=True)
    for archive in scratch.glob("python3-pip-whl*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, scratch / "root"], check=False, capture_output=True)
    return next(scratch.glob("root/usr/share/python-wheels/pip-*.whl"), None)


def _works(command: list[str | Path]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _run(command: list[str | Path], problem: str) -> None:
    """Run it with its output shown; Impossible with ``problem`` when it fails."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise Impossible(
            f"{problem}: `{words}` ended with {done.returncode}, see above. Is the package index reachable "
            "(PIP_INDEX_URL and UV_DEFAULT_INDEX name another one)? What is done stays done: run it again."
        )


if __name__ == "__main__":
    sys.exit(main())
