"""The parser of HTTP answers: geventhttpclient's, fed by hand.

It refuses an answer whose head frames the body twice: Transfer-Encoding beside Content-Length, or Content-Length
several times. RFC 9112 §6.3 lets a client read both, and httpx, which the openai package uses, does. So such a head is
reduced to one framing and parsed once more.
"""

from __future__ import annotations

from geventhttpclient.response import HTTPParseError, HTTPResponse

#: llhttp's errors UNEXPECTED_CONTENT_LENGTH, INVALID_CONTENT_LENGTH and INVALID_TRANSFER_ENCODING.
_FRAMING_ERRORS = (4, 11, 15)
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_HEAD_END = b"\r\n\r\n"


class Response(HTTPResponse):
    """geventhttpclient's parser, fed by hand; ``take`` returns the body as it is received.

    Bytes after the end of the message are ignored, and the connection is not reused.
    """

    _ended = False

    def feed(self, data: str | bytes) -> None:
        """Parse received bytes. HTTPParseError, or ValueError for a header that is no text."""
        try:
            super(HTTPResponse, self).feed(data)  # HTTPResponse's own is for answers to HEAD
        except (HTTPParseError, ValueError):
            if not self._ended:
                raise
            self._trailing_data_dropped = True  # should_close looks at it

    def _on_message_begin(self) -> None:
        if self._ended:
            raise HTTPParseError("bytes after the end of the message")
        super()._on_message_begin()

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        self._ended = self.get_code() >= 200

    def take(self) -> bytes:
        """The body bytes parsed since the last call."""
        body = bytes(self._body_buffer)
        del self._body_buffer[:]
        return body

    @property
    def ready(self) -> bool:
        """The headers of the final (not 1xx) answer are complete."""
        return bool(self.headers_complete and self.get_code() >= 200)

    def header(self, name: str) -> str | None:
        """A header's value, the first where it came several times."""
        value = self.get(name)
        return value[0] if isinstance(value, list) else value

    def headers_joined(self, name: str) -> str | None:
        """All values of a header as the list that they mean (RFC 9110 §5.3)."""
        value = self.get(name)
        return ", ".join(value) if isinstance(value, list) else value


def read_again(received: bytes, error: Exception) -> tuple[Response, Exception | None] | None:
    """Parse all that was received of an answer whose head raised ``error``, with one framing of the body.

    The parser, and the error of a body that is no HTTP from some byte on. None while the head is incomplete.
    HTTPParseError or ValueError for any other head that cannot be parsed: two lengths that differ are one.
    """
    if not isinstance(error, HTTPParseError) or error.args[-1] not in _FRAMING_ERRORS:
        raise error
    head, end, body = received.partition(_HEAD_END)
    if not end:
        return None
    response = Response("POST")
    try:
        response.feed(_framed_once(head) + end + body)
    except (HTTPParseError, ValueError) as invalidated:
        if not response.ready:
            raise
        return response, invalidated
    return response, None


def _framed_once(head: bytes) -> bytes:
    """``head`` with one framing: Transfer-Encoding wins, and equal lengths are one. Its connection is not reused."""
    fields = [(line.partition(b":")[0].lower(), line) for line in head.split(b"\r\n")]
    said = [line.partition(b":")[2] for name, line in fields if name == _LENGTH]
    lengths = {value.strip() for value in b",".join(said).split(b",")}
    coded = any(name == _CODING for name, _ in fields)
    if not coded and len(lengths) > 1:
        return head
    kept = [line for name, line in fields if name != _LENGTH]
    framing = [] if coded else [b"Content-Length: " + lengths.pop()]
    return b"\r\n".join([*kept, *framing, b"Connection: close"])
