"""Asking a service of somebody else's: by its own name in Host and TLS, whatever address the connection goes to."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import ssl
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from harness.model.errors import StackError, UsageError
from harness.model.server_error import writable
from harness.model.topology import CLIENT, TARGET, Endpoint, Target, Topology
from harness.probes import completion
from harness.probes.page import DEADLINE_S, Answer, NoAnswer, Page
from stack import bounded

#: Of a metrics page: a vLLM engine has 60 kB, so this is a service of 64 of them. The harness reads it five times a
#: second beside the drill; a larger page is rejected because it would take too much CPU.
METRICS_BYTES_MAX = 4 * 1024 * 1024
#: One for TLS, one for a slash, one more.
REDIRECTS_MAX = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PATH = re.compile("[!-~]*")
_SHOWN_CHARS = 60


def verification(endpoint: Endpoint) -> ssl.SSLContext | bool:
    """What httpx has to check: the machine's certificate authorities (SSL_CERT_FILE names others); nothing for http."""
    return ssl.create_default_context() if endpoint.scheme == "https" else False


def request(endpoint: Endpoint, where: str, path: str = "", key: str = "") -> dict[str, Any]:
    """httpx's arguments for a request to ``where`` (address:port) that means ``endpoint``."""
    # A server may compress only what the client accepts, and link probes count bytes.
    headers = {"Host": endpoint.authority, "Accept-Encoding": "identity"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{endpoint.scheme}://{where}{endpoint.path}{path}"
    return {"url": url, "headers": headers, "extensions": {"sni_hostname": endpoint.host}}


def page(endpoint: Endpoint) -> Page:
    """What is at ``endpoint``, asked at the address that it was pinned to."""
    tls = ssl.create_default_context() if endpoint.scheme == "https" else None
    headers = {"Host": endpoint.authority, "Accept-Encoding": "identity"}
    url = f"{endpoint.scheme}://{endpoint.pinned}{endpoint.path}"
    return Page(url, DEADLINE_S, True, headers, tls, endpoint.host, METRICS_BYTES_MAX)


class MetricsPage:
    """Metrics page of an external target. Redirects on its own host are followed.

    A redirect to another host, which its owner has not named, is returned as it is. The destination of a redirect is
    requested directly from then on, until it fails.
    """

    def __init__(self, metrics: Endpoint) -> None:
        self._first = self._at = metrics
        self._page = page(metrics)

    async def get(self) -> Answer:
        """The page, or any other answer. NoAnswer without a whole answer within ``DEADLINE_S``, redirects included."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._followed()
        except TimeoutError as error:
            self._turn_to(self._first)
            raise NoAnswer("timeout", f"no whole answer in {DEADLINE_S:g} s") from error
        except NoAnswer:
            self._turn_to(self._first)
            raise

    def close(self) -> None:
        """End the connection, if there is one."""
        self._page.close()

    async def _followed(self) -> Answer:
        answer = await self._page.get()
        if answer.status != 200 and self._at != self._first:
            self._turn_to(self._first)
            answer = await self._page.get()
        for _ in range(REDIRECTS_MAX):
            there = self._led_to(answer)
            if there is None:
                break
            self._turn_to(there)
            answer = await self._page.get()
        return answer

    def _led_to(self, answer: Answer) -> Endpoint | None:
        """The destination of a redirect on the same host; None for any other answer."""
        location = _location(answer, self._at)
        if location is None or location.hostname != self._first.host or location.scheme not in ("http", "https"):
            return None
        path = f"{location.path}?{location.query}" if location.query else location.path
        if location.username is not None or not _PATH.fullmatch(path):
            return None
        port = location.port or {"http": 80, "https": 443}[location.scheme]
        if self._first.tunnel and port != self._first.port:
            return None  # the tunnel leads to one port
        return dataclasses.replace(self._first, scheme=location.scheme, port=port, path=path or "/")

    def _turn_to(self, there: Endpoint) -> None:
        if there != self._at:
            self._page.close()
            self._at, self._page = there, page(there)


def _location(answer: Answer, asked: Endpoint) -> SplitResult | None:
    """The destination of a redirect from ``asked``; None for any other answer or without a valid URL."""
    if answer.status not in _REDIRECTS or not answer.header("location"):
        return None
    try:
        found = urlsplit(urljoin(asked.url, answer.header("location")))
        return found if found.port != 0 else None
    except ValueError:
        return None


def describe(answer: Answer) -> str:
    """One phrase about an unexpected answer: status, type, size, and how it begins.

    The query of a redirect's destination is left out: login pages put secrets there.
    """
    kind = answer.header("content-type").partition(";")[0] or "no content type"
    found = f"status {answer.status} with {kind[:_SHOWN_CHARS]}, {len(answer.body)} bytes"
    if answer.status in _REDIRECTS:
        where = answer.header("location").partition("?")[0]
        return f"{found}, a redirect to {where[: 2 * _SHOWN_CHARS] or 'nowhere'} that is not followed"
    begin = " ".join(answer.text[: 4 * _SHOWN_CHARS].split())[:_SHOWN_CHARS]
    return f"{found} that begin «{begin}»" if begin else found


def key_of(target: Target) -> str:
    """The target's API key, from the environment; "" when it has none."""
    return os.environ.get(target.api_key_env, "") if target.api_key_env else ""


def served_model(topology: Topology, target: Target, deadline_s: float = 10.0) -> str:
    """The model to ask for: the one that the user named, else the first that the target lists, asked over the link.

    StackError when it does not answer or lists none, UsageError when it refuses the key.
    """
    if target.model:
        return target.model
    link, service = topology.link_between(CLIENT, TARGET), target.service
    ask = request(service, f"{link.listen_address}:{link.listen_port}", _MODELS, key_of(target))
    try:
        hooks = {"response": [completion.forget_redirect]}
        with httpx.Client(verify=verification(service), trust_env=False, event_hooks=hooks) as client:
            answer = bounded.ask(client, "GET", deadline_s=deadline_s, **ask)
        if answer.status_code == 200:
            return _first_model(answer)
        require_key_taken(target, _MODELS, answer.status_code)
        found, remedy = f"answers {answer.status_code}", _remedy(answer.status_code)
    except (httpx.HTTPError, ssl.SSLError) as error:  # httpx wraps TLS errors of the handshake only
        found = f"gives no answer ({error or type(error).__name__})"
        remedy = _CERTIFICATE if "CERTIFICATE" in str(error) else "is it the scheme, host and port of TARGET, and up?"
    except (ValueError, LookupError, TypeError):
        found = "lists no model (expected its name, a printable text, in data[0].id)"
        remedy = "name a model with MODEL="
    raise StackError(f"{service.url}{_MODELS} {found}: {remedy}")


def require_key_taken(target: Target, path: str, status: int) -> None:
    """UsageError where ``status``, with which the target answered a request for ``path``, refuses the key."""
    if status not in (401, 403):
        return
    which = f"the variable {target.api_key_env} holds no key that it takes" if target.api_key_env else "none was sent"
    raise UsageError(
        f"{target.service.url}{path} answers {status}: {which}; API_KEY_ENV names the variable that holds the key"
    )


_MODELS = "/v1/models"
_CERTIFICATE = (
    "TARGET's host must be a name of its certificate, and SSL_CERT_FILE the certificate authority, where it is your own"
)


def _remedy(status: int) -> str:
    """What to do about an answer of that status to the question for the models."""
    if status in (404, 405):
        return "TARGET is what stands before /v1/…; where it is right and lists no models, name one with MODEL="
    return "it does not list its models now; name one with MODEL=, or wait until it does"


def _first_model(listed: bounded.Answer) -> str:
    """The name of the first model that is listed. ValueError, LookupError or TypeError without one, or without text."""
    name = listed.json()["data"][0]["id"]
    if not isinstance(name, str) or not name or writable(name) != name:
        raise ValueError("no name that a request and a record can hold")
    return name
