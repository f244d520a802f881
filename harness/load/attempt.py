"""One attempt as it is recorded: its fields are the columns of ``record.REQUEST_COLUMNS``, and its clock readings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Attempt:
    """One row of requests.parquet. None means «not measured», never 0.

    Columns are explained in harness/evidence/record.py. ``*_mono_s`` are readings of the monotonic clock, which no
    file has; ``timed`` makes of them the columns that count from the run's zero.
    """

    request_id: str
    attempt: int
    user_id: str
    cohort: str
    deployment: str
    intended_mono_s: float
    start_mono_s: float
    max_tokens: int
    prompt_chars: int
    prompt_hash: str
    final: bool = False
    outcome: str = "not_sent"
    subtype: str | None = None
    served_version: str | None = None
    replica: str | None = None
    gateway: str | None = None
    phase: str | None = None
    straddles: str | None = None
    first_byte_sent_mono_s: float | None = None
    intended_start_s: float | None = None
    start_s: float | None = None
    schedule_lag_ms: float | None = None
    dns_ms: float | None = None
    connect_ms: float | None = None
    first_byte_sent_s: float | None = None
    headers_ms: float | None = None
    ttft_ms: float | None = None
    ttft_from_schedule_ms: float | None = None
    e2e_ms: float | None = None
    e2e_from_schedule_ms: float | None = None
    queue_gateway_ms: float | None = None
    gateway_replica: str | None = None
    gateway_retries: int | None = None
    max_stall_ms: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    content_events: int | None = None
    http_status: int | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_request_id: str | None = None
    retry_after_s: float | None = None
    retry_delay_ms: float | None = None
    answer_chars: int | None = None
    answer_hash: str | None = None
    answer_correct: bool | None = None
    prompt_text: str | None = None
    answer_text: str | None = None

    def timed(self, zero_mono_s: float) -> None:
        """Fill in the times since the run's zero, in seconds, and the latencies from the schedule, in ms."""
        self.intended_start_s = self.intended_mono_s - zero_mono_s
        self.start_s = self.start_mono_s - zero_mono_s
        if self.first_byte_sent_mono_s is not None:
            self.first_byte_sent_s = self.first_byte_sent_mono_s - zero_mono_s
        lag_ms = (self.start_mono_s - self.intended_mono_s) * 1000
        if self.ttft_ms is not None:
            self.ttft_from_schedule_ms = self.ttft_ms + lag_ms
        if self.e2e_ms is not None:
            self.e2e_from_schedule_ms = self.e2e_ms + lag_ms
