"""The suite's messages are those of a real Envoy, and its view of replies holds for any of them."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from envoy_harness import QUICK
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from picker_harness import ENDPOINTS, MODEL, Picker, Stream, continued, overwrite, serving

from headrace.conformance import wire
from headrace.conformance.envoy_view import Half, Side
from headrace.conformance.verdicts import CaseFailedError
from headrace.conformance.wire import BodyMode, HttpRequest, HttpResponse
from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, render_bootstrap
from headrace.envoy_process import EnvoyProcess

BODY = wire.chat_body(MODEL)
JSON = {"content-type": "application/json"}
TRIED = "x-tried"
MODES = {
    BodyMode.FULL_DUPLEX: ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED", "SEND"),
    BodyMode.BUFFERED: ("BUFFERED", "NONE", "SKIP"),
}


class Recording(Stream):
    """A stream that keeps what it is sent."""

    def take(self, message):
        self.picker.messages.append(message)
        return super().take(message)


class Mutating(Recording):
    """A stream that sets one more header, in a way that the test chooses."""

    def pick_reply(self, part, chosen):
        reply = super().pick_reply(part, chosen)
        mutation = reply.request_headers.response.header_mutation
        mutation.set_headers.append(self.picker.option)
        return reply


def shape(value) -> object:
    """Which fields are set, all the way down; of values only what is no accident."""
    if isinstance(value, Struct):
        return {key: field.WhichOneof("kind") for key, field in value.fields.items()}
    if isinstance(value, bytes | str):
        return type(value).__name__
    if not hasattr(value, "ListFields"):
        return value
    found = {}
    for field, content in value.ListFields():
        if field.name == "headers" and field.message_type.name == "HeaderValue":
            found["headers"] = {name.name for one in content for name, _ in one.ListFields()}
        elif field.name == "filter_metadata":
            found[field.name] = {name: shape(fields) for name, fields in content.items()}
        elif field.name != "attributes":  # only sent where a gateway asks for them
            found[field.name] = shape(content)
    return found


def ext_proc_filters(node) -> Iterator[dict]:
    """Every configuration with a processing mode, wherever it is in a bootstrap."""
    if isinstance(node, dict):
        if "processing_mode" in node:
            yield node
        for inner in node.values():
            yield from ext_proc_filters(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from ext_proc_filters(inner)


def bootstrap(address, port, mode):
    """Envoy's, with the body modes of a gateway."""
    endpoints = (EnvoyEndpoint(address=address, models=(MODEL,)),)
    plan = EnvoyPlan(endpoints=endpoints, ext_proc_targets=(f"127.0.0.1:{port}",), timeouts=QUICK)
    rendered = render_bootstrap(plan)
    [config] = ext_proc_filters(rendered)
    request, response, trailers = MODES[mode]
    config["failure_mode_allow"] = False
    config["processing_mode"] = {
        "request_header_mode": "SEND",
        "request_body_mode": request,
        "request_trailer_mode": trailers,
        "response_header_mode": "SEND",
        "response_body_mode": response,
        "response_trailer_mode": trailers,
    }
    return rendered


async def tried_headers(request):
    """A replica that answers with what it was sent under one name."""
    await request.read()
    return web.json_response(request.headers.getall(TRIED, []))


