"""Answers as servers might give them, right and wrong, from a grammar: ``wire(seed, number)`` is always the same."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from tests.wire import Wire

_WORDS = (
    "stop", "length", "error", "abort", "queue is full", "overloaded", "", "ä 你", "\ud83d", "\ude00", "\x00\x1b[1m",
)  # fmt: skip
_TYPES = ("text/event-stream; charset=utf-8", "application/json", "text/html", "text/plain", "", "¿")
_BEFORE = (*[""] * 12, ": ping\n", "event: message\n", "id: 1\nretry: 2\n", "data\n")
_STATUS = (400, 404, 413, 422, 429, 429, 500, 502, 503, 503, 503, 504, 201, 204, 302, 304, 599, 999)
_HEADERS = (
    ("Retry-After", "1"), ("Retry-After", "²"), ("Retry-After", "9" * 400), ("Retry-After", "Mon, 99 Foo"),
    ("X-Drillyard-Replica", "replica-1"), ("X-Drillyard-Replica", "\x7f" * 600), ("X-Drillyard-Replica", "é"),
    ("Content-Encoding", "gzip"), ("Content-Encoding", "identity"), ("Connection", "close"), ("X-Long", "x" * 20_000),
    ("Content-Type", "text/event-stream"), ("", "x"), ("Content-Length", "5"), ("Content-Length", "x"),
)  # fmt: skip


def wire(seed: int, number: int) -> Wire:
    """Answer ``number`` of ``seed``."""
    rng = random.Random(f"{seed}/{number}")
    refuses = rng.random() < 0.2
    body = _error_body(rng) if refuses else _stream(rng) if rng.random() < 0.85 else _whole(rng)
    headers = [("Content-Type", _odd(rng, "text/event-stream", _TYPES))]
    headers += [header for header in _HEADERS if rng.random() < 0.03]
    ends = rng.choices(("message", "fin", "reset"), (8, 1, 1))[0]
    framing = rng.choices(("chunked", "length", "close"), (6, 2, 2))[0]
    status = rng.choice(_STATUS) if refuses else 200
    spoil = (lambda data: _spoilt(rng, data)) if rng.random() < 0.1 else None
    return Wire(tuple(_cut(rng, body)), status, tuple(headers), framing, ends, spoil)  # type: ignore[arg-type]


def _odd(rng: random.Random, usual: Any, others: Any, share: float = 0.1) -> Any:
    return rng.choice(others) if rng.random() < share else usual


def _value(rng: random.Random, depth: int = 0) -> Any:
    """Any value of JSON, and some that are none."""
    match rng.randrange(10 if depth < 3 else 8):
        case 0:
            return None
        case 1:
            return rng.choice((True, False))
        case 2:
            return rng.choice((0, -1, 1, 3, 2**31, 10**400))
        case 3:
            return rng.choice((0.5, 37.25, 3.0, 1e300, float("inf"), float("nan")))
        case 4 | 5 | 6 | 7:
            return "".join(rng.choices(_WORDS, k=rng.randrange(3)))
        case 8:
            return [_value(rng, depth + 1) for _ in range(rng.randrange(3))]
        case _:
            names = ("type", "text", "message", "content", "code", "error")
            return {rng.choice(names): _value(rng, depth + 1) for _ in range(rng.randrange(3))}


def _delta(rng: random.Random) -> Any:
    match rng.randrange(40):
        case 0:
            return {"role": "assistant", "content": ""}
        case 1:
            return {rng.choice(("reasoning_content", "reasoning", "refusal")): "hm"}
        case 2:
            return {"tool_calls": [{"index": 0}]}
        case 3:
            return {"content": [{"type": "text", "text": _odd(rng, "x", (None, 3, ""))}, _odd(rng, "y", (None, 3))]}
        case 4:
            return {"content": _value(rng)}
        case 5:
            return _value(rng)
        case _:
            return {"content": rng.choice(_WORDS)}


def _document(rng: random.Random) -> Any:
    """What an event holds."""
    match rng.randrange(80):
        case 0:
            return {"error": _value(rng)}
        case 1:
            return {"object": "error", "message": _value(rng), "code": _value(rng)}
        case 2:
            return {"detail": _value(rng)}
        case 3:
            return _value(rng)
        case 4:
            return {"choices": _value(rng), "model": _value(rng), "usage": _value(rng)}
        case _:
            choice = {"index": 0, "delta": _delta(rng), "finish_reason": _odd(rng, None, (_value(rng), "stop"), 0.05)}
            return {"model": _odd(rng, "v1", (_value(rng),), 0.02), "choices": [choice] * rng.choice((1, 1, 1, 2))}


def _stream(rng: random.Random) -> bytes:
    """Events with comments, fields and line ends as they may be; mostly with an end."""
    documents = [_document(rng) for _ in range(rng.randrange(5))]
    events = [_event(rng, json.dumps(document, indent=_odd(rng, None, (1,)))) for document in documents]
    if rng.random() < 0.7:
        reason = _odd(rng, "stop", ("length", "tool_calls", "function_call", "content_filter", "abort"), 0.5)
        last = {"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]}
        events.append(_event(rng, json.dumps(last)))
    if rng.random() < 0.5:
        tokens = _odd(rng, 3, ("3", 37.25, None, -1, _value(rng)), 0.3)
        events.append(_event(rng, json.dumps({"choices": [], "usage": {"completion_tokens": tokens}})))
    if rng.random() < 0.8:
        events.append("data: [DONE]" + rng.choice(("\n\n", "\n\n", "\n", "", "\n\n: bye\n\n")))
    text = "\ufeff" * (rng.random() < 0.05) + "".join(events)
    data = text.replace("\n", rng.choice(("\n", "\n", "\n", "\r\n", "\r"))).encode(errors="replace")
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data


def _event(rng: random.Random, document: str) -> str:
    lines = [rng.choice(_WORDS)] if rng.random() < 0.03 else document.split("\n")
    data = "".join(f"data:{rng.choice((' ', ' ', ' ', ''))}{line}\n" for line in lines)
    before = _odd(rng, rng.choice(_BEFORE), ("event: error\n", "event\n"), 0.03)
    return f"{before}{data}\n"


def _whole(rng: random.Random) -> bytes:
    """An answer in one piece."""
    choice = {"message": _odd(rng, {"content": "Hi"}, (_delta(rng),), 0.5), "finish_reason": "stop"}
    document = _odd(rng, {"choices": [choice], "usage": {"completion_tokens": 1}}, (_document(rng), _value(rng)), 0.4)
    return json.dumps(document).encode(errors="replace")


def _error_body(rng: random.Random) -> bytes:
    text = {"message": _value(rng), "type": _value(rng), "code": _value(rng)}
    document = rng.choice(({"error": text}, {"object": "error", **text}, {"detail": _value(rng)}, _value(rng)))
    written = json.dumps(document)
    return rng.choice((written, written, "queue is full", "<html>", "", "[" * 3000)).encode(errors="replace")


def _cut(rng: random.Random, body: bytes) -> list[bytes]:
    """In one piece, at some places, or everywhere."""
    if len(body) < 200 and rng.random() < 0.1:
        return [body[at : at + 1] for at in range(len(body))]
    places = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(6)))
    return [body[begin:end] for begin, end in zip([0, *places], [*places, len(body)], strict=True)]


def _spoilt(rng: random.Random, data: bytes) -> bytes:
    """With some bytes changed, doubled or missing, anywhere in it."""
    spoilt = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(spoilt) + 1)
        match rng.randrange(3):
            case 0:
                spoilt[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del spoilt[at : at + rng.randrange(1, 20)]
            case _:
                spoilt[at:at] = spoilt[at : at + rng.randrange(1, 200)]
    return bytes(spoilt)


class Reached:
    """Which lines of some modules were reached, of those that are in functions."""

    def __init__(self, *modules: ModuleType) -> None:
        self._lines = {str(module.__file__): _lines(Path(str(module.__file__))) for module in modules}
        self._seen: dict[str, set[int]] = {file: set() for file in self._lines}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this thread meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    @property
    def count(self) -> int:
        """Of all lines."""
        return sum(map(len, self._lines.values()))

    def missed(self) -> dict[str, list[int]]:
        """By file name: the lines that were not reached."""
        return {Path(file).name: sorted(lines - self._seen[file]) for file, lines in self._lines.items()}

    def __str__(self) -> str:
        """A line per file."""
        return "\n".join(
            f"{Path(file).name}: {len(lines & self._seen[file])} of {len(lines)} lines reached, not: "
            f"{', '.join(map(str, sorted(lines - self._seen[file]))) or 'none'}"
            for file, lines in self._lines.items()
        )

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._seen else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self._seen[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line


def _lines(file: Path) -> set[int]:
    """The lines that functions of a file have code on, but for their own ``def``."""
    found: set[int] = set()
    todo: list[tuple[CodeType, bool]] = [(compile(file.read_text(), str(file), "exec"), False)]
    while todo:
        code, inside = todo.pop()
        if inside:
            found |= {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
        inner = [const for const in code.co_consts if isinstance(const, CodeType)]
        todo += [(const, bool(const.co_flags & 1)) for const in inner]  # CO_OPTIMIZED: a function, not a class
    return found
