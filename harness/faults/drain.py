"""The gateways send a replica no new requests, as before a deployment; those that run end in peace."""

from __future__ import annotations

from collections.abc import Mapping

from harness.adapters.gateway import Gateway, Server
from harness.faults.server import Answers, ServerFault
from harness.model.options.drain import Options


class Drain(ServerFault[Options]):
    """Ordered at each gateway; what runs on the replica is left alone."""

    type = "drain"
    asked = 20

    def apply(self, gateway: Gateway) -> None:
        """The replica gets nothing more there."""
        gateway.set_state(self.on, "drain")

    def effect(self, servers: Mapping[str, Mapping[str, Server]], answers: Answers) -> tuple[bool, str]:
        """Drained by the gateways' own word, and no answer came from it."""
        if using := [gateway for gateway, found in servers.items() if found[self.on].state != "drain"]:
            return False, f"{', '.join(using)} has not drained {self.on}"
        if answers.by.get(self.on):
            return False, f"{self.on} still gave {answers.by[self.on]} of {answers.total} answers"
        return True, f"{self.on} is drained: it gave none of {answers.total} answers"


FAULT = Drain
