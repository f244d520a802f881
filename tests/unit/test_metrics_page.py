"""Metrics pages of external targets, over real sockets: redirects, answers that are no metrics, no exception."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from harness.model.errors import UsageError
from harness.model.topology import Endpoint
from harness.probes import endpoint, engine
from harness.probes.base import Row
from harness.probes.endpoint import MetricsPage
from harness.probes.engine import EngineProbe
from harness.probes.page import NoAnswer
from tests.listener import listening

HOST = "llm.example.com"
GOOD = b'vllm:num_requests_running{engine="0"} 3.0\nvllm:kv_cache_usage_perc{engine="0"} 0.25\n'
READ = {"up": 1.0, "running": 3.0, "kv_usage_ratio": 0.25}
#: What a server says to a path; the number of the request on its connection does not matter.
Site = Callable[[str], bytes]
ENDS = b"|"  # behind an answer: the connection ends there


def said(body: bytes, kind: str = "text/plain", status: str = "200 OK", more: str = "") -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def moved(where: str, status: str = "307 Temporary Redirect") -> bytes:
    """A redirect."""
    return said(b"", status=status, more=f"Location: {where}\r\n")


class Visited:
    """A server on a free port of 127.0.0.1, which is what HOST is pinned to."""

    def __init__(self, site: Site) -> None:
        self._site, self.port, self.paths, self.hosts = site, 0, list[str](), set[str]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.paths.append(head.split()[1])
                self.hosts |= {line[6:] for line in head.split("\r\n") if line.startswith("Host: ")}
                answer = self._site(self.paths[-1])
                writer.write(answer.removesuffix(ENDS))
                await writer.drain()
                if answer.endswith(ENDS):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def metrics(self, path: str = "/metrics") -> Endpoint:
        """Its metrics page, by its name."""
        return Endpoint("http", HOST, self.port, path, "127.0.0.1")


@asynccontextmanager
async def visited(site: Site) -> AsyncIterator[Visited]:
    """That server; its connections have ended afterwards."""
    server = Visited(site)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = int(listening.sockets[0].getsockname()[1])
        yield server
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


def sampled(site: Site, path: str = "/metrics", times: int = 1) -> tuple[list[dict[str, float]], list[str], Visited]:
    """What the probe makes of it (metric -> value for each sample), what it told, and what the server saw."""
    told: list[str] = []

    def tell(kind: str, **data: Any) -> None:
        assert (kind, data["component"]) == ("metrics_unread", "target")
        told.append(data["what"])

    async def sample() -> tuple[list[dict[str, float]], Visited]:
        async with asyncio.timeout(60), visited(site) as server:
            probe = EngineProbe.of_target(server.metrics(path), tell)
            try:
                found = [[Row(*row) for row in await probe.sample()] for _ in range(times)]
            finally:
                probe.close()
        assert {row.component for rows in found for row in rows} == {"target"}
        return [{row.metric: row.value for row in rows} for rows in found], server

    rows, server = asyncio.run(sample())
    return rows, told, server


def required(site: Site, path: str = "/metrics") -> list[str]:
    """The paths that were requested before the load, to see whether that is a metrics page."""

    async def require() -> list[str]:
        async with asyncio.timeout(60), visited(site) as server:
            await engine.require_metrics(server.metrics(path))
            return server.paths

    return asyncio.run(require())


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (said(b"not found", status="404 Not Found"), "status 404 with text/plain, 9 bytes that begin «not found»"),
        (said(b"<html>Log in", "text/html"), "status 200 with text/html, 12 bytes that begin «<html>Log in»"),
        (moved("https://login.example.com/"), "a redirect to https://login.example.com/ that is not followed"),
        (said(b"up 1\n"), "without any series of vLLM"),
        (ENDS, "no answer"),
    ],
)
def test_a_wrong_page_is_said_before_the_load(answer: bytes, found: str) -> None:
    """What was found, what was expected and what to do, and all of it the user's mistake."""
    with pytest.raises(UsageError) as caught:
        required(lambda _: answer, "/their/metrics")
    text = str(caught.value)
    assert text.startswith(f"METRICS_URL=http://{HOST}:")
    assert "/their/metrics: found " in text
    assert found in text
    assert text.endswith("Name that page, or leave METRICS_URL out")


def test_a_page_nobody_listens_at_is_a_wrong_one() -> None:
    """A port that is closed."""
    with listening(b"") as server:
        port = server.port
    with pytest.raises(UsageError, match="no answer"):
        asyncio.run(engine.require_metrics(Endpoint("http", HOST, port, "/metrics", "127.0.0.1")))


def test_a_right_page_is_asked_once_and_a_slow_start_is_forgiven() -> None:
    """One bad answer before a good one is no wrong URL."""
    assert required(lambda _: said(GOOD)) == ["/metrics"]
    answers = iter([said(b"", status="503 Service Unavailable"), said(b""), said(GOOD)])
    assert required(lambda _: next(answers)) == ["/metrics"] * 3


