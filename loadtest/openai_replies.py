"""What the simulated server answers, as bytes. Pure.

Token i of an answer is the text " i", so that a client can check order and completeness. A stream
costs no JSON encoding per token: what surrounds the text is encoded once per request.
"""

from typing import NamedTuple, Protocol

import msgspec

_DONE = b"data: [DONE]\n\n"
# Stands for the text when an event is encoded once for all tokens. Its last occurrence counts:
# only constants follow the text, while a client's request id or model could contain it before.
_MARK = "@TEXT@"


class Usage(NamedTuple):
    """Token counts of one answer."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    def as_json(self) -> dict[str, object]:
        """The `usage` object of chats and completions."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


class Reply(NamedTuple):
    """What is the same in every event of one answer.

    Attributes:
        request_id: From x-request-id, or made up.
        model: Served name as the client gave it.
        created_epoch_seconds: When it was accepted.
        include_usage: Whether a stream ends with a usage event.
    """

    request_id: str
    model: str
    created_epoch_seconds: int
    include_usage: bool = False


def answer_text(first: int, last: int) -> str:
    """Text of tokens first..last of an answer, both included, counted from 1."""
    return "".join(f" {index}" for index in range(first, last + 1))


class StreamFormat(Protocol):
    """The events of one streamed answer."""

    def opening(self) -> bytes:
        """Events before the first token."""
        ...

    def tokens(self, first: int, last: int) -> bytes:
        """One event with tokens first..last, not the final ones."""
        ...

    def closing(self, first: int, last: int, finish_reason: str, usage: Usage) -> bytes:
        """The event with the final tokens first..last, and all that follow it."""
        ...


class CompletionStream:
    """Events of a streamed /v1/completions."""

    _object = "text_completion"
    _prefix = "cmpl"

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._head, _, self._tail = self._event_around_text(None)

    def opening(self) -> bytes:
        """Nothing comes before the first token."""
        return b""

    def tokens(self, first: int, last: int) -> bytes:
        """One event with tokens first..last."""
        if first == last:  # the usual case, cheaply
            return b"%b %d%b" % (self._head, first, self._tail)
        return self._head + answer_text(first, last).encode() + self._tail

    def closing(self, first: int, last: int, finish_reason: str, usage: Usage) -> bytes:
        """The final tokens with the finish reason, usage when asked for, [DONE]."""
        head, _, tail = self._event_around_text(finish_reason)
        events = head + answer_text(first, last).encode() + tail
        if self._reply.include_usage:
            events += _event({**self._payload([]), "usage": usage.as_json()})
        return events + _DONE

    def _event_around_text(self, finish_reason: str | None) -> tuple[bytes, bytes, bytes]:
        return _event(self._payload([self._choice(finish_reason)])).rpartition(_MARK.encode())

    def _payload(self, choices: list[dict[str, object]]) -> dict[str, object]:
        reply = self._reply
        return {
            "id": f"{self._prefix}-{reply.request_id}",
            "object": self._object,
            "created": reply.created_epoch_seconds,
            "model": reply.model,
            "choices": choices,
        }

    def _choice(self, finish_reason: str | None) -> dict[str, object]:
        return {"index": 0, "text": _MARK, "logprobs": None, "finish_reason": finish_reason}


class ChatStream(CompletionStream):
    """Events of a streamed /v1/chat/completions."""

    _object = "chat.completion.chunk"
    _prefix = "chatcmpl"

    def opening(self) -> bytes:
        """The role, with no text yet."""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return _event(self._payload([choice]))

    def _choice(self, finish_reason: str | None) -> dict[str, object]:
        delta = {"content": _MARK}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


