"""Rules on refusals: requests that the picker answers itself."""

import json
from typing import Any

from headrace.conformance import wire
from headrace.conformance.case import CaseList
from headrace.conformance.lab import Lab, immediate_text, require_status
from headrace.conformance.verdicts import CaseFailedError, Level, Source
from headrace.conformance.wire import HttpRequest, subset_metadata

CASES = CaseList()
_CLIENT_ERROR = range(400, 500)
_UNSERVED_MODEL = "no-such-model-of-the-conformance-suite"
_NOT_JSON = (
    b"{",
    b'{"model": ',
    b"not json at all",
    b"\xff\xfe\x00\x80",
    b'{"model": "\xc3"}',
    b"null",
    b"[" * 100_000,
    b'{"model": 7, "messages": "text"}',
)


@CASES.add(
    "immediate-response-is-last",
    Level.MUST,
    Source.EXT_PROC,
    "After an ImmediateResponse nothing MUST follow, also when more of the request comes in.",
)
async def _is_last(lab: Lab) -> None:
    request = lab.chat(metadata=subset_metadata([]))
    async with lab.open() as conversation:
        half = await lab.ask(conversation, request)
        if half.immediate is None:
            raise CaseFailedError("An empty subset was not refused.")
        # What was already under way when the answer came.
        await conversation.send(wire.request_body(b"", end_of_stream=True))
        await conversation.quiet(lab.settings.quiet_seconds)


@CASES.add(
    "immediate-response-is-openai-error",
    Level.SHOULD,
    Source.PRACTICE,
    "A refusal SHOULD carry an OpenAI error object and content-type application/json, which "
    "clients read.",
)
async def _openai_error(lab: Lab) -> None:
    half = await lab.asked(lab.chat(metadata=subset_metadata([])))
    if half.immediate is None:
        raise CaseFailedError("An empty subset was not refused.")
    _require_openai_error(half.immediate)


@CASES.add(
    "unknown-model",
    Level.SHOULD,
    Source.PRACTICE,
    "A model that nothing serves SHOULD be refused with 4xx, an OpenAI error object and "
    "content-type application/json.",
)
async def _unknown_model(lab: Lab) -> None:
    half = await lab.asked(HttpRequest(chunks=(wire.chat_body(_UNSERVED_MODEL),)))
    require_status(half, _CLIENT_ERROR)
    _require_openai_error(half.immediate)


@CASES.add(
    "invalid-json",
    Level.ROBUSTNESS,
    Source.PRACTICE,
    "A body that is no JSON, no UTF-8, cut off, nested too deep or of the wrong shape is routed or "
    "refused with 4xx, and breaks nothing.",
)
async def _invalid_json(lab: Lab) -> None:
    for body in _NOT_JSON:
        try:
            half = await lab.asked(HttpRequest(chunks=(body,)))
        except CaseFailedError as error:
            raise CaseFailedError(f"With the body {_shown(body)}: {error}") from error
        if half.immediate is not None and half.immediate.status.code not in _CLIENT_ERROR:
            raise CaseFailedError(f"The body {_shown(body)} got {immediate_text(half)}.")
    await lab.still_serves()


def _require_openai_error(answer: Any) -> None:
    """Insist on OpenAI's form of an error."""
    types = [
        option.header.raw_value.decode("utf-8", "replace") or option.header.value
        for option in answer.headers.set_headers
        if option.header.key.lower() == "content-type"
    ]
    if [kind.partition(";")[0].strip().lower() for kind in types] != ["application/json"]:
        raise CaseFailedError(f"Its content-type is {', '.join(types) or 'not set'}.")
    body: bytes = answer.body
    try:
        error = json.loads(body)["error"]
        message = error["message"]
    except (ValueError, KeyError, TypeError):
        raise CaseFailedError(f"Its body is no OpenAI error object: {_shown(body)}.") from None
    if not isinstance(message, str) or not message or "type" not in error:
        raise CaseFailedError(f"Its error object lacks message or type: {_shown(body)}.")


def _shown(body: bytes) -> str:
    limit = 60
    return f"{body[:limit]!r}" + ("..." if len(body) > limit else "")
