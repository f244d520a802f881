"""One load against a service that misbehaves on demand: every outcome class as docs/metrics.md defines it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.integration.load_processes import Load, LoadService, start_load

STREAM_CASES = (
    "ok", "timed", "fin", "reset", "truncated", "abort", "error_event", "stall", "silent", "headers_only", "trickle",
    "empty", "wrong_model", "garbage", "bad_event", "eof", "shed_429", "shed_503", "plain_503", "http_400", "quoting",
    "quoting_event", "http_504", "retry_then_ok", "hang_then_ok",
)  # fmt: skip
LOAD = {
    "rate": "60/s",
    "arrivals": "constant",
    "cohorts": [
        {"name": "chat", "share": 6, "users": 20},
        {"name": "impatient", "share": 1, "users": 5, "cancel_after": "100ms"},
    ],
    "limits": {"connect": "1s", "first_token": "800ms", "idle": "600ms", "total": "1.2s"},
    "retries": {"max": 1, "base": "100ms", "cap": "200ms"},
}


#: Some whole answers take longer.
LIMIT_MS = 100.0
#: What becomes of an answer for which the machine had no time, and how long it took then at least, ms (``LOAD``).
LATE = {"timeout_ttft": 800.0, "timeout_stall": 600.0, "timeout_total": 1200.0}


class Outcome:
    """The finished load: rows with the case that each request asked for, the service's log, lines and summary."""

    def __init__(self, load: Load, notes: list[dict[str, Any]]) -> None:
        self.summary, self.lines, self.rows = load.summary, load.lines, load.rows
        cases = {
            note["headers"]["x-request-id"]: note["body"]["messages"][0]["content"].removeprefix("case:")
            for note in notes
        }
        self.notes = notes
        self.rows["case"] = self.rows.request_id.map(cases)

    def of(self, case: str, cohort: str = "chat") -> pd.DataFrame:
        """Attempts of requests that asked for ``case``."""
        found = self.rows[(self.rows.case == case) & (self.rows.cohort == cohort)]
        assert len(found) > 0, f"no request asked for {case}"
        return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Eight seconds of everything that can go wrong."""
    folder = tmp_path_factory.mktemp("outcomes") / "run"
    with LoadService() as service:
        questions = tuple(f"case:{case}" for case in STREAM_CASES)
        more = {"expect_versions": ["v1@abc"], "drain_s": 5, "request_limits": {"chat": {"e2e_ms": LIMIT_MS}}}
        load = start_load(folder, service, LOAD, questions, **more)
        load.wait_for_scheduled(300)
        assert load.stop() == 0, load.stderr()
        yield Outcome(load, service.notes())


def in_time(rows: pd.DataFrame, expected: str) -> pd.DataFrame:
    """Without those that ran into another time limit, because something else had the machine: less than half.

    They have to have waited for as long.
    """
    late = rows.outcome.isin(LATE) & rows.outcome.ne(expected)
    assert rows.e2e_ms[late].ge(0.98 * rows.outcome[late].map(LATE).astype(float)).all(), rows[late]
    assert late.mean() < 0.5, rows.outcome.value_counts()
    return rows[~late]


@pytest.mark.parametrize(
    ("case", "expected", "subtype"),
    [
        ("ok", "ok", None),
        ("timed", "ok", None),
        ("fin", "broken_stream", "fin"),
        ("reset", "broken_stream", "reset"),
        ("truncated", "broken_stream", "truncated"),
        ("abort", "inband_error", "abort"),
        ("error_event", "inband_error", "server_error"),
        ("stall", "timeout_stall", None),
        ("silent", "timeout_ttft", "no_headers"),
        ("headers_only", "timeout_ttft", "no_token"),
        ("trickle", "timeout_total", None),
        ("empty", "empty", None),
        ("wrong_model", "wrong_model", "v2@def"),
        ("garbage", "protocol_error", "bad_http"),
        ("bad_event", "protocol_error", "bad_event"),
        ("eof", "connect_error", "eof_before_response"),
        ("shed_429", "shed_429", None),
        ("shed_503", "shed_503", None),
        ("plain_503", "http_5xx", None),
        ("http_400", "http_4xx", None),
        ("http_504", "http_5xx", None),
    ],
)
def test_outcome_class(outcome: Outcome, case: str, expected: str, subtype: str | None) -> None:
    """Each way to fail is its own class, with a subtype that says which."""
    rows = in_time(outcome.of(case), expected)
    assert set(rows.outcome) == {expected}
    assert set(rows.subtype.dropna()) == ({subtype} if subtype else set())
    assert rows.subtype.notna().all() == (subtype is not None)


def test_users_that_hang_up(outcome: Outcome) -> None:
    """A cohort that cancels on purpose is neither ok nor failed; it hangs up when it said it would."""
    slow = outcome.rows.case.isin(["timed", "silent", "stall", "headers_only", "trickle"])
    rows = outcome.rows[slow & (outcome.rows.cohort == "impatient")]
    assert len(rows) > 2
    assert set(rows.outcome) == {"cancelled_intended"}
    assert set(rows.attempt) == {1}
    assert 0.95 < rows.e2e_ms.min() / 100 < 1.9, "before the first token"


def test_first_token_is_measured_truly(outcome: Outcome) -> None:
    """The service sends the first token after 200 ms, and one every 20 ms."""
    rows = in_time(outcome.of("timed"), "ok")
    assert 0.95 < rows.ttft_ms.min() / 200 < 1.8, "the last one comes after 380 ms"
    assert (rows.headers_ms < rows.ttft_ms).all()
    assert 0.8 < rows.max_stall_ms.min() / 20 < 8, "ten at once would be 180 ms"
    assert set(rows.content_events) == {10}
    assert (rows.ttft_from_schedule_ms >= rows.ttft_ms).all()


@pytest.mark.parametrize(
    ("case", "limit_ms"), [("silent", 800), ("headers_only", 800), ("stall", 600), ("trickle", 1200)]
)
def test_limits_are_hard(outcome: Outcome, case: str, limit_ms: float) -> None:
    """No wait is longer than its limit, trickling content does not extend the total."""
    assert 0.98 < outcome.of(case).e2e_ms.median() / limit_ms < 2


def test_the_silence_in_which_a_client_gave_up_is_a_stall(outcome: Outcome) -> None:
    """A stream that fell silent stalled for the limit at least; one that trickled to its end did not."""
    assert outcome.of("stall").max_stall_ms.min() >= 0.98 * 600
    assert outcome.of("trickle").max_stall_ms.median() < 600


def test_no_token_is_null_not_zero(outcome: Outcome) -> None:
    """Headers and a role are no token."""
    for case in ("silent", "headers_only", "empty", "eof", "http_400"):
        assert outcome.of(case).ttft_ms.isna().all(), case


def test_error_bodies_fill_the_error_columns(outcome: Outcome) -> None:
    """JSON errors of the gateway and of the stream are kept; HTML is not mistaken for one."""
    late = outcome.of("http_504").iloc[0]
    assert (late.error_type, late.error_code, late.error_request_id) == ("timeout_error", "upstream_timeout", "r3")
    assert (late.http_status, late.retry_after_s) == (504, 1.0)
    inband = outcome.of("error_event").iloc[0]
    assert (inband.error_type, inband.error_code, inband.error_message) == ("server_error", "500", "it broke")
    assert outcome.of("plain_503").error_type.isna().all()


def test_what_an_ok_row_holds(outcome: Outcome) -> None:
    """Version, replica, gateway, usage, lengths and hashes; the text itself nowhere."""
    row = outcome.of("ok").iloc[0]
    assert (row.served_version, row.replica, row.gateway) == ("v1@abc", "replica-1", "127.0.16.1")
    assert (row.prompt_tokens, row.output_tokens, row.content_events) == (7, 2, 2)
    assert (row.answer_chars, row.answer_correct, row.finish_reason) == (len("right answer"), True, "stop")
    assert row.deployment == "drillyard"
    assert "right answer" not in set(outcome.rows.astype(str).to_numpy().ravel())
    assert not outcome.of("timed").answer_correct.any()


def test_requests_on_the_wire(outcome: Outcome) -> None:
    """What the service saw: the user's key, one id per request on every attempt, streaming with usage."""
    note = next(n for n in outcome.notes if n["body"]["messages"][0]["content"] == "case:ok")
    headers, body = note["headers"], note["body"]
    row = outcome.rows[outcome.rows.request_id == headers["x-request-id"]].iloc[0]
    assert headers["authorization"] == f"Bearer secret-key-{row.user_id.removeprefix('user-')}"
    assert headers["idempotency-key"] == headers["x-request-id"]
    assert (body["model"], body["stream"], body["temperature"]) == ("drillyard", True, 0)
    assert (body["max_tokens"], body["stream_options"]) == (48, {"include_usage": True})


