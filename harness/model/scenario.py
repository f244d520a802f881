"""Scenarios: strict data from YAML. Unknown key, wrong unit or impossible timeline is an error with file:line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    ValidationInfo,
)

_DURATION = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
#: Longer than any drill; without a bound a typing error would make a run that never ends.
LONGEST_S = 7 * 86400.0
FASTEST_PER_S = 1e6
#: An overload on purpose may ask for more than the whole capacity; beyond this it is a typing error.
PERCENT_MAX = 1000.0

#: Validation context for what a run folder stores: durations and rates as plain numbers, in seconds and per second.
STORED = {"stored": True}
#: Serialization context for what people read and run again: durations and rates with their units, as in a file.
WRITTEN = {"written": True}


def parse_duration(text: Any) -> float:
    """``"250ms"``, ``"30s"``, ``"2m"`` → seconds. ValueError for anything else, bare and negative numbers too."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"found {short(text)}, expected a duration with its unit, such as 250ms, 30s or 2m")
    seconds = float(match["n"]) * _SECONDS[match["unit"]]
    if seconds > LONGEST_S:
        raise ValueError(f"found {short(text)}, expected a week at most")
    return seconds


def parse_rate(text: Any) -> float:
    """``"4/s"``, ``"120/m"`` → requests per second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*(s|m)", str(text).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"found {short(text)}, expected a rate above zero with its unit, such as 4/s or 120/m")
    rate = float(match[1]) / _SECONDS[match[2]]
    if rate > FASTEST_PER_S:
        raise ValueError(f"found {short(text)}, expected {FASTEST_PER_S:,.0f}/s at most")
    return rate


@dataclass(frozen=True)
class Share:
    """Arrivals as a share of the stack's capacity, until ``plan/fitting.py`` has made a number per second of it."""

    percent: float
    without_replica: bool = False  # of the capacity that is left when one replica is away

    def __str__(self) -> str:
        """As a scenario says it."""
        return f"{self.percent:g} % of capacity" + (" without one replica" if self.without_replica else "")

    def per_s(self, capacity_per_s: float) -> float:
        """Requests per second on a stack of that capacity."""
        return capacity_per_s * self.percent / 100


_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%\s+of\s+capacity(\s+without\s+one\s+replica)?")


def parse_load(text: Any) -> float | Share:
    """``"4/s"`` → requests per second; ``"40 % of capacity"`` → a share, also of capacity ``without one replica``."""
    match = _SHARE.fullmatch(str(text).strip())
    if match is None:
        try:
            return parse_rate(text)
        except ValueError as error:
            hint = ", or a share such as 40 % of capacity" if "such as 4/s" in str(error) else ""
            raise ValueError(f"{error}{hint}") from None
    if not 0 < float(match[1]) <= PERCENT_MAX:
        raise ValueError(f"found {short(text)}, expected more than 0 % and {PERCENT_MAX:g} % at most")
    return Share(float(match[1]), match[2] is not None)


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _text_or_stored(parse: Callable[[Any], float]) -> BeforeValidator:
    """Text with its unit; a plain number only where a run folder is read (``STORED``)."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number and info.context == STORED else parse(value)

    return BeforeValidator(validate)


def _plain(value: float) -> str:
    """All digits of a number, without an exponent: the same number when it is read again."""
    return format(Decimal(repr(value)).normalize(), "f")


def _stored_seconds(value: float, info: SerializationInfo) -> float | str:
    return f"{_plain(value)}s" if info.context == WRITTEN else value


Seconds = Annotated[
    float, _text_or_stored(parse_duration), Field(ge=0, le=LONGEST_S), PlainSerializer(_stored_seconds)
]  # fmt: skip


def _rate(value: Any, info: ValidationInfo) -> float | Share:
    if info.context == STORED and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value <= FASTEST_PER_S:
            raise ValueError(f"found {short(value)}, expected a rate above zero and {FASTEST_PER_S:g} at most")
        return float(value)
    return value if isinstance(value, Share) else parse_load(value)


def _stored_rate(value: float | Share, info: SerializationInfo) -> float | str:
    if isinstance(value, Share):
        return str(value)
    return f"{_plain(value)}/s" if info.context == WRITTEN else value


#: Requests per second, or a share of capacity.
Rate = Annotated[float | Share, PlainValidator(_rate), PlainSerializer(_stored_rate)]


class Strict(BaseModel):
    """Base of all scenario data: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def stored(cls, data: Any) -> Self:
        """As a plan has it, what ``model_dump(mode="json")`` has stored. ValidationError when it is none."""
        return cls.model_validate(data, context=STORED)


