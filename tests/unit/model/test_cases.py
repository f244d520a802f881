"""What the world sends, and the right reading of it, by everybody who reads it: one file of tests/cases/ each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.evidence.record import OUTCOMES
from tests import clients
from tests.clients import Seen
from tests.wire import Case, cases, server

STREAMS = [case for case in cases() if case.stream]
WHOLES = [case for case in cases() if not case.stream]


def expected(client: str, case: Case) -> str:
    """The outcome of a case in a client's own words."""
    refused = case.wire.status != 200
    match client:
        case "exporter":
            return "ok" if case.told["whole"] else "not ok"
        case "fault's question":
            return "refused" if refused else "whole" if case.told["whole"] else "cut"
        case "link proof" if case.told["whole"]:
            return "ok"
        case "link proof" | "synthetic question" if refused:
            return f"http_{case.wire.status}"
    return case.outcome


def compare(client: str, case: Case, seen: Seen) -> None:
    """Everything that the client tells is as the case has it."""
    told = {name: value for name, value in case.told.items() if name in seen.tells}
    found = {name: getattr(seen, name) for name in told}
    assert (seen.outcome, found) == (expected(client, case), told)


def test_cases_have_outcomes_that_there_are() -> None:
    """A wrong word in a file is found, and there are answers of every kind that a stream decides."""
    assert {case.outcome for case in cases()} <= set(OUTCOMES)
    assert len(STREAMS) > 50
    assert len(WHOLES) > 4


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_reader_itself(case: Case) -> None:
    """Without a network."""
    compare("the reader", case, clients.pure(case.wire, case.stream))


@pytest.mark.parametrize("client", clients.STREAMS)
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_readers_of_streams(case: Case, client: str) -> None:
    """Through a socket, each in the way in which it reads."""
    with server(lambda: case.wire) as port:
        compare(client, case, clients.STREAMS[client](port))


@pytest.mark.parametrize("client", clients.WHOLES)
@pytest.mark.parametrize("case", WHOLES, ids=lambda case: case.name)
def test_readers_of_answers_in_one_piece(case: Case, client: str) -> None:
    """The same, not streamed."""
    with server(lambda: case.wire) as port:
        compare(client, case, clients.WHOLES[client](port))


@pytest.mark.parametrize("client", clients.STREAMS)
@pytest.mark.parametrize("behind", [b"\r\n", b"xyz", b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\nx"])
def test_bytes_behind_the_end_change_nothing(behind: bytes, client: str) -> None:
    """What comes behind the end of the HTTP message is no part of the answer."""
    plain = next(case for case in STREAMS if case.name == "plain")
    wire = replace(plain.wire, spoil=lambda data: data + behind)
    with server(lambda: wire) as port:
        compare(client, plain, clients.STREAMS[client](port))


@pytest.mark.parametrize("client", clients.STREAMS)
def test_bytes_that_are_no_http_after_the_answer_change_nothing(client: str) -> None:
    """The user has the whole answer, in however many reads it came: here in the same one as what is wrong."""
    plain = next(case for case in STREAMS if case.name == "plain")
    wire = replace(plain.wire, spoil=lambda data: data.removesuffix(b"0\r\n\r\n") + b"zz\r\n")
    with server(lambda: wire) as port:
        compare(client, plain, clients.STREAMS[client](port))


@pytest.mark.parametrize("client", clients.STREAMS)
@pytest.mark.parametrize("lengths", [["1", "2"], ["1, 2"], ["1", "x"]])
def test_lengths_that_differ_are_no_answer(lengths: list[str], client: str) -> None:
    """Where the message ends would be a guess (RFC 9112 §6.3)."""
    plain = next(case for case in STREAMS if case.name == "plain")
    headers = (*plain.wire.headers, *(("Content-Length", length) for length in lengths))
    wire = replace(plain.wire, headers=headers, framing="close")
    with server(lambda: wire) as port:
        seen = clients.STREAMS[client](port)
    assert seen.outcome in ("protocol_error", "broken_stream", "none", clients.NO_ANSWER)


@pytest.mark.parametrize("client", clients.STREAMS)
@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ([("Content-Encoding", "identity"), ("Content-Encoding", "identity")], True),
        ([("Content-Encoding", "identity"), ("Content-Encoding", "gzip")], False),
        ([("Content-Type", "text/html")], True),  # after the other: the first counts
    ],
)
def test_headers_that_come_twice(headers: list[tuple[str, str]], fine: bool, client: str) -> None:
    """They are one list, for everybody."""
    plain = next(case for case in STREAMS if case.name == "plain")
    wire = replace(plain.wire, headers=(*plain.wire.headers, *headers))
    with server(lambda: wire) as port:
        seen = clients.STREAMS[client](port)
    if fine:
        compare(client, plain, seen)
    else:
        assert seen.outcome in ("protocol_error", "cut", "not ok")
