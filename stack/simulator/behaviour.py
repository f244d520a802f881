"""What can be switched while the simulator runs. Each switch is a failure that a drill has to notice."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Behaviour(BaseModel):
    """The defaults are a healthy engine. ``POST /simulator/behaviour`` sets the fields it names, DELETE all back.

    «Back» is what it was started with: a model that answers wrongly goes on doing so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    slow_factor: float = Field(1.0, gt=0, examples=[5], description="prefill and decoding take so many times as long")
    slow_warmup_s: float = Field(
        0.0, ge=0, examples=[5], description="for so long after start or switch, all takes 20 times as long"
    )
    hang: bool = Field(False, description="the deaf replica: HTTP answers, the engine does not step, gauges freeze")
    never_ready: bool = Field(False, description="the model never finishes loading: every route answers 503")
    startup_delay_s: float = Field(
        0.0, ge=0, examples=[5], description="as if restarted now: 503 on every route for so long"
    )

    error_status: int | None = Field(
        None, ge=400, le=599, examples=[500], description="generation requests answer this status"
    )
    cut_after_events: int | None = Field(
        None, ge=0, examples=[5], description="the connection breaks after so many events"
    )
    inband_error_after_events: int | None = Field(
        None, ge=0, examples=[5], description="200, so many events, then an error event and [DONE]"
    )
    silent_truncation: bool = Field(False, description="half the answer, then a clean end without finish_reason")
    short_answers: bool = Field(False, description="half the answer, then the end of a whole one: stop, usage, [DONE]")
    empty_answers: bool = Field(False, description="200, finish_reason stop, no content")
    wrong_answers: bool = Field(False, description="fluent, and wrong, answers to every known question")
    wrong_model: str | None = Field(
        None, examples=["v9@x"], description="answers carry this model name instead of the served one"
    )

    leak_kv_on_cancel: bool = Field(False, description="a cancelled request keeps its KV blocks until switched off")
    zombie_generation: bool = Field(False, description="a cancelled request is generated to its end")
    swallow_503: bool = Field(False, description="an admission refusal is answered as 200 with an empty answer")
    # vLLM 0.32 does any of them: its API process kills the engine core while that says goodbye.
    on_sigterm: Literal["abort", "error", "hang"] = Field(
        "abort",
        examples=["error"],
        description="streams in flight end so when the drain time is over; hang: not until the client leaves",
    )
    no_cap_check: bool = Field(False, description="max_tokens is obeyed whatever the model length and the cap say")

    def changed(self, fields: dict[str, object]) -> Behaviour:
        """A copy with those fields set; pydantic's ValidationError names what is unknown or out of range."""
        return Behaviour.model_validate({**self.model_dump(), **fields})