class ResponsesStream:
    """Events of a streamed /v1/responses."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._item_id = f"msg_{reply.request_id}"
        self._sequence = 0
        self._place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def opening(self) -> bytes:
        """The response, its one message and its one text part, all empty."""
        response = _response(self._reply, status="in_progress", text=None, usage=None)
        item = _message_item(self._item_id, status="in_progress", text=None)
        return (
            self._named("response.created", {"response": response})
            + self._named("response.output_item.added", {"output_index": 0, "item": item})
            + self._named("response.content_part.added", {**self._place, "part": _text_part("")})
        )

    def tokens(self, first: int, last: int) -> bytes:
        """One delta with tokens first..last."""
        delta = {**self._place, "delta": answer_text(first, last), "logprobs": []}
        return self._named("response.output_text.delta", delta)

    def closing(self, first: int, last: int, finish_reason: str, usage: Usage) -> bytes:
        """The final delta, the whole text, message and response."""
        text = answer_text(1, last)
        status = _status(finish_reason)
        item = _message_item(self._item_id, status=status, text=text)
        response = _response(self._reply, status=status, text=text, usage=usage)
        done = {**self._place, "text": text, "logprobs": []}
        return (
            self.tokens(first, last)
            + self._named("response.output_text.done", done)
            + self._named("response.content_part.done", {**self._place, "part": _text_part(text)})
            + self._named("response.output_item.done", {"output_index": 0, "item": item})
            + self._named(f"response.{status}", {"response": response})
        )

    def _named(self, kind: str, fields: dict[str, object]) -> bytes:
        payload = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return f"event: {kind}\n".encode() + _event(payload)


def completion_body(reply: Reply, *, finish_reason: str, usage: Usage) -> bytes:
    """The whole answer of /v1/completions."""
    text = answer_text(1, usage.completion_tokens)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return _whole(f"cmpl-{reply.request_id}", "text_completion", reply, choice, usage)


def chat_body(reply: Reply, *, finish_reason: str, usage: Usage) -> bytes:
    """The whole answer of /v1/chat/completions."""
    message = {"role": "assistant", "content": answer_text(1, usage.completion_tokens)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return _whole(f"chatcmpl-{reply.request_id}", "chat.completion", reply, choice, usage)


def responses_body(reply: Reply, *, finish_reason: str, usage: Usage) -> bytes:
    """The whole answer of /v1/responses."""
    text = answer_text(1, usage.completion_tokens)
    response = _response(reply, status=_status(finish_reason), text=text, usage=usage)
    return msgspec.json.encode(response)


def embeddings_body(reply: Reply, *, vectors: list[object], prompt_tokens: int) -> bytes:
    """The whole answer of /v1/embeddings; vectors are lists of floats or base64 texts."""
    return msgspec.json.encode(
        {
            "id": f"embd-{reply.request_id}",
            "object": "list",
            "created": reply.created_epoch_seconds,
            "model": reply.model,
            "data": [
                {"index": index, "object": "embedding", "embedding": vector}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
    )


def models_body(
    names: tuple[str, ...],
    adapters: tuple[str, ...],
    *,
    max_model_len: int,
    created_epoch_seconds: int,
) -> bytes:
    """The answer of /v1/models: served names, then LoRA adapters with their parent."""
    cards: list[dict[str, object]] = [
        {
            "id": name,
            "object": "model",
            "created": created_epoch_seconds,
            "owned_by": "vllm",
            "root": names[0],
            "parent": None,
            "max_model_len": max_model_len,
        }
        for name in names
    ]
    cards += [{**cards[0], "id": name, "root": name, "parent": names[0]} for name in adapters]
    return msgspec.json.encode({"object": "list", "data": cards})


def _event(payload: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def _whole(
    answer_id: str, kind: str, reply: Reply, choice: dict[str, object], usage: Usage
) -> bytes:
    return msgspec.json.encode(
        {
            "id": answer_id,
            "object": kind,
            "created": reply.created_epoch_seconds,
            "model": reply.model,
            "choices": [choice],
            "usage": usage.as_json(),
        }
    )


def _status(finish_reason: str) -> str:
    return "incomplete" if finish_reason == "length" else "completed"


def _text_part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_item(item_id: str, *, status: str, text: str | None) -> dict[str, object]:
    content = [] if text is None else [_text_part(text)]
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _response(
    reply: Reply, *, status: str, text: str | None, usage: Usage | None
) -> dict[str, object]:
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    item = _message_item(f"msg_{reply.request_id}", status=status, text=text)
    return {
        "id": f"resp_{reply.request_id}",
        "object": "response",
        "created_at": reply.created_epoch_seconds,
        "status": status,
        "incomplete_details": incomplete,
        "model": reply.model,
        "output": [] if text is None else [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if usage is None else _response_usage(usage),
    }


def _response_usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
