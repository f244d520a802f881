"""axe-core, which looks a page over for what keeps people from reading it. For the tests that look at pages, no more.

Of PyPI, where `axe-playwright-python` carries the file `axe.min.js` of the npm package `axe-core` (MPL-2.0); of the
package's own code nothing is used.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.model.errors import MissingTool
from stack.tools import places, uv
from stack.tools.part import Part
from stack.tools.progress import Step

LOCK = Path(__file__).with_name("axe.lock")
REMEDY = "Check that PyPI is reachable and run this again."


def require() -> str:
    """The text of the script, to be run in a page. MissingTool, saying what brings it, where it is not there."""
    if not _script().is_file():
        raise MissingTool(f"axe-core is not there (looked for {_script()}). Run `make chromium` to bring it.")
    return _script().read_text(encoding="utf-8")


def _script() -> Path:
    return places.TOOLS / "axe" / "axe_playwright_python" / "axe.min.js"


def _install(step: Step) -> None:
    shutil.rmtree(places.TOOLS / "axe", ignore_errors=True)
    uv.install(["--target", places.TOOLS / "axe"], LOCK, step, "axe", REMEDY)


PART = Part(
    name="axe",
    title="axe-core",
    recipe=LOCK.read_text,
    works=lambda: _script().is_file(),
    install=_install,
)
