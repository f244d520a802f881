"""What people and programs send to the desk: strict bodies within a size and a time.

An order comes as JSON (from programs: numbers are numbers) or as a form (from our pages, which need no JavaScript).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError
from starlette.requests import ClientDisconnect, Request

from harness.run.desk.auth import Refused

BODY_BYTES_MAX, BODY_WITHIN_S = 64 << 10, 10.0
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
_FIELDS_MAX = 16
#: So much of the charts is answered, if nothing else is asked for.
LAST_S = 120.0
_CLOCK, _SECONDS = re.compile(r"(\d{1,4}):([0-5]\d)"), re.compile(r"\d{1,7}(\.\d{1,9})?")


def _moment(value: Any) -> Any:
    """``12:30`` of the game's clock, or seconds as text → seconds; everything else is left to be judged."""
    if not isinstance(value, str):
        return value
    if match := _CLOCK.fullmatch(value.strip()):
        return 60.0 * int(match[1]) + int(match[2])
    return float(value) if _SECONDS.fullmatch(value.strip()) else value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
#: Seconds since the game's start, or minutes and seconds of its clock.
Moment = Annotated[FiniteFloat, BeforeValidator(_moment), Field(ge=0, le=7 * 86400)]


class Order(BaseModel):
    """A body without a key that nobody asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Say(Order):
    """A message of the team's channel."""

    who: Name
    kind: Literal["found", "acknowledged", "status", "fixed"]
    text: Text = ""


class Ops(Order):
    """A command; most are on a component, some have a value."""

    who: Name
    command: Name
    component: Word = ""
    value: Word = ""


class Diagnose(Order):
    """What is wrong: where, what and since when."""

    who: Name
    component: Name
    mechanism: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    since: Moment


class Hint(Order):
    """Buy the next hint."""

    who: Name


class Delay(Order):
    """An inject comes so many seconds later."""

    seconds: Annotated[FiniteFloat, Field(gt=0, le=7 * 86400)]


class Note(Order):
    """What the facilitator writes down."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Nothing(Order):
    """An order that its path says whole."""


AnOrder = TypeVar("AnOrder", bound=Order)


def last_s(request: Request) -> float:
    """How far back charts are asked for: ``?last=SECONDS``. Raises Refused for what is no such number."""
    said = request.query_params.get("last", f"{LAST_S:g}")
    if not _SECONDS.fullmatch(said):
        raise Refused(400, f"last: found {said[:50]!r}, expected seconds")
    return float(said)


def is_form(request: Request) -> bool:
    """Whether the order is a form of our page, which wants a page as its answer."""
    return _media_type(request) == FORM


async def read(request: Request, kind: type[AnOrder]) -> AnOrder:
    """The order of a request. Raises Refused for a body that is too large, too slow or not of this kind."""
    body = await _body(request)
    try:
        if is_form(request):
            return kind.model_validate(_fields(body), strict=False)
        if body and _media_type(request) != JSON:
            raise Refused(415, f"expected {JSON} in Content-Type")
        return kind.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        raise Refused(400, _sentence(error)) from None
    except ValueError:  # of what is no form
        raise Refused(400, "expected a form in UTF-8 with each field once") from None


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES_MAX:
                    raise Refused(413, f"expected {BODY_BYTES_MAX} bytes at most")
    except TimeoutError:
        raise Refused(408, f"the body had not come whole in {BODY_WITHIN_S:g} s") from None
    except ClientDisconnect:
        raise Refused(400, "the body did not come whole") from None
    return bytes(body)


def _fields(body: bytes) -> Mapping[str, str]:
    """Of a form: what was left empty is not there. ValueError for what is none, and for a field that comes twice."""
    pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field comes twice")
    return {name: value for name, value in pairs if value.strip()}


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, on one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))[:100]
    return f"{where}: {first['msg']}" if where else str(first["msg"])
