"""What OpenAI requests ask of the simulated server. Pure: bodies in, jobs or errors out.

The answers are in `loadtest.openai_replies`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from loadtest.prompts import Prompt, render_chat, text_prompt

LENGTH_HEADER = "x-simulated-output-tokens"
"""Request header that tells a simulated engine how long its answer will be, up to `max_tokens`.

For replays of recorded lengths that nobody else may know beforehand, the router least of all.
"""


class WireError(Exception):
    """A request that is answered with an HTTP error.

    Attributes:
        status: HTTP status.
        kind: vLLM's `type` of the error.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> bytes:
        """The error in vLLM's JSON form."""
        error = {"message": str(self), "type": self.kind, "param": None, "code": self.status}
        return msgspec.json.encode({"error": error})


class Job(NamedTuple):
    """One generation as asked for, whichever route it came by.

    Attributes:
        model: Served name, None for the first one.
        prompt: What to read.
        max_tokens: Most tokens to generate, None for what fits.
        min_tokens: Fewest.
        ignore_eos: Generate as many as allowed.
        stream: Answer by server-sent events.
        include_usage: Send a usage event at the end of a stream.
        known_tokens: Length told by `LENGTH_HEADER`, or None.
    """

    model: str | None
    prompt: Prompt
    max_tokens: int | None
    min_tokens: int
    ignore_eos: bool
    stream: bool
    include_usage: bool
    known_tokens: int | None = None


class EmbeddingJob(NamedTuple):
    """One call of /v1/embeddings.

    Attributes:
        model: Served name, None for the first one.
        prompts: One vector is due for each.
        base64: Whether vectors go out as base64 of little-endian float32.
    """

    model: str | None
    prompts: list[Prompt]
    base64: bool


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Sampling(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    n: int | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _Chat(_Sampling, kw_only=True):
    messages: list[_Message]
    max_completion_tokens: int | None = None


class _Completion(_Sampling, kw_only=True):
    prompt: str | list[str | int]


class _Responses(msgspec.Struct, kw_only=True):
    model: str | None = None
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None


class _Embeddings(msgspec.Struct, kw_only=True):
    model: str | None = None
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None


_chat_decoder = msgspec.json.Decoder(_Chat)
_completion_decoder = msgspec.json.Decoder(_Completion)
_responses_decoder = msgspec.json.Decoder(_Responses)
_embeddings_decoder = msgspec.json.Decoder(_Embeddings)

_RequestT = TypeVar("_RequestT")


def bad_request(message: str) -> WireError:
    """A 400 as vLLM types it."""
    return WireError(400, "BadRequestError", message)


def with_length(job: Job, told: str | None) -> Job:
    """The job with the answer's length that a replay told it, when it did."""
    if told is None:
        return job
    if not (told.isascii() and told.isdigit() and int(told) >= 1):
        raise bad_request(f"{LENGTH_HEADER} must be a whole number of at least 1, got {told!r}")
    return job._replace(known_tokens=int(told))


def parse_chat(body: bytes) -> Job:
    """Read a /v1/chat/completions body.

    Raises:
        WireError: 400, when it is not JSON or not such a request.
    """
    request = _decode(_chat_decoder, body)
    if not request.messages:
        raise bad_request("messages must not be empty")
    text = render_chat((message.role, _text(message.content)) for message in request.messages)
    # The newer name wins where both are given, as in vLLM.
    limit = request.max_completion_tokens
    return _job(request, text_prompt(text), request.max_tokens if limit is None else limit)


def parse_completion(body: bytes) -> Job:
    """Read a /v1/completions body with one prompt: text or token ids.

    Raises:
        WireError: 400, when it is not JSON or not such a request.
    """
    request = _decode(_completion_decoder, body)
    prompts = _prompts(request.prompt)
    if len(prompts) != 1:
        raise bad_request("prompt must be one text or one list of token ids")
    return _job(request, prompts[0], request.max_tokens)


def parse_responses(body: bytes) -> Job:
    """Read a /v1/responses body.

    Raises:
        WireError: 400, when it is not JSON or not such a request.
    """
    request = _decode(_responses_decoder, body)
    turns = [("system", request.instructions)] if request.instructions else []
    if isinstance(request.input, str):
        turns.append(("user", request.input))
    else:
        turns += [(str(item.get("role", "")), _text(item.get("content"))) for item in request.input]
    return Job(
        model=request.model,
        prompt=text_prompt(render_chat(turns)),
        max_tokens=_positive("max_output_tokens", request.max_output_tokens),
        min_tokens=0,
        ignore_eos=False,
        stream=bool(request.stream),
        include_usage=False,
    )


def parse_embeddings(body: bytes) -> EmbeddingJob:
    """Read a /v1/embeddings body.

    Raises:
        WireError: 400, when it is not JSON or not such a request.
    """
    request = _decode(_embeddings_decoder, body)
    prompts = _prompts(request.input)
    if not prompts:
        raise bad_request("input must not be empty")
    return EmbeddingJob(request.model, prompts, base64=request.encoding_format == "base64")


def _decode(decoder: "msgspec.json.Decoder[_RequestT]", body: bytes) -> _RequestT:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not a valid request: {error}") from error


def _job(request: _Sampling, prompt: Prompt, max_tokens: int | None) -> Job:
    if request.n is not None and request.n != 1:
        raise bad_request(f"n must be 1 here, got {request.n}")
    options = request.stream_options
    return Job(
        model=request.model,
        prompt=prompt,
        max_tokens=_positive("max_tokens", max_tokens),
        min_tokens=request.min_tokens or 0,
        ignore_eos=bool(request.ignore_eos),
        stream=bool(request.stream),
        include_usage=options is not None and options.include_usage,
    )


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise bad_request(f"{name} must be at least 1, got {value}")
    return value


def _prompts(given: str | Iterable[str | int | list[int]]) -> list[Prompt]:
    """Texts and lists of token ids; a flat list of ids is one prompt."""
    if isinstance(given, str):
        return [text_prompt(given)]
    prompts = []
    flat_ids: list[int] = []
    for item in given:
        if isinstance(item, int):
            flat_ids.append(item)
        elif isinstance(item, str):
            prompts.append(text_prompt(item))
        elif item:
            prompts.append(Prompt(tuple(item), len(item)))
    if flat_ids:
        prompts.append(Prompt(tuple(flat_ids), len(flat_ids)))
    return prompts


def _text(content: object) -> str:
    """Text of a message: plain, or the parts of it; a part that is no text counts as its JSON."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return str(content)
    return "".join(
        part["text"]
        if isinstance(part, dict) and isinstance(part.get("text"), str)
        else msgspec.json.encode(part).decode()
        for part in content
    )
