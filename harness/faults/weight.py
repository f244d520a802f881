"""The gateways give a replica another share of the requests, as for a canary."""

from __future__ import annotations

from collections.abc import Mapping

from harness.adapters.gateway import Gateway, Server
from harness.faults.server import Answers, ServerFault
from harness.model.options.weight import Options


class Weight(ServerFault[Options]):
    """The share that the gateways are told to give it."""

    type = "weight"
    asked = 40

    def apply(self, gateway: Gateway) -> None:
        """The replica has that weight there."""
        gateway.set_weight(self.on, self.options.percent)

    def effect(self, servers: Mapping[str, Mapping[str, Server]], answers: Answers) -> tuple[bool, str]:
        """Weighted by the gateways' own word, and a share of the answers that is nearer to the weights' than before."""
        if wrong := [gateway for gateway, found in servers.items() if found[self.on].weight != self.options.percent]:
            return False, f"{', '.join(wrong)} gives {self.on} another weight"
        mine = answers.by.get(self.on, 0)
        share, before, expected = mine / answers.total, self._share(self.before), self._share(servers)
        words = f"{self.on} gave {mine} of {answers.total} answers ({share:.0%}), its weight stands for {expected:.0%}"
        if expected == 0 or mine == 0:
            return expected == mine, words
        return abs(share - expected) < abs(share - before), f"{words} and stood for {before:.0%}"

    def _share(self, servers: Mapping[str, Mapping[str, Server]]) -> float:
        """The replica's part of the weights of all that take requests, on average over the gateways."""
        shares = []
        for found in servers.values():
            weights = {name: one.weight for name, one in found.items() if one.state == "ready"}
            total = sum(weights.values())
            shares.append(weights.get(self.on, 0) / total if total else 0.0)
        return sum(shares) / len(shares)


FAULT = Weight
