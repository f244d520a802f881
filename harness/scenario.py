"""Scenarios: strict data from YAML. Unknown key, wrong unit or impossible timeline is an error with file:line."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def parse_duration(text: Any) -> float:
    """``"250ms"``, ``"30s"``, ``"2m"`` → seconds. ValueError for anything else, bare and negative numbers too."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"found {text!r}, expected a duration with its unit, such as 250ms, 30s or 2m")
    return float(match["n"]) * _SECONDS[match["unit"]]


def parse_rate(text: Any) -> float:
    """``"4/s"``, ``"120/m"`` → requests per second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*(s|m)", str(text).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"found {text!r}, expected a rate above zero, such as 4/s or 120/m")
    return float(match[1]) / _SECONDS[match[2]]


Seconds = Annotated[float, BeforeValidator(parse_duration)]
PerSecond = Annotated[float, BeforeValidator(parse_rate)]


class Strict(BaseModel):
    """Base of all scenario data: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cohort(Strict):
    """One kind of user. ``share`` is its part of all arrivals; shares need not add up to 1."""

    name: str
    share: float = Field(default=1.0, gt=0)
    users: int = Field(default=20, ge=1)
    prompts: Literal["eval", "long"] = "eval"
    max_tokens: int = Field(default=48, ge=1)
    stream: bool = True
    cancel_after: Seconds | None = None  # these users hang up so long after the start of each attempt


class ClientLimits(Strict):
    """How long a client waits. YAML gives durations with units; inside they are seconds."""

    connect: Seconds = 2.0
    first_token: Seconds = 10.0
    idle: Seconds = 5.0
    total: Seconds = 30.0


class Retries(Strict):
    """Client retries: full jitter over ``base * 2**n`` capped at ``cap``; never sooner than Retry-After says."""

    max: int = Field(default=2, ge=0, le=10)
    base: Seconds = 0.3
    cap: Seconds = 3.0


class LoadSpec(Strict):
    """Open model: arrivals on a schedule. Closed model: ``users`` of each cohort, think time 1/rate each."""

    model: Literal["open", "closed"] = "open"
    arrivals: Literal["poisson", "constant"] = "poisson"
    rate: PerSecond
    workers: int = Field(default=1, ge=1, le=64)
    cohorts: tuple[Cohort, ...] = Field(min_length=1)
    limits: ClientLimits = ClientLimits()
    retries: Retries = Retries()


class FaultSpec(Strict):
    """A fault to inject: ``type`` names a file in harness/faults, ``on`` a link or component (globs allowed)."""

    type: str
    on: str
    options: dict[str, Any] = {}


class Phase(Strict):
    """A stretch of the timeline. Faults are injected at its start and healed at its end."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    kind: Literal["warmup", "baseline", "fault", "recovery", "quiet"]
    duration: Seconds
    faults: tuple[FaultSpec, ...] = ()


class SLO(Strict):
    """One objective: ``sli`` (harness/slis) over ``phases``, compared with ``objective``.

    ``objective`` is a comparison with units or an expression over the gateway's policy and the run's own
    baseline: ``">= 99 %"``, ``"<= 800 ms"``, ``"<= gateway.first_byte_timeout_ms + 2 * baseline.ttft_p95_ms"``.
    """

    name: str
    sli: str
    phases: tuple[str, ...] = Field(min_length=1)
    objective: str
    cohort: str | None = None


class Scenario(Strict):
    """One scenario file."""

    name: str
    description: str
    load: LoadSpec
    phases: tuple[Phase, ...] = Field(min_length=1)
    slos: tuple[SLO, ...] = ()
