"""What a decision needs to know of an OpenAI-compatible request, read from its body.

The body is decoded partially: only the fields that matter are looked at, and the prompt stays the
raw bytes it came as, so a 200 KB prompt costs a skip and not a tree of objects.
"""

import re
from enum import StrEnum
from typing import NamedTuple

import msgspec

from router.decide.affinity_blocks import (
    BLOCK_BYTES,
    BLOCK_TOKENS,
    SHORT_BLOCKS,
    text_blocks,
    text_lengths,
    token_blocks,
)


class Api(StrEnum):
    """Which OpenAI endpoint a request is for."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    OTHER = "other"


class RequestHints(NamedTuple):
    """What the headers say about a request.

    Attributes:
        ttft_seconds: The request's own objective, or None for its backend's.
        tpot_seconds: Likewise per output token.
        priority: Higher goes first where requests wait; below 0 may be shed.
        objective: Name of the InferenceObjective that tells the priority, or None: `priority` does.
        tenant: On whose account requests take turns; empty for all who do not say.
        subset: Addresses ("ip:port", or "ip" for all its ports) the pick is limited to, or None
            for all.
        session: Which session the request belongs to, or None.
    """

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    priority: int = 0
    subset: frozenset[str] | None = None
    session: str | None = None
    objective: str | None = None
    tenant: str = ""


NO_HINTS = RequestHints()

_REMEMBERED_BLOCKS = 16  # a copy would cost more than they do


class RequestFacts(NamedTuple):
    """One request as the decision sees it.

    Attributes:
        model: Name asked for.
        api: Endpoint asked.
        stream: Whether tokens are sent as they come.
        prompt_bytes: Size of the prompt as JSON; tokens are estimated from it.
        prompt_tokens: Known exactly when the prompt was given as token ids, else None.
        max_output_tokens: The caller's limit, or None.
        ignore_eos: The answer will have exactly `max_output_tokens`.
        choices: Answers asked for (`n`).
        body_bytes: Size of the whole body.
        hints: From the headers.
        prefix_block_hashes: Chained hashes of the prompt's blocks: equal leading hashes stand for
            equal beginnings. Empty: nothing is known of what it shares.
        prefix_block_ratio: The part of the prompt that each block is, on average.
        blocks_grow: Whether later blocks are longer (router.decide.affinity_blocks.text_blocks).
    """

    model: str
    api: Api
    stream: bool = False
    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    max_output_tokens: int | None = None
    ignore_eos: bool = False
    choices: int = 1
    hints: RequestHints = NO_HINTS
    prefix_block_hashes: tuple[int, ...] = ()
    prefix_block_ratio: float = 0.0
    body_bytes: int = 0
    blocks_grow: bool = False

    def prefix_part(self, blocks: int) -> float:
        """The part of the prompt that the first `blocks` blocks are together."""
        if not self.blocks_grow:
            return blocks * self.prefix_block_ratio
        count = len(self.prefix_block_hashes)
        return text_lengths(blocks) / text_lengths(count) * count * self.prefix_block_ratio

    def without_blocks(self) -> "RequestFacts":
        """The same for those who remember it; only the pick needs to know all blocks."""
        if len(self.prefix_block_hashes) <= _REMEMBERED_BLOCKS:
            return self
        return self._replace(prefix_block_hashes=())


class BadRequest(NamedTuple):
    """Why a body cannot be routed, in the terms of OpenAI's error object."""

    message: str
    param: str | None
    code: str


class _Body(msgspec.Struct):
    """The union of the fields we read of all request bodies; all others are skipped."""

    model: str
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    cache_salt: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    ignore_eos: bool | None = None
    n: int | None = None


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _RawMessage(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Body)
_messages_decoder = msgspec.json.Decoder(list[_Message])
_raw_messages_decoder = msgspec.json.Decoder(list[_RawMessage])
_ids_decoder = msgspec.json.Decoder(list[int])

_IDS_BEGIN = re.compile(rb"\s*\[\s*\d")

_API_BY_SUFFIX = (
    ("/chat/completions", Api.CHAT),
    ("/completions", Api.COMPLETIONS),
    ("/responses", Api.RESPONSES),
    ("/embeddings", Api.EMBEDDINGS),
)

# A base64 image would count as a hundred thousand tokens of text; vLLM's vision models spend
# about this many on one (assumed; the engine's counters correct the mean).
_MEDIA_PART_BYTES = 4096
_MEDIA_MARKERS = (b'"image_url"', b'"input_audio"', b'"video_url"')


def api_of_path(path: str) -> Api:
    """Classify a request path; the query string is ignored."""
    bare = path.partition("?")[0].rstrip("/")
    for suffix, api in _API_BY_SUFFIX:
        if bare.endswith(suffix):
            return api
    return Api.OTHER


