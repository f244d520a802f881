"""harness/model/redact.py: what is found, what is left alone, and at what cost."""

from __future__ import annotations

import io
import json
import time

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


def test_passwords_of_urls_go() -> None:
    """A proxy's address may hold one."""
    assert redact.text("via http://user:pa55@proxy.test:3128/x") == f"via http{MARK}@proxy.test:3128/x"


@pytest.mark.parametrize(
    "innocent",
    [
        "the task-something-longer is already-running", "WWW-Authenticate: Bearer authentication", "short",
        "http://127.0.0.11:8080/v1@2", "request d41d8cd9-8f00", "bearer of news",
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


def test_streams_let_no_secret_through() -> None:
    """Whatever is printed; the stream is otherwise itself."""
    under = io.StringIO()
    stream = redact.Stream(under)
    print("key", KEY, file=stream)
    stream.writelines([f"{KEY}\n"])
    assert under.getvalue() == f"key {MARK}\n{MARK}\n"
    assert not stream.isatty()


def test_large_logs_take_linear_time() -> None:
    """Ten times the log, with lines made to be looked at again and again, about ten times the processor time."""
    line = b"Bearer Bearer sk-sk-sk- http://a:b:c:d Zr4/longe Zr4/longe " + b"x" * 100

    def seconds(lines: int) -> float:
        started = time.process_time()
        redact.raw(line * lines)
        return time.process_time() - started

    assert min(seconds(30_000) for _ in range(3)) < 40 * min(seconds(3_000) for _ in range(3))
