"""The guard: nothing but this checkout's own stack is touched unless its owner has named it; its address is pinned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.model import redact
from harness.model.errors import UsageError
from harness.model.topology import Topology
from harness.plan import guard
from harness.plan.guard import External
from harness.plan.options import StackOptions
from harness.plan.runtime import admitted
from harness.probes import endpoint
from harness.probes.endpoint import MetricsPage
from harness.run.generator import service
from stack import commands, config, keys, proxies, stacks
from stack.stacks import external as theirs

HOST = "llm.example.com"


class Fickle:
    """A resolver that gives another address each time it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> str:
        """The next address."""
        self.asked.append(host)
        return f"192.0.2.{len(self.asked)}"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says about them."""
    for name in proxies.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def never(host: str, port: int) -> str:
    """A resolver that must not be asked."""
    raise AssertionError(f"{host} was resolved")


def refusal(said: External) -> str:
    """The guard's words; nothing was resolved before them."""
    with pytest.raises(UsageError) as refused:
        guard.admit(said, never)
    assert refused.value.exit_code == 64
    return str(refused.value)


@pytest.mark.parametrize("host", [HOST, "127.0.0.1", "localhost", "127.0.50.11", "gateway-a", "[::1]"])
def test_a_target_that_nobody_owns_is_refused(host: str) -> None:
    """Loopback and our own names prove nothing: the refusal says what was found and what to type."""
    bare = host.strip("[]")
    said = refusal(External(f"http://{host}:8080"))
    assert f"found {bare}, which this checkout did not start" in said
    assert said.endswith(f"--i-own-this-target {bare}")


@pytest.mark.parametrize("owned", ["example.com", f"{HOST}:443", f"https://{HOST}", f"{HOST}.", "*", "", f"x{HOST}"])
def test_only_the_exact_host_opens(owned: str) -> None:
    """A domain above, a port, a pattern: none of them is the host."""
    assert f"--i-own-this-target names {owned}" in refusal(External(f"https://{HOST}", (owned,)))


def test_a_host_that_is_not_meant_is_refused_too() -> None:
    """Owning more than is touched is a typing error, or a command for another target."""
    assert "names" in refusal(External(f"https://{HOST}", (HOST, "other.example.com")))


def test_metrics_of_another_host_need_its_name() -> None:
    """Reading a page is touching, too."""
    said = refusal(External(f"https://{HOST}", (HOST,), metrics_url="http://10.0.0.7:8000/metrics"))
    assert said.endswith(f"--i-own-this-target {HOST} --i-own-this-target 10.0.0.7")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "TARGET=https://HOST"),
        ("llm.example.com", "expected https://HOST"),
        ("ftp://llm.example.com", "expected https://HOST"),
        ("me:s3cret-pass@llm.example.com", "it is not shown, as it may hold a password; expected https://HOST"),
        ("https://llm.example.com:99999", "a port from 1 to 65535"),
        ("https://llm.example.com:0", "a port from 1 to 65535"),
        ("https://llm..example.com", "llm..example.com is no name of a host"),
        ("http://.example.com", ".example.com is no name of a host"),
        (f"https://{'a' * 64}.example.com:8443", "is no name of a host"),
        ("https://sk-secret@llm.example.com", "a key belongs in"),
        ("https://llm.example.com/v1?api-key=sk-secret", "a key belongs in"),
        ("https://llm.example.com/a b\r\nHost: x", "expected https://HOST"),
    ],
)
def test_wrong_targets_are_refused(url: str | None, says: str) -> None:
    """Each in one sentence, and a secret in the URL is not repeated."""
    said = refusal(External(url, (HOST,)))
    assert says in said
    assert "sk-secret" not in said


def test_a_wrong_page_of_metrics_is_refused() -> None:
    """By the name of its own setting."""
    for url in ("http://m.example.com:0/metrics", "http://m..example.com"):
        assert refusal(External(f"https://{HOST}", (HOST,), metrics_url=url)).startswith("METRICS_URL")


