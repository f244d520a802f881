"""Links that are not as the topology has them: toxics; proxies that are missing, unknown, disabled, astray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from harness.faults.base import FaultContext, take_back
from harness.model.errors import AdapterError
from harness.model.journal import Undo
from harness.recover.leftovers.base import Leftover, Site
from harness.recover.leftovers.belongs import listen_address
from stack import config


def find(site: Site) -> Iterator[Leftover]:
    """What toxiproxy has too much, too little or otherwise."""
    context = site.context
    if context is None or site.states["toxiproxy"].state != "running":
        return  # a toxiproxy that does not run is found among the components
    try:
        proxies = context.toxiproxy.proxies()
    except AdapterError as error:
        what = f"toxiproxy does not answer ({error})"
        yield site.leftover(
            "toxiproxy", what, "it is restarted, without toxics", partial(context.runtime.kill, "toxiproxy")
        )
        return
    known = config.proxies(context.topology)
    for name in sorted(proxies.keys() - {wanted["name"] for wanted in known}):
        what = f"toxiproxy has a proxy {name!a} with {len(proxies[name]['toxics'])} toxic(s), which is no link"
        yield site.leftover("proxy", what, "the proxy is removed", partial(_remove, context, name))
    for wanted in known:
        for kind, what, remedy in _differences(wanted, proxies.get(wanted["name"])):
            yield site.leftover(kind, what, remedy, partial(_renew, context, wanted))


def _differences(wanted: dict[str, Any], found: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    name, remedy = wanted["name"], "the proxy is made again"
    if found is None:
        yield "proxy", f"{name}: toxiproxy has no proxy for it", remedy
        return
    for toxic in found["toxics"]:
        yield "toxic", f"{name}: {toxic['type']} ({toxic['name']}) on its {toxic['stream']} side", remedy
    if not found["enabled"]:
        yield "proxy", f"{name}: its proxy is disabled", remedy
    if found["upstream"] != wanted["upstream"] or listen_address(found["listen"]) != wanted["listen"]:
        where = f"{found['listen']} → {found['upstream']}, expected {wanted['listen']} → {wanted['upstream']}"
        yield "proxy", f"{name}: its proxy leads {where}", remedy


def _remove(context: FaultContext, name: str) -> None:
    """Drop the proxy. A toxiproxy that does not (it finds no name with a slash) is restarted without it."""
    with suppress(AdapterError):
        context.toxiproxy.drop(name)
        if name not in context.toxiproxy.proxies():
            return
    context.runtime.kill("toxiproxy")


def _renew(context: FaultContext, wanted: dict[str, Any]) -> None:
    arguments = {"proxy": wanted["name"], "listen": wanted["listen"], "upstream": wanted["upstream"]}
    take_back(context, Undo(f"doctor/{wanted['name']}", "renew_proxy", arguments))
