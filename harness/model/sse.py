"""Server-sent events: bytes in, however they are split, events out.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation. An event ends
at its blank line; its time is that of its last data line. ``[DONE]``, which ends a stream of the OpenAI API, and an
event at the end of the stream are dispatched without the blank line: nothing can follow them.
"""

from __future__ import annotations

from collections.abc import Sequence

#: One event: its type (``b""``: a message), its data lines joined by ``\n``, the time of the last one in seconds.
Event = tuple[bytes, bytes, float]

#: Of one event, and of one line. An answer sent token by token has some 300 bytes in each.
EVENT_BYTES_MAX = 4 << 20
DONE = b"[DONE]"
#: With blanks around it. What is longer is not looked at again with each read: it may have megabytes.
_DONE_BYTES_MAX = 64

_BOM = b"\xef\xbb\xbf"


class TooLarge(ValueError):
    """An event or a line is longer than ``EVENT_BYTES_MAX``."""


class Events:
    """The events of one stream. Times are those given to ``feed``, in seconds."""

    __slots__ = ("_at_s", "_begun", "_bytes", "_cr", "_data", "_rest", "_rest_s", "_type")

    def __init__(self) -> None:
        self._begun = False  # the first line may begin with a BOM
        self._cr = False  # the last byte was a CR: a following LF belongs to it
        self._rest: list[bytes] = []  # of an unfinished line
        self._rest_s = 0.0
        self._data: list[bytes] = []  # lines of an unfinished event
        self._type = b""
        self._bytes = 0  # of the unfinished event, at least
        self._at_s = 0.0

    def feed(self, data: bytes, now_s: float) -> Sequence[Event]:
        """The events that end in ``data``, received at ``now_s``. TooLarge for one that does not end."""
        if self._cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if b"\n" not in data:
            return self._wait(data, now_s)
        idle = not (self._rest or self._data or self._type)
        if idle and data[-2:] == b"\n\n" and data[:6] == b"data: " and data.count(b"\n") == 2 and len(data) > 8:
            self._begun = True  # the usual case: one event in one read
            return ((b"", data[6:-2], now_s),)
        lines = data.split(b"\n")
        if self._rest:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest = []
        rest = lines.pop()
        self._bytes += len(data)
        found = self._take(lines, now_s)
        if rest or self._bytes > EVENT_BYTES_MAX:
            self._wait(rest, now_s)
        return found

    def end(self) -> tuple[Sequence[Event], bytes]:
        """End of the stream: the event that was not terminated, if there is one, and the unfinished line."""
        line, self._rest = b"".join(self._rest), []
        return self._take([line, b""], self._rest_s), line

    def _wait(self, data: bytes, now_s: float) -> Sequence[Event]:
        """Keep ``data`` of an unfinished line."""
        if data:
            self._rest.append(data)
            self._rest_s = now_s
            self._bytes += len(data)
        if self._bytes > EVENT_BYTES_MAX:
            raise TooLarge(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return ()

    def _with_line_feeds(self, data: bytes) -> bytes:
        """``data`` with LF for each CR LF and CR, also when a read ends between the two."""
        if self._cr and data[:1] == b"\n":
            data = data[1:]
        self._cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, lines: list[bytes], now_s: float) -> list[Event]:
        if not self._begun:
            lines[0], self._begun = lines[0].removeprefix(_BOM), True
        found: list[Event] = []
        data = self._data
        for line in lines:
            if line[:6] == b"data: ":
                data.append(line[6:])
                self._at_s = now_s
            elif line:
                self._line(line, now_s)
            elif data:
                found += self._dispatched()
            else:
                self._type, self._bytes = b"", 0
        if len(data) == 1 and len(data[0]) <= _DONE_BYTES_MAX and data[0].strip() == DONE:
            found += self._dispatched()
        return found

    def _line(self, line: bytes, now_s: float) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._at_s = now_s
        elif name == b"event":
            self._type = value.removeprefix(b" ")

    def _dispatched(self) -> tuple[Event, ...]:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        type, self._type = self._type, b""
        self._data.clear()
        self._bytes = 0
        return ((type, data, self._at_s),) if data else ()
