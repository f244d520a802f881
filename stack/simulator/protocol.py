"""Request bodies, errors, chunks and answers as vLLM 0.32's OpenAI server reads and writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from stack.simulator.tokens import render_chat, tokenize


class Refusal(Exception):
    """An error answer in vLLM's shape: ``{"error": {"message", "type", "param", "code"}}``."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}

    @classmethod
    def of_value(cls, message: str, param: str, value: int) -> Refusal:
        """400 for a value that cannot be served."""
        return cls(400, "BadRequestError", f"{message} (parameter={param}, value={value})", param)

    @classmethod
    def of_body(cls, error: ValidationError) -> Refusal:
        """400 for a body that does not fit; ``param`` is the place of the first error."""
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(("body", *map(str, first["loc"])))
        count = error.error_count()
        lines = f"{count} validation {'error' if count == 1 else 'errors'}:\n  {first}"
        return cls(400, "Bad Request", lines, place)


class Message(BaseModel):
    """One turn of a conversation; content may come in parts, of which only text counts here."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """All its text."""
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """OpenAI's ``stream_options``."""

    include_usage: bool = False


class Generation(BaseModel):
    """What both kinds of request have in common; unknown fields are ignored, as vLLM does."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False

    @property
    def asked_tokens(self) -> tuple[str, int | None]:
        """Name and value of the field that limits the answer."""
        return "max_tokens", self.max_tokens

    @property
    def counted_exactly(self) -> bool:
        """Whether all tokens of a prompt that is too long are counted: text is cut at the first one too many."""
        return False

    @property
    def tool_problem(self) -> str | None:
        """Why its tools cannot be used, with vLLM's message; None without tools."""
        return None

    @property
    def include_usage(self) -> bool:
        """Whether a usage chunk ends the stream."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Generation):
    """``POST /v1/chat/completions``."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def tool_problem(self) -> str | None:
        """Drillyard's replicas have no tool-call parser. With tools the default of ``tool_choice`` is "auto"."""
        choice = self.tool_choice or ("auto" if self.tools else "none")
        if choice == "none":
            return None
        if choice == "auto":
            return '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
        described = f'"{choice}"' if named is None else f'function "{named}"'
        return f"tool_choice={described} requires --tool-call-parser to be set"

    @property
    def asked_tokens(self) -> tuple[str, int | None]:
        """``max_completion_tokens`` goes before ``max_tokens``."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return super().asked_tokens

    @property
    def question(self) -> str:
        """What is answered: the last message."""
        return self.messages[-1].text if self.messages else ""

    @cached_property
    def tokens(self) -> Sequence[str | int]:
        """The tokens of the rendered conversation."""
        return render_chat([message.text for message in self.messages])


class CompletionRequest(Generation):
    """``POST /v1/completions``; one prompt, as text or as token ids."""

    prompt: str | list[int]

    @property
    def asked_tokens(self) -> tuple[str, int | None]:
        """16 where nothing is asked for."""
        return "max_tokens", 16 if self.max_tokens is None else self.max_tokens

    @property
    def question(self) -> str:
        """What is answered; nobody here knows what token ids mean."""
        return self.prompt if isinstance(self.prompt, str) else ""

    @cached_property
    def tokens(self) -> Sequence[str | int]:
        """The tokens of the prompt."""
        return tokenize(self.prompt) if isinstance(self.prompt, str) else self.prompt

    @property
    def counted_exactly(self) -> bool:
        """Token ids are counted, not cut."""
        return not isinstance(self.prompt, str)


@dataclass(frozen=True)
class Format:
    """How one answer is written: as a chat completion or a text completion, whole or in chunks."""

    chat: bool
    request_id: str  # without prefix
    model: str
    prompt_tokens: int
    include_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def _id(self) -> str:
        return f"{'chatcmpl' if self.chat else 'cmpl'}-{self.request_id}"

    def usage(self, completion_tokens: int) -> dict[str, int]:
        """Token counts; the end-of-sequence token counts as generated."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
        }

    def role_event(self) -> bytes:
        """The first event of a chat stream: the role and no text."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return self._event([choice], prompt_token_ids=None, prompt_text=None)

    def text_event(self, text: str, finish_reason: str | None) -> bytes:
        """An event with text; the one that carries a finish reason is the last but usage and [DONE]."""
        choice: dict[str, Any] = {"index": 0, "delta": {"content": text}} if self.chat else {"index": 0, "text": text}
        choice |= {"logprobs": None, "finish_reason": finish_reason}
        if not self.chat:
            choice |= {"stop_reason": None, "prompt_token_ids": None}
        elif finish_reason is not None:
            choice["stop_reason"] = None
        choice["token_ids"] = None
        if finish_reason is None or self.include_usage:
            return self._event([choice])
        return self._event([choice], system_fingerprint=FINGERPRINT)

    def usage_event(self, completion_tokens: int) -> bytes:
        """The event that ``stream_options.include_usage`` asks for."""
        return self._event([], usage=self.usage(completion_tokens), system_fingerprint=FINGERPRINT)

    def whole(self, text: str, finish_reason: str | None, completion_tokens: int) -> dict[str, Any]:
        """The answer in one piece."""
        choice: dict[str, Any] = {"index": 0}
        if self.chat:
            choice["message"] = {
                "role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None,
                "function_call": None, "reasoning": None,
            }  # fmt: skip
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": finish_reason, "stop_reason": None, "token_ids": None}
        if not self.chat:
            choice |= {"prompt_logprobs": None, "prompt_token_ids": None}
        choice["routed_experts"] = None
        answer = {
            "id": self._id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {
                **self.usage(completion_tokens),
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        }
        if self.chat:
            answer |= {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        return answer | {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }
        return event(chunk)


#: The body of an answer whose engine died under it.
ENGINE_DEAD = {
    "error": {
        "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}
DONE = b"data: [DONE]\n\n"
FINGERPRINT = "vllm-0.32.0-simulated"


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
