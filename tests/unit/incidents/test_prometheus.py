"""Reading a Prometheus server: raw samples, whole and once each; whatever else it answers is one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.model.errors import AdapterError, DrillyardError, UsageError
from tests.certificate import self_signed
from tests.listener import listening
from tests.prometheus_server import Recorded, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with three hours of one series, a sample a second."""
    samples = [(float(at), float(at % 7)) for at in range(1_000, 1_000 + 3 * 3_600)]
    with serving(Server([Recorded("running", {"pod": "a"}, samples)])) as found:
        yield found


def asking(server: Server, **environment: str) -> Prometheus:
    """A client of it."""
    return Prometheus(Access.of(server.url, environment), deadline_s=5.0)


def test_every_sample_comes_once_in_stretches_below_the_limit(server: Server) -> None:
    """A server of version 2 sends a sample at the very beginning of a stretch, too: it was the last one's."""
    (found,) = asking(server).samples("running{}", 1_500.0, 9_500.0).series
    assert found.at_s.tolist() == [float(at) for at in range(1_501, 9_501)]
    assert found.values.tolist() == [float(at % 7) for at in range(1_501, 9_501)]
    assert len(server.asked) == 3


def test_a_stretch_that_is_too_large_is_asked_for_in_halves(server: Server) -> None:
    """422 with «too many samples» is not the end."""
    server.samples_max = 1_000
    (found,) = asking(server).samples("running{}", 1_500.0, 5_100.0).series
    assert len(found.at_s) == 3_600
    assert len(server.asked) > 3


def test_too_many_series_are_told_with_the_way_out(server: Server) -> None:
    """However short the stretch: one line, with SELECTOR."""
    server.samples_max = 1
    with pytest.raises(UsageError, match=r"too many series .* SELECTOR") as error:
        asking(server).samples("running{}", 1_500.0, 1_600.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("instead", "kind", "said"),
    [
        ((401, "text/plain", b"Unauthorized"), UsageError, "refuses: HTTP 401; set PROMETHEUS_TOKEN"),
        ((403, "text/plain", b""), UsageError, "HTTP 403"),
        (
            (404, "text/html", b"<html>\n<h1>404</h1></html>"),
            UsageError,
            "no Prometheus API: found HTTP 404, text/html",
        ),
        ((200, "text/html", b"<html>login</html>"), UsageError, "no Prometheus API"),
        ((422, "application/json", b'{"status":"error","error":"bad\\nthing"}'), UsageError, "bad thing"),
        ((400, "application/json", b'{"status":"error","error":"parse error"}'), AdapterError, "HTTP 400: parse error"),
        ((503, "text/plain", b"Service Unavailable"), UsageError, "HTTP 503"),
        ((200, "application/json", b'{"status":"success","data":{"resultType":"vector"}}'), AdapterError, "no samples"),
        (
            (200, "application/json", b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":1}]}}'),
            AdapterError,
            "what is no series",
        ),
        ((200, "application/json", b"[" * 100_000), UsageError, "no Prometheus API"),
    ],
)
def test_any_other_answer_is_one_line(
    server: Server, instead: tuple[int, str, bytes], kind: type[DrillyardError], said: str
) -> None:
    """What was found, what was expected: no traceback for what a foreign server sends."""
    server.instead = instead
    with pytest.raises(kind) as error:
        asking(server).samples("running{}", 1_500.0, 1_600.0)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nobody_there_and_no_answer_are_one_line() -> None:
    """A closed port, and a server that hangs up."""
    for says in (b"", b"SSH-2.0-OpenSSH_9.2\r\n"):
        with listening(says) as other:
            client = Prometheus(Access.of(f"http://127.0.0.1:{other.port}", {}), deadline_s=2.0)
            with pytest.raises(AdapterError, match="does not answer"):
                client.samples("running{}", 0.0, 60.0)
    with pytest.raises(AdapterError, match="does not answer"):
        client.samples("running{}", 0.0, 60.0)


@pytest.mark.parametrize(
    ("environment", "header", "value"),
    [
        ({"PROMETHEUS_TOKEN": "a-token-of-some-length"}, "Authorization", "Bearer a-token-of-some-length"),
        (
            {"PROMETHEUS_USER": "me", "PROMETHEUS_PASSWORD": "open-sesame"},
            "Authorization",
            "Basic bWU6b3Blbi1zZXNhbWU=",
        ),
        ({"PROMETHEUS_TENANT": "team-a"}, "X-Scope-OrgID", "team-a"),
    ],
)
def test_it_is_asked_as_told(server: Server, environment: dict[str, str], header: str, value: str) -> None:
    """Bearer or basic authentication, and the tenant of a store that has several."""
    asking(server, **environment).samples("running{}", 1_500.0, 1_600.0)
    assert server.asked[-1][0][header] == value


def test_its_certificate_is_checked_with_the_file_that_is_given(tmp_path: Path) -> None:
    """Of an authority of the user's own; without it, and with another's, one line says why not."""
    certificate, context = self_signed(tmp_path, "IP:127.0.0.1")
    (tmp_path / "other").mkdir()
    other, _ = self_signed(tmp_path / "other", "IP:127.0.0.1")
    with serving(Server([Recorded("running", {}, [(1_510.0, 1.0)])]), context) as server:
        known = asking(server, PROMETHEUS_CA_FILE=str(certificate))
        assert len(known.samples("running{}", 1_500.0, 1_600.0).series) == 1
        for environment in ({}, {"PROMETHEUS_CA_FILE": str(other)}):
            with pytest.raises(AdapterError, match=r"does not answer: .*certificate") as error:
                asking(server, **environment).samples("running{}", 1_500.0, 1_600.0)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_a_file_without_certificates_is_told(tmp_path: Path, content: bytes | None) -> None:
    """Before anything is asked: the variable, the file, what was expected."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"PROMETHEUS_CA_FILE=.*ca.pem: expected a file of certificates"):
        Prometheus(Access.of("https://127.0.0.1:1", {"PROMETHEUS_CA_FILE": str(path)}))


def test_the_servers_clock_is_measured(server: Server) -> None:
    """How far it is ahead, and how sure that is."""
    import time

    server.now = lambda: time.time() + 120.0
    ahead, within = asking(server).clock_offset_s()
    assert abs(ahead - 120.0) <= within + 0.001


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://", "http://me:secret@prometheus:9090"])
def test_what_is_no_address_is_told_before_anything_is_asked(url: str) -> None:
    """And a password does not stand in a URL, which ends up in reports."""
    with pytest.raises(UsageError, match="expected") as error:
        Access.of(url, {})
    assert "secret" not in str(error.value) or "http://me" not in str(error.value)