class Cohort(Strict):
    """One kind of user. ``share`` is its part of all arrivals; shares need not add up to 1.

    ``prompts``: *eval* is a short question with one right answer, *open* a short one whose answer always has
    ``max_tokens`` tokens, *long* a prompt of several KV blocks. ``right`` is the share of eval answers that must be
    right in steady state; 0 for a model that was never taught them.
    """

    name: str
    share: float = Field(default=1.0, gt=0, le=1e6)
    users: int = Field(default=20, ge=1, le=1_000_000)
    prompts: Literal["eval", "open", "long"] = "eval"
    max_tokens: int = Field(default=48, ge=1, le=1_000_000)
    stream: bool = True
    right: float = Field(default=0.95, ge=0, le=1)
    cancel_after: Seconds | None = None  # these users hang up so long after the start of each attempt


class ClientLimits(Strict):
    """How long a client waits. YAML gives durations with units; inside they are seconds."""

    connect: Seconds = 2.0
    first_token: Seconds = 10.0
    idle: Seconds = 5.0
    total: Seconds = 30.0


class RequestLimits(Strict):
    """How long one request may take by the service's objectives, in ms; None: nothing was promised."""

    ttft_ms: float | None = None
    e2e_ms: float | None = None


class Retries(Strict):
    """Client retries: full jitter over ``base * 2**n`` capped at ``cap``; never sooner than Retry-After says."""

    max: int = Field(default=2, ge=0, le=10)
    base: Seconds = 0.3
    cap: Seconds = 3.0


class LoadSpec(Strict):
    """Open model: arrivals on a schedule. Closed model: ``users`` of each cohort, think time 1/rate each."""

    model: Literal["open", "closed"] = "open"
    arrivals: Literal["poisson", "constant"] = "poisson"
    rate: Rate
    workers: int = Field(default=1, ge=1, le=64)
    cohorts: tuple[Cohort, ...] = Field(min_length=1)
    limits: ClientLimits = ClientLimits()
    retries: Retries = Retries()
    store_text: bool = False  # keep prompts and answers as they are, not only their lengths and keyed hashes

    @property
    def per_s(self) -> float:
        """Requests per second. ValueError while the rate is a share of a capacity that nobody has put in."""
        if isinstance(self.rate, Share):
            raise ValueError(f"the rate is {self.rate}: it has to be fitted to a measured capacity first")
        return self.rate


class FaultSpec(Strict):
    """A fault to inject: ``type`` names a file in harness/faults, ``on`` a link or component (globs allowed)."""

    type: str
    on: str
    options: dict[str, Any] = {}


class Phase(Strict):
    """A stretch of the timeline. Faults are injected at its start and healed at its end.

    With ``until: settled`` it goes on after ``duration`` until all of its faults have settled, ``at_most`` so long in
    all: a replica that is started again takes its time. With ``until: alerts_cleared`` it goes on until no alert fires:
    what a rule looks back at has to pass first.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    kind: Literal["warmup", "baseline", "fault", "recovery", "quiet"]
    duration: Seconds
    until: Literal["settled", "alerts_cleared"] | None = None
    at_most: Seconds | None = None
    faults: tuple[FaultSpec, ...] = ()

    @property
    def longest(self) -> float:
        """How long it may last as planned; the sample sizes that are asked for rest on ``duration``, the shortest."""
        return self.duration if self.at_most is None else self.at_most


class SLO(Strict):
    """One objective: ``sli`` (harness/judge/slis) over ``phases``, compared with ``objective``.

    ``objective`` is a comparison with units or an expression over the gateway's policy and the run's own
    baseline: ``">= 99 %"``, ``"<= 800 ms"``, ``"<= gateway.first_byte_timeout_ms + 2 * baseline.ttft_p95_ms"``.
    """

    name: str
    sli: str
    phases: tuple[str, ...] = Field(min_length=1)
    objective: str
    cohort: str | None = None


class StopCondition(Strict):
    """What must not go on: while ``sli`` meets ``objective`` for this long, the run is ended and healed."""

    model_config = ConfigDict(serialize_by_alias=True)  # stored under the name under which it is read

    sli: str
    objective: str
    hold: Seconds = Field(alias="for")

    def __str__(self) -> str:
        """As one reads it."""
        return f"{self.sli} {self.objective} for {self.hold:g} s"


class Scenario(Strict):
    """One scenario file.

    ``partial``: only some of the drill's phases, to try out one fault. The checks of the others are INCONCLUSIVE.
    """

    name: str
    description: str
    load: LoadSpec
    phases: tuple[Phase, ...] = Field(min_length=1)
    slos: tuple[SLO, ...] = ()
    abort_when: tuple[StopCondition, ...] = ()
    partial: bool = False

    def written(self) -> dict[str, Any]:
        """As a file has it, without what is not set: read again, it is the same scenario."""
        return self.model_dump(mode="json", exclude_none=True, context=WRITTEN)