def test_open_prompts_ask_for_answers_of_full_length(tmp_path: Path) -> None:
    """Only a cohort with open prompts asks the engine to go on until ``max_tokens``; any answer is as good."""
    cohorts = [{"name": "chat", "users": 5}, {"name": "writers", "users": 5, "prompts": "open", "max_tokens": 96}]
    with LoadService() as service:
        load = start_load(tmp_path / "run", service, {"rate": "60/s", "cohorts": cohorts})
        load.wait_for_scheduled(60)
        assert load.stop() == 0, load.stderr()
        bodies = [note["body"] for note in service.notes()]
    assert {(body["max_tokens"], body.get("ignore_eos")) for body in bodies} == {(48, None), (96, True)}
    answers = load.rows[load.rows.outcome == "ok"]
    assert answers[answers.cohort == "writers"].answer_correct.isna().all()
    assert answers[answers.cohort == "chat"].answer_correct.eq(True).all()


def test_every_attempt_is_recorded_and_every_request_ends_once(outcome: Outcome) -> None:
    """Conservation: scheduled = final rows, numbered attempts, and the service saw no attempt that is not recorded."""
    rows, summary = outcome.rows, outcome.summary
    assert summary["conserved"] is True
    assert summary["scheduled_requests"] == rows.final.sum() == rows.request_id.nunique()
    assert summary["attempts"] == len(rows) == sum(summary["outcomes_attempts"].values())
    for _, own in rows.groupby("request_id"):
        own = own.sort_values("attempt")
        assert list(own.attempt) == list(range(1, len(own) + 1))
        assert list(own.final) == [False] * (len(own) - 1) + [True]
    seen = pd.Series([note["headers"]["x-request-id"] for note in outcome.notes]).value_counts()
    recorded = rows.groupby("request_id").size()
    assert (seen <= recorded.reindex(seen.index)).all()