def read_request(
    path: str, body: bytes, hints: RequestHints = NO_HINTS
) -> RequestFacts | BadRequest:
    """Read the facts of a request, or say in one sentence what is wrong with its body."""
    try:
        fields = _decoder.decode(body)
    except msgspec.ValidationError as error:
        return _invalid_field(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return BadRequest(f"The request body is not valid JSON: {error}.", None, "invalid_json")
    except RecursionError:
        return BadRequest("The request body is nested too deeply.", None, "invalid_json")
    if not fields.model:
        return BadRequest(
            "model: must name a model, got an empty string.", "model", "invalid_value"
        )
    max_output_tokens = fields.max_completion_tokens
    if max_output_tokens is None:
        max_output_tokens = fields.max_tokens
    if max_output_tokens is None:
        max_output_tokens = fields.max_output_tokens
    if max_output_tokens is not None and max_output_tokens < 0:
        return BadRequest(
            f"max_tokens: must be 0 or more, got {max_output_tokens}.",
            "max_tokens",
            "invalid_value",
        )
    api = api_of_path(path)
    prompt = bytes(fields.messages) or bytes(fields.prompt) or bytes(fields.input)
    prompt_tokens = _token_ids(prompt)
    hashes, block_ratio, blocks_grow = _blocks(fields, prompt, prompt_tokens)
    return RequestFacts(
        model=fields.model,
        api=api,
        stream=bool(fields.stream),
        prompt_bytes=_text_bytes(prompt) + len(bytes(fields.tools)),
        prompt_tokens=prompt_tokens,
        max_output_tokens=0 if api is Api.EMBEDDINGS else max_output_tokens,
        ignore_eos=bool(fields.ignore_eos),
        choices=max(1, fields.n or 1),
        body_bytes=len(body),
        hints=hints,
        prefix_block_hashes=hashes,
        prefix_block_ratio=block_ratio,
        blocks_grow=blocks_grow,
    )


def _invalid_field(message: str) -> BadRequest:
    """Turn msgspec's message (what - at `$.field`) into ours (field: what)."""
    what, _, where = message.partition(" - at ")
    param = where.strip("`").removeprefix("$").removeprefix(".") or None
    if param is None and "required field `" in what:
        param = what.split("required field `", 1)[1].split("`", 1)[0]
        return BadRequest(f"{param}: is required.", param, "missing_required_parameter")
    prefix = f"{param}: " if param else "The request body: "
    return BadRequest(f"{prefix}{what[:1].lower()}{what[1:]}.", param, "invalid_type")


def _token_ids(prompt: bytes) -> int | None:
    """Number of token ids when the prompt is a flat JSON array of integers, else None."""
    return prompt.count(b",") + 1 if _IDS_BEGIN.match(prompt) else None


def _blocks(
    fields: _Body, prompt: bytes, prompt_tokens: int | None
) -> tuple[tuple[int, ...], float, bool]:
    """Hashes of the prompt's blocks, the mean part of the prompt that each is, and if they grow."""
    if prompt_tokens is not None and not fields.cache_salt:
        try:
            hashes = token_blocks(_ids_decoder.decode(prompt))
        except msgspec.MsgspecError:  # the engine will say what is wrong with it
            hashes = ()
        return hashes, BLOCK_TOKENS / prompt_tokens if hashes else 0.0, False
    # In the order of chat templates: what differs first ends all sharing.
    text = bytes(fields.cache_salt) + bytes(fields.instructions) + bytes(fields.tools) + prompt
    hashes = text_blocks(text)
    if not hashes:
        return hashes, 0.0, False
    count = len(hashes)
    return hashes, text_lengths(count) * BLOCK_BYTES / (count * len(text)), count > SHORT_BLOCKS


def _text_bytes(prompt: bytes) -> int:
    """Bytes of text in the prompt; media parts count as a declared number of bytes each."""
    if not _has_media(prompt):
        return len(prompt)
    try:
        messages = _messages_decoder.decode(prompt)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return len(prompt)
    total = 0
    for message in messages:
        if isinstance(message.content, str):
            total += len(message.content)
        elif message.content is not None:
            total += sum(
                len(part.text) if part.text is not None else _MEDIA_PART_BYTES
                for part in message.content
            )
    return total


def _has_media(prompt: bytes) -> bool:
    """Whether any message has a media part, which only contents that are lists of parts have.

    Most are strings, and stepping over one takes a fifth of the time of searching it.
    """
    if not prompt.startswith(b"[") or prompt.find(b"[", 1) < 0:
        return False
    try:
        messages = _raw_messages_decoder.decode(prompt)
    except msgspec.MsgspecError:
        return False
    contents = (memoryview(message.content) for message in messages)
    lists = [bytes(content) for content in contents if bytes(content[:1]) == b"["]
    return any(marker in content for content in lists for marker in _MEDIA_MARKERS)
