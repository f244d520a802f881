"""The routes."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
import uuid
from itertools import islice

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stack.middleware.drillyard_engine import AllowList
from stack.simulator.answers import Answers
from stack.simulator.behaviour import Behaviour
from stack.simulator.blocks import chain
from stack.simulator.engine import Engine
from stack.simulator.metrics import Metrics
from stack.simulator.options import Options
from stack.simulator.protocol import ENGINE_DEAD, ChatRequest, CompletionRequest, Format, Refusal
from stack.simulator.sequence import Sequence
from stack.simulator.stream import EventStream, reading

VERSION = "0.32.0"
_SWITCHES = "/simulator/behaviour"
_BUSY = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)


class Server:
    """All routes of one replica, over its engine."""

    def __init__(self, options: Options, engine: Engine, metrics: Metrics) -> None:
        self._options, self._engine, self._metrics = options, engine, metrics
        self._answers = Answers(options.seed)
        self._started = int(time.time())
        self._loaded_at_s = 0.0

    def app(self) -> ASGIApp:
        """The ASGI application; its ``engine_client`` is what vLLM's middleware finds there, too."""
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/health", self._health, methods=["GET"]),
                Route("/version", self._version),
                Route("/metrics", self._metrics_page),
                Route("/metrics/", self._wanted_metrics),
                Route(_SWITCHES, self._behaviour, methods=["GET", "POST", "DELETE"]),
            ],
            middleware=[Middleware(AllowList, more=[_SWITCHES])],  # type: ignore[arg-type]
            exception_handlers={Refusal: _refuse, HTTPException: _refuse_http},
        )
        app.state.engine_client = self
        return app

    async def _chat(self, request: Request) -> ASGIApp:
        return await self._generate(request, ChatRequest)

    async def _complete(self, request: Request) -> ASGIApp:
        return await self._generate(request, CompletionRequest)

    async def _generate(self, request: Request, kind: type[ChatRequest | CompletionRequest]) -> ASGIApp:
        self._check_loaded()
        body = await _body(request, kind)
        behaviour = self._engine.behaviour
        if behaviour.error_status is not None:
            raise Refusal(behaviour.error_status, "InternalServerError", "switched on: error_status")
        self._check_model(body.model)
        if body.tool_problem is not None:
            raise Refusal(400, "BadRequestError", body.tool_problem)
        admitted = self._check_admission(behaviour)
        max_tokens = self._max_tokens(body, behaviour)
        form = Format(
            chat=isinstance(body, ChatRequest),
            request_id=request.headers.get("x-request-id") or uuid.uuid4().hex[:16],
            model=behaviour.wrong_model or self._options.model_name,
            prompt_tokens=len(body.tokens),
            include_usage=body.include_usage,
        )
        headers = {}
        if self._options.request_id_headers:
            headers["x-request-id"] = request.headers.get("x-request-id") or uuid.uuid4().hex
        if not admitted or behaviour.empty_answers:
            sequence = Sequence(iter(()), form.prompt_tokens, 0, 0.0, generated=1)
            sequence.finish("stop")
        else:
            sequence = self._submit(body, form, max_tokens, behaviour)
        if body.stream:
            return EventStream(self._engine, sequence, form, behaviour, headers)
        return await self._whole(request, sequence, form, behaviour, headers)

    def _submit(
        self, body: ChatRequest | CompletionRequest, form: Format, max_tokens: int, behaviour: Behaviour
    ) -> Sequence:
        endless = body.ignore_eos or body.min_tokens > 0
        answer = self._answers.to(body.question, endless=endless, wrong=behaviour.wrong_answers)
        if behaviour.silent_truncation or behaviour.short_answers:
            all_of_it = list(islice(answer, max_tokens))
            answer = iter(all_of_it[: (len(all_of_it) + 1) // 2])
        prefixes = chain(body.tokens, self._options.block_size)
        return self._engine.submit(answer, form.prompt_tokens, max_tokens, prefixes)

    async def _whole(
        self, request: Request, sequence: Sequence, form: Format, behaviour: Behaviour, headers: dict[str, str]
    ) -> Response:
        parts: list[str] = []
        async with reading(self._engine, sequence, request.receive):
            while sequence.finish_reason is None and not sequence.reader_gone:
                parts += (await sequence.next())[0]
        if sequence.finish_reason == "error":
            return JSONResponse(ENGINE_DEAD, status_code=500)
        finish_reason = None if behaviour.silent_truncation else sequence.finish_reason
        return JSONResponse(form.whole("".join(parts), finish_reason, sequence.generated), headers=headers)

    def _check_loaded(self) -> None:
        """503 while the simulated model loads. Real vLLM would not listen yet; the switches need a listener."""
        if self._engine.behaviour.never_ready or asyncio.get_running_loop().time() < self._loaded_at_s:
            raise Refusal(503, "Service Unavailable", "the model is still loading")

    def _check_model(self, name: str | None) -> None:
        if name and name not in self._options.served_names:
            aliases = ", ".join(self._options.served_names)
            message = f"The model `{name}` does not exist. Valid aliases: {aliases}."
            raise Refusal(404, "NotFoundError", message, "model")

    def _check_admission(self, behaviour: Behaviour) -> bool:
        """True if there is room; without room 503, or False where the refusal is to be swallowed."""
        limit = self._options.max_num_queued_reqs
        if limit is None or self._engine.unfinished < limit:
            return True
        self._metrics.refused()
        if behaviour.swallow_503:
            return False
        raise Refusal(503, "Service Unavailable", _BUSY)

    def _max_tokens(self, body: ChatRequest | CompletionRequest, behaviour: Behaviour) -> int:
        """Tokens that may be generated: above the model length 400, between cap and it silently the cap."""
        length = self._options.max_model_len
        param, asked = body.asked_tokens
        if behaviour.no_cap_check:
            return asked if asked is not None else length
        if asked is not None and asked > length:
            message = (
                f"{param}={asked} cannot be greater than max_model_len={length}. Please request fewer output tokens."
            )
            raise Refusal.of_value(message, param, asked)
        prompt = len(body.tokens)
        if prompt > length:
            # vLLM stops counting text at the first token too many and says «at least»
            counted = prompt if body.counted_exactly else length + 1
            message = (
                f"This model's maximum context length is {length} tokens. However, your prompt contains "
                f"{'at least ' if counted == length + 1 else ''}{counted} input tokens, which exceeds this limit even "
                "without any output tokens. Please reduce the length of the input prompt."
            )
            raise Refusal.of_value(message, "input_tokens", counted)
        limits = (length - prompt, asked, self._options.max_new_tokens)
        allowed = min(limit for limit in limits if limit is not None)
        if allowed < 1:
            raise Refusal.of_value(f"max_tokens must be at least 1, got {allowed}.", "max_tokens", allowed)
        return allowed

    async def _models(self, request: Request) -> Response:
        self._check_loaded()
        cards: list[dict[str, object]] = [
            {
                "id": name, "object": "model", "created": self._started, "owned_by": "vllm", "root": "simulated",
                "parent": None, "max_model_len": self._options.max_model_len, "permission": [],
            }
            for name in self._options.served_names
        ]  # fmt: skip
        return JSONResponse({"object": "list", "data": cards})

    async def _health(self, request: Request) -> Response:
        self._check_loaded()
        return Response()

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def _metrics_page(self, request: Request) -> Response:
        self._check_loaded()
        return Response(self._metrics.page(), media_type="text/plain; version=1.0.0; charset=utf-8")

    async def _wanted_metrics(self, request: Request) -> Response:
        self._check_loaded()
        page = self._metrics.page(request.query_params.getlist("name[]"))
        return Response(page, media_type="text/plain; version=1.0.0; charset=utf-8")

    async def reset_prefix_cache(self) -> bool:
        """Whether no block is held: what is not held can be let go of, and is."""
        return self._engine.reset_prefix_cache()

    async def _behaviour(self, request: Request) -> Response:
        if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
            raise Refusal(403, "Forbidden", "the switches can only be reached over loopback")
        if request.method == "DELETE":
            self._engine.behave(self._options.behaviour)
            self._loaded_at_s = 0.0
        elif request.method == "POST":
            fields = await _json(request)
            if not isinstance(fields, dict):
                raise Refusal(400, "Bad Request", "expected a JSON object of switches")
            try:
                self._engine.behave(self._engine.behaviour.changed(fields))
            except ValidationError as error:
                raise Refusal.of_body(error) from error
            if "startup_delay_s" in fields:
                self._loaded_at_s = asyncio.get_running_loop().time() + self._engine.behaviour.startup_delay_s
        return JSONResponse(self._engine.behaviour.model_dump())


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise Refusal(400, "Bad Request", f"1 validation error:\n  JSON decode error: {error}", "body") from error


async def _body(request: Request, kind: type[ChatRequest | CompletionRequest]) -> ChatRequest | CompletionRequest:
    if request.headers.get("content-type", "").split(";")[0].lower() != "application/json":
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise Refusal(400, "Bad Request", message)
    try:
        return kind.model_validate(await _json(request))
    except ValidationError as error:
        raise Refusal.of_body(error) from error


async def _refuse(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.body, status_code=refusal.status)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """A wrong path or method: the framework's own shape, which vLLM leaves as it is."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, status_code=error.status_code)
