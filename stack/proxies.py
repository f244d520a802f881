"""Proxies that the environment names: ``http_proxy``, ``https_proxy``, ``all_proxy``, and ``no_proxy``, in either case.

Set-up's downloads use them. Loopback is never reached through one: a remote proxy could not reach it, and would receive
every control call. Our own clients ignore the environment; for libraries that read it, and for processes that are
started, loopback is excluded. An external target for which the environment names a proxy is reached through it
(stack/tunnel.py).
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_EXCEPT = ("no_proxy", "NO_PROXY")
VARIABLES = (*_NAMES, *(name.upper() for name in _NAMES), *_EXCEPT)
#: Names, addresses and networks, because clients support different ones.
LOOPBACK = ("localhost", "127.0.0.0/8", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy, and what it has to be told of who asks ("" when nothing)."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def parse(url: str) -> Proxy:
    """The proxy at ``http://[USER[:PASSWORD]@]HOST[:PORT]``, the scheme may be missing. ValueError for anything else.

    The message never repeats the URL, which may hold a password.
    """
    expected = "no http://[USER:PASSWORD@]HOST:PORT"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme != "http":
        raise ValueError(f"a {parts.scheme} proxy, expected an http one")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(expected)
    said = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        said = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, said)


def excluding_loopback(environment: Mapping[str, str], addresses: Iterable[str] = ()) -> dict[str, str]:
    """The proxy variables of ``environment`` with loopback and ``addresses`` excluded; empty without a proxy."""
    found = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not found.keys() - set(_EXCEPT):
        return {}
    for name in _EXCEPT:
        listed = found.get(name) or next((found[other] for other in _EXCEPT if other in found), "")
        found[name] = _with(listed, (*LOOPBACK, *addresses))
    return found


def _with(listed: str, more: Iterable[str]) -> str:
    """The excepted hosts and ``more``. A ``*`` stays alone: curl, urllib and requests ignore it among others."""
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    return "*" if "*" in entries else ",".join(dict.fromkeys([*entries, *more]))


def exclude_loopback(environment: MutableMapping[str, str]) -> None:
    """Exclude loopback in our own environment, for libraries that read it (Docker's) and for started processes."""
    environment.update(excluding_loopback(environment))


def variable_for(scheme: str, host: str, environment: Mapping[str, str]) -> str | None:
    """The variable that names a proxy for ``scheme://host``; None when it is reached directly."""
    if is_loopback(host):
        return None
    spelled = (name for both in (f"{scheme}_proxy", "all_proxy") for name in (both, both.upper()))
    variable = next((name for name in spelled if environment.get(name)), None)
    excluded = next((environment[name] for name in _EXCEPT if environment.get(name)), "")
    return None if any(_is_meant(host.lower(), entry.strip().lower()) for entry in excluded.split(",")) else variable


def is_loopback(host: str) -> bool:
    """Whether ``host`` is localhost or a loopback address."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _is_meant(host: str, entry: str) -> bool:
    """Whether an entry of ``no_proxy`` covers the host: ``*``, a domain with its subdomains, an address, a network."""
    if entry == "*":
        return True
    if (address := _address(host)) is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name = entry.partition(":")[0].lstrip("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
