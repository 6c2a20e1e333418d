"""Pickers that break one rule each on responses, refusals, health, or what streams do."""

import asyncio

import grpc
from picker_harness import (
    ENDPOINTS,
    EXT_PROC_SERVICE,
    HEADER,
    Defects,
    Picker,
    ProtocolError,
    Stream,
    continued,
)

FOREVER_SECONDS = 3600.0
LEAKS = 4

DEFECTS = Defects()
breaks = DEFECTS.of


# Responses


@breaks("response-headers", "response_headers message came")
class AnswersTwice(Stream):
    def response_headers(self, message):
        return super().response_headers(message) * 2


@breaks("response-streamed-body", "A streamed_response came")
class StreamsResponse(Stream):
    def response_body(self, message):
        self.duplex["response"] = True
        return super().response_body(message)


@breaks("response-duplex-echo", "differ from byte")
class DropsChunk(Stream):
    def response_body(self, message):
        return [] if b": 5}" in message.response_body.body else super().response_body(message)


@breaks("response-duplex-not-held", "where the first chunk of the answer was due")
class HoldsResponse(Stream):
    held = b""

    def response_body(self, message):
        self.held += message.response_body.body
        message.response_body.body = self.held
        return super().response_body(message) if message.response_body.end_of_stream else []


@breaks("response-duplex-trailers", "a reply to the response trailers was due")
class IgnoresTrailers(Stream):
    def response_trailers(self, _message):
        return []


def served(message):
    return message.metadata_context.filter_metadata["envoy.lb"].fields.get(f"{HEADER}-served")


@breaks("served-endpoint-accepted", "The stream ended (")
class RefusesServed(Stream):
    def response_headers(self, message):
        if served(message) is not None:
            raise ProtocolError("metadata")
        return super().response_headers(message)


@breaks("served-endpoint-odd", "The stream ended (")
class NeedsKnownServed(Stream):
    def response_headers(self, message):
        if served(message) is not None and served(message).string_value not in ENDPOINTS:
            raise ProtocolError("not mine")
        return super().response_headers(message)


# Refusals


@breaks("immediate-response-is-last", "message came that nothing asked for")
class TalksOn(Picker):
    async def after_refusal(self, context):
        await context.write(continued("request", "headers"))


@breaks("immediate-response-is-openai-error", "Its content-type is text/plain")
class PlainText(Stream):
    def refuse(self, status, message):
        answer = super().refuse(status, message)
        answer.headers.set_headers[0].header.raw_value = b"text/plain"
        return answer


@breaks("unknown-model", "picked was 127.0.0.1")
class AnyModel(Stream):
    def check_model(self):
        return


@breaks("invalid-json", "ImmediateResponse 500")
class FailsOnBadJson(Stream):
    def refuse(self, status, message):
        return super().refuse(500 if status == 400 else status, message)


# Health


def breaks_health(case, service, status, said):
    class Sick(Picker):
        def __init__(self):
            super().__init__()
            self.health[service] = status

    breaks(case, said)(Sick)


breaks_health("health-liveness", "liveness", None, "'liveness' is NOT_FOUND")
breaks_health("health-readiness", "readiness", "NOT_SERVING", "is NOT_SERVING")
breaks_health("health-ext-proc-service", EXT_PROC_SERVICE, None, "is NOT_FOUND")
breaks_health("health-empty-name", "", None, "'' is NOT_FOUND")
breaks_health("health-unknown-service", "no.such.Service", "SERVING", "is SERVING")


# Robustness


class Breakable(Stream):
    """Sets the whole picker on fire."""

    def take(self, message):
        if getattr(self.picker, "broken", False):
            raise ProtocolError("the picker is broken")
        return super().take(message)


@breaks("many-headers", "Afterwards a plain request is not routed")
class BreaksOnManyHeaders(Breakable):
    def request_headers(self, message):
        self.picker.broken = len(message.request_headers.headers.headers) > 1000
        return super().request_headers(message)


@breaks("cancel-amid-body", "Afterwards a plain request is not routed")
class LeaksSlots(Picker):
    """A slot is freed only when its stream came as far as a pick."""

    taken = 0

    async def process(self, requests, context):
        self.taken += 1
        if self.taken > LEAKS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no slot")
        await super().process(requests, context)

    async def at_half_close(self, stream, _context):
        self.taken -= stream.picked


@breaks("half-close-amid-body", "where the end of the stream was due")
class WaitsForTheRest(Picker):
    async def at_half_close(self, stream, _context):
        if not stream.picked:
            await asyncio.sleep(FOREVER_SECONDS)


@breaks("half-close-at-end", "UNAVAILABLE: gone")
class EndsBadly(Picker):
    async def at_half_close(self, _stream, context):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


@breaks("no-unsolicited-messages", "message came that nothing asked for")
class Unasked(Stream):
    def decide(self, *, end):
        return [*super().decide(end=end), continued("response", "headers")]


@breaks("concurrent-streams", "of 100 failed")
class FewAtOnce(Picker):
    open_streams = 0

    async def process(self, requests, context):
        self.open_streams += 1
        try:
            await asyncio.sleep(0.2)
            if self.open_streams > 10:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
            await super().process(requests, context)
        finally:
            self.open_streams -= 1


@breaks("streams-are-isolated", "The stream ended (")
class OneForAll(Picker):
    def __init__(self):
        super().__init__(Breakable)

    async def after_error(self, context, text):
        self.broken = True
        await super().after_error(context, text)


def breaks_by_hanging(case, error):
    class Hangs(Picker):
        async def after_error(self, context, text):
            if error in text:
                await asyncio.sleep(FOREVER_SECONDS)
            await super().after_error(context, text)

    breaks(case, "where the end of the stream was due")(Hangs)


breaks_by_hanging("body-before-headers", "request_body without headers")
breaks_by_hanging("second-headers", "headers twice")


@breaks("response-before-body", "where the end of the stream was due")
class HangsOnEarlyResponse(Picker):
    def __init__(self):
        super().__init__(NotesEarlyResponse)

    async def at_half_close(self, stream, _context):
        if stream.early:
            await asyncio.sleep(FOREVER_SECONDS)


class NotesEarlyResponse(Stream):
    early = False

    def response_headers(self, message):
        self.early = not self.picked
        return super().response_headers(message)
