"""Which gateway the service's name leads to: a real PowerDNS that watches real gateways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from harness.model.topology import DNS_POLICY, SERVICE_NAME
from stack import state
from stack.stacks.vllm_haproxy import STACK
from tests.integration.gateway_stack import GatewayStack, running, started
from tests.waiting import WITHIN_S, until


@pytest.fixture
def named_stack(tmp_path: Path) -> Iterator[GatewayStack]:
    """Both gateways with DNS in front."""
    with started(tmp_path, gateways=STACK.of("gateway")) as stack, name_server(tmp_path, stack):
        yield stack


@contextmanager
def name_server(folder: Path, stack: GatewayStack) -> Iterator[None]:
    """PowerDNS as the stack has it."""
    arguments = [f"--config-dir={folder / 'config/dns'}", f"--socket-dir={state.socket_folder(stack.topology)}"]
    with running(arguments, "pdns_server", folder / "dns.log"):
        yield


def test_defect_dns_health_checks_off(tmp_path: Path) -> None:
    """The defect shows: the name goes on leading to a gateway that is not ready."""
    with (
        started(tmp_path, gateways=STACK.of("gateway"), defects=frozenset({"dns_health_checks_off"})) as stack,
        name_server(tmp_path, stack),
    ):
        until(lambda: leads_to(stack, "gateway-a"), WITHIN_S, "gateway-a at first")
        for replica in stack.replicas:
            stack.toxic(f"gateway-a-to-{replica}", type="timeout", attributes={"timeout": 0})
        until(lambda: stack.client.get("/readyz").status_code == 503, WITHIN_S, "gateway-a not ready")
        limit_s = DNS_POLICY.check_interval_s + DNS_POLICY.check_timeout_s + 1.5
        with pytest.raises(AssertionError, match="somewhere else"):
            until(lambda: not leads_to(stack, "gateway-a"), limit_s, "somewhere else")


def test_defect_dns_long_ttl(tmp_path: Path) -> None:
    """The defect shows: answers may be kept for a minute, which the policy does not say."""
    with (
        started(tmp_path, gateways=STACK.of("gateway"), defects=frozenset({"dns_long_ttl"})) as stack,
        name_server(tmp_path, stack),
    ):
        until(lambda: leads_to(stack, "gateway-a"), WITHIN_S, "gateway-a")
        response = ask(stack)
        assert response is not None
        assert response.answer[0].ttl == 60 > DNS_POLICY.ttl_s


def ask(stack: GatewayStack, name: str = SERVICE_NAME) -> dns.message.Message | None:
    """The server's response; None while it does not answer."""
    component = stack.topology.component("dns")
    query = dns.message.make_query(name, "A")
    try:
        return dns.query.udp(query, component.address, timeout=0.3, port=component.ports["dns"])
    except (dns.exception.Timeout, OSError):
        return None


def answers(stack: GatewayStack) -> list[str]:
    """The addresses that the service's name has now."""
    response = ask(stack)
    return [item.address for rrset in response.answer for item in rrset] if response else []


def leads_to(stack: GatewayStack, gateway: str) -> bool:
    """Whether ten answers in a row are the client link of that gateway and nothing else."""
    link = stack.topology.link(f"client-to-{gateway}").listen_address
    return all(answers(stack) == [link] for _ in range(10))


def test_the_name_follows_the_ready_gateway(named_stack: GatewayStack) -> None:
    """gateway-a's client link while it is ready, gateway-b's within interval + time-out when it is not, and back."""
    until(lambda: leads_to(named_stack, "gateway-a"), WITHIN_S, "gateway-a at first")
    response = ask(named_stack)
    assert response is not None
    assert response.answer[0].ttl == DNS_POLICY.ttl_s
    assert response.flags & dns.flags.AA
    for replica in named_stack.replicas:
        named_stack.toxic(f"gateway-a-to-{replica}", type="timeout", attributes={"timeout": 0})
    until(lambda: named_stack.client.get("/readyz").status_code == 503, WITHIN_S, "gateway-a not ready")
    noticed_s = DNS_POLICY.check_interval_s + DNS_POLICY.check_timeout_s
    until(lambda: leads_to(named_stack, "gateway-b"), noticed_s + 1.5, "gateway-b")
    named_stack.heal()
    until(lambda: leads_to(named_stack, "gateway-a"), WITHIN_S, "gateway-a again")


def test_other_names_do_not_exist(named_stack: GatewayStack) -> None:
    """Only the service's own name is known; the server resolves nothing for others."""
    until(lambda: ask(named_stack) is not None, WITHIN_S, "answers")
    inside = ask(named_stack, "other." + SERVICE_NAME.split(".", 1)[1])
    outside = ask(named_stack, "example.org")
    assert inside is not None
    assert outside is not None
    assert inside.rcode() == dns.rcode.NXDOMAIN
    assert outside.rcode() == dns.rcode.REFUSED
