"""The job: what ``RUNFOLDER/load.json`` tells the load generator to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import redact
from harness.errors import UsageError
from harness.scenario import STORED, LoadSpec


class Service(BaseModel):
    """Where the users go: a name, resolved by the DNS server at ``dns`` (address, port)."""

    model_config = ConfigDict(frozen=True)

    name: str
    port: int
    dns: tuple[str, int]
    tls: bool = False
    ca_file: str | None = None


class Question(BaseModel):
    """An eval prompt and the only right answer to it."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str


class _File(BaseModel):
    """load.json. Keys that this version does not know are left alone: the file is also the run's record."""

    zero_mono_s: float
    seed: int
    load: dict[str, Any]
    service: Service
    deployment: str
    keys_file: Path
    questions: Path | None = None
    expect_versions: frozenset[str] | None = None
    drain_s: float = Field(default=5.0, ge=0)


@dataclass(frozen=True)
class Job:
    """A load to produce. Times in seconds; ``users`` maps user id → API key, in order of the ids."""

    folder: Path
    zero_mono_s: float
    seed: int
    load: LoadSpec
    service: Service
    deployment: str
    users: Mapping[str, str] = field(repr=False)
    questions: tuple[Question, ...] = field(repr=False)
    expect_versions: frozenset[str] | None
    drain_s: float


def read_job(folder: Path) -> Job:
    """Read ``folder/load.json`` and the files that it names. UsageError says which file is wrong and how."""
    path = folder / "load.json"
    raw = _json(path)
    try:
        file = _File.model_validate(raw)
        load = LoadSpec.model_validate(file.load, context=STORED)
    except ValidationError as error:
        raise UsageError(f"{path}: {error}") from error
    keys = _json(file.keys_file)
    if not isinstance(keys, dict) or not keys.get("users"):
        raise UsageError(f'{file.keys_file}: found no users, expected {{"users": {{"user-001": key, …}}}}')
    redact.learn(str(keys.get("operator", "")), *map(str, keys["users"].values()))
    questions = _questions(file.questions)
    if not questions and any(cohort.prompts == "eval" for cohort in load.cohorts):
        raise UsageError(f'{path}: a cohort asks eval prompts, but "questions" names no file with any')
    return Job(
        folder=folder,
        zero_mono_s=file.zero_mono_s,
        seed=file.seed,
        load=load,
        service=file.service,
        deployment=file.deployment,
        users=dict(sorted(keys["users"].items())),
        questions=questions,
        expect_versions=file.expect_versions,
        drain_s=file.drain_s,
    )


def _questions(path: Path | None) -> tuple[Question, ...]:
    if path is None:
        return ()
    try:
        return tuple(Question.model_validate(item) for item in _json(path))
    except (ValidationError, TypeError) as error:
        raise UsageError(f'{path}: expected a JSON list of {{"question", "answer"}}: {error}') from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error})") from error
