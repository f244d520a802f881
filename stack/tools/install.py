"""What set-up brings for which use, and bringing it."""

from __future__ import annotations

from collections.abc import Sequence

from stack.tools import axe, chromium, debian, models, toxiproxy, vllm
from stack.tools.lock import only_one
from stack.tools.part import Part
from stack.tools.progress import Progress


def parts_for(runtime: str, engine: str, model: str) -> tuple[Part, ...]:
    """The parts that a stack with this runtime, engine (vllm, sim) and model needs, in order.

    Docker brings the programs in its images; our own models are trained on the machine either way and mounted. A
    model that is a path or a hub id needs no training. An external target needs toxiproxy alone.
    """
    if runtime == "external":
        return (toxiproxy.PART,)
    programs = (debian.PART, toxiproxy.PART) if runtime == "process" else ()
    environment = (vllm.PART,) if (runtime, engine) == ("process", "vllm") else ()
    weights = (models.PART,) if engine == "vllm" and model in models.NAMES else ()
    return (*programs, *environment, *weights)


def browser() -> tuple[Part, ...]:
    """What the tests that look at pages need."""
    return (chromium.PART, axe.PART)


def bring(parts: Sequence[Part], progress: Progress) -> bool:
    """Bring what is missing; True when nothing was. Raises MissingTool saying what failed and what to do.

    What is done stays done: the next call goes on after it.
    """
    if all(part.is_current() for part in parts):
        return True
    with only_one(progress.say):
        for part in parts:
            if part.is_current():  # perhaps brought by the set-up that we have just waited for
                continue
            with progress.step(part.title) as step:
                part.bring(step)
    return False
