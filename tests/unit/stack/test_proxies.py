"""What the environment says about proxies: never for loopback, for others as it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.model.topology import Topology
from stack import proxies, tools
from stack.commands import command
from stack.runtimes import select
from stack.stacks.vllm_haproxy import STACK
from tests.listener import listening
from tests.unit.stack.test_commands import CONFIG, TOPOLOGY

PROXY = "http://user:secret@proxy.corp:3128"
#: As companies have it: nobody there thinks of 127.0.6.5.
USUAL = {"http_proxy": PROXY, "HTTPS_PROXY": PROXY, "no_proxy": "localhost, 127.0.0.1,.corp"}


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_loopback_is_excepted_where_a_proxy_is_named(name: str) -> None:
    """Under both spellings, beside what was excepted before, and once."""
    found = proxies.excluding_loopback({name: PROXY, "NO_PROXY": "10.0.0.0/8,localhost", "PATH": "/bin"}, ["127.0.6.5"])
    assert found.keys() == {name, "no_proxy", "NO_PROXY"}
    assert found["no_proxy"] == found["NO_PROXY"]
    listed = found["no_proxy"].split(",")
    assert listed[:2] == ["10.0.0.0/8", "localhost"]
    assert sorted(listed) == sorted({"10.0.0.0/8", "127.0.6.5", *proxies.LOOPBACK})


def test_without_a_proxy_nothing_is_said() -> None:
    """An environment without proxies stays as it is."""
    environment = {"no_proxy": "example.com", "PATH": "/bin", "http_proxy": ""}
    assert proxies.excluding_loopback(environment) == {}
    proxies.exclude_loopback(environment)
    assert environment == {"no_proxy": "example.com", "PATH": "/bin", "http_proxy": ""}


@pytest.mark.parametrize("said", ["*", " * ", "example.com,*"])
def test_who_excepts_everything_still_does(said: str) -> None:
    """curl, urllib and requests know the star when it stands alone: beside others downloads would use the proxy."""
    found = proxies.excluding_loopback({"https_proxy": PROXY, "no_proxy": said}, ["127.0.6.5"])
    assert found["no_proxy"] == found["NO_PROXY"] == "*"


def test_our_own_environment_keeps_its_proxies() -> None:
    """Set-up downloads through them."""
    environment = dict(USUAL)
    proxies.exclude_loopback(environment)
    assert (environment["http_proxy"], environment["HTTPS_PROXY"]) == (PROXY, PROXY)
    assert "127.0.0.0/8" in environment["no_proxy"].split(",")


@pytest.mark.parametrize(
    ("scheme", "host", "variable"),
    [
        ("http", "llm.example.com", "http_proxy"), ("https", "llm.example.com", "HTTPS_PROXY"),
        ("https", "llm.corp", None), ("https", "LLM.corp", None), ("https", "llm.corp.", None),
        ("https", "notcorp", "HTTPS_PROXY"), ("http", "10.1.2.3", "http_proxy"),
    ],
)  # fmt: skip
def test_a_proxy_is_named_for_a_host(scheme: str, host: str, variable: str | None) -> None:
    """By scheme, with what is excepted."""
    assert proxies.variable_for(scheme, host, 443, USUAL) == variable


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.6.5", "127.1", "127.0.1", "0x7f.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "0.0.0.0",
        "0", "::1", "::", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0", "localhost",
        "LocalHost", "localhost.", "llm.localhost", "localhost.localdomain", "localhost4", "localhost6.localdomain6",
        "ip6-localhost", "ip6-loopback", "IP6-localhost.",
    ],
)  # fmt: skip
def test_loopback_uses_no_proxy_however_it_is_spelled(host: str) -> None:
    """Everything that the resolver, or RFC 6761, takes for this machine."""
    assert proxies.variable_for("http", host, 80, {"http_proxy": PROXY}) is None


@pytest.mark.parametrize("host", ["128.1", "1.127", "mylocalhost", "localhost.example.com", "127.0.0.1.nip.io", "::2"])
def test_what_only_looks_like_loopback_uses_one(host: str) -> None:
    """A name that begins or ends like one of this machine's is another host."""
    assert proxies.variable_for("http", host, 80, {"http_proxy": PROXY}) == "http_proxy"


@pytest.mark.parametrize(
    ("host", "excepted", "direct"),
    [
        ("a.b.c", "*", True), ("a.b.c", "b.c", True), ("a.b.c", ".b.c", True), ("a.b.c", "A.B.c", True),
        ("b.c", ".b.c", True), ("ab.c", "b.c", False), ("a.b.c", "", False), ("a.b.c.", "b.c", True),
        ("a.b.c", "a.b.c:8443", True), ("a.b.c", "b.c:8443", True), ("a.b.c", ".b.c:8443", True),
        ("a.b.c", "b.c:443", False), ("a.b.c", "a.b.c:8", False),
        ("a.b.c", "*.b.c", False), ("ab.c", "*b.c", False), ("a.b.c", "a.*", False),  # `*` alone is a pattern
        ("10.1.2.3", "10.0.0.0/8", True), ("10.1.2.3", "10.1.2.3/8", True), ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True), ("10.1.2.3", "10.1.2.3:8443", True), ("10.1.2.3", "10.1.2.3:443", False),
        ("10.1.2.3", "2.3", False), ("10.1.2.3", ".3", False), ("10.1.2.3", "3", False), ("10.1.515", "10.1.2.3", True),
        ("2001:db8::5", "2001:db8::/32", True), ("2001:db8::5", "2001:db8:0::5", True), ("2001:db8::5", "::5", False),
        ("2001:db8::5", "[2001:db8::5]", True), ("2001:db8::5", "[2001:db8::5]:8443", True),
        ("2001:db8::5", "[2001:db8::5]:443", False), ("2001:db8::5", "2001:db8::5:8443", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
    ],
)  # fmt: skip
def test_what_no_proxy_means(host: str, excepted: str, direct: bool) -> None:
    """As curl and Python read it: names with those below them, addresses, networks, each also with a port."""
    named = proxies.variable_for("https", host, 8443, {"ALL_PROXY": PROXY, "NO_PROXY": f"x.y, {excepted}"})
    assert named == (None if direct else "ALL_PROXY")


def test_only_an_engine_that_fetches_a_model_knows_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other component gets one in its environment; the engine's has every address of the stack excepted."""
    for name, value in USUAL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tools, "require", lambda name: tools.Tool(Path("/tools") / name, {}))
    for component in TOPOLOGY.components:
        assert not command(TOPOLOGY, component, CONFIG, "token").env.keys() & set(proxies.VARIABLES)
    real = Topology(STACK, instance=12, engine="vllm", models=dict.fromkeys(("replica-1", "replica-2"), "some/model"))
    told = command(real, real.component("replica-1"), CONFIG, "token").env
    assert told["http_proxy"] == PROXY
    assert {one.address for one in real.components} <= set(told["no_proxy"].split(","))


def test_a_docker_daemon_on_loopback_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's SDK looks at the environment: it asks the proxy until loopback is excepted there."""
    with (
        listening(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as daemon,
        listening(b"") as proxy,
    ):
        environment = {"http_proxy": f"http://127.0.0.1:{proxy.port}", "no_proxy": "example.com"}
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{daemon.port}")
        for name in proxies.VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert select.docker_trouble()
        assert (daemon.connections, proxy.connections) == (0, 1)
        for name, value in proxies.excluding_loopback(os.environ).items():
            monkeypatch.setenv(name, value)
        assert select.docker_trouble()
        assert (daemon.connections, proxy.connections) == (1, 1)
