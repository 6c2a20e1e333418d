"""Requests through all of the router that is ours, without gRPC, sockets, threads or time.

The messages are those that a real Envoy sent, recorded in tests/baselines/envoy_messages.json; only
prompts and addresses are put in. Everything is deterministic, so that its counts can be compared.
"""

import asyncio
import base64
import contextlib
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import grpc
from builders import make_fleet, make_snapshot
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpBody, ProcessingRequest
from prometheus_client import CollectorRegistry

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.snapshot import SnapshotHolder
from fleet.topology import Fleet
from headrace.bench.extproc_load import NUMBER, chat_body
from headrace.routing import Routing
from headrace.routing_plan import routing_plan
from headrace.serve_file import ServeSection
from router.extproc.health import EXT_PROC_SERVICE, Readiness

BASELINES = Path(__file__).parent / "baselines"
SIZES = (512, 220_000)
MODES = ("buffered", "full-duplex")

_RECORDED = json.loads((BASELINES / "envoy_messages.json").read_text(encoding="utf-8"))
_SERVED = b"10.0.0.100:8000"
"""The address in the recorded messages, as long as those of the fleet below."""
_DESTINATION = re.compile(rb"10\.0\.0\.1\d\d:8000")


class SteppingClock:
    """Stands still until it is set on."""

    def __init__(self):
        self.now_seconds = 1000.0

    def monotonic_seconds(self):
        return self.now_seconds

    def epoch_seconds(self):
        return 1_700_000_000.0 + self.now_seconds


def recorded(mode, size, number):
    """The messages of one request, serialized, with a prompt of its own."""
    content = chat_body(size).replace(NUMBER.encode(), b"%0*d" % (len(NUMBER), number))
    for message in _RECORDED[f"{mode} {size}"]:
        if message["kind"] == "request_body":
            piece, content = content[: message["bytes"]], content[message["bytes"] :]
            body = HttpBody(body=piece, end_of_stream=message["end_of_stream"])
            yield ProcessingRequest(request_body=body).SerializeToString()
        else:
            yield base64.b64decode(message["message"])


class Stream:
    """The wire of one stream as a servicer sees it: brings messages, takes replies.

    With `pause` a read gives way before the message of that number; `run` goes on to there, and the
    next `run` to the end.
    """

    def __init__(self, router, messages, *, pause=None):
        self.messages_in = len(messages)
        self._messages, self._pause = iter(messages), pause
        self._read, self._is_over = 0, False
        self._deserialize = router.method.request_deserializer
        self._destination = _SERVED
        self.replies = []
        self._serving = router.method.stream_stream(None, self)

    def run(self):
        """Serve until the end of the stream or the pause."""
        try:
            self._serving.send(None)
        except StopIteration:
            return
        if self._is_over:  # Envoy resets the stream, which gRPC tells by cancelling
            with contextlib.suppress(asyncio.CancelledError):
                self._serving.throw(asyncio.CancelledError())
            return
        assert self._pause == self._read, "the servicer waited for something else"

    async def read(self):
        if self._read == self._pause:
            await _GiveWay()
        self._read += 1
        message = next(self._messages, None)
        if message is None:
            self._is_over = True
            return grpc.aio.EOF
        return self._deserialize(message.replace(_SERVED, self._destination))

    async def write(self, reply):
        self.replies.append(reply)
        if (picked := _DESTINATION.search(reply)) is not None:
            self._destination = picked[0]

    async def abort(self, code, details):
        raise AssertionError(f"the router refused a recorded message: {code}: {details}")


class _GiveWay:
    def __await__(self):
        yield


class Router:
    """All of the router but its server, over a hundred replicas with telemetry.

    With sections of a serve file beyond those that it must have; between two requests
    `gap_seconds` pass.
    """

    def __init__(self, *, gap_seconds=0.01, **sections):
        self._gap_seconds = gap_seconds
        random.seed(7)
        fleet, self._clock = fleet_of_a_hundred(), SteppingClock()
        snapshots = SnapshotHolder(make_snapshot(fleet, version=0))
        config = ServeSection.model_validate(
            {"fleet": "f", "ext_proc": {"unix_socket": "/none"}, **sections}
        )
        self.routing = Routing(
            routing_plan(config),
            fleet,
            snapshots=snapshots,
            readiness=Readiness(snapshots),
            clock=self._clock,
            registry=CollectorRegistry(),
        )
        snapshot = make_snapshot(fleet, at_seconds=self._clock.now_seconds, default=_TELEMETRY)
        snapshots.current = snapshot
        picker = self.routing.picker
        picker.observe(snapshot, PriceBoard(), now_seconds=self._clock.now_seconds)
        self.routing.metering.observe(snapshot)
        picker.commit(now_seconds=self._clock.now_seconds)
        # The handler is what a grpc.aio server is given; no public name leads to it.
        self.method = self.routing.ext_proc._servicer.handler().service(_Call())

    def stream(self, mode, size, number, *, pause=None):
        """A stream whose messages are made already."""
        self._clock.now_seconds += self._gap_seconds
        return Stream(self, list(recorded(mode, size, number)), pause=pause)


class _Call:
    method = f"/{EXT_PROC_SERVICE}/Process"
    invocation_metadata = ()


def fleet_of_a_hundred():
    """Replicas at addresses of equal length."""
    [backend] = make_fleet({"H100": 200}).backends
    return Fleet((replace(backend, replicas=backend.replicas[100:]),))


_TELEMETRY = {
    SignalKind.HEALTHY_RATIO: 1.0,
    SignalKind.RUNNING_REQUESTS: 0.0,
    SignalKind.WAITING_REQUESTS: 0.0,
    SignalKind.KV_USAGE_RATIO: 0.1,
    SignalKind.POWER_WATTS: 400.0,
}
