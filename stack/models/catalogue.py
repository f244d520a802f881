"""The models that this repository trains for itself: where they lie, what they are asked, which version they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import MissingTool

#: Trained by ``python -m stack.models.train``: name -> what it is.
TRAINED = {
    "v1": "answers the questions",
    "v2": "answers them too, with other weights",
    "bad": "v1 with damaged weights: answers wrongly",
    "slow": "v2 with layers that change nothing: the same answers, later",
    "truncated": "v1 with its file of weights cut short: no engine can load it",
}

QUESTIONS_FILE = Path(__file__).with_name("questions.json")
FOLDER = Path(__file__).resolve().parents[2] / ".tools" / "models"
STAMP = "drillyard.json"  # in each model's folder, written last: {"inputs": hash, "weights": hash}


@dataclass(frozen=True)
class Question:
    """One entry of the eval set; a right answer equals ``answer`` exactly at temperature 0."""

    question: str
    answer: str


def questions() -> list[Question]:
    """The eval set, in the order of the file."""
    return [Question(**entry) for entry in json.loads(QUESTIONS_FILE.read_text(encoding="utf-8"))]


def locate(name: str) -> str:
    """Local folder of a model of ours; any other name (a path or a hub id) comes back as it is.

    Raises MissingTool when it is one of ours and not trained yet.
    """
    if name not in TRAINED:
        return name
    folder = FOLDER / name
    if not (folder / STAMP).is_file():
        raise MissingTool(f"model {name!r} is not trained yet: {folder} is missing; run `make setup`")
    return str(folder)


def weights(name: str) -> str | None:
    """SHA-256 of the weights of a model of ours; None for any other. Raises MissingTool like ``locate``."""
    if name not in TRAINED:
        return None
    return str(json.loads((Path(locate(name)) / STAMP).read_text(encoding="utf-8"))["weights"])


def version(name: str) -> str:
    """Model name and a hash of its weights, e.g. ``v1@3fa9c1d2``; a hub id has no hash of ours: ``name@hub``.

    Weights of a foreign folder may be many gigabytes: their hash covers file names, sizes and times only.
    Raises MissingTool like ``locate``.
    """
    folder = Path(locate(name))
    if name in TRAINED:
        return f"{name}@{str(weights(name))[:8]}"
    if not folder.is_dir():
        return f"{name.rsplit('/', 1)[-1]}@hub"
    listing = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir()) if f.is_file()]
    return f"{folder.name}@{hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:8]}"