@asynccontextmanager
async def gateway(picker, mode):
    """A client of a real Envoy in front of a picker."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", tried_headers)
    async with (
        TestServer(app, host="127.0.0.1") as replica,
        serving(picker) as port,
        EnvoyProcess(bootstrap(f"127.0.0.1:{replica.port}", port, mode)) as envoy,
    ):
        host, listener = envoy.listener_address()
        async with aiohttp.ClientSession(f"http://{host}:{listener}") as client:
            await answered(client, picker)
            yield client


async def answered(client, picker):
    """Ask until the picker is found; Envoy refuses until its health check has passed.

    The answer is read: a connection that is closed over it resets the stream, and an Envoy
    whose stream is reset never sends the end of the answer.
    """
    for _ in range(100):
        picker.messages.clear()
        async with client.post("/v1/chat/completions", data=BODY, headers=JSON) as response:
            await response.read()
            if response.status == 200 and picker.messages:
                return
        await asyncio.sleep(0.1)
    raise AssertionError("Envoy did not find the picker")


@pytest.mark.envoy
@pytest.mark.parametrize("mode", MODES)
async def test_messages_have_the_shape_of_a_real_envoys(mode):
    served = {"envoy.lb": {wire.DESTINATION: ",".join(ENDPOINTS), wire.SERVED: ENDPOINTS[0]}}
    request = HttpRequest(chunks=(BODY, b""))
    response = HttpResponse(chunks=(b"{}", b""), metadata=served)
    ours = [wire.request_headers(request, mode), *wire.request_bodies(request, mode)]
    ours.append(wire.response_headers(response))
    if wire.response_mode(mode) is BodyMode.FULL_DUPLEX:
        ours += wire.response_bodies(response, mode)
    picker = Picker(Recording)
    async with gateway(picker, mode):
        while len(picker.messages) < len(ours):  # the last comes beside the client's answer
            await asyncio.sleep(0.01)
        assert [shape(message) for message in picker.messages] == [shape(one) for one in ours]


@pytest.mark.envoy
async def test_header_mutations_come_to_what_a_real_envoy_makes_of_them():
    """Were an Envoy to obey append_action, the suite's view of it would have to follow."""
    picker, seen, expected = Picker(Mutating), [], []
    actions = HeaderValueOption.HeaderAppendAction.values()
    async with gateway(picker, BodyMode.FULL_DUPLEX) as client:
        for picker.option.append_action in actions:
            for picker.option.append.value, sent in itertools.product((False, True), repeat=2):
                headers = {TRIED: "client"} if sent else {}
                request = client.post("/v1/chat/completions", data=BODY, headers=JSON | headers)
                async with request as response:
                    seen.append(await response.json())
                view = duplex_half(*headers.items())
                view.take(Mutating(picker).pick_reply("headers", ENDPOINTS[0]))
                expected.append([value for name, value in view.headers if name == TRIED])
    assert expected == seen
    assert ["picker"] in seen
    assert ["client", "picker"] in seen


# The view of replies


def duplex_half(*headers):
    return Half(Side.REQUEST, mode=BodyMode.FULL_DUPLEX, headers=headers, body=True, trailers=False)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=10))
def test_a_body_is_what_its_chunks_make_and_ends_once(pieces):
    stream, half = Stream(Picker()), duplex_half()
    half.take(continued("request", "headers"))
    for number, piece in enumerate(pieces):
        assert not half.complete
        half.take(stream.streamed("request", piece, number == len(pieces) - 1))
    assert half.complete
    assert bytes(half.body) == b"".join(pieces)
    with pytest.raises(CaseFailedError, match="after the end of stream"):
        half.take(stream.streamed("request", b"", end=True))


NAMES = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["2", "3"]), st.booleans()), max_size=6),
    st.lists(NAMES, max_size=3),
)
def test_headers_are_removed_first_and_then_set_or_appended(settings, removed):
    reply = continued("request", "headers")
    mutation = reply.request_headers.response.header_mutation
    mutation.remove_headers.extend(removed)
    model = {"a": ["1"]} if "a" not in removed else {}
    for name, value, append in settings:
        option = overwrite(name, value)
        option.append.value = append
        mutation.set_headers.append(option)
        model[name] = [*(model.get(name, []) if append else []), value]
    half = duplex_half(("a", "1"))
    half.take(reply)
    assert sorted(half.headers) == sorted((name, v) for name in model for v in model[name])


@given(st.sampled_from([Side.REQUEST, Side.RESPONSE]), st.sampled_from(BodyMode))
def test_replies_to_what_was_not_sent_are_refused(side, mode):
    half = Half(side, mode=mode, headers=(), body=True, trailers=False)
    other = "response" if side is Side.REQUEST else "request"
    for reply in (continued(other, "headers"), continued(side.value, "body"), ProcessingResponse()):
        with pytest.raises(CaseFailedError):
            half.take(reply)
