"""The job: what ``RUNFOLDER/load.json`` tells the load generator to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.model import redact
from harness.model.arrivals import default_users
from harness.model.errors import UsageError
from harness.model.scenario import STORED, LoadSpec, RequestLimits


class Service(BaseModel):
    """Where the users go: a name, resolved by the DNS server at ``dns`` (address, port), or always at ``address``.

    ``port`` is where they connect; ``authority`` is the Host that they ask for where that is another. TLS is checked
    against the name, wherever the connection goes.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    port: int
    dns: tuple[str, int] | None = None
    address: str | None = None
    tls: bool = False
    ca_file: str | None = None
    authority: str | None = None
    path: str = ""  # before /v1/…

    @model_validator(mode="after")
    def _one_way_to_find_it(self) -> Service:
        if (self.dns is None) == (self.address is None):
            raise ValueError("expected either dns or address")
        return self


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
    keys_file: Path | None = None
    key_env: str | None = None  # without keys_file: the variable that holds the one key of all users
    questions: Path | None = None
    expect_versions: frozenset[str] | None = None
    request_limits: dict[str, RequestLimits] = {}  # by cohort: what the live windows count as good and in time
    drain_s: float = Field(default=5.0, ge=0)
    users_first: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Job:
    """A load to produce. Times in seconds; ``users`` maps user id → API key ("": none), in order of the ids.

    ``users_first``: in the closed model so many users begin, until a line ``users N`` on stdin says otherwise.
    """

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
    users_first: int | None = None  # all
    request_limits: Mapping[str, RequestLimits] = field(default_factory=dict)


def read_job(folder: Path) -> Job:
    """Read ``folder/load.json`` and the files that it names. UsageError says which file is wrong and how."""
    path = folder / "load.json"
    raw = _json(path)
    try:
        file = _File.model_validate(raw)
        load = LoadSpec.model_validate(file.load, context=STORED)
    except ValidationError as error:
        raise UsageError(f"{path}: {error}") from error
    users = _one_key(file.key_env) if file.keys_file is None else _keys(file.keys_file)
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
        users=users,
        questions=questions,
        expect_versions=file.expect_versions,
        drain_s=file.drain_s,
        users_first=file.users_first,
        request_limits=file.request_limits,
    )


def _keys(path: Path) -> dict[str, str]:
    keys = _json(path)
    if not isinstance(keys, dict) or not keys.get("users"):
        raise UsageError(f'{path}: found no users, expected {{"users": {{"user-001": key, …}}}}')
    redact.learn(str(keys.get("operator", "")), *map(str, keys["users"].values()))
    return dict(sorted(keys["users"].items()))


def _one_key(variable: str | None) -> dict[str, str]:
    """Users who share one key, for a service whose keys are not ours to hand out."""
    key = os.environ.get(variable, "") if variable else ""
    if variable and not key:
        raise UsageError(f"the environment variable {variable}, which should hold the API key, is empty")
    redact.learn(key)
    return dict.fromkeys(default_users(), key)


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