def test_a_page_is_read_by_its_own_name() -> None:
    """At the pinned address, and Host says what was meant."""
    rows, told, server = sampled(lambda _: said(GOOD), times=3)
    assert rows == [READ] * 3
    assert told == []
    assert server.hosts == {f"{HOST}:{server.port}"}


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 x"])
@pytest.mark.parametrize(
    "where", ["/m/metrics/?a=b", "metrics/?a=b", "//{host}/m/metrics/?a=b", "http://{host}/m/metrics/?a=b"]
)
def test_a_redirect_on_its_host_is_followed_and_remembered(status: str, where: str) -> None:
    """To a slash, to another path, relative or not; the next samples ask where it led."""
    port: list[int] = []

    def site(path: str) -> bytes:
        return said(GOOD) if path == "/m/metrics/?a=b" else moved(where.format(host=f"{HOST}:{port[0]}"), status)

    async def sample() -> list[str]:
        async with visited(site) as server:
            port.append(server.port)
            page = MetricsPage(server.metrics("/m/metrics"))
            assert [(await page.get()).body for _ in range(3)] == [GOOD] * 3
            page.close()
            return server.paths

    assert asyncio.run(sample()) == ["/m/metrics", *["/m/metrics/?a=b"] * 3]


@pytest.mark.parametrize(
    "where",
    [
        "http://elsewhere.example.com/metrics",
        "https://127.0.0.1/metrics",
        f"http://user@{HOST}/metrics",
        f"ftp://{HOST}/metrics",
        f"http://{HOST}:99999/metrics",
        f"http://{HOST}:0/metrics",
        f"http://[{HOST}/metrics",
        f"http://{HOST}/m\x01etrics x",
        "",
    ],
)
def test_a_redirect_to_elsewhere_is_not_followed(where: str) -> None:
    """Nobody has said that another host may be touched, and what is no URL leads nowhere."""
    rows, told, server = sampled(lambda _: moved(where))
    assert rows == [{"up": 0.0}]
    assert "a redirect to" in told[0]
    assert "that is not followed" in told[0]
    assert server.paths == ["/metrics"]


def test_a_login_is_told_of_without_its_secrets() -> None:
    """The query of a redirect is not repeated."""
    _, told, _ = sampled(lambda _: moved("https://sso.example.com/login?state=s3cret"))
    assert "https://sso.example.com/login that" in told[0]
    assert "s3cret" not in told[0]


def test_a_circle_ends() -> None:
    """After some redirects what came is what came."""
    rows, told, server = sampled(lambda path: moved("/a" if path != "/a" else "/b"))
    assert rows == [{"up": 0.0}]
    assert len(server.paths) == 1 + endpoint.REDIRECTS_MAX
    assert "status 307" in told[0]


def test_where_it_led_is_forgotten_when_it_is_no_good() -> None:
    """A rollout that moves the page again: the address that was given is asked first."""
    gone: list[bool] = []

    def site(path: str) -> bytes:
        if path == "/metrics":
            return moved("/new" if gone else "/old")
        if path == "/old" and gone:
            return said(b"gone", status="404 Not Found")
        return said(GOOD)

    async def sample() -> list[str]:
        async with visited(site) as server:
            page = MetricsPage(server.metrics())
            assert (await page.get()).status == 200
            gone.append(True)
            assert (await page.get()).status == 200
            page.close()
            return server.paths

    assert asyncio.run(sample()) == ["/metrics", "/old", "/old", "/metrics", "/new"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (said(b"<!DOCTYPE html>\n<title>Log in</title>", "text/html; charset=utf-8"),
         "status 200 with text/html, 37 bytes that begin «<!DOCTYPE html> <title>Log in</title>», without any series"),
        (said(b'{"detail":"Not Found"}', "application/json", "404 Not Found"), "status 404 with application/json, 22"),
        (said(b"sglang:num_running_reqs 3\n"), "without any series of vLLM"),
        (said(b""), "status 200 with text/plain, 0 bytes, without any series of vLLM"),
        (said(b"vllm:num_requests_running three\n"), "in which there is"),
        (said(b"vllm:num_requests_running NaN\n"), "without any series"),
        (said(GOOD)[:-20] + ENDS, "no answer (IncompleteReadError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + ENDS, "4194304 are read at most"),
        (b"SSH-2.0-OpenSSH\r\n\r\n" + ENDS, "no HTTP/1.1"),
        (said(b"\xff\xfe\x00"), "without any series"),
    ],
    ids=str,
)  # fmt: skip
def test_what_came_instead_is_told_once(answer: bytes, says: str) -> None:
    """Nothing wanted on the page: it is not up, and the run says what it was, once."""
    rows, told, _ = sampled(lambda _: answer, times=3)
    assert rows == [{"up": 0.0}] * 3
    (what,) = told
    assert says in what


def test_bad_utf8_beside_a_series_does_not_matter() -> None:
    """Labels of somebody's, in an encoding of somebody's."""
    rows, _, _ = sampled(lambda _: said(b'other{a="\xe4"} 1\n' + GOOD))
    assert rows == [READ]


