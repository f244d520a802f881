"""Every error that a gateway makes itself: one shape, ``{"error": {"type", "code", "message", "request_id"}}``.

``type`` follows the OpenAI API; ``code`` says exactly what happened; the message says what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from harness.model.topology import GatewayPolicy


@dataclass(frozen=True)
class GatewayError:
    """One refusal. ``message`` may hold HAProxy log-format expressions, nothing else may."""

    status: int
    type: str
    code: str
    message: str
    retry: bool = False  # answered with Retry-After

    def body(self) -> str:
        """The JSON body as an HAProxy log-format string to stand between single quotes."""
        error = {"type": self.type, "code": self.code, "message": self.message, "request_id": "%[unique-id]"}
        text = json.dumps({"error": error}, ensure_ascii=False)
        if "'" in text:
            raise ValueError(f"{self.code}: an apostrophe ends the quoted text in haproxy.cfg")
        return text


def own_errors(policy: GatewayPolicy) -> tuple[GatewayError, ...]:
    """Errors that HAProxy answers without a rule of ours, one per status; its own defaults are HTML pages.

    502 is worded by guard.lua, which knows whether time ran out (the status then becomes 504) or the answer broke off.
    """
    seconds, long_seconds = policy.queue_timeout_s, policy.long_queue_timeout_s
    return (
        GatewayError(400, "invalid_request_error", "bad_request", "This is no valid HTTP request."),
        GatewayError(401, "authentication_error", "unauthorized", "Send your API key: Authorization: Bearer KEY."),
        GatewayError(403, "permission_error", "forbidden", "This request is not allowed."),
        GatewayError(404, "invalid_request_error", "not_found", "There is nothing at this path."),
        GatewayError(405, "invalid_request_error", "method_not_allowed", "This path does not take this method."),
        GatewayError(
            408, "timeout_error", "request_timeout", "The request did not arrive completely in time. Send it again."
        ),
        GatewayError(413, "invalid_request_error", "body_too_large", "The request is too large."),
        GatewayError(429, "rate_limit_error", "rate_limited", "Too many requests. Wait, then try again.", retry=True),
        GatewayError(500, "server_error", "gateway_error", "The gateway failed. Try again.", retry=True),
        GatewayError(501, "invalid_request_error", "not_implemented", "The gateway does not speak this protocol."),
        GatewayError(
            502, "upstream_error", "%[lua.upstream_failure_code]", "%[lua.upstream_failure_message]", retry=True
        ),
        GatewayError(
            503, "overloaded_error", "no_replica_free",
            f"No replica could take the request within {seconds:g} s (a long prompt: {long_seconds:g} s). Try again "
            "after the time in Retry-After.",
            retry=True,
        ),
        GatewayError(
            504, "timeout_error", "upstream_timeout",
            "The model did not answer in time. Try again after the time in Retry-After.", retry=True,
        ),
    )  # fmt: skip


def replica_errors() -> Mapping[str, GatewayError]:
    """What a replica's 5xx without JSON becomes (vLLM has a plain «Internal Server Error»): ``replica_<status>``.

    Nothing in it reports overload: a status alone is no proof that load was shed on purpose.
    """
    return {
        f"replica_{status.value}": GatewayError(
            status.value, "timeout_error" if status == 504 else "server_error", "replica_error",
            f"The replica answered {status.value} ({status.phrase}) and no more. Try again; if the same request fails "
            "again, it may be the cause.",
            retry=status in (502, 503, 504),
        )
        for status in HTTPStatus
        if status >= 500
    }  # fmt: skip


def refusals(policy: GatewayPolicy) -> Mapping[str, GatewayError]:
    """Errors that a rule of haproxy.cfg.j2 answers with, by code; ``unfit_body`` has its code from guard.lua."""
    found = (*_PATHS, *_HEADS, *_bodies(policy), *_overload(policy))
    return {error.code if "%" not in error.code else "unfit_body": error for error in found}


#: Of paths, and of the list of models.
_PATHS = (
    GatewayError(
        404, "invalid_request_error", "unknown_path",
        "There is nothing at this path. This gateway serves /v1/chat/completions, /v1/completions, /v1/models and "
        "/v1/models/MODEL.",
    ),
    GatewayError(
        405, "invalid_request_error", "method_not_allowed",
        "This path does not take this method: POST for completions, GET for /v1/models.",
    ),
    GatewayError(
        404, "invalid_request_error", "model_not_found",
        "There is no model %[var(txn.model_id),json(utf8s)] here; GET /v1/models lists those that there are.",
    ),
    GatewayError(
        502, "upstream_error", "unreadable_models",
        "The replica did not answer with a list of models. Try again after the time in Retry-After.", retry=True,
    ),
)  # fmt: skip
#: Of headers, and of who asks.
_HEADS = (
    GatewayError(400, "invalid_request_error", "bad_header", "A header has a control character: leave it out."),
    GatewayError(431, "invalid_request_error", "head_too_large", "URL or headers are too large. Shorten them."),
    GatewayError(
        401, "authentication_error", "missing_api_key",
        "No API key was sent. Send it as a header: Authorization: Bearer KEY.",
    ),
    GatewayError(401, "authentication_error", "invalid_api_key", "This API key is not known here."),
    GatewayError(403, "permission_error", "pin_forbidden", "Only the operator may pin a replica: X-Drillyard-Pin."),
    GatewayError(400, "invalid_request_error", "unknown_replica", "X-Drillyard-Pin names no replica."),
)  # fmt: skip


def _bodies(policy: GatewayPolicy) -> tuple[GatewayError, ...]:
    size = policy.body_bytes_max
    return (
        GatewayError(
            400, "invalid_request_error", "body_not_expected", "A GET request must not have a body; send it without."
        ),
        GatewayError(
            411, "invalid_request_error", "length_required",
            f"Send the body with one Content-Length header, not chunked: at most {size} bytes are taken, and they are "
            "counted before they are read.",
        ),
        GatewayError(
            413, "invalid_request_error", "body_too_large",
            f"The request body has %[req.hdr(content-length),json(utf8s)] bytes: at most {size} are taken. Shorten the "
            "prompt.",
        ),
        GatewayError(
            400, "invalid_request_error", "%[var(txn.refusal_code)]", "%[var(txn.refusal_message),json(utf8s)]"
        ),
    )  # fmt: skip


def _overload(policy: GatewayPolicy) -> tuple[GatewayError, ...]:
    rate = policy.requests_per_minute
    return (
        GatewayError(503, "overloaded_error", "not_ready", "No replica is up behind this gateway.", retry=True),
        GatewayError(
            429, "rate_limit_error", "requests_per_minute",
            f"This API key has used its {rate} requests per minute. Wait for the time in Retry-After, then go slower.",
            retry=True,
        ),
        GatewayError(
            503, "overloaded_error", "queue_full",
            f"All replicas are busy and {policy.queue_max} requests wait already. Try again after the time in "
            "Retry-After.",
            retry=True,
        ),
        GatewayError(
            503, "overloaded_error", "long_queue_full",
            f"Long prompts (more than {policy.long_body_bytes} bytes) have a queue of their own, and "
            f"{policy.long_queue_max} wait in it already. Try again after the time in Retry-After, or shorten it.",
            retry=True,
        ),
        GatewayError(
            429, "rate_limit_error", "tokens_per_minute", "%[var(txn.refusal_message),json(utf8s)]", retry=True
        ),
    )  # fmt: skip
