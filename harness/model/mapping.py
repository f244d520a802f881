"""Which metrics of a system tell what: the names under which a Prometheus server keeps what an incident report needs.

A mapping is a YAML file. Those of the systems that Drillyard knows are in ``harness/evidence/mappings/``, one each; a
file of the user's own is read as if it lay there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.model.errors import ScenarioError

MAPPINGS = Path(__file__).parents[1] / "evidence" / "mappings"
Role = Literal["replica", "gateway"]
Kind = Literal["counter", "gauge", "histogram"]
#: What is asked for, and of what kind it is; times in seconds, shares from 0 to 1. A series of ``BY_SERVER`` is a
#: gateway's about one replica, and has that replica's name in the label ``server``; of ``BY_CLASS`` there is one for
#: each class of answers (``2xx`` … ``5xx``, ``none`` where nobody was answered).
SIGNALS: dict[str, Kind] = {
    "requests_total": "counter",
    "failures_total": "counter",
    "e2e_seconds": "histogram",
    "ttft_seconds": "histogram",
    "queue_current": "gauge",
    "retries_total": "counter",
    "redispatches_total": "counter",
    "server_sessions_total": "counter",
    "server_up": "gauge",
    "running": "gauge",
    "waiting": "gauge",
    "kv_usage_ratio": "gauge",
    "generation_tokens_total": "counter",
    "prompt_tokens_total": "counter",
    "preemptions_total": "counter",
    "started_s": "gauge",
}
BY_SERVER = frozenset({"retries_total", "redispatches_total", "server_sessions_total", "server_up"})
BY_CLASS = frozenset({"requests_total"})
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signal(_Strict):
    """How one of ``SIGNALS`` is called here: the first of ``names`` that the server has; times ``scale`` it is ours.

    ``only`` are labels that a series must have, and ``but`` those that it must not, as regular expressions that match
    whole. ``label`` is what tells series of ``BY_SERVER`` and ``BY_CLASS`` apart; ``together`` how series of one
    component are made one.
    """

    names: tuple[str, ...] = Field(min_length=1)
    scale: float = 1.0
    only: dict[str, str] = Field(default_factory=dict)
    but: dict[str, str] = Field(default_factory=dict)
    label: str | None = None
    together: Literal["sum", "max"] = "sum"

    @field_validator("names")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a metric")
        return names

    def selector(self, name: str, more: str) -> str:
        """The PromQL for series of that name; ``more`` narrows them down (``namespace="prod"``)."""
        matchers = [f'{label}=~"{_quoted(value)}"' for label, value in sorted(self.only.items())]
        matchers += [f'{label}!~"{_quoted(value)}"' for label, value in sorted(self.but.items())]
        return f"{name}{{{','.join([*matchers, *([more] if more else [])])}}}"


class Mapping(_Strict):
    """One system. ``component`` are the labels that name a component, the first that a series has. ``source`` says
    where the names are documented. Where two systems have the same signal, that of the lower ``rank`` counts.
    """

    system: str
    source: str
    role: Role
    rank: int = 50
    component: tuple[str, ...] = Field(min_length=1)
    signals: dict[str, Signal]

    @field_validator("component")
    @classmethod
    def _are_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not _LABEL.fullmatch(label):
                raise ValueError(f"{label!r} is no label")
        return labels

    @model_validator(mode="after")
    def _is_complete(self) -> Mapping:
        for name, signal in self.signals.items():
            if name not in SIGNALS:
                raise ValueError(f"{name}: expected one of {', '.join(SIGNALS)}")
            if (name in BY_SERVER or name in BY_CLASS) and signal.label is None:
                raise ValueError(f"{name}: expected a label, by which its series are told apart")
        return self


def read(path: Path) -> Mapping:
    """One file. ScenarioError for one that is no mapping."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Mapping.model_validate(data)
    except OSError as error:
        raise ScenarioError(path, None, f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(path, None, f"is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ScenarioError(path, None, f"{where or 'the file'}: {first['msg']}") from error


def shipped() -> tuple[Mapping, ...]:
    """Those of the systems that Drillyard knows."""
    return tuple(read(path) for path in sorted(MAPPINGS.glob("*.yaml")))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
