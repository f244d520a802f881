"""A server of the user's monitoring that answers in JSON, asked over HTTP as the environment says.

Whatever it answers instead, a login page, a refusal or nothing, is one line that says what was found and expected.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from harness.model import redact
from harness.model.errors import AdapterError, UsageError
from stack import bounded

TENANT_HEADER = "X-Scope-OrgID"
_SHOWN_CHARS = 200


@dataclass(frozen=True)
class Access:
    """How a server is reached. ``ca_file`` is of the authority that signed its certificate, if it is no public one.

    ``variables`` begin the names of the environment's variables that say so: ``PROMETHEUS`` of ``PROMETHEUS_TOKEN``.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)
    ca_file: str = ""
    variables: str = "PROMETHEUS"

    @classmethod
    def of(
        cls, url: str, environment: Mapping[str, str], setting: str = "PROM", variables: str = "PROMETHEUS"
    ) -> Access:
        """From ``PROM=`` and the environment. UsageError for what is no URL, and where two ways are said at once."""
        names = [f"{variables}_{name}" for name in ("TOKEN", "USER", "PASSWORD")]
        if "@" in url.rpartition("://")[2].partition("/")[0]:  # whatever else is wrong with it: a password is not shown
            raise UsageError(
                f"{setting}: expected no user in the URL; give {names[1]} and {names[2]} in the environment"
            )
        if not _is_address(url):
            raise UsageError(f"{setting}={url}: expected http://host:port or https://host, with a path if there is one")
        token, user, password = (environment.get(name, "") for name in names)
        if token and user:
            raise UsageError(f"found {names[0]} and {names[1]}, expected one of them")
        redact.learn(token, password)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if tenant := environment.get(f"{variables}_TENANT", ""):
            headers[TENANT_HEADER] = tenant
        ca_file = environment.get(f"{variables}_CA_FILE", "")
        return cls(url.rstrip("/"), headers, (user, password) if user else None, ca_file, variables)

    def verification(self) -> ssl.SSLContext | bool:
        """What httpx has to check. UsageError for a file that holds no certificates."""
        if not self.url.startswith("https"):
            return False
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{self.variables}_CA_FILE={self.ca_file}: expected a file of certificates (PEM), found {error}"
            ) from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # half an IPv6 address, a port that is no number
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


@dataclass(frozen=True)
class Said:
    """An answer: its status, its JSON (None where it is none), and what it was in words."""

    status: int
    said: Any
    words: str


class JsonServer:
    """One server. ``what`` it is expected to be, and ``where`` its address ends, are for messages."""

    def __init__(self, access: Access, deadline_s: float, what: str, where: str) -> None:
        self.url, self._deadline_s, self._what, self._where = access.url, deadline_s, what, where
        self._variables = access.variables
        self._client = httpx.Client(
            headers=dict(access.headers), auth=access.user, verify=access.verification(), trust_env=False
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def ask(self, path: str, **question: str) -> Said:
        """GET. UsageError where it refuses (401, 403), AdapterError without an answer, TooMuch for one too large."""
        try:
            answer = bounded.ask(self._client, "GET", self.url + path, self._deadline_s, params=question)
        except bounded.TooMuch:
            raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise AdapterError(f"{self.url} does not answer: {line(why)}; expected {self._what}") from error
        if answer.status_code in (401, 403):
            token, user, password, tenant = (
                f"{self._variables}_{name}" for name in ("TOKEN", "USER", "PASSWORD", "TENANT")
            )
            hint = f"set {token}, or {user} and {password}, and {tenant} where it has tenants"
            raise UsageError(f"{self.url} refuses: HTTP {answer.status_code}; {hint}")
        try:
            said = answer.json()
        except ValueError:
            said = None
        kind = line(answer.headers.get("content-type", "no content type"))
        return Said(answer.status_code, said, f"HTTP {answer.status_code}, {kind}: {shown(answer.text)}")

    def no_api(self, path: str, answer: Said) -> UsageError:
        """That the answer is of something else than what was expected there."""
        name = self._what.removeprefix("a ").removeprefix("an ").removesuffix(" server")
        return UsageError(
            f"{self.url}{path} is no {name} API: found {answer.words}; expected the address {self._where}"
        )


def line(text: str) -> str:
    """What a server said, on one line that is not long, without what a terminal obeys."""
    words = " ".join(redact.printable(text).split())
    return words if len(words) <= _SHOWN_CHARS else words[:_SHOWN_CHARS] + "…"


def shown(what: Any) -> str:
    """Any answer as such a line."""
    return line(str(what)) or "nothing"
