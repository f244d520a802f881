"""Jobs for tests: a run folder with load.json and the files it names."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from harness.load.job import Job, read_job
from harness.model.scenario import LoadSpec

SERVICE = {"name": "llm.drillyard.test", "port": 1, "dns": ["127.0.16.1", 1]}


def write_job(folder: Path, load: dict[str, Any], questions: tuple[str, ...] = ("case:ok",), **more: Any) -> Path:
    """Write load.json into ``folder`` as the harness does: a dumped LoadSpec. ``more`` are further keys of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    users = {f"user-{n:03d}": f"secret-key-{n:03d}" for n in range(1, 65)}
    (folder / "keys.json").write_text(json.dumps({"operator": "o", "users": users}))
    items = [{"question": question, "answer": "right answer"} for question in questions]
    (folder / "questions.json").write_text(json.dumps(items))
    spec = LoadSpec.model_validate({"rate": "20/s", "cohorts": [{"name": "chat"}], **load})
    job = {
        "zero_mono_s": time.monotonic(),
        "seed": 7,
        "load": spec.model_dump(mode="json"),
        "service": SERVICE,
        "deployment": "drillyard",
        "keys_file": str(folder / "keys.json"),
        "questions": str(folder / "questions.json"),
        **more,
    }
    (folder / "load.json").write_text(json.dumps(job))
    return folder


def make_job(folder: Path, load: dict[str, Any] | None = None, **more: Any) -> Job:
    """Written and read back."""
    return read_job(write_job(folder, load or {}, **more))