def test_retries_wait_as_told_and_differ(outcome: Outcome) -> None:
    """Never sooner than Retry-After, jittered on top of it, capped; the second try of a flaky case succeeds."""
    for case in ("http_504", "retry_then_ok", "shed_429"):
        delays = outcome.of(case).retry_delay_ms.dropna()
        assert (delays >= 1000).all(), case
        assert delays.median() < 2000
    jitter = outcome.of("fin").retry_delay_ms.dropna()
    assert jitter.nunique() == len(jitter) > 1
    assert jitter.median() < 1000, "no Retry-After"
    for case in ("retry_then_ok", "hang_then_ok"):
        assert list(outcome.of(case).sort_values(["request_id", "attempt"]).outcome)[1::2] == ["ok"] * (
            len(outcome.of(case)) // 2
        )
    assert set(outcome.of("http_400").attempt) == set(outcome.of("trickle").attempt) == {1}


def test_connections_are_kept_alive_per_user(outcome: Outcome) -> None:
    """A clean answer's connection serves the same user again, and such an attempt has no connect time."""
    reused = sum(note["nth_on_connection"] > 1 for note in outcome.notes)
    sent = outcome.rows[outcome.rows.first_byte_sent_s.notna()]
    assert reused > 5
    assert reused == sent.connect_ms.isna().sum()


def test_schedule_was_kept(outcome: Outcome) -> None:
    """The generator was no bottleneck: all that was planned was begun, however slow the service."""
    summary = outcome.summary
    assert summary["achieved_rate_per_s"] == summary["planned_rate_per_s"]
    assert 0.9 < summary["achieved_rate_per_s"] / 60 < 1.1
    intended = outcome.rows[outcome.rows.attempt == 1].intended_start_s.sort_values().diff().dropna()
    assert 0.99 < intended.median() * 60 < 1.01
    assert outcome.rows[outcome.rows.attempt > 1].schedule_lag_ms.isna().all()


def test_live_lines(outcome: Outcome) -> None:
    """Each line is JSON with rising time and counts; windows add up to what was started."""
    lines = outcome.lines
    assert len(lines) > 5
    assert [line["t_s"] for line in lines] == sorted(line["t_s"] for line in lines)
    begun = outcome.rows.attempt.eq(1) & outcome.rows.start_s.le(lines[-1]["t_s"])
    assert sum(line["window"]["started"] for line in lines) == pytest.approx(begun.sum(), abs=2)
    window = lines[-1]["window"]
    counted = {"started", "ok", "failed", "outcomes", "within", "late", "ttft_ms", "e2e_ms"}
    assert set(window) == counted | {"ttft_p95_ms", "schedule_lag_p99_ms"}
    assert window["ok"] + window["failed"] == sum(window["outcomes"].values())


def test_live_lines_count_what_was_good_and_in_time(outcome: Outcome) -> None:
    """As the rows say, for the cohort that has limits; what ended after the last line is in none."""
    windows = [line["window"] for line in outcome.lines]
    told = (outcome.rows.start_s + outcome.rows.e2e_ms / 1000).le(outcome.lines[-1]["t_s"])
    ok = outcome.rows[outcome.rows.final & outcome.rows.outcome.eq("ok") & told]
    late = ok.cohort.eq("chat") & ok.e2e_ms.gt(LIMIT_MS)
    assert sum(window["late"].get("e2e", 0) for window in windows) == pytest.approx(late.sum(), abs=2)
    assert sum(window["within"] for window in windows) == pytest.approx((~late).sum(), abs=2)
    assert all(window["within"] <= window["ok"] == sum(window["e2e_ms"].values()) for window in windows)


def test_no_secret_in_what_is_written(outcome: Outcome, tmp_path: Path) -> None:
    """Neither keys nor prompts in the summary and the rows, even where the service quotes them."""
    text = json.dumps(outcome.summary) + outcome.rows.drop(columns="case").to_csv()
    assert "secret-key" not in text
    assert "case:" not in text
    assert "quoting" not in text


def test_errors_that_quote_lose_their_quotes(outcome: Outcome) -> None:
    """What an engine quotes of prompt, answer and key is left out; what it says otherwise stays."""
    refusal = outcome.of("quoting").iloc[0]
    assert (refusal.outcome, refusal.error_type) == ("http_4xx", "Bad Request")
    assert refusal.error_message.startswith("1 validation error:\n  {'input': {'model': 'drillyard'")
    assert "[…]" in refusal.error_message
    event = outcome.of("quoting_event").iloc[0]
    assert (event.outcome, event.subtype) == ("inband_error", "about […]")
    assert event.error_message == '["asked […]", "said […]", "Bearer [redacted]"]'
