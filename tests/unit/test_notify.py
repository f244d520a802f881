"""People are told what a night came to, or it is said who was not; the address of a webhook is told to nobody."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.model import notify, redact
from harness.model.errors import UsageError
from harness.model.notify import Command, Event, Notify, Webhook
from harness.run import notify as sender
from harness.run.notify import send

TOKEN = "T0000000/B0000000/abcdefghijklmnop"
FAIL = Event(
    "fail", "nightly", "nightly-2026-11-28", "nightly: 1 of 6 drills FAIL", ("oom/process/sim: <b>killed</b>\x1b[31m",),
    "runs/nightly-2026-11-28/index.html",
)  # fmt: skip
BOTH = Notify(webhooks=(Webhook(url_env="HOOK"), Webhook(url_env="CHAT", format="slack")), timeout="60s")


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers with ``statuses``, one after the other, the last for ever."""

    def __init__(self, statuses: tuple[int, ...], slow_s: float, headers: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, Any]] = []
        self.statuses, self.headers, self.enough, self.slow_s = list(statuses), headers, threading.Event(), slow_s

    @property
    def url(self) -> str:
        """Of its secret hook."""
        return f"http://127.0.0.1:{self.server_address[1]}/services/{TOKEN}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take it, and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        self.server.enough.wait(self.server.slow_s)
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        for name, value in {"Content-Length": "0", **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def receiving(*statuses: int, slow_s: float = 0.0, **headers: str) -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(statuses or (200,), slow_s, headers)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.enough.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join(timeout=5)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try comes at once, and what is learned as a secret is forgotten."""
    monkeypatch.setattr(sender, "PAUSE_S", 0.01)
    monkeypatch.setattr(redact, "_known", [])


def hook(receiver: Receiver, **more: str) -> dict[str, str]:
    """An environment in which both webhooks lead to it."""
    return {"HOOK": receiver.url, "CHAT": receiver.url, **more}


def test_each_receiver_gets_its_own_format() -> None:
    """The whole event as JSON, and the text for a chat, in which nothing is markup or obeyed by a terminal."""
    with receiving() as receiver:
        assert send(FAIL, BOTH, hook(receiver)) == []
    (path, event), (_, chat) = receiver.got
    assert path == f"/services/{TOKEN}"
    assert (event["schema"], event["kind"], event["suite"], event["night"]) == (1, "fail", "nightly", FAIL.night)
    assert event["details"] == list(FAIL.details)
    assert list(chat) == ["text"]
    assert chat["text"].startswith("nightly: 1 of 6 drills FAIL\n- oom/process/sim: &lt;b&gt;killed&lt;/b&gt;")
    assert "\x1b" not in chat["text"]
    assert chat["text"].endswith("/index.html")


def test_only_what_is_wanted_is_sent() -> None:
    """A kind that the file does not name goes to nobody."""
    with receiving() as receiver:
        assert send(FAIL, BOTH.model_copy(update={"on": ("missing",)}), hook(receiver)) == []
    assert receiver.got == []


def test_a_link_of_the_environment_is_where_to_read_on() -> None:
    """The page of a CI job, instead of a path of a machine that is gone by then."""
    with receiving() as receiver:
        send(FAIL, BOTH, hook(receiver, NOTIFY_LINK="https://ci.example.com/7"))
    assert receiver.got[0][1]["page"] == "https://ci.example.com/7"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_receiver_in_trouble_is_asked_twice(status: int) -> None:
    """Then it is said; one that has recovered by then was told."""
    one = Notify(webhooks=(Webhook(url_env="HOOK"),), timeout="60s")
    with receiving(status) as receiver:
        (why,) = send(FAIL, one, hook(receiver))
        assert why == f"the webhook of HOOK was not told of «fail»: HTTP {status}"
        assert len(receiver.got) == sender.TRIES
    with receiving(status, 200) as receiver:
        assert send(FAIL, one, hook(receiver)) == []


def test_a_refusal_is_final() -> None:
    """A wrong address does not get better."""
    with receiving(404) as receiver:
        (why,) = send(FAIL, Notify(webhooks=(Webhook(url_env="HOOK"),)), hook(receiver))
    assert "HTTP 404" in why
    assert len(receiver.got) == 1


def test_a_redirect_is_not_followed() -> None:
    """Else whoever answers there could have the message."""
    with receiving() as elsewhere, receiving(307, Location=elsewhere.url) as receiver:
        (why,) = send(FAIL, Notify(webhooks=(Webhook(url_env="HOOK"),)), hook(receiver))
    assert "HTTP 307: a redirect, which is not followed" in why
    assert (len(receiver.got), elsewhere.got) == (1, [])


def test_a_slow_receiver_is_given_up() -> None:
    """Within the time-out of each try."""
    slow = Notify(webhooks=(Webhook(url_env="HOOK"),), timeout="300ms")
    with receiving(slow_s=120.0) as receiver:
        began_s = time.monotonic()
        (why,) = send(FAIL, slow, hook(receiver))
        assert time.monotonic() - began_s < 60
    assert why == "the webhook of HOOK was not told of «fail»: no answer within 0.3 s"


def test_the_others_are_told_all_the_same() -> None:
    """Whatever became of the first."""
    two = Notify(webhooks=(Webhook(url_env="GONE"), Webhook(url_env="HOOK")), timeout="60s")
    with receiving(404) as gone, receiving() as other:
        (why,) = send(FAIL, two, {"GONE": gone.url, "HOOK": other.url})
    assert why == "the webhook of GONE was not told of «fail»: HTTP 404"
    assert len(other.got) == 1


def test_a_receiver_that_is_down_is_named_without_its_address() -> None:
    """Neither URL nor path nor token, whatever the library says."""
    with receiving() as receiver:
        gone = receiver.url
    for url in (gone, f"http://127.0.0.1:1/{TOKEN}", f"ftp://example.com/{TOKEN}", f"{TOKEN}", f"http://[/{TOKEN}"):
        whys = send(FAIL, BOTH, {"HOOK": url, "CHAT": url})
        assert len(whys) == 2
        assert all(word not in " ".join(whys) for word in (TOKEN, "abcdefghijklmnop", "T0000000"))


def test_a_variable_that_is_not_set_is_said() -> None:
    """A secret that CI does not hand to this job would else be a night that nobody hears of."""
    (why,) = send(FAIL, Notify(webhooks=(Webhook(url_env="HOOK"),)), {})
    assert why == "the webhook of HOOK was not told of «fail»: found nothing in that variable, expected https://HOST/…"


def test_no_message_holds_an_address() -> None:
    """A reason that quotes the URL is sent without it, also to other receivers."""
    with receiving() as receiver:
        leaking = Event("fail", "nightly", "n", f"could not reach {receiver.url}", (f"token {TOKEN.split('/')[2]}",))
        send(leaking, BOTH, hook(receiver))
    assert TOKEN not in json.dumps([body for _, body in receiver.got])
    assert "abcdefghijklmnop" not in json.dumps([body for _, body in receiver.got])


def test_a_long_message_is_cut() -> None:
    """Services refuse what is too long."""
    long = Event("fail", "nightly", "n", "headline", tuple(f"drill {number} " + "x" * 100 for number in range(100)))
    assert len(long.text()) == notify.TEXT_CHARS_MAX + 1


def program(tmp_path: Path, source: str) -> Command:
    """A command that runs this Python."""
    path = tmp_path / "page-me"
    path.write_text(f"import sys\n{source}\n")
    return Command(argv=(sys.executable, str(path), "--token=abcdefghijklmnop"))


def test_a_command_gets_the_event_on_its_input(tmp_path: Path) -> None:
    """As JSON, as a webhook gets it."""
    command = program(tmp_path, f"open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())")
    assert send(FAIL, Notify(commands=(command,)), {}) == []
    assert json.loads((tmp_path / "got").read_text()) == FAIL.as_data()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("sys.exit('no such team')", "it ended with 1: no such team"),
        ("import time\nwhile True: time.sleep(1)", "it had not ended within 0.5 s, and was ended"),
    ],
)
def test_a_command_that_fails_is_said(tmp_path: Path, source: str, says: str) -> None:
    """With its last words; of its own words only the first is repeated."""
    (why,) = send(FAIL, Notify(commands=(program(tmp_path, source),), timeout="500ms"), {})
    assert why == f"the command {sys.executable} was not told of «fail»: {says}"


def test_a_command_that_is_not_there_is_said() -> None:
    """And nothing is raised."""
    (why,) = send(FAIL, Notify(commands=(Command(argv=("/no/such/program",)),)), {})
    assert why == "the command /no/such/program was not told of «fail»: No such file or directory"


def test_all_failures_are_told(tmp_path: Path) -> None:
    """One line each; whether everybody heard is the answer."""
    said: list[str] = []
    deaf = Notify(commands=(Command(argv=("/no/such/program",)),))
    assert sender.tell([FAIL, FAIL], Notify(), said.append)
    assert not sender.tell([FAIL, FAIL], deaf, said.append)
    assert [line.partition(":")[0] for line in said] == ["notification failed"] * 2


@pytest.mark.parametrize(
    "webhook", [{"url": f"https://hooks.example.com/{TOKEN}"}, {"url_env": f"https://hooks.example.com/{TOKEN}"}]
)
def test_a_file_with_a_url_in_it_is_refused(webhook: dict[str, str]) -> None:
    """It is not repeated, and kept out of whatever is written from then on."""
    with pytest.raises(ValidationError, match="a URL of a webhook is a secret") as refused:
        Notify.model_validate({"webhooks": [webhook]})
    assert TOKEN not in str(refused.value)
    assert TOKEN not in redact.text(f"{refused.value.errors()}")


def test_a_file_is_read_strictly() -> None:
    """Durations with units, kinds by name, no unknown key."""
    found = Notify.model_validate(
        {"webhooks": [{"url_env": "HOOK", "format": "slack"}], "commands": [{"argv": ["page-me"]}], "timeout": "5s"}
    )
    assert (found.timeout, found.on, found.commands[0].argv) == (5.0, notify.KINDS, ("page-me",))
    for wrong in ({"on": ["maybe"]}, {"timeout": 5}, {"timeout": "0s"}, {"commands": [{"argv": []}]}, {"who": []}):
        with pytest.raises(ValidationError):
            Notify.model_validate(wrong)


def test_the_environment_names_receivers() -> None:
    """Where there is no file; what it names so is a secret of the whole program."""
    url = f"https://hooks.example.com/{TOKEN}"
    environment = {"NOTIFY_WEBHOOK": url, "SLACK_WEBHOOK": url, "NOTIFY_COMMAND": "page-me --team 'llm serving'"}
    found = notify.from_environment(environment)
    assert [(one.url_env, one.format) for one in found.webhooks] == [
        ("NOTIFY_WEBHOOK", "json"), ("SLACK_WEBHOOK", "slack")
    ]  # fmt: skip
    assert found.commands[0].argv == ("page-me", "--team", "llm serving")
    assert notify.from_environment({}) == Notify()
    redact.learn_environment(environment)
    assert url not in redact.text(f"posting to {url}")
    with pytest.raises(UsageError, match="NOTIFY_COMMAND: found No closing quotation"):
        notify.from_environment({"NOTIFY_COMMAND": "page-me 'llm"})


def test_a_receiver_behind_a_proxy_is_reached_through_it() -> None:
    """That which the environment names, with its password; one that cannot be used is said without it."""
    environment = {"https_proxy": "http://user:a-password@proxy.example.com:3128", "no_proxy": "near.example.com"}
    via = sender._proxy("https", "hooks.example.com", 443, environment)
    assert via is not None
    assert (str(via.url), via.headers["Proxy-Authorization"][:6]) == ("http://proxy.example.com:3128", "Basic ")
    assert sender._proxy("https", "near.example.com", 443, environment) is None
    url = {"HOOK": "https://hooks.example.com/x", "https_proxy": "socks5://user:a-password@proxy.example.com"}
    (why,) = send(FAIL, Notify(webhooks=(Webhook(url_env="HOOK"),)), url)
    assert why.endswith("the environment names a socks5 proxy, expected an http one")


@pytest.mark.parametrize(
    ("nights", "expected"),
    [
        (["FAIL"], {"fail": ("oom",)}),
        (["PASS", "FAIL"], {"fail": ("oom",)}),
        (["FAIL", "FAIL"], {"fail": ("oom",)}),
        (["FAIL", "PASS"], {"recovered": ("oom",)}),
        (["FAIL", "INCONCLUSIVE", None, "PASS"], {"recovered": ("oom",)}),
        (["FAIL", "PASS", "PASS"], {}),
        (["FAIL", "INCONCLUSIVE"], {}),
        (["PASS"], {}),
        ([None], {}),
    ],
)
def test_what_a_night_is_worth_telling(nights: list[str | None], expected: dict[str, tuple[str, ...]]) -> None:
    """Each FAIL, and the first PASS after it; what was not judged in between is neither."""
    found = notify.of_night("nightly", "n", [{"oom": status, "spike": "PASS"} for status in nights])
    assert {event.kind: event.details for event in found} == expected


def test_a_regression_is_told_once_and_its_end_too() -> None:
    """It stays on the page meanwhile."""
    nights = [{"oom": "PASS"}] * 2
    worse, as_before = {("oom", "ttft"): "a"}, {("oom", "ttft"): "a, in words that change"}
    for now, before, expected in ((worse, {}, "regression"), (as_before, worse, None), ({}, worse, "recovered")):
        found = notify.of_night("nightly", "n", nights, now, before, "runs/n/index.html")
        assert [event.kind for event in found] == ([expected] if expected else [])
        assert all(event.details == ("a",) and event.page == "runs/n/index.html" for event in found)


def test_a_drill_that_fails_has_not_recovered() -> None:
    """It was not judged for three nights, and now it is: that is no good news."""
    found = notify.of_night("nightly", "n", [{"oom": None}, {"oom": "FAIL"}], {}, {("oom", ""): "no verdict"})
    assert [event.kind for event in found] == ["fail"]


def test_one_night_can_be_worth_several() -> None:
    """One drill FAILs while another has recovered."""
    found = notify.of_night("nightly", "n", [{"oom": "FAIL", "spike": "PASS"}, {"oom": "PASS", "spike": "FAIL"}])
    assert [(event.kind, event.headline) for event in found] == [
        ("fail", "nightly: 1 of 2 drills FAIL"), ("recovered", "nightly: 1 recovered")
    ]  # fmt: skip


def test_a_secret_is_not_cut_in_two(tmp_path: Path) -> None:
    """The last words of a command are searched for secrets before they are shortened."""
    secret = "https://hooks.example/services/T0/B0/zyxwvutsrqponmlkjihg"
    redact.learn(secret)
    (why,) = send(FAIL, Notify(commands=(program(tmp_path, f"sys.exit({secret!r} + ' ' + 'y' * 287)"),)), {})
    assert "nmlkjihg" not in why
    assert why.endswith("y" * 287)


def test_a_path_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    """Half a surrogate pair is written out."""
    event = Event("fail", "nightly", "n", "it failed", page="runs/\udcff/index.html")
    assert send(event, Notify(commands=(program(tmp_path, "import json\njson.load(sys.stdin)"),)), {}) == []
    assert event.text().endswith("runs/\\udcff/index.html")
