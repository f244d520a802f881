"""The API keys of the gateways: one for the operator (the harness itself), one for each simulated user.

Keys are secrets: they are kept in a file of mode 600, never logged; what logs and records carry is the key's id.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.model import redact
from harness.model.errors import UsageError

#: Takes the keys from this file instead of making them.
FILE_VARIABLE = "DRILLYARD_KEYS_FILE"
OPERATOR = "operator"
#: A key becomes one field of a line in the gateway's map file: no blanks, nothing that needs quoting.
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
_USER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class Keys:
    """``operator``: the harness' own key. ``users``: user id (``user-001``, …) -> key."""

    operator: str = field(repr=False)
    users: dict[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        """Whoever has keys does not write them."""
        redact.learn(self.operator, *self.users.values())

    def by_key(self) -> Iterator[tuple[str, str]]:
        """(key, key id) of every key, the operator's first."""
        yield self.operator, OPERATOR
        for user, key in self.users.items():
            yield key, user


def path(folder: Path) -> Path:
    """The file that holds the keys of the instance whose state lies in ``folder``."""
    return Path(os.environ.get(FILE_VARIABLE) or folder / "keys.json")


def load_or_create(folder: Path, users: int = 64) -> Keys:
    """The keys in ``folder/keys.json``, made for ``users`` users when the file is not there yet.

    The environment's DRILLYARD_KEYS_FILE names another file, which must exist. UsageError when a file is wrong.
    """
    if chosen := os.environ.get(FILE_VARIABLE):
        return load(Path(chosen))
    path = folder / "keys.json"
    if path.exists():
        return load(path)
    keys = Keys(_new_key(), {f"user-{n:03d}": _new_key() for n in range(1, users + 1)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".keys.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(keys), file, indent=1)
    temporary.replace(path)
    return keys


def load(path: Path) -> Keys:
    """The keys in ``path``: ``{"operator": KEY, "users": {USER-ID: KEY, …}}``. UsageError when it is anything else."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot read the API keys: {error}") from error
    if not isinstance(data, dict) or set(data) != {"operator", "users"} or not isinstance(data["users"], dict):
        raise UsageError(f'{path}: expected {{"operator": KEY, "users": {{USER-ID: KEY}}}}')
    found = [data["operator"], *data["users"].values()]
    if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in found):
        raise UsageError(f"{path}: every key must be 16 to 256 letters, digits or ._~+/=-")
    if len(set(found)) != len(found):
        raise UsageError(f"{path}: the same key stands there twice: nobody could tell its users apart")
    if wrong := [user for user in data["users"] if not _USER_ID.fullmatch(user) or user == OPERATOR]:
        raise UsageError(f"{path}: user id {wrong[0]!r}: expected lower-case letters, digits and «-», such as user-001")
    return Keys(data["operator"], dict(data["users"]))


def engine_token(operator: str) -> str:
    """What an engine wants of the harness (stack/middleware): made of the operator's key, which no engine sees."""
    token = hmac.new(operator.encode(), b"engine", "sha256").hexdigest()
    redact.learn(token)
    return token


def _new_key() -> str:
    return f"dy-{secrets.token_urlsafe(24)}"
