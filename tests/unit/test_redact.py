"""harness/model/redact.py: what is found, what is left alone, and at what cost."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from urllib.parse import quote, unquote

import pytest

from harness.model import redact
from harness.model.redact import MARK

KEY = "Zr4/longer+key=one"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some keys; one is the beginning of another."""
    monkeypatch.setattr(redact, "_known", [])
    redact.learn("Zr4/longer", KEY, "short")


@pytest.mark.parametrize("form", [KEY, "Zr4%2Flonger%2Bkey%3Done", "Zr4/longer"])
def test_known_secrets_are_found_as_they_are_written(form: str) -> None:
    """By value, whole where one begins another, in text and in bytes, as URLs write them too."""
    assert redact.text(f"a {form} b{form}") == f"a {MARK} b{MARK}"
    assert redact.raw(b"\xff" + form.encode()) == b"\xff" + MARK.encode()


def test_json_stays_json() -> None:
    """A secret with characters that JSON escapes is found in it, and what is left can be read."""
    secret = 'quo"ted\\and/slashed'
    redact.learn(secret)
    assert json.loads(redact.text(json.dumps({"a": secret, "b": [f"x {secret}"]}))) == {"a": MARK, "b": [f"x {MARK}"]}


@pytest.mark.parametrize(
    "foreign",
    [
        "Bearer abcdefgh.12345678",
        "bearer abcdefgh12345678",
        "sk-1234567890",
        "dy-abcdefghijkl",
        "hf_abcdefghijklmnopqr",
    ],
)
def test_foreign_keys_are_known_by_their_looks(foreign: str) -> None:
    """Keys that nobody told of: of other services, of other checkouts."""
    assert redact.text(f"'{foreign}'") == f"'{MARK}'"


@pytest.mark.parametrize(
    "userinfo",
    ["user:pa55", ":pa55", "user:pa@ss-word", "us@er:pa55", "user:pa?s#s", "user:pa%40ss", "a-token-of-a-registry"],
)
def test_passwords_of_urls_go(userinfo: str) -> None:
    """A proxy's address may hold one, an index a token; also where JSON escapes the slashes."""
    assert redact.text(f"via http://{userinfo}@proxy.test:3128/x") == f"via http{MARK}@proxy.test:3128/x"
    assert redact.raw(f"via http:\\/\\/{userinfo}@proxy.test".encode()) == f"via http{MARK}@proxy.test".encode()


@pytest.mark.parametrize(
    "password", ["pa@ss-word", "pa/ss-word", 'pa"ss-word', "pa'ss-word", "pa\\ss-word", "pa:ss-word", "pa%2Fss-word"]
)
@pytest.mark.parametrize("url", ["user:{}@proxy.test:3128", "http://user:{}@proxy.test:3128", "HTTP://:{}@p"])
def test_a_proxy_of_the_environment_is_redacted_however_it_is_written(url: str, password: str) -> None:
    """By value: without a scheme, as JSON and other URLs write it, and as it is sent."""
    redact.learn_environment({"HTTPS_PROXY": url.format(password), "no_proxy": "a@b.test"})
    user = "user:" if "user" in url else ":"
    pair = user + unquote(password)
    for form in (
        url.format(password), json.dumps(url.format(password)), quote(url.format(password), safe=""),
        unquote(url.format(password)), f"Basic {base64.b64encode(pair.encode()).decode()}", f"password {password}",
    ):  # fmt: skip
        found = redact.text(f"to {form} end")
        assert "ss-word" not in found
        assert MARK in found
        assert found.startswith("to ")
        assert found.endswith(" end")
        assert redact.raw(form.encode()) == redact.text(form).encode()
    assert redact.text("a@b.test user") == "a@b.test user"


@pytest.mark.parametrize(
    "innocent",
    [
        "the task-something-longer is already-running", "WWW-Authenticate: Bearer authentication", "short",
        "http://127.0.0.11:8080/v1@2", "request d41d8cd9-8f00", "bearer of news", "git+ssh://git@h:22/x", "me@x.test",
        "vllm/vllm-openai:v0.32@sha256:0123456789abcdef", "see http://h:80 or ask me@x.test",
    ],
)  # fmt: skip
def test_innocent_words_stay(innocent: str) -> None:
    """Nothing that only resembles a key is lost."""
    assert redact.text(innocent) == innocent


def test_environment_names_its_secrets() -> None:
    """Tokens and keys by the variable's name, the external endpoint's key by API_KEY_ENV, and no path or number."""
    redact.learn_environment(
        {
            "HF_TOKEN": "token-of-a-hub-0001", "API_KEY_ENV": "MINE", "MINE": "eight-ch", "USER_KEY": "drillyard",
            "DRILLYARD_KEYS_FILE": "/a/keys.json", "MAX_TOKENS": "1234567890123456",
        }
    )  # fmt: skip
    assert redact.text("token-of-a-hub-0001 eight-ch") == f"{MARK} {MARK}"
    assert redact.text("/a/keys.json 1234567890123456 drillyard MINE") == "/a/keys.json 1234567890123456 drillyard MINE"


def test_a_secret_that_is_no_text_is_found() -> None:
    """Python reads bytes that are no UTF-8 as half surrogate pairs."""
    value = os.fsdecode(b"token-of-a-hub-\xff")
    redact.learn_environment({"HF_TOKEN": value, "https_proxy": f"http://u:{value}@p"})
    assert redact.text(f"a {value}") == f"a {MARK}"
    assert redact.raw(b"a token-of-a-hub-\xff") == f"a {MARK}".encode()


def test_streams_let_no_secret_through() -> None:
    """Whatever is printed; the stream is otherwise itself."""
    under = io.StringIO()
    stream = redact.Stream(under)
    print("key", KEY, file=stream)
    stream.writelines([f"{KEY}\n"])
    assert under.getvalue() == f"key {MARK}\n{MARK}\n"
    assert not stream.isatty()


def test_streams_show_what_their_encoding_lacks() -> None:
    """In a terminal or a pipe that is ASCII alone, as in UTF-8 what is no text."""
    for encoding, shown in (("ascii", b"1 ? 2 ?"), ("utf-8", "1 – 2 ?".encode())):
        under = io.BytesIO()
        stream = redact.Stream(io.TextIOWrapper(under, encoding=encoding, write_through=True))
        stream.write("1 – 2 \udcff")
        assert under.getvalue() == shown


def test_large_logs_take_linear_time() -> None:
    """Ten times the log, with lines made to be looked at again and again, about ten times the processor time."""
    line = b"Bearer Bearer sk-sk-sk- http://a:b:c:d Zr4/longe Zr4/longe " + b"x" * 100

    def seconds(lines: int) -> float:
        started = time.process_time()
        redact.raw(line * lines)
        return time.process_time() - started

    assert min(seconds(30_000) for _ in range(3)) < 40 * min(seconds(3_000) for _ in range(3))