def test_openmetrics_with_exemplars() -> None:
    """A server may write it though nobody asked for it."""
    page = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3.0 17.5 # {trace_id="x"} 1.0\n# EOF\n'
    rows, _, _ = sampled(lambda _: said(page, "application/openmetrics-text; version=1.0.0"))
    assert rows == [{"up": 1.0, "running": 3.0}]


def test_a_server_that_hangs_behind_a_redirect_costs_one_deadline() -> None:
    """All redirects of one answer share the time of one answer."""

    async def sample() -> None:
        async with visited(lambda path: moved("/slow") if path == "/metrics" else b"HTTP/1.1 ") as server:
            page = MetricsPage(server.metrics())
            began = asyncio.get_running_loop().time()
            with pytest.raises(NoAnswer, match="no whole answer in 1 s"):
                await page.get()
            assert asyncio.get_running_loop().time() - began < 30
            page.close()

    asyncio.run(sample())


# ── whatever a server sends ──

FUZZED = 1500
_NAMES = (*(b"vllm:" + name for name in (
    b"num_requests_running", b"num_requests_waiting", b"kv_cache_usage_perc", b"gpu_cache_usage_perc",
    b"generation_tokens_total", b"request_queue_time_seconds_bucket", b"time_in_queue_requests_bucket")),
    b"other", b"", b"# TYPE x", b'{"vllm:num_requests_running"', b"vllm:")  # fmt: skip
_LABELS = (b"", b'{engine="0"}', b'{engine="1"}', b'{le="+Inf"}', b'{le="0.3",engine="1"}', b"{", b"}", b'{a="',
           b'{a="\\"}', b'{a="\xff"}', b'{__name__="x"}', b'{a="b",a="c"}', b"{" + b'a="b",' * 500 + b"}")  # fmt: skip
_VALUES = (b"1", b"0.5", b"NaN", b"17", b"+Inf", b"1e999", b"-1", b"-Inf", b"", b"x", b"1 1700000000", b'1 # {t="x"} 2',
           b"0x1", b"\xff", b"9" * 5000)  # fmt: skip
_ENDS = (b"\n", b"\r\n", b"\n\n", b"\n# EOF\n", b"\n", b"", b"\x00\n", b"\xe2\x80\xa8")
_KINDS = ("text/plain; version=0.0.4", "text/html", "application/openmetrics-text; version=1.0.0", "", "x\xff")
_WHERE = (
    "/metrics/",
    "/metrics",
    "metrics",
    "//evil.example.com/",
    "https://[::1",
    "http://h:99999/",
    "/\x7f",
    "?",
    "#",
    "http:",
)


def fuzzed_body(dice: random.Random) -> bytes:
    """A page of lines made of the pieces of which lines are made: of the first ones alone, which fit, or of all."""
    lines, kept = range(dice.choice((0, 1, 3, 20, 200))), dice.choice((5, 1000))
    pieces = [part[:kept] for part in (_NAMES, _LABELS, (b" ", b"\t", b"  ", b" ", b" ", b""), _VALUES, _ENDS)]
    return b"".join(b"".join(map(dice.choice, pieces)) for _ in lines)


def fuzzed(dice: random.Random) -> bytes:
    """An answer: a page, an error, a redirect, in one piece, in chunks, or cut off. After what may be none it ends."""
    body = dice.choice((fuzzed_body, fuzzed_body, lambda _: GOOD, lambda _: b"<html>" * 9))(dice)
    status = dice.choice(("200 OK", "200 OK", "200 OK", "204 x", "301 x", "307 x", "404 x", "500", "999 x", "2x0", ""))
    more = f"Location: {dice.choice(_WHERE)}\r\n" if dice.random() < 0.5 else ""
    answer = said(body, dice.choice(_KINDS), status, more)
    match dice.randrange(6):
        case 0:
            answer = answer[: dice.randrange(len(answer))]
        case 1:
            head = f"HTTP/1.1 {status}\r\n{more}Transfer-Encoding: chunked\r\n\r\n".encode("latin-1")
            answer = head + b"%x\r\n%s\r\n" % (len(body), body) + dice.choice((b"0\r\n\r\n", b"", b"z\r\n", b"0\r\nx"))
        case 2:
            answer = f"HTTP/1.0 {status}\r\n{more}\r\n".encode("latin-1") + body
        case 3:
            at = dice.randrange(len(answer))
            answer = answer[:at] + bytes([dice.randrange(256)]) + answer[at + 1 :]
    return answer + ENDS


def test_no_page_ends_the_probe() -> None:
    """Each is read or is not up; no exception, and nothing that is no number."""
    dice = random.Random(17)
    rows, told, _ = sampled(lambda _: fuzzed(dice), times=FUZZED)
    assert len(rows) == FUZZED
    read = [row for row in rows if row["up"]]
    assert 0.05 * FUZZED < len(read) < 0.95 * FUZZED
    assert all(value == value and abs(value) != float("inf") for row in rows for value in row.values())
    assert all(len(row) > 1 for row in read)
    assert all(row == {"up": 0.0} for row in rows if not row["up"])
    assert len(told) <= 5
