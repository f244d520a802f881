"""Proxies that the environment names: ``http_proxy``, ``https_proxy``, ``all_proxy``, and ``no_proxy``, in either case.

Set-up's downloads use them. Nothing on loopback is reached through one: a proxy elsewhere could not, and would be told
of every control call. Clients of ours do not look at the environment; libraries that do, and what is started, find
loopback excepted in it. A service that is not ours is reached over a link that connects to it, which no proxy of HTTP
can be part of: where the environment names one for it, the user has to decide (harness/guard.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, MutableMapping

_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_EXCEPT = ("no_proxy", "NO_PROXY")
VARIABLES = (*_NAMES, *(name.upper() for name in _NAMES), *_EXCEPT)
#: Clients differ in what they understand: names, addresses, networks.
LOOPBACK = ("localhost", "127.0.0.0/8", "127.0.0.1", "::1")


def sparing(environment: Mapping[str, str], addresses: Iterable[str] = ()) -> dict[str, str]:
    """What ``environment`` says about proxies, with loopback and ``addresses`` excepted; empty where it names none."""
    found = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not found.keys() - set(_EXCEPT):
        return {}
    for name in _EXCEPT:
        said = found.get(name) or next((found[other] for other in _EXCEPT if other in found), "")
        found[name] = ",".join(dict.fromkeys([*filter(None, map(str.strip, said.split(","))), *LOOPBACK, *addresses]))
    return found


def spare_loopback(environment: MutableMapping[str, str]) -> None:
    """Except loopback in our own environment: for libraries that look there (Docker's), and for what is started."""
    environment.update(sparing(environment))


def named_for(scheme: str, host: str, environment: Mapping[str, str]) -> str | None:
    """The variable that names a proxy for that service; None when it is reached directly."""
    if is_loopback(host):
        return None
    spelled = (name for both in (f"{scheme}_proxy", "all_proxy") for name in (both, both.upper()))
    variable = next((name for name in spelled if environment.get(name)), None)
    said = next((environment[name] for name in _EXCEPT if environment.get(name)), "")
    return None if any(_is_meant(host.lower(), entry.strip().lower()) for entry in said.split(",")) else variable


def is_loopback(host: str) -> bool:
    """Whether that name or address can only be this machine."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _is_meant(host: str, entry: str) -> bool:
    """Whether an entry of ``no_proxy`` means the host: ``*``, a name and all below it, an address, a network."""
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
