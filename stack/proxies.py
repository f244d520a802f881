"""Proxies that the environment names: ``http_proxy``, ``https_proxy``, ``all_proxy``, and ``no_proxy``, in either case.

Set-up's downloads use them. Loopback is never reached through one: a remote proxy could not reach it, and would receive
every control call. Our own clients ignore the environment; for libraries that read it, and for processes that are
started, loopback is excluded. An external target for which the environment names a proxy is reached through it
(stack/tunnel.py).
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_EXCEPT = ("no_proxy", "NO_PROXY")
VARIABLES = (*_NAMES, *(name.upper() for name in _NAMES), *_EXCEPT)
#: This machine, with the names below the first two (RFC 6761; nss-myhostname; /etc/hosts of Debian and Fedora).
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost4", "localhost6",
                "localhost4.localdomain4", "localhost6.localdomain6")  # fmt: skip
#: Names, addresses and networks, because clients support different ones.
LOOPBACK = (*_LOCAL_NAMES, "127.0.0.0/8", "127.0.0.1", "0.0.0.0", "::1")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    expected = "no http://HOST:PORT, with or without USER:PASSWORD and @ before HOST (marks in a password as %2F)"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # UnicodeError, which is a ValueError, for what no resolver takes
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme != "http":
        raise ValueError(f"a {parts.scheme} proxy, expected an http one")
    if not host or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(expected)
    said = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        said = "Basic " + base64.b64encode(pair.encode(errors="surrogateescape")).decode()
    return Proxy(host, port or 80, said)


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


def variable_for(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> str | None:
    """The variable that names a proxy for ``scheme://host:port``; None when it is reached directly."""
    if is_loopback(host):
        return None
    spelled = (name for both in (f"{scheme}_proxy", "all_proxy") for name in (both, both.upper()))
    variable = next((name for name in spelled if environment.get(name)), None)
    excluded = next((environment[name] for name in _EXCEPT if environment.get(name)), "")
    return None if _is_excluded(host, port, excluded) else variable


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, however it is spelled: ``127.1``, ``localhost.``, ``0.0.0.0``."""
    address = _address(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    name = host.lower().rstrip(".")
    return name in _LOCAL_NAMES or name.endswith((".localhost", ".localhost.localdomain"))


def _is_excluded(host: str, port: int, excluded: str) -> bool:
    """Whether the entries of ``no_proxy`` cover the host, as curl and Python read them.

    ``*``, an address, a network, or a name with all below it; each but the first also as ``ENTRY:PORT``.
    """
    entries = [entry.strip() for entry in excluded.split(",")]
    address = _address(host)
    if "*" in entries:
        return True
    if address is None:
        return bool(proxy_bypass(f"{host.rstrip('.')}:{port}", {"no": ",".join(entries)}))
    return any(_is_meant(address, port, entry) for entry in entries)


def _is_meant(address: _Address, port: int, entry: str) -> bool:
    """Whether an entry that is no name covers the address."""
    if entry.startswith("[") or entry.count(":") == 1:
        entry = entry.removesuffix(f":{port}")
    with suppress(ValueError):
        return address in ipaddress.ip_network(entry.removeprefix("[").removesuffix("]"), strict=False)
    return False


def _address(host: str) -> _Address | None:
    """The address that ``host`` is for the system's resolver, which is not asked; None for a name."""
    host = host.rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f.1
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address
