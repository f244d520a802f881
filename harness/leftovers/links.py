"""Links that are not as the topology has them: toxics, proxies that are missing, disabled or lead elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.errors import AdapterError
from harness.faults.base import World, take_back
from harness.leftovers.base import Leftover, Site
from harness.undo import Undo
from stack import config


def find(site: Site) -> Iterator[Leftover]:
    """What toxiproxy has too much, too little or otherwise."""
    world = site.world
    if world is None or site.states["toxiproxy"].state != "running":
        return  # a toxiproxy that does not run is found among the components
    try:
        proxies = world.toxiproxy.proxies()
    except AdapterError as error:
        what = f"toxiproxy does not answer ({error})"
        yield site.leftover(
            "toxiproxy", what, "it is restarted, without toxics", partial(world.runtime.kill, "toxiproxy")
        )
        return
    for wanted in config.proxies(world.topology):
        for kind, what, remedy in _differences(wanted, proxies.get(wanted["name"])):
            yield site.leftover(kind, what, remedy, partial(_renew, world, wanted))


def _differences(wanted: dict[str, Any], found: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    name, remedy = wanted["name"], "the proxy is made anew"
    if found is None:
        yield "proxy", f"{name}: toxiproxy has no proxy for it", remedy
        return
    for toxic in found["toxics"]:
        yield "toxic", f"{name}: {toxic['type']} ({toxic['name']}) on its {toxic['stream']} side", remedy
    if not found["enabled"]:
        yield "proxy", f"{name}: its proxy is disabled", remedy
    # Toxiproxy writes 0.0.0.0 as [::].
    if found["upstream"] != wanted["upstream"] or _port(found) != _port(wanted):
        where = f"{found['listen']} → {found['upstream']}, expected {wanted['listen']} → {wanted['upstream']}"
        yield "proxy", f"{name}: its proxy leads {where}", remedy


def _port(proxy: dict[str, Any]) -> str:
    return str(proxy["listen"]).rpartition(":")[2]


def _renew(world: World, wanted: dict[str, Any]) -> None:
    arguments = {"proxy": wanted["name"], "listen": wanted["listen"], "upstream": wanted["upstream"]}
    take_back(world, Undo(f"doctor/{wanted['name']}", "renew_proxy", arguments))
