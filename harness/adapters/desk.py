"""A game's desk, over HTTP: for the commands that players and the facilitator type.

Where it is and with which token, ``DRILLYARD_GAME`` and ``DRILLYARD_GAME_TOKEN`` say, else the file that the game has
written for players on its own machine. The facilitator is on that machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from harness.adapters.json_server import line
from harness.model import redact
from harness.model.errors import AdapterError, UsageError
from stack import bounded
from stack.proxies import is_loopback

ADDRESS, TOKEN = "DRILLYARD_GAME", "DRILLYARD_GAME_TOKEN"
#: In the folder of the instance, for this user alone: ``url`` and ``token``; nothing of the game.
ACCESS_FILE = "players.json"
#: Beside it, for the facilitator: a link to each of the two pages, with its token.
LINKS_FILE = "game-links.json"
#: A command may wait until a component runs again, or a rollout is rolled back.
DEADLINE_S = 900.0
_SENTENCE_CHARS_MAX = 1000


@dataclass(frozen=True)
class Access:
    """Where one side of the desk is, its token, and who said so."""

    url: str
    token: str = field(repr=False)
    said_by: str

    def __post_init__(self) -> None:
        """A token goes to this machine only: through a tunnel the desk is here, too. UsageError for another address."""
        redact.learn(self.token)
        try:
            parts = urlsplit(self.url)
            fine = parts.scheme == "http" and is_loopback(parts.hostname or "") and parts.port != 0
        except ValueError:
            fine = False
        if not fine or "@" in self.url or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UsageError(
                f"{self.said_by}: found {line(self.url)}, expected http://127.0.0.1:PORT; a game on another machine is "
                f"reached through an SSH tunnel (docs/game-day.md)"
            )
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise UsageError(f"{self.said_by}: expected a token of letters and digits, as the facilitator gave it")


def access(environment: Mapping[str, str], folder: Path) -> Access:
    """As the environment says, else as the file in the instance's ``folder`` does. UsageError where neither does."""
    url, token = environment.get(ADDRESS, ""), environment.get(TOKEN, "")
    if url and token:
        return Access(url, token, ADDRESS)
    if url or token:
        raise UsageError(f"found {ADDRESS if url else TOKEN} alone, expected {ADDRESS} and {TOKEN}")
    path = folder / ACCESS_FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        url, token = said["url"], said["token"]
    except FileNotFoundError:
        raise UsageError(
            f"no game is being played on instance {folder.name} here; for one on another machine set {ADDRESS} and "
            f"{TOKEN}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: found no address and token of a game ({line(str(error))})") from None
    return Access(str(url), str(token), str(path))


def console_access(folder: Path) -> Access:
    """The facilitator's, as the file in the instance's ``folder`` says. UsageError where there is none."""
    path = folder / LINKS_FILE
    try:
        link = urlsplit(str(json.loads(path.read_text(encoding="utf-8"))["console"]))
        token = parse_qs(link.query)["token"][0]
    except FileNotFoundError:
        raise UsageError(
            f"no game is being played on instance {folder.name} here: its console is on the machine that plays it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: found no link to a game's console ({line(str(error))})") from None
    return Access(f"{link.scheme}://{link.netloc}", token, str(path))


class _Side:
    """One side of a desk. UsageError for what it refuses, with its sentence; AdapterError where no desk answers."""

    def __init__(self, where: Access) -> None:
        self._where = where

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = self._where.url.rstrip("/") + path
        headers = {"Authorization": f"Bearer {self._where.token}"}
        try:
            with httpx.Client(trust_env=False) as client:
                answer = bounded.ask(client, method, url, DEADLINE_S, headers=headers, json=body)
        except httpx.ConnectError:
            raise AdapterError(
                f"nothing listens at {self._where.url} (of {self._where.said_by}): is the game over, or a tunnel shut?"
            ) from None
        except httpx.HTTPError as error:
            raise AdapterError(f"{url}: {line(str(error)) or type(error).__name__}") from error
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            kind = line(answer.headers.get("content-type", "no type"))
            raise AdapterError(
                f"{url}: found HTTP {answer.status_code} with {kind}, expected the JSON of a game's desk: something "
                f"else listens there"
            )
        if answer.status_code == 200:
            return said
        sentence = _one_line(said.get("error")) or f"HTTP {answer.status_code} without a reason"
        if answer.status_code in (401, 403):
            raise UsageError(f"{url}: {sentence} (of {self._where.said_by})")
        raise (UsageError if answer.status_code < 500 else AdapterError)(sentence)


class Desk(_Side):
    """What players see and do."""

    def status(self) -> dict[str, Any]:
        """The players' view, as harness/run/board.py has it."""
        return self._asked("GET", "/api/status")

    def say(self, who: str, kind: str, text: str) -> None:
        """A message in the channel: found, acknowledged, status or fixed."""
        self._asked("POST", "/api/say", {"who": who, "kind": kind, "text": text})

    def ops(self, who: str, command: str, component: str, value: str) -> str:
        """Carry out a command on a component; its outcome in words."""
        order = {"who": who, "command": command, "component": component, "value": value}
        return _one_line(self._asked("POST", "/api/ops", order).get("outcome"))

    def mechanisms(self) -> list[str]:
        """What a diagnosis can say is wrong. AdapterError for an answer that is no game's."""
        try:
            return [str(one) for one in self.status()["diagnosis"]["mechanisms"]]
        except (KeyError, TypeError) as error:
            raise AdapterError(f"found no status of a game in what the desk answered: {error!r}") from error

    def diagnose(self, who: str, component: str, mechanism: str, since: float | str) -> None:
        """What is wrong. ``since``: seconds since the game's start, or ``6:30`` of its clock, or either as text."""
        answer = {"who": who, "component": component, "mechanism": mechanism, "since": since}
        self._asked("POST", "/api/diagnose", answer)

    def hint(self, who: str) -> str:
        """Buy the next one; what it says. UsageError when there is none."""
        return _one_line(self._asked("POST", "/api/hint", {"who": who}).get("hint"))

    def charts(self, last_s: float) -> list[dict[str, Any]]:
        """What the stack's monitoring has seen in the last seconds: ``id``, ``title``, ``unit`` and ``series`` of each
        chart, a series with ``name``, ``at_s`` (seconds since the game's start) and ``values``; None is not known.
        """
        found = self._asked("GET", f"/api/charts?last={last_s:g}").get("charts")
        return found if isinstance(found, list) else []


class Console(_Side):
    """What the facilitator sees and does."""

    def view(self) -> dict[str, Any]:
        """The facilitator's view, as harness/run/board.py has it."""
        return self._asked("GET", "/api/console")

    def act(self, inject: str, act: str) -> None:
        """``confirm``, ``skip``, ``fire`` or ``abort`` an inject."""
        self._asked("POST", f"/api/injects/{quote(inject, safe='')}/{act}", {})

    def delay(self, inject: str, seconds: float) -> None:
        """Let an inject come so much later."""
        self._asked("POST", f"/api/injects/{quote(inject, safe='')}/delay", {"seconds": seconds})

    def stop_all(self) -> None:
        """Heal everything and end the game."""
        self._asked("POST", "/api/stop-all", {})

    def note(self, text: str) -> None:
        """Keep a note for the report."""
        self._asked("POST", "/api/note", {"text": text})


def _one_line(said: object) -> str:
    """What the desk said, as people have written it, on one line."""
    return " ".join(redact.printable(str(said or "")).split())[:_SENTENCE_CHARS_MAX]
