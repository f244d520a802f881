"""HAProxy's runtime API as the adapter reads it: no word of a gateway is taken for granted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.model.errors import AdapterError

HEAD = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_fqdn"


class Gateway:
    """Answers as HAProxy 2.6 does; ``obeys`` says whether orders are carried out."""

    def __init__(self, obeys: bool = True, answer: str = "") -> None:
        self.obeys, self.answer = obeys, answer
        self.admin, self.weight, self.calls = 0, 100, 0

    def gateway_command(self, gateway: str, command: str) -> str:
        """Commands of the runtime API, and as many answers, an empty line after each."""
        self.calls += 1
        return "\n".join(f"{self.answer_to(one)}\n" for one in command.split("; ")).strip()

    def answer_to(self, command: str) -> str:
        """One command."""
        words = command.split()
        if words[:2] == ["show", "servers"]:
            rows = (
                f"\n10 replicas 1 replica-1 - 2 {self.admin} {self.weight} 100 -\n10 replicas 2 replica-2 - 0 0 40 80 -"
            )
            return self.answer or HEAD + rows
        if "replicas/replica-1" not in words:
            return "No such server."
        if self.obeys and words[1] == "server":
            self.admin = {"ready": 0, "drain": 8, "maint": 1}[words[-1]]
        elif self.obeys:
            self.weight = int(words[-1].removesuffix("%"))
        return ""


def test_state_and_weight_are_read() -> None:
    """Admin bits become words and weights per cent; what the health checks think (op_state) is another matter."""
    gateway = Gateway()
    assert Haproxy(gateway, "gateway-a").servers() == {
        "replica-1": Server("ready", 100),
        "replica-2": Server("ready", 50),
    }
    gateway.admin = 8 | 1
    assert Haproxy(gateway, "gateway-a").servers()["replica-1"].state == "maint"


def test_orders_are_read_back() -> None:
    """A state and a weight are set when the gateway says that they are."""
    gateway = Gateway()
    adapter = Haproxy(gateway, "gateway-a")
    adapter.set_state("replica-1", "drain")
    adapter.set_weight("replica-1", 25)
    assert adapter.servers()["replica-1"] == Server("drain", 25)


def test_weight_and_state_are_one_call() -> None:
    """Into a container a call takes 0.2 s, and users ask meanwhile. The first says which backends there are."""
    gateway = Gateway()
    Haproxy(gateway, "gateway-a").use("replica-1", Server("drain", 25))
    assert Haproxy(gateway, "gateway-a").servers()["replica-1"] == Server("drain", 25)
    assert gateway.calls == 3


@pytest.mark.parametrize(
    "order",
    [
        lambda h: h.set_state("replica-1", "drain"),
        lambda h: h.set_weight("replica-1", 50),
        lambda h: h.use("replica-1", Server("drain", 100)),
    ],
)
def test_an_order_that_is_not_carried_out_is_an_error(order: Callable[[Haproxy], None]) -> None:
    """HAProxy answers nothing when it obeys; nothing is no proof."""
    with pytest.raises(AdapterError, match="gateway-a was told to set replica-1"):
        order(Haproxy(Gateway(obeys=False), "gateway-a"))


@pytest.mark.parametrize("answer", ["Permission denied", "Can't find backend.", "2\n# other words", "1\n# a b\n1 2"])
def test_other_answers_are_errors(answer: str) -> None:
    """What is not the table that we know is neither an empty table nor a traceback."""
    with pytest.raises(AdapterError, match="gateway-a"):
        Haproxy(Gateway(answer=answer), "gateway-a").servers()


def test_a_refusal_is_quoted() -> None:
    """With the order that it answers."""
    with pytest.raises(AdapterError, match=r"refused 'set weight replicas/replica-9 5%': No such server"):
        Haproxy(Gateway(), "gateway-a").set_weight("replica-9", 5)
