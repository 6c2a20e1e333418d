"""Events of an ext_proc stream, and a picker that lets some requests wait, for property tests."""

import asyncio
import json

from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.extproc.events import (
    BodyMode,
    Decided,
    Phase,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    StreamEnded,
    Unrecognized,
)


class Held:
    """A request that a HoldingPicker lets wait until it is told to decide."""

    limit_seconds = None

    def __init__(self, picker, facts, now_seconds):
        self.picker = picker
        self.facts = facts
        self.now_seconds = now_seconds
        self.result = None
        self.ready = asyncio.Event()

    def decide(self):
        """Pick, as an admission that has room would."""
        facts = self.facts._replace(model="llama")
        self.result = Picker.pick(self.picker, facts, now_seconds=self.now_seconds, draw=0.5)
        self.ready.set()
        return self.result

    async def decided(self):
        await self.ready.wait()
        self.picker.queue.remove(self)
        return self.result

    def withdraw(self, *, now_seconds):
        if self in self.picker.queue:
            self.picker.queue.remove(self)
        if self.result is not None:
            self.picker.settle(self.result.ticket, now_seconds=now_seconds)


class HoldingPicker(Picker):
    """The picker; requests for one model wait, and settlements are counted."""

    HELD_MODEL = "held"

    def __init__(self, fleet, settings):
        super().__init__(fleet, settings)
        self.queue = []
        self.settlements = []

    @property
    def held(self):
        return len(self.queue)

    def pick(self, facts, *, now_seconds, draw):
        if facts.model != self.HELD_MODEL:
            return super().pick(facts, now_seconds=now_seconds, draw=draw)
        held = Held(self, facts, now_seconds)
        self.queue.append(held)
        return held

    def decide(self):
        """Hand over the oldest decision, as the shell does; any pick when nothing waits."""
        if not self.queue:
            return Decided(None)
        return Decided(self.queue.pop(0).decide())

    def settle(self, ticket, *, now_seconds):
        self.settlements.append(ticket)
        return super().settle(ticket, now_seconds=now_seconds)


def make_picker():
    replicas = tuple(
        Replica(address=f"10.0.0.{n}:8000", backend="h100", models=("llama",)) for n in (1, 2)
    )
    backend = Backend(
        name="h100",
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=replicas,
    )
    return HoldingPicker(Fleet((backend,)), DecideSettings())


BODY = json.dumps({"model": "llama", "prompt": "hello"}).encode()
HELD = json.dumps({"model": HoldingPicker.HELD_MODEL, "prompt": "hello"}).encode()
POST = RequestHeaders(
    method="POST",
    path="/v1/completions",
    hints={},
    subset=None,
    request_body_mode=BodyMode.BUFFERED,
    response_body_mode=BodyMode.NONE,
    end_of_stream=False,
)
DUPLEX = POST._replace(
    request_body_mode=BodyMode.FULL_DUPLEX_STREAMED,
    response_body_mode=BodyMode.FULL_DUPLEX_STREAMED,
)
PASSING = POST._replace(method="DELETE")
EVENTS = [
    POST,
    DUPLEX,
    PASSING,
    DUPLEX._replace(method="PUT"),
    POST._replace(request_body_mode=None, response_body_mode=None),
    POST._replace(method="GET", path="/v1/models", end_of_stream=True),
    DUPLEX._replace(method="GET", path="/version", end_of_stream=True),
    POST._replace(end_of_stream=True),
    POST._replace(request_body_mode=BodyMode.STREAMED),
    POST._replace(hints={"x-headrace-priority": "x"}),
    POST._replace(hints={"x-llm-d-model-name-rewrite": "llama"}),
    POST._replace(subset=frozenset()),
    DUPLEX._replace(subset=frozenset({"192.0.2.1", "10.0.0.2"})),
    RequestBody(BODY),
    RequestBody(BODY[:10], False),
    RequestBody(b"", True),
    RequestBody(HELD),
    RequestBody(b"not json"),
    RequestBody(b"\xff\xfe" * 40, False),
    RequestBody(b'{"model": "gpt-9"}'),
    RequestBody(b"x" * 201, False),
    RequestTrailers(),
    Decided(None),  # stands for what the picker decides when it comes
    ResponseHeaders(200),
    ResponseHeaders(200, served="10.0.0.2:8000", end_of_stream=True),
    ResponseHeaders(503, served="192.0.2.1:1"),
    ResponseBody(b"data"),
    ResponseBody(b"", end_of_stream=True),
    ResponseTrailers(),
    Unrecognized(),
    StreamEnded(),
]

_PHASES = {
    RequestHeaders: Phase.REQUEST_HEADERS,
    RequestBody: Phase.REQUEST_BODY,
    RequestTrailers: Phase.REQUEST_TRAILERS,
    ResponseHeaders: Phase.RESPONSE_HEADERS,
    ResponseBody: Phase.RESPONSE_BODY,
    ResponseTrailers: Phase.RESPONSE_TRAILERS,
}


def phase_of(event):
    return _PHASES[type(event)]
