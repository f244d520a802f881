"""Who may be touched: what this checkout started, and besides that only what its owner has named.

The stacks of the process and docker runtimes prove themselves by the instance id in their state file (stack/state.py).
Anything else, a loopback address or a container with our labels included (a tunnel makes production look local), is a
target, and needs ``--i-own-this-target`` with its exact host. That is resolved once; the address holds for the run.
Where the environment names a proxy for it, that resolves the name, and stack/tunnel.py leads there from loopback.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.model import redact
from harness.model.errors import UsageError
from harness.model.server_error import writable
from harness.model.topology import TUNNEL_HOST, TUNNEL_PORTS, Endpoint, Target
from stack import proxies

OPTION = "--i-own-this-target"
#: The address of a host, for a port. UsageError when it has none.
Resolve = Callable[[str, int], str]

#: Of instance 0.
_TUNNEL = f"127.0.0.{TUNNEL_HOST}"
_HOST = re.compile(r"[a-z0-9._:-]+")
_PATH = re.compile(r"[!-~]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class External:
    """What the user said about a service that Drillyard did not start."""

    url: str | None = None
    owned: tuple[str, ...] = ()
    api_key_env: str | None = None
    metrics_url: str | None = None
    model: str | None = None


def address_of(host: str, port: int) -> str:
    """The address that the system's resolver gives, IPv4 if there is one. UsageError when there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"the target {host!r} cannot be resolved: {error}") from None
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def unresolved(host: str, port: int) -> str:
    """For a plan that asks nobody: no address yet."""
    return ""


def admit(said: External, resolve: Resolve = address_of, tunnel: str = _TUNNEL) -> Target:
    """The target that the user has and owns, each host resolved once. UsageError, before anything is asked, if not.

    ``tunnel`` is the address at which the way to what lies behind a proxy begins.
    """
    if not said.url:
        raise UsageError("RUNTIME=external drills an endpoint that you name: TARGET=https://HOST (or --target)")
    service = _endpoint("TARGET", said.url)
    service = dataclasses.replace(service, path=service.path.rstrip("/"))
    metrics = _endpoint("METRICS_URL", said.metrics_url) if said.metrics_url else None
    if metrics is not None and metrics.path in ("", "/"):
        metrics = dataclasses.replace(metrics, path="/metrics")  # with a trailing slash it may be another page
    _require_owned([e for e in (service, metrics) if e is not None], said.owned)
    _require_key(said.api_key_env)
    if said.model and writable(said.model) != said.model:
        raise UsageError("MODEL is no text: found control characters or bytes that are no UTF-8, expected a name")
    if "https" in (service.scheme, metrics and metrics.scheme):
        _require_authorities(os.environ.get("SSL_CERT_FILE"))
    service = _led(service, f"{tunnel}:{TUNNEL_PORTS['service']}")
    metrics = None if metrics is None else _led(metrics, f"{tunnel}:{TUNNEL_PORTS['metrics']}")
    addresses: dict[str, str] = {}
    for endpoint in (service, metrics):
        if endpoint is not None and not endpoint.proxy and endpoint.host not in addresses:
            addresses[endpoint.host] = resolve(endpoint.host, endpoint.port)
    return Target(
        service=_pinned(service, addresses, service.path.removesuffix("/v1")),
        api_key_env=said.api_key_env,
        model=said.model,
        metrics=None if metrics is None else _pinned(metrics, addresses, metrics.path),
    )


def sentence(target: Target | None) -> str:
    """What the guard has let through, for people."""
    if target is None:
        return "touches only what this checkout starts itself, proven by the instance id in its state file"
    return "you own " + ", ".join(dict.fromkeys(f"{e.host} ({_address(e)})" for e in target.endpoints.values()))


def _address(endpoint: Endpoint) -> str:
    if endpoint.proxy:
        return "resolved by the proxy"
    return f"pinned: {endpoint.address or 'resolved once when the run starts'}"


