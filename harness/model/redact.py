"""Secrets stay out of everything that is written: events, plans, logs, messages.

Whoever reads a key tells this module (``learn``); whoever writes for people or into a run folder passes it through
``text`` or ``raw``. Known secrets are found by their value; foreign ones by what announces them: ``Bearer …``, the
usual prefixes of keys, passwords in URLs (what tools let by although no URL can have it, such as a ``/`` in a password,
only by value). Time is linear in what is searched.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TextIO
from urllib.parse import quote, unquote

MARK = "[redacted]"
#: A shorter value would be found inside innocent words: whoever takes a key from the user refuses one.
SECRET_CHARS_MIN = 8
#: Of an environment variable that only its name makes a secret.
ENVIRONMENT_CHARS_MIN = 16
#: Names the variable that holds the key of an endpoint that Drillyard did not start.
KEY_VARIABLE = "API_KEY_ENV"

_SECRET_NAME = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|WEBHOOK)$", re.IGNORECASE)
#: Each begins with fixed letters, which are searched for quickly.
_PATTERNS = (
    r"Bearer[ \t]+[\w.~+/=-]{16,}",
    r"bearer[ \t]+[\w.~+/=-]{16,}",
    r"sk-(?<![\w-]sk-)[\w-]{8,}",
    r"dy-(?<![\w-]dy-)[\w-]{8,}",
    r"hf_(?<![\w-]hf_)\w{16,}",
    # A user with a password, or what is long enough to be a token.
    r":(?:\\?/){2}(?:[^\s/:\"'\\]*:[^\s/\"'\\]+|[^\s/\"'\\]{16,})(?=@)",
)
_TEXT = [re.compile(pattern) for pattern in _PATTERNS]
_RAW = [re.compile(pattern.encode()) for pattern in _PATTERNS]
#: All but line ends and tabs, and the marks that turn the direction of text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: How Python holds bytes of the environment that are no text.
_AS_BYTES = "surrogateescape"

_known: list[str] = []  # longest first: one secret may be the beginning of another


def learn(*secrets: str) -> None:
    """From now on these values are replaced wherever they turn up, as they are and as URLs and JSON write them."""
    found = set(_known)
    for secret in secrets:
        if len(secret) >= SECRET_CHARS_MIN:
            found.update((secret, quote(secret, safe="", errors=_AS_BYTES), json.dumps(secret)[1:-1]))
    _known[:] = sorted(found, key=lambda value: (-len(value), value))


def learn_environment(environment: Mapping[str, str]) -> None:
    """Learn what the environment calls a token, key, secret, password or webhook, proxies' passwords, and the key that
    API_KEY_ENV names.
    """
    named = environment.get(environment.get(KEY_VARIABLE, ""), "")
    called = [value for name, value in environment.items() if _SECRET_NAME.search(name)]
    proxies = [value for name, value in environment.items() if name.lower().endswith("_proxy")]
    learn(named, *(value for value in called if len(value) >= ENVIRONMENT_CHARS_MIN))
    learn(*(secret for url in proxies for secret in _of_proxy(url)))


def _of_proxy(url: str) -> Iterator[str]:
    """User and password of a proxy's URL, the password alone, and how both are sent. The scheme may be missing."""
    before = url.rpartition("@")[0]
    userinfo = before.partition("://")[2] or before
    for pair in (userinfo, unquote(userinfo)):
        password = pair.partition(":")[2]
        if password:
            yield from (pair, password, base64.b64encode(pair.encode(errors=_AS_BYTES)).decode())


def text(written: str) -> str:
    """``written`` without secrets. JSON stays JSON."""
    for secret in _known:
        written = written.replace(secret, MARK)
    for pattern in _TEXT:
        written = pattern.sub(MARK, written)
    return written


def raw(written: bytes) -> bytes:
    """``written`` without secrets, for what may be no text."""
    for secret in _known:
        written = written.replace(secret.encode(errors=_AS_BYTES), MARK.encode())
    for pattern in _RAW:
        written = pattern.sub(MARK.encode(), written)
    return written


def printable(written: str) -> str:
    """``written`` without what a terminal obeys instead of showing it: control characters, changes of direction."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", written)


class Stream:
    """A text stream that lets no secret and no control character through: stands in for sys.stdout and sys.stderr."""

    def __init__(self, stream: TextIO, controls: bool = False) -> None:
        self._stream, self._controls = stream, controls

    @property
    def styled(self) -> Stream:
        """The same for whoever has replaced foreign control characters and adds colours (harness/run/terminal.py)."""
        return Stream(self._stream, controls=True)

    def write(self, written: str) -> int:
        """Pass on ``written`` without secrets, and with a ``?`` for what the stream's encoding lacks."""
        encoding = self._stream.encoding or "utf-8"
        shown = text(written if self._controls else printable(written))
        self._stream.write(shown.encode(encoding, "replace").decode(encoding))
        return len(written)

    def writelines(self, lines: list[str]) -> None:
        """As ``write``, line by line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)
