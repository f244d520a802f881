"""The small models that drills serve: trained here, once, by ``stack.models.train`` in the vLLM environment."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stack.models.catalogue import TRAINED
from stack.tools import places, vllm
from stack.tools.execution import execute
from stack.tools.part import Part
from stack.tools.progress import Step

NAMES = tuple(TRAINED)
#: Training takes some minutes on two cores.
LIMIT_S = 3000.0


def _install(step: Step) -> None:
    if not vllm.PART.is_current():  # the Docker runtime needs this environment for the training only
        vllm.PART.bring(step)
    step.note(f"training {', '.join(NAMES)}")
    argv: list[str | Path] = [places.TOOLS / "vllm" / "bin" / "python", "-u", "-m", "stack.models.train", *NAMES]
    execute(
        argv, step, "models", "Run `make setup` again: models that are done are not trained again.", limit_s=LIMIT_S
    )


def _recipe() -> str:
    """Everything that determines the models: the sources of ``stack/models``; its training decides what is stale."""
    folder = places.CHECKOUT / "stack" / "models"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digests = (f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)
    return "\n".join((*digests, vllm.LOCK.read_text()))


def _works() -> bool:
    return all((places.TOOLS / "models" / name / "config.json").exists() for name in NAMES)


PART = Part(name="models", title=f"models {', '.join(NAMES)}", recipe=_recipe, works=_works, install=_install)
