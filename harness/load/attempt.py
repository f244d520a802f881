"""One attempt as it is recorded: its fields are the columns of ``record.REQUEST_COLUMNS``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Attempt:
    """One row of requests.parquet. None means «not measured», never 0.

    Columns are explained in harness/evidence/record.py.
    """

    request_id: str
    attempt: int
    user_id: str
    cohort: str
    deployment: str
    intended_start_s: float
    start_s: float
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
