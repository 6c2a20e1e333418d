"""Pickers that break one rule each on the pick, the subset or the request's body."""

import json

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import BodyMutation, StreamedBodyResponse
from google.protobuf.json_format import MessageToDict
from picker_harness import (
    ENDPOINTS,
    HEADER,
    SUBSET,
    Defects,
    ProtocolError,
    Stream,
    continued,
)

DEFECTS = Defects()
breaks = DEFECTS.of


class OtherPick(Stream):
    """A pick whose reply is changed."""

    def pick_reply(self, part, chosen):
        reply = super().pick_reply(part, chosen)
        self.spoil(reply, getattr(reply, f"request_{part}").response.header_mutation)
        return reply


@breaks("destination-header", "No reply set the header")
class NoHeader(OtherPick):
    def spoil(self, _reply, mutation):
        del mutation.set_headers[:]


@breaks("destination-metadata", "holds None")
class NoMetadata(OtherPick):
    def spoil(self, reply, _mutation):
        reply.ClearField("dynamic_metadata")


@breaks("destination-equal", "the metadata '127.0.0.1:1'")
class UnequalMetadata(OtherPick):
    def spoil(self, reply, _mutation):
        reply.dynamic_metadata.update({"envoy.lb": {HEADER: "127.0.0.1:1"}})


@breaks("destination-syntax", "is not an IP address with a port")
class HostNames(Stream):
    def pick_reply(self, part, chosen):
        return super().pick_reply(part, chosen.replace("127.0.0.1", "replica"))


@breaks("destination-list-without-repeats", "repeats itself")
class Repeats(Stream):
    def pick_reply(self, part, chosen):
        return super().pick_reply(part, f"{chosen},{chosen}")


@breaks("destination-raw-value", "came as value")
class PlainValue(OtherPick):
    def spoil(self, _reply, mutation):
        header = mutation.set_headers[0].header
        header.value, header.raw_value = header.raw_value.decode(), b""


@breaks("destination-of-client-is-overwritten", "192.0.2.66:6666 is forwarded")
class Appends(OtherPick):
    def spoil(self, _reply, mutation):
        mutation.set_headers[0].append.value = True


@breaks("destination-append-action", "ADD_IF_ABSENT")
class TrustsClient(OtherPick):
    def spoil(self, _reply, mutation):
        mutation.set_headers[0].append_action = HeaderValueOption.ADD_IF_ABSENT


@breaks("header-only-request", "No reply set the header")
class WaitsForBody(Stream):
    def pick_for_headers(self):
        return [continued("request", "headers")]


# Subset


@breaks("subset-list", "allowed only")
class IgnoresSubset(Stream):
    def read_subset(self, _context):
        return None


@breaks("subset-never-left", "allowed only")
class ForgetsSubset(Stream):
    def choose(self):
        if next(self.picker.numbers) % 7 == 0:
            self.subset = None
        return super().choose()


@breaks("subset-comma-string", "allowed only")
class ListsOnly(Stream):
    def read_subset(self, context):
        fields = MessageToDict(context).get("filterMetadata", {}).get("envoy.lb.subset_hint", {})
        return None if isinstance(fields.get(SUBSET), str) else super().read_subset(context)


@breaks("subset-bare-ip", "ImmediateResponse 503")
class NeedsPorts(Stream):
    def read_subset(self, context):
        subset = super().read_subset(context)
        return subset and [entry for entry in subset if ":" in entry]


@breaks("subset-empty", "ImmediateResponse 503 was due")
class EmptyIsAll(Stream):
    def read_subset(self, context):
        return super().read_subset(context) or None


@breaks("subset-unknown-only", "ImmediateResponse 503 was due")
class UnknownIsAll(Stream):
    def read_subset(self, context):
        subset = super().read_subset(context)
        return None if subset and not set(subset) & set(ENDPOINTS) else subset


@breaks("subset-key-absent", "ImmediateResponse 503")
class NamespaceIsSubset(Stream):
    def read_subset(self, context):
        subset = super().read_subset(context)
        named = "envoy.lb.subset_hint" in context.filter_metadata
        return [] if named and subset is None else subset


@breaks("subset-of-header-only-request", "ImmediateResponse 503 was due")
class BareIgnoresSubset(Stream):
    def pick_for_headers(self):
        self.subset = None
        return super().pick_for_headers()


# Bodies


class AltersBody(Stream):
    """Forwards another body than it was sent."""

    def echo(self, body, *, end):
        return super().echo(self.altered(body), end=end)

    def pick_reply(self, part, chosen):
        reply = super().pick_reply(part, chosen)
        if part == "body":
            body = self.altered(bytes(self.body))
            reply.request_body.response.body_mutation.CopyFrom(BodyMutation(body=body))
        return reply


@breaks("body-unchanged", "differ from byte")
class Reencodes(AltersBody):
    def altered(self, body):
        return json.dumps(json.loads(body)).encode()


@breaks("body-large", "differ from byte 500000")
class Truncates(AltersBody):
    def altered(self, body):
        return body[:500_000]


@breaks("body-empty", "INVALID_ARGUMENT")
class FailsOnEmpty(Stream):
    def decide(self, *, end):
        if not self.body:
            raise ProtocolError("no body")
        return super().decide(end=end)


@breaks("buffered-body-reply", "A streamed_response came")
class StreamsAlways(Stream):
    def pick_reply(self, part, chosen):
        reply = super().pick_reply(part, chosen)
        if part == "body":
            streamed = StreamedBodyResponse(body=bytes(self.body), end_of_stream=True)
            mutation = BodyMutation(streamed_response=streamed)
            reply.request_body.response.body_mutation.CopyFrom(mutation)
        return reply


# Full duplex, request


@breaks("duplex-headers-reply-carries-pick", "came without x-gateway-destination-endpoint")
class AnswersHeadersAtOnce(Stream):
    def request_headers(self, message):
        super().request_headers(message)
        return [continued("request", "headers")]

    def decide(self, *, end):
        return super().decide(end=end)[1:]


@breaks("duplex-order", "before the one to its headers")
class BodyFirst(Stream):
    def decide(self, *, end):
        headers, *body = super().decide(end=end)
        return [*body, headers]


@breaks("duplex-streamed-replies", "without streamed_response")
class PlainReplies(Stream):
    def streamed(self, side, _body, _end):
        return continued(side, "body")


@breaks("duplex-one-end-of-stream", "after the end of stream")
class EndsTwice(Stream):
    def echo(self, body, *, end):
        return [*super().echo(body, end=end), self.streamed("request", b"", end)]


@breaks("duplex-chunk-limit", "A chunk of")
class OneChunk(Stream):
    def echo(self, body, *, end):
        return [self.streamed("request", body, end)]


@breaks("duplex-byte-by-byte", "differ from byte")
class DecodesChunks(Stream):
    def request_body(self, message):
        part = message.request_body
        part.body = part.body.decode("utf-8", "replace").encode()
        return super().request_body(message)


@breaks("duplex-split-places", "ImmediateResponse 400")
class EmptyIsEnd(Stream):
    def request_body(self, message):
        message.request_body.end_of_stream |= not message.request_body.body
        return super().request_body(message)


@breaks("duplex-duplicate-end-of-stream", "INVALID_ARGUMENT")
class FailsOnSecondEnd(Stream):
    def request_body(self, message):
        if self.picked:
            raise ProtocolError("a body after its end")
        return super().request_body(message)


@breaks("duplex-trailers", "while its trailers follow")
class EndsBeforeTrailers(Stream):
    def decide(self, *, end):
        del end
        return super().decide(end=True)
