"""Headless Chromium, for the tests that look at a report as a browser shows it. Never needed to run a drill."""

from __future__ import annotations

import subprocess

from harness.model.errors import MissingTool
from stack.tools import places
from stack.tools.debian import download_and_unpack
from stack.tools.part import Part
from stack.tools.progress import Step
from stack.tools.tool import find, on_machine

#: A font, since the packages are fetched without what they only recommend and a page without glyphs is no test.
PACKAGES = ("chromium", "fonts-dejavu-core", "fontconfig-config")


def _install(step: Step) -> None:
    if on_machine("chromium"):
        return
    root = places.TOOLS / "chromium"
    download_and_unpack(PACKAGES, root, step, "chromium")
    _write_wrapper()
    if not _starts():
        raise MissingTool(
            f"Chromium was unpacked below {root} but does not start. Install it as root (`apt-get install chromium`): "
            "what is in the PATH is used."
        )


def _write_wrapper() -> None:
    """Debian's own start script and fontconfig's configuration hold absolute paths: this one does not."""
    wrapper = places.TOOLS / "bin" / "chromium"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(
        "#!/bin/sh\n"
        "# Written by set-up. The sandbox needs a set-uid helper, which unpacking without root cannot make.\n"
        'tools=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        'export FONTCONFIG_FILE="$tools/chromium/fonts.conf"\n'
        'exec "$tools/chromium/usr/lib/chromium/chromium" --no-sandbox "$@"\n'
    )
    wrapper.chmod(0o755)
    (places.TOOLS / "chromium" / "fonts.conf").write_text(
        '<?xml version="1.0"?>\n<fontconfig>\n'
        '  <dir prefix="relative">usr/share/fonts</dir>\n'
        "  <dir>/usr/share/fonts</dir>\n"
        '  <cachedir prefix="xdg">fontconfig</cachedir>\n</fontconfig>\n'
    )


def _starts() -> bool:
    tool = find("chromium")
    if tool is None:
        return False
    try:
        done = subprocess.run(
            [tool.path, "--version"], env=tool.env or None, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


PART = Part(
    name="chromium",
    title="headless Chromium",
    recipe=lambda: " ".join(PACKAGES),
    works=lambda: find("chromium") is not None,
    install=_install,
)
