"""The routes of one simulated replica: OpenAI requests in, answers and streams out, over aiohttp.

Streams are written straight to the transport, already framed as HTTP chunks, from the engine's
timer: no task wakes up per token. A client that does not read grows its socket buffer by at most
its answer (max_tokens events of some 200 bytes).
"""

import asyncio
import base64
import itertools
import struct
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aiohttp import HttpVersion11, web

from loadtest import openai_replies, openai_wire
from loadtest.engine import EngineError
from loadtest.engine_state import Limits, State
from loadtest.exposition import CONTENT_TYPE, MetricsFault
from loadtest.openai_replies import Reply, StreamFormat, Usage
from loadtest.openai_wire import LENGTH_HEADER, Job, WireError, with_length
from loadtest.prompts import Prompt, block_hashes, embedding, output_length
from loadtest.replica import Generation, Replica

# Whose names and behaviour are followed (facts/vllm-on-cpu.md), and that this is not it.
VERSION = "0.32.0+simulated"

_MAX_BODY_BYTES = 64 * 1024 * 1024
_EMBEDDING_DIMENSIONS = 16
_JSON: Final = "application/json"

# Of the request that the current connection task handles: the client's, or one made up.
_request_id: ContextVar[str] = ContextVar("request_id")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What one `vllm serve` is told.

    Attributes:
        models: Served names, at least one; the first labels the metrics.
        adapters: LoRA adapters, served under their own names.
        host: Address to listen on.
        port: 0 takes a free one, kept over restarts.
        max_model_len: Most tokens of prompt and answer together.
        max_num_queued_reqs: Requests running and waiting before new ones get 503; None: no limit.
        stream_interval: Tokens per event after the first (--stream-interval).
        limits: The engine's.
    """

    models: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    max_model_len: int = 16_384
    max_num_queued_reqs: int | None = None
    stream_interval: int = 1
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.models:
            raise ValueError("a replica serves at least one model")
        if self.stream_interval < 1:
            raise ValueError(f"stream_interval must be at least 1, not {self.stream_interval}")


class _Api(NamedTuple):
    """One generating route: how its body is read and its answer written."""

    parse: Callable[[bytes], Job]
    stream: Callable[[Reply], StreamFormat]
    body: Callable[..., bytes]


_CHAT = _Api(openai_wire.parse_chat, openai_replies.ChatStream, openai_replies.chat_body)
_COMPLETION = _Api(
    openai_wire.parse_completion, openai_replies.CompletionStream, openai_replies.completion_body
)
_RESPONSES = _Api(
    openai_wire.parse_responses, openai_replies.ResponsesStream, openai_replies.responses_body
)


class _EventWriter:
    """Writes the tokens of one stream to its connection, as HTTP chunks where the client can."""

    __slots__ = ("_format", "_framed", "_transport")

    def __init__(
        self, stream_format: StreamFormat, transport: asyncio.Transport, *, framed: bool
    ) -> None:
        self._format = stream_format
        self._transport = transport
        self._framed = framed

    def write(self, generation: Generation, first: int, last: int, *, finished: bool) -> None:
        """Send tokens first..last; the final ones bring the closing events with them."""
        if self._transport.is_closing():
            return
        events = self._format.opening() if first == 1 else b""
        if finished:
            events += self._format.closing(
                first, last, generation.finish_reason, _usage(generation)
            )
        else:
            events += self._format.tokens(first, last)
        self._transport.write(b"%x\r\n%b\r\n" % (len(events), events) if self._framed else events)


class VllmRoutes:
    """vLLM's HTTP interface to one replica.

    Attributes:
        metrics_fault: When set, what /metrics shows is wrong in that way.
    """

    def __init__(
        self,
        settings: ServerSettings,
        replica: Replica,
        *,
        epoch_seconds: Callable[[], float],
    ) -> None:
        self.metrics_fault: MetricsFault | None = None
        self._settings = settings
        self._replica = replica
        self._epoch_seconds = epoch_seconds
        self._created_epoch_seconds = int(epoch_seconds())
        self._max_model_len = min(settings.max_model_len, replica.engine.kv_capacity_tokens)
        self._request_numbers = itertools.count(1)
        self._in_flight = 0
        self._answering = asyncio.Event()
        self._answering.set()

    def hang(self) -> None:
        """Accept requests, answer none, until `answer`."""
        self._answering.clear()

    def answer(self) -> None:
        """Answer requests, those that piled up included."""
        self._answering.set()

    def application(self) -> web.Application:
        """A new application with all routes."""
        application = web.Application(middlewares=[self._gate], client_max_size=_MAX_BODY_BYTES)
        application.on_response_prepare.append(_echo_request_id)
        router = application.router
        router.add_get("/v1/models", self._models)
        router.add_get("/health", self._empty)
        router.add_route("*", "/ping", self._empty)
        router.add_get("/version", self._version)
        router.add_get("/load", self._load)
        router.add_get("/metrics", self._metrics)
        router.add_get("/is_sleeping", self._is_sleeping)
        router.add_post("/sleep", self._sleep)
        router.add_post("/wake_up", self._wake_up)
        router.add_post("/v1/chat/completions", self._generate_by(_CHAT))
        router.add_post("/v1/completions", self._generate_by(_COMPLETION))
        router.add_post("/v1/responses", self._generate_by(_RESPONSES))
        router.add_post("/v1/embeddings", self._embeddings)
        return application

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Wait while wedged; turn errors into vLLM's JSON."""
        given = request.headers.get("X-Request-Id", "").encode(errors="replace").decode()
        _request_id.set(given or uuid.uuid4().hex)
        await self._answering.wait()
        try:
            return await handler(request)
        except WireError as error:
            return web.Response(status=error.status, body=error.body(), content_type=_JSON)
        except web.HTTPException as error:
            return web.json_response({"detail": error.reason}, status=error.status)

    def _generate_by(self, api: _Api) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            job = with_length(api.parse(await request.read()), request.headers.get(LENGTH_HEADER))
            model, adapter = self._resolve(job.model)
            self._admit()
            reply = self._reply(model, include_usage=job.include_usage)
            self._in_flight += 1
            try:
                if job.stream:
                    return await self._stream(request, job, adapter, api.stream(reply))
                generation = self._generation(job, adapter)
                await self._finish([generation])
            finally:
                self._in_flight -= 1
            body = api.body(reply, finish_reason=generation.finish_reason, usage=_usage(generation))
            return web.Response(body=body, content_type=_JSON)

        return handler

    async def _stream(
        self, request: web.Request, job: Job, adapter: str | None, stream_format: StreamFormat
    ) -> web.StreamResponse:
        generation = self._generation(job, adapter)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        transport = request.transport
        if transport is None:  # hung up between the request and our headers
            return response
        framed = request.version >= HttpVersion11
        generation.writer = _EventWriter(stream_format, transport, framed=framed)
        await self._finish([generation])
        await response.write_eof()
        return response

    async def _embeddings(self, request: web.Request) -> web.Response:
        """One vector per prompt. Each costs its prefill and counts as one generated token."""
        job = openai_wire.parse_embeddings(await request.read())
        model, adapter = self._resolve(job.model)
        self._admit()
        generations = [self._embedding_pass(prompt, adapter) for prompt in job.prompts]
        await self._finish(generations)
        vectors: list[object] = []
        for prompt in job.prompts:
            vector = embedding(prompt, dimensions=_EMBEDDING_DIMENSIONS)
            packed = struct.pack(f"<{len(vector)}f", *vector)
            vectors.append(base64.b64encode(packed).decode() if job.base64 else vector)
        body = openai_replies.embeddings_body(
            self._reply(model),
            vectors=vectors,
            prompt_tokens=sum(prompt.tokens for prompt in job.prompts),
        )
        return web.Response(body=body, content_type=_JSON)

    async def _finish(self, generations: list[Generation]) -> None:
        """Run them all to their ends, or abort them all when the client hangs up."""
        try:
            for generation in generations:
                self._replica.submit(generation)
            for generation in generations:
                await generation.done
        finally:
            for generation in generations:
                self._replica.abort(generation)

    def _resolve(self, model: str | None) -> tuple[str, str | None]:
        """The name to answer with and the adapter behind it.

        Raises:
            WireError: 404, when nothing is served under that name.
        """
        if model is None:
            return self._settings.models[0], None
        if model in self._settings.models:
            return model, None
        if model in self._settings.adapters:
            return model, model
        raise WireError(404, "NotFoundError", f"The model `{model}` does not exist.")

    def _admit(self) -> None:
        """Refuse a request when the queue is full, as --max-num-queued-reqs does."""
        limit = self._settings.max_num_queued_reqs
        engine = self._replica.engine
        if limit is not None and engine.running + engine.waiting >= limit:
            self._replica.metrics.queue_rejections += 1
            raise WireError(
                503, "ServiceUnavailableError", f"The server has {limit} requests queued already."
            )

    def _generation(self, job: Job, adapter: str | None) -> Generation:
        """The engine's part of a job.

        Raises:
            WireError: 400, when the prompt leaves no room for an answer.
        """
        room_tokens = self._room_tokens(job.prompt)
        limit = room_tokens if job.max_tokens is None else min(job.max_tokens, room_tokens)
        length, reason = output_length(
            job.prompt,
            limit_tokens=limit,
            min_tokens=job.min_tokens,
            ignore_eos=job.ignore_eos,
            known_tokens=job.known_tokens,
        )
        if job.max_tokens is not None:
            self._replica.metrics.observe_max_tokens(job.max_tokens)
        return self._new_generation(job.prompt, length, reason, adapter)

    def _embedding_pass(self, prompt: Prompt, adapter: str | None) -> Generation:
        self._room_tokens(prompt)
        return self._new_generation(prompt, 1, "stop", adapter)

    def _new_generation(
        self, prompt: Prompt, length: int, reason: str, adapter: str | None
    ) -> Generation:
        block_tokens = self._settings.limits.block_size_tokens
        return Generation(
            str(next(self._request_numbers)),
            prompt_tokens=prompt.tokens,
            output_tokens=length,
            block_hashes=block_hashes(prompt, block_tokens=block_tokens),
            finish_reason=reason,
            adapter=adapter,
        )

    def _room_tokens(self, prompt: Prompt) -> int:
        room_tokens = self._max_model_len - prompt.tokens
        if room_tokens < 1:
            raise openai_wire.bad_request(
                f"This model's maximum context length is {self._max_model_len} tokens, "
                f"but the prompt has {prompt.tokens} and leaves no room for an answer."
            )
        return room_tokens

    def _reply(self, model: str, *, include_usage: bool = False) -> Reply:
        return Reply(
            request_id=_request_id.get(),
            model=model,
            created_epoch_seconds=int(self._epoch_seconds()),
            include_usage=include_usage,
        )

    async def _models(self, _request: web.Request) -> web.Response:
        body = openai_replies.models_body(
            self._settings.models,
            self._settings.adapters,
            max_model_len=self._max_model_len,
            created_epoch_seconds=self._created_epoch_seconds,
        )
        return web.Response(body=body, content_type=_JSON)

    async def _metrics(self, _request: web.Request) -> web.Response:
        engine = self._replica.engine
        adapters: dict[bool, list[str]] = {True: [], False: []}
        for generation in engine.requests():
            if generation.adapter is not None:
                adapters[generation.state is State.WAITING].append(generation.adapter)
        body = self._replica.metrics.render(
            engine,
            fault=self.metrics_fault,
            running_adapters=adapters[False],
            waiting_adapters=adapters[True],
            epoch_seconds=self._epoch_seconds(),
        )
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _empty(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def _load(self, _request: web.Request) -> web.Response:
        return web.json_response({"server_load": self._in_flight})

    async def _is_sleeping(self, _request: web.Request) -> web.Response:
        return web.json_response({"is_sleeping": self._replica.engine.asleep})

    async def _sleep(self, _request: web.Request) -> web.Response:
        try:
            self._replica.sleep()
        except EngineError as error:
            raise openai_wire.bad_request(str(error)) from error
        return web.Response()

    async def _wake_up(self, _request: web.Request) -> web.Response:
        self._replica.wake()
        return web.Response()


async def _echo_request_id(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Request-Id"] = _request_id.get("")


def _usage(generation: Generation) -> Usage:
    return Usage(
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.output_tokens,
        cached_tokens=generation.cached_tokens,
    )
