"""Who hears of a night, and what: the ``notify:`` part of a suite file, or the same from the environment.

The URL of a webhook is a secret: whoever has it can write there. So no file holds it; ``url_env`` names the variable of
the environment that does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from harness.model import redact
from harness.model.errors import UsageError
from harness.model.scenario import Seconds, Strict
from harness.model.verdict import JUDGED, Status

SCHEMA_VERSION = 1
Kind = Literal["fail", "regression", "recovered", "missing", "not_judged"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Where a suite file has no ``notify:``. The names end in a word that keeps the values out of whatever is written.
JSON_VARIABLE, SLACK_VARIABLE, COMMAND_VARIABLE = "NOTIFY_WEBHOOK", "SLACK_WEBHOOK", "NOTIFY_COMMAND"
#: Where people can read on, if that is not a file of this machine: the page of a CI job.
LINK_VARIABLE = "NOTIFY_LINK"
#: Of a message; services cut longer ones, or refuse them.
TEXT_CHARS_MAX = 3000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = "a URL of a webhook is a secret: put it into a variable of the environment, and that variable's name here"


class Webhook(Strict):
    """One HTTP receiver: *json* gets the whole event, *slack* ``{"text": …}``, which many chat services understand."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url_env: str
    format: Literal["json", "slack"] = "json"

    @model_validator(mode="before")
    @classmethod
    def _without_url(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "url" in data:
            redact.learn(str(data["url"]))
            raise ValueError(f"found url, expected url_env: {_SECRET}")
        return data

    @field_validator("url_env")
    @classmethod
    def _named(cls, value: str) -> str:
        if not _VARIABLE.fullmatch(value):
            redact.learn(value)
            raise ValueError(f"found no name of a variable (it is not shown): {_SECRET}")
        return value


class Command(Strict):
    """A program that gets the event as JSON on its standard input; no shell reads ``argv``."""

    argv: tuple[str, ...] = Field(min_length=1)


class Notify(Strict):
    """``notify:`` of a suite file. ``on``: of which kinds of events; ``timeout``: of each receiver, in seconds."""

    model_config = ConfigDict(hide_input_in_errors=True)

    webhooks: tuple[Webhook, ...] = ()
    commands: tuple[Command, ...] = ()
    on: tuple[Kind, ...] = KINDS
    timeout: Seconds = Field(default=10.0, gt=0, le=300)


#: What can become worse: an entry of a suite, and one of its series, or "" for the entry itself.
Place = tuple[str, str]


@dataclass(frozen=True)
class Event:
    """Something that people should hear of. ``headline`` is one sentence, ``details`` are one line each.

    ``fail`` and ``regression``: of a night that has ended; ``recovered``: the first PASS after either; ``missing``: no
    finished night by its hour; ``not_judged``: a drill of three nights running.
    """

    kind: Kind
    suite: str
    night: str  # its run id; "" where there is none
    headline: str
    details: tuple[str, ...] = ()
    page: str = ""  # where to read on

    def as_data(self) -> dict[str, Any]:
        """As JSON, without secrets."""
        data = {"schema": SCHEMA_VERSION, **asdict(self), "details": list(self.details), "text": self.text()}
        return {name: _clean(value) for name, value in data.items()}

    def text(self) -> str:
        """For people, in plain text, without secrets and control characters."""
        lines = [self.headline, *(f"- {line}" for line in self.details), *([self.page] if self.page else [])]
        found = str(_clean("\n".join(redact.printable(line.replace("\n", " ")) for line in lines)))
        return found if len(found) <= TEXT_CHARS_MAX else f"{found[:TEXT_CHARS_MAX]}…"


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if not isinstance(value, str):
        return value
    # Half a surrogate pair, such as of a path that is no text, cannot be sent: it is written out.
    return redact.text(value).encode("utf-8", "backslashreplace").decode()


def from_environment(environment: Mapping[str, str]) -> Notify:
    """Who is named by the variables above; nobody where none is set. UsageError for a command that cannot be read."""
    formats: dict[str, Literal["json", "slack"]] = {JSON_VARIABLE: "json", SLACK_VARIABLE: "slack"}
    webhooks = tuple(Webhook(url_env=name, format=form) for name, form in formats.items() if environment.get(name))
    try:
        argv = tuple(shlex.split(environment.get(COMMAND_VARIABLE, "")))
    except ValueError as error:
        raise UsageError(f"{COMMAND_VARIABLE}: found {error}, expected a command as a shell reads it") from None
    return Notify(webhooks=webhooks, commands=(Command(argv=argv),) if argv else ())


def of_night(
    suite: str,
    night: str,
    nights: Sequence[Mapping[str, str | None]],
    worse: Mapping[Place, str] = MappingProxyType({}),
    worse_before: Mapping[Place, str] = MappingProxyType({}),
    page: str = "",
) -> list[Event]:
    """What people should hear of the night that has ended. Pure.

    ``nights``: the status of each entry (None: not run), of this night last, of those before it in order.
    ``worse`` is what has become worse, in words, ``worse_before`` what had after the night before. An entry has
    recovered with its first PASS after a FAIL, whatever could not be judged in between; what had become worse, when it
    no longer is and its drill did not fail.
    """
    *before, now = nights
    failed = sorted(name for name, status in now.items() if status == Status.FAIL)
    passed = sorted(name for name, status in now.items() if status == Status.PASS)
    recovered = [name for name in passed if _last_judged(before, name) == Status.FAIL]
    new = [text for place, text in sorted(worse.items()) if place not in worse_before]
    gone = [text for place, text in sorted(worse_before.items()) if place not in worse and place[0] not in failed]
    told: tuple[tuple[Kind, str, list[str]], ...] = (
        ("fail", f"{len(failed)} of {len(now)} drills FAIL", failed),
        ("regression", f"{len(new)} became worse", new),
        ("recovered", f"{len(recovered) + len(gone)} recovered", [*recovered, *gone]),
    )
    return [Event(kind, suite, night, f"{suite}: {text}", tuple(what), page) for kind, text, what in told if what]


def _last_judged(nights: Sequence[Mapping[str, str | None]], name: str) -> str | None:
    statuses = [night.get(name) for night in nights]
    return next((status for status in reversed(statuses) if status in JUDGED), None)
