"""Mutations of scenario files: of their bytes, their lines and their tree. A case is a number: it can be repeated."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import yaml

#: Put in the place of a value, as YAML text.
NASTY = (
    "", "~", "true", "no", "0", "-1", "1e400", ".inf", "-.inf", ".nan", "0x" + "f" * 300, "9" * 400, "9" * 5000, "1_0",
    "0o7", "1:60:60", "'30'", "-30s", "30 s", "30h", "1e3s", "NaNs", "9" * 400 + "s", "0.0000000001ms", "٣٠s",
    "30s", "4/s",
    "0/s", "-4/s", "9" * 400 + "/s", "0." + "0" * 400 + "1/s", "4/h", "[]", "{}", "[[[[]]]]", "{a: {b: {c: d}}}",
    "[1, two, ~]", "2001-01-01", "2001-99-99", "2001-12-14t21:59:43.10-05:00", "!!int ''", "!!int x", "!!float ''",
    "!!bool maybe", "!!timestamp x", "!!binary é", "!!binary aGVsbG8=", "!!set {a, b}", "!!map x", "!!seq x", "!!str 1",
    "!!python/object/apply:os.system [true]", "!!python/name:os.system", "!unknown x", "=", "<<", "*nowhere", "&a [*a]",
    "&a {b: *a}", "|", ">-", "? a", "%YAML 1.1", "---", "...", "@at", "`tick`", "\ttab", '"\\ud800"', '"\\0"',
    '"\\e[2J"',
    '"a\\nb"', '"a\\u2028b"', "\U0001f525", "\u202e", "a" * 3000, "'", '"', "[", "{", "}", ": :", "- -", "#", "&", "*",
    "gateway-*-to-replica-[", "[!", "../../etc/passwd", "<= 1e999", "<= 9" + "9" * 400, "<= 1 ms / 0",
    "<= (" + "(" * 150 + "1 ms" + ")" * 151, "<= __import__('os').system('true')", ">= baseline.availability ** 9999",
    "<= 3 ms if 1 else 2", "<= baseline.__class__", "<= max()", "<= max(1 ms, *[2])", "<= 1jms", "<= 'x' * 99999999",
    "<= " + "-" * 300 + "1 ms", "<= " + "1 ms + " * 70 + "1 ms", '"<= 1 ms\\n+ 3"', "<= ١ ms", "<= \xb5.a + 3 ms",
    "ttft_p00_ms", "ttft_p99_ms_all", "ttft", "ttft_p95", "queue_p50_ms", "availability_p50", "__init__", "sli", "..",
)  # fmt: skip
BYTES = (b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x1b[31m", b"\x07", b"\x85",
         b"\xe2\x80\xa8", b"\xef\xbb\xbf",
         b"\r", b"\r\n", b"\t", b"\x7f", b"\x0c", b"\xf4\x90\x80\x80", b"&", b"*", b"!", b"%", b"{", b"]", b"\\",
         b"\xf0\x9f\x94\xa5")  # fmt: skip
BOMBS = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "deep: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep: " + "{a: " * 400 + "1" + "}" * 400 + "\n",
    "".join(f"{' ' * n}k:\n" for n in range(600)),
    "- " * 1500 + "x\n",
    "base: &base {rate: 5/s}\nload:\n  <<: *base\n",
    "load: &load\n  self: *load\n",
    "? [complex, key]\n: value\n",
    "? " * 700 + "x\n",
    "&a " * 50 + "x: y\n",
    "x: " + "y" * 250_000 + "\n",
    "k" * 2000 + ": v\n",
    "".join(f"key{n}: *a{n}\n" for n in range(50)),
    "%TAG ! tag:example.org,2002:\n---\nname: x\n",
    "",
    "\n\n\n",
    "# nothing\n",
    "--- a\n--- b\n",
    "just words\n",
    "- a\n- b\n",
    "\ufeff\n",
)


def mutated(text: str, rng: random.Random) -> bytes:
    """``text`` after one to four mutations of a kind, or something else altogether."""
    kind = rng.choices((of_tree, of_lines, of_bytes, of_numbers, a_bomb), (32, 32, 17, 16, 3))[0]
    if kind is of_tree:
        return of_tree(text, rng)
    content = text.encode()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = kind(content.decode(errors="surrogateescape"), rng)
    return content


def a_bomb(text: str, rng: random.Random) -> bytes:
    """Small files that are large, deep or circular; alone, before or after the rest."""
    bomb = rng.choice(BOMBS)
    return rng.choice((bomb, bomb + text, text + bomb)).encode(errors="surrogateescape")


def of_numbers(text: str, rng: random.Random) -> bytes:
    """One number becomes another: what a person may well have meant."""
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return text.encode(errors="surrogateescape")
    one = rng.choice(numbers)
    return f"{text[: one.start()]}{rng.randrange(200)}{text[one.end() :]}".encode(errors="surrogateescape")


def of_bytes(text: str, rng: random.Random) -> bytes:
    """Bytes that are lost, repeated, put in or changed anywhere."""
    content = bytearray(text.encode(errors="surrogateescape"))
    begin = rng.randrange(len(content) + 1)
    end = min(len(content), begin + rng.choice((1, 1, 2, 5, 40, 400)))
    match rng.randrange(5):
        case 0:
            del content[begin:end]
        case 1:
            content[begin:begin] = content[begin:end]
        case 2:
            content[begin:begin] = rng.choice(BYTES)
        case 3:
            content[begin:end] = rng.randbytes(end - begin)
        case _:
            del content[begin:]
    return bytes(content)


def of_lines(text: str, rng: random.Random) -> bytes:
    """Lines that are lost, repeated, exchanged, moved in or out; values replaced by nasty ones."""
    lines = text.splitlines(keepends=True) or [""]
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(8):
        case 0:
            del lines[one]
        case 1:
            lines.insert(two, lines[one])
        case 2:
            lines[one], lines[two] = lines[two], lines[one]
        case 3:
            lines[one] = rng.choice((" ", "  ", "\t", "- ", "# ")) + lines[one]
        case 4:
            lines[one] = lines[one].lstrip()
        case 5:
            lines[one] = lines[one].rstrip("\n")
        case _:
            lines[one] = _nasty_value(lines[one], rng)
    return "".join(lines).encode(errors="surrogateescape")


def _nasty_value(line: str, rng: random.Random) -> str:
    places = [i for i in range(len(line)) if line.startswith((": ", ", ", "[", "- "), i)]
    if not places:
        return rng.choice(NASTY) + "\n"
    at = rng.choice(places) + (1 if line[rng.choice(places)] == "[" else 2)
    end = min([i for i in (line.find(c, at) for c in ",}]\n") if i >= 0], default=len(line))
    return line[:at] + rng.choice(NASTY) + line[end:]


def of_tree(text: str, rng: random.Random) -> bytes:
    """The file's data with some edits, written as valid YAML."""
    data = yaml.safe_load(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(EDITS)(rng.choice(containers(data)), rng)
    return yaml.safe_dump(data, allow_unicode=rng.random() < 0.5, sort_keys=rng.random() < 0.3).encode(errors="replace")


def containers(data: Any) -> list[Any]:
    """Every mapping and list in ``data`` that is not empty, and ``data`` itself."""
    below = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return [
        data,
        *(found for value in below if isinstance(value, dict | list) for found in containers(value) if found),
    ]


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _drop(container: Any, rng: random.Random) -> None:
    if keys := _keys(container):
        del container[rng.choice(keys)]


def _replace(container: Any, rng: random.Random) -> None:
    if keys := _keys(container):
        container[rng.choice(keys)] = _value(rng)


def _exchange(container: Any, rng: random.Random) -> None:
    if keys := _keys(container):
        one, two = rng.choice(keys), rng.choice(keys)
        container[one], container[two] = container[two], container[one]


def _wrap(container: Any, rng: random.Random) -> None:
    if keys := _keys(container):
        key, value = rng.choice(keys), None
        value = container[key]
        for _ in range(rng.choice((1, 1, 30, 150))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        container[key] = value


def _rename(container: Any, rng: random.Random) -> None:
    if isinstance(container, dict) and container:
        key = rng.choice(list(container))
        name = rng.choice((str(key)[:-1], str(key) + "s", str(key).upper(), "", "\n", "é", "a" * 500, 7, None, True))
        container[name] = container.pop(key)


def _repeat(container: Any, rng: random.Random) -> None:
    if isinstance(container, list) and container:
        container.extend(copy.deepcopy(rng.choice(container)) for _ in range(rng.choice((1, 1, 5, 60))))
    elif isinstance(container, dict):
        container[rng.choice(("name", "rate", "duration", "phases", "options", "extra"))] = copy.deepcopy(container)


EDITS: tuple[Callable[[Any, random.Random], None], ...] = (
    _drop,
    _replace,
    _replace,
    _exchange,
    _wrap,
    _rename,
    _repeat,
)


def _value(rng: random.Random) -> Any:
    """Something that may or may not be right where it is put."""
    return rng.choice(
        (
            None, True, 0, -1, 1, 3, 10**30, 2**63, 0.5, float("inf"), float("nan"), "", " ", "x", "30s", "100ms",
            "1m", "5/s",
            "0s", "99999999m", "a\nb", "\x07", "\u2028", "ok" * 2000, [], {}, [None], ["baseline"], {"a": 1},
            "fault", "quiet",
            "closed", "constant", "open", "long", "timeout", "slicer", "gateway-*", "availability", "error_ratio",
            ">= 90 %", "<= 1 s",
            "> 0", "chat", b"bytes", {"size": 3, "delay": "1ms"}, {"latency": "1s", "jitter": "2s"}, rng.random(),
            rng.randrange(-5, 500),
        )
    )  # fmt: skip


def override(rng: random.Random) -> str:
    """A ``--set`` argument: a key from the scenario language or near it, and a value."""
    words = (
        "load", "rate", "phases", "slos", "cohorts", "chat", "baseline", "one-replica", "faults", "0", "1", "99",
        "-1", "²",
        "٣", "9" * 5000, "options", "latency", "duration", "name", "limits", "total", "retries", "max", "", " ",
        "\n", "é",
        "objective", "objektiv", "description", "TTFT before", "workers",
    )  # fmt: skip
    key = ".".join(rng.choice(words) for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 5))))
    shape = rng.choice(("{k}={v}",) * 8 + ("{k}", "={v}", "{k}=={v}", "{k} {v}", "{k}=\n{v}"))
    return shape.format(k=key, v=rng.choice((*NASTY, *(b for b in BOMBS if len(b) < 100_000))))