def test_a_model_that_is_no_text_is_refused() -> None:
    """Python reads bytes that are no UTF-8 as half surrogate pairs, which no request can carry."""
    said = refusal(External(f"https://{HOST}", (HOST,), model="m\udcff"))
    assert "MODEL is no text" in said


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_certificate_authorities_that_cannot_be_read_are_refused(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL ignores a file that is missing, and each request would fail later. Plain HTTP needs none."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    said = refusal(External(f"https://{HOST}", (HOST,)))
    assert f"SSL_CERT_FILE={path}: found " in said
    assert "expected a file with certificates (PEM)" in said
    guard.admit(External(f"http://{HOST}", (HOST,)), Fickle())


@pytest.mark.parametrize("given", ["sk-live-0123456789", "sk0123456789abcdef", "EMPTY", "BLANKS"])
def test_a_key_in_the_wrong_place_is_not_repeated(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """API_KEY_ENV names a variable; who puts the key there does not find it in an error message."""
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("BLANKS", "a key\r\nX-Evil: 1")
    said = refusal(External(f"https://{HOST}", (HOST,), api_key_env=given))
    assert "API_KEY_ENV" in said
    assert given not in said


@pytest.mark.parametrize("key", ["abc", "is", "1234567", "12345678", "a-long-enough-key"])
def test_a_key_is_redacted_or_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too short to be found again among innocent words is not used; any other never shows."""
    monkeypatch.setattr(redact, "_known", [])
    monkeypatch.setenv("SHORT", key)
    asked = External(f"https://{HOST}", (HOST,), api_key_env="SHORT")
    if len(key) < redact.SECRET_CHARS_MIN:
        assert f"has {len(key)} characters, expected {redact.SECRET_CHARS_MIN} or more" in refusal(asked)
        assert redact.text("This is the abcissa of 1234567") == "This is the abcissa of 1234567"
    else:
        assert guard.admit(asked, Fickle()).api_key_env == "SHORT"
        assert redact.text(f"answer to {key}!") == f"answer to {redact.MARK}!"


def test_path_and_port() -> None:
    """OpenAI clients are told …/v1; what stands before it is the base path. Ports default to the scheme's."""
    target = guard.admit(External(f"https://{HOST}/gpu/v1/", (HOST,)), Fickle())
    assert (target.service.path, target.service.port, target.service.authority) == ("/gpu", 443, HOST)
    target = guard.admit(External(f"http://{HOST}:8000", (HOST.upper(),), metrics_url=f"http://{HOST}:9000"), Fickle())
    assert target.service.authority == f"{HOST}:8000"
    assert target.metrics is not None
    assert target.metrics.path == "/metrics"


@pytest.mark.parametrize(
    ("given", "path"),
    [("", "/metrics"), ("/", "/metrics"), ("/metrics", "/metrics"), ("/metrics/", "/metrics/"), ("/gpu/m/", "/gpu/m/")],
)
def test_the_path_of_a_metrics_page_is_its_own(given: str, path: str) -> None:
    """With a slash at its end it may be another page; only where none was named it is the usual one."""
    said = External(f"https://{HOST}/v1/", (HOST,), metrics_url=f"https://{HOST}{given}")
    target = guard.admit(said, Fickle())
    assert target.metrics is not None
    assert (target.service.path, target.metrics.path) == ("", path)


def test_the_address_is_pinned(tmp_path: Path) -> None:
    """A name whose address changes is resolved once: proxy, load, probes and the plan all keep to the first answer."""
    fickle = Fickle()
    said = External(f"https://{HOST}", (HOST,), metrics_url=f"https://{HOST}:9000/metrics", model="m")
    topology = admitted(StackOptions("external", instance=54, external=said), fickle)
    assert fickle.asked == [HOST]
    target = topology.target
    assert target is not None
    assert target.metrics is not None
    config.render(topology, keys.Keys("o" * 16, {}), tmp_path)
    proxies = json.loads((tmp_path / "toxiproxy" / "toxiproxy.json").read_text())
    assert [(p["name"], p["upstream"]) for p in proxies] == [("client-to-target", "192.0.2.1:443")]
    assert endpoint.request(target.service, target.service.pinned)["url"] == "https://192.0.2.1:443"
    page = MetricsPage(target.metrics)._page
    assert (page._host, page._port, page._server_name) == ("192.0.2.1", 9000, HOST)
    load = service(topology)["service"]
    assert (load["address"], load["name"], load["authority"], load["tls"]) == ("127.0.54.111", HOST, HOST, True)
    planned = json.loads(json.dumps(topology.as_data()))
    assert (planned["target"]["service"]["host"], planned["target"]["service"]["address"]) == (HOST, "192.0.2.1")
    assert stacks.restored(planned) == topology


def test_own_stacks_take_no_target() -> None:
    """A target on another runtime would be ignored: it is refused instead, and so is owning one."""
    for external in (External(f"https://{HOST}"), External(owned=(HOST,))):
        with pytest.raises(UsageError, match="RUNTIME=external"):
            admitted(StackOptions("process", external=external), never)


PROXY = "http://user:secret@proxy.corp:3128"


@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["llm.example.com", "10.1.2.3"])
def test_a_target_behind_a_proxy_is_reached_through_it(name: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy resolves the name, so nobody is asked here; the plan names the variable, and never the password."""
    monkeypatch.setenv(name, PROXY)
    said = External(f"https://{host}", (host,))
    topology = admitted(StackOptions("external", instance=54, external=said), never)
    target = topology.target
    assert target is not None
    assert target.service.pinned == "127.0.54.6:8443"
    assert [component.name for component in topology.components] == ["tunnel", "toxiproxy"]
    assert config.proxies(topology)[0]["upstream"] == "127.0.54.6:8443"
    assert guard.route(target) == f"{host} through the proxy that {name} names"
    assert "resolved by the proxy" in guard.sentence(target)
    command = commands.command(topology, topology.component("tunnel"), Path("/x"), "")
    assert command.argv[-3:] == ["127.0.54.6:8443", f"{host}:443", name]
    assert command.env[name] == PROXY
    planned = json.loads(json.dumps(topology.as_data()))
    assert "secret" not in str(planned) + guard.route(target) + guard.sentence(target)
    assert stacks.restored(planned) == topology


def test_metrics_have_their_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are another service, perhaps elsewhere: behind a proxy where the service is not."""
    monkeypatch.setenv("http_proxy", PROXY)
    said = External("https://a.corp", ("a.corp", "m.corp"), metrics_url="http://m.corp/metrics")
    target = guard.admit(said, resolve=lambda *_: "10.0.0.1")
    assert target.metrics is not None
    assert (target.service.pinned, target.metrics.pinned) == ("10.0.0.1:443", "127.0.0.6:8444")
    assert Topology(theirs.stack(target), target=target).component("tunnel").ports == {"metrics": 8444}


@pytest.mark.parametrize(
    "url",
    ["socks5://user:secret@p.corp:1080", "https://user:secret@p.corp", "http://u:sec/ret@p", "http://p..corp", "p:0"],
)
def test_a_proxy_that_cannot_be_used_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a name server is asked, and without its password."""
    monkeypatch.setenv("https_proxy", url)
    with pytest.raises(UsageError, match=r"\(https_proxy\) leads to a\.corp through a proxy, and names") as raised:
        guard.admit(External("https://a.corp", ("a.corp",)), resolve=lambda *_: pytest.fail("asked"))
    assert "sec" not in str(raised.value)
    assert "no_proxy=a.corp" in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "none: the environment names none"),
        (
            {"https_proxy": PROXY, "no_proxy": ".corp"},
            "the environment (https_proxy) leads to the target directly",
        ),
        ({"http_proxy": PROXY}, "the environment (http_proxy) leads to the target directly"),  # which is not for https
    ],
)
def test_a_target_that_is_reached_directly_is_said_to_be(
    environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the plan, so that nobody wonders which way the load went."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    target = guard.admit(External("https://a.corp", ("a.corp",)), resolve=lambda *_: "10.0.0.1")
    assert says in guard.route(target)
    assert "secret" not in guard.route(target)


def test_environment_counts_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TARGET is a common name: it neither disturbs another runtime, nor is it a leave by itself."""
    monkeypatch.setenv("TARGET", f"https://{HOST}")
    run = ("run", "timeout-spike", "--dry-run", "--instance", "54", "--engine", "sim", "--runtime")
    assert main.main([*run, "process"]) == 0
    assert HOST not in capsys.readouterr().out
    assert main.main([*run, "external"]) == 64
    assert f"--i-own-this-target {HOST}" in capsys.readouterr().err


def test_system_resolver_prefers_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one address that is taken is IPv4 where there is one; a name without any is an error for people."""
    assert guard.address_of("localhost", 80) == "127.0.0.1"
    with pytest.raises(UsageError, match="cannot be resolved"):
        guard.address_of("nowhere.invalid", 80)


def test_own_topology_is_as_before() -> None:
    """Without a target there is no target in the plan, and the stack is whole."""
    topology = admitted(StackOptions("process", "sim", 54), never)
    assert topology.target is None
    assert dataclasses.asdict(topology)["target"] is None
    assert len(topology.links) == 6