def route(target: Target | None) -> str:
    """One sentence about the proxies that the environment names, for plan and dry run."""
    if target is None:
        return "none: everything is on loopback, which is never reached through one"
    ends = list(target.endpoints.values())
    if any(end.proxy for end in ends):
        ways = (f"{e.host} through the proxy that {e.proxy} names" if e.proxy else f"{e.host} directly" for e in ends)
        return "; ".join(dict.fromkeys(ways))
    named = [name for name in proxies.VARIABLES if name.lower() != "no_proxy" and os.environ.get(name)]
    if not named:
        return "none: the environment names none"
    return f"none: the environment ({', '.join(named)}) leads to the target directly"


def _led(endpoint: Endpoint, tunnel: str) -> Endpoint:
    """The endpoint with the proxy that the environment names for it, if any. UsageError for one that cannot be used.

    The message omits its URL, which may hold a password.
    """
    variable = proxies.variable_for(endpoint.scheme, endpoint.host, endpoint.port, os.environ)
    if variable is None:
        return endpoint
    try:
        proxies.parse(os.environ[variable])
    except ValueError as error:
        raise UsageError(
            f"the environment ({variable}) leads to {endpoint.host} through a proxy, and names {error}: nothing was "
            f"sent. If this machine reaches it directly, set no_proxy={endpoint.host}"
        ) from None
    return dataclasses.replace(endpoint, proxy=variable, tunnel=tunnel)


def _endpoint(name: str, url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if port == 0:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{name} is no URL with a host and a port from 1 to 65535, such as https://HOST:8443"
        ) from None
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"{name} holds more than scheme, host, port and path; a key belongs in API_KEY_ENV's variable")
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
        found = "it is not shown, as it may hold a password" if "@" in url else f"found {url}"
        raise UsageError(f"{name}: {found}; expected https://HOST[:PORT][/PATH] or the same with http")
    try:
        host.encode("idna")
    except UnicodeError:
        raise UsageError(f"{name}: found {url}; {host} is no name of a host (parts of 1 to 63 characters)") from None
    return Endpoint(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], parts.path)


def _require_owned(endpoints: list[Endpoint], owned: tuple[str, ...]) -> None:
    wanted = list(dict.fromkeys(endpoint.host for endpoint in endpoints))
    missing = [host for host in wanted if host not in {one.lower() for one in owned}]
    stray = [one for one in owned if one.lower() not in wanted]
    if not missing and not stray:
        return
    typed = " ".join(f"{OPTION} {host}" for host in wanted)
    said = f", and {OPTION} names {', '.join(owned)}" if owned else ""
    raise UsageError(
        f"found {' and '.join(wanted)}, which this checkout did not start (no state file holds it){said}: nothing was "
        f"sent. If it is yours to break, say so by its exact host: {typed}"
    )


def _require_key(variable: str | None) -> None:
    """Messages never repeat what was given: it may be the key itself."""
    if variable is None:
        return
    if not _VARIABLE.fullmatch(variable):
        raise UsageError("API_KEY_ENV is not the name of an environment variable (and is not shown: is it the key?)")
    key = os.environ.get(variable, "")
    redact.learn(key)
    if not _KEY.fullmatch(key):
        raise UsageError(
            "API_KEY_ENV names a variable that is not exported or holds no API key (its name is not shown)"
        )
    if len(key) < redact.SECRET_CHARS_MIN:
        raise UsageError(
            f"API_KEY_ENV names a key that has {len(key)} characters, expected {redact.SECRET_CHARS_MIN} or more: "
            "a shorter one could not be kept out of reports without redacting innocent words. Give the endpoint another"
        )


def _require_authorities(path: str | None) -> None:
    """UsageError for a file of certificate authorities that cannot be read: OpenSSL is silent, and trusts nobody."""
    try:
        if path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise UsageError(
            f"SSL_CERT_FILE={path}: found {error.strerror or error}, expected a file with certificates (PEM); "
            "name one, or unset it for those of this machine"
        ) from None


def _pinned(endpoint: Endpoint, addresses: dict[str, str], path: str) -> Endpoint:
    return dataclasses.replace(endpoint, path=path, address=addresses.get(endpoint.host, ""))
